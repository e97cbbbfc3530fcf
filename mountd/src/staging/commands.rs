//! Answers the commands of staging, and makes the commits that the policies ask for.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use reelfs::format::record::Time;
use reelfs::id::{ClientName, FileId};
use reelfs::job::commit::Outside;
use reelfs::job::control::{ControlListener, Service, Stagings};
use reelfs::progress::Progress;
use reelfs::repo::Repository;
use reelfs::repo::staging::{Caller, STAGING, SetAside, StagingError, StagingTree};

use crate::control;
use crate::staging::control::Control;

const RANDOM: &str = "/dev/urandom";
const PERMISSIONS: u16 = 0o755;
const BIND_PAUSE: Duration = Duration::from_millis(100);

impl Stagings for Control {
    fn repository(&self) -> &Arc<Repository> {
        self.clients.repository()
    }

    fn names(&self) -> Result<Vec<ClientName>, StagingError> {
        self.clients.names()
    }

    fn tree(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        self.clients.by_name(client)
    }

    fn opened(&self, client: &ClientName) -> Option<Arc<StagingTree>> {
        self.clients.opened(client)
    }

    fn create(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let caller = Caller { uid, gid, umask: 0, now: control::now() };
        self.clients.create(client, caller, PERMISSIONS)
    }

    fn set_aside(&self, client: &ClientName, mark: &str) -> Result<SetAside, StagingError> {
        let aside = self.clients.set_aside(client, mark, |tree| {
            Self::forget(self, tree);
            self.handles.let_go(tree.slot());
        })?;
        log::warn!("staging of {client} was damaged and is in {} now", aside.path.display());
        Ok(aside)
    }

    fn forget(&self, tree: &StagingTree) {
        Self::forget(self, tree);
    }

    fn show(&self) {
        self.bell.ring();
    }

    fn is_mounted(&self) -> bool {
        true
    }
}

/// Clock and randomness of the system.
#[derive(Debug)]
struct System;

impl Outside for System {
    fn now(&self) -> Time {
        control::now()
    }

    fn sleep(&self, span: Duration) {
        thread::sleep(span);
    }

    fn new_id(&self) -> FileId {
        let mut id = [0; 16];
        if let Err(error) = File::open(RANDOM).and_then(|mut file| file.read_exact(&mut id)) {
            // Without it two files might get one id.
            log::error!("{RANDOM}: {error}");
            std::process::abort();
        }
        FileId(id)
    }
}

/// The threads that answer and that watch the time.
#[derive(Debug)]
pub(crate) struct Commands {
    service: Arc<Service>,
    is_over: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

impl Commands {
    /// Starts the threads. While another process answers for the repository they wait for its end: it may
    /// have been unmounted a moment ago.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn start(control: Control) -> io::Result<Self> {
        let root = control.clients.repository().root().ok_or(io::ErrorKind::Unsupported)?.to_owned();
        // The first client would make it.
        std::fs::create_dir_all(root.join(STAGING))?;
        let clients = Arc::clone(&control.clients);
        let service = Arc::new(Service::new(Arc::new(control), Arc::new(System)));
        let (is_over, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(Progress::new()));
        let commands = Self { service, is_over, progress };
        let (service, stop, cancelled) =
            (Arc::clone(&commands.service), Arc::clone(&commands.is_over), Arc::clone(&commands.progress));
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            match bind(&root, &stop) {
                Ok(None) => {}
                Ok(Some(listener)) => {
                    clients.set_answering();
                    drop(clients);
                    if let Err(error) = start_schedule(&service, &stop, cancelled) {
                        log::error!("no commit is made by schedule: {error}");
                    }
                    // One who is let in when all is over would see trees that are being closed.
                    let is_let_in = |stream: &UnixStream| !stop.load(Ordering::Acquire) && is_allowed(stream);
                    if let Err(error) = service.serve(&listener, &is_let_in) {
                        log::error!("commands of staging are not answered any more: {error}");
                    }
                }
                Err(error) => log::error!("commands of staging are not answered: {error}"),
            }
        })?;
        Ok(commands)
    }

    /// Begins nothing more, and waits for the end of what was asked for.
    pub(crate) fn end(self) {
        self.is_over.store(true, Ordering::Release);
        self.progress.cancel();
        self.service.wait_idle();
    }
}

fn bind(root: &Path, is_over: &AtomicBool) -> io::Result<Option<ControlListener>> {
    let mut is_told = false;
    while !is_over.load(Ordering::Acquire) {
        match ControlListener::bind(root) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !std::mem::replace(&mut is_told, true) {
                    log::info!("another process answers commands of staging; waiting for its end");
                }
            }
            bound => return bound.map(Some),
        }
        thread::sleep(BIND_PAUSE);
    }
    Ok(None)
}

fn start_schedule(
    service: &Arc<Service>,
    is_over: &Arc<AtomicBool>,
    progress: Arc<Progress>,
) -> io::Result<()> {
    let (service, is_over) = (Arc::clone(service), Arc::clone(is_over));
    let schedule = move || service.run_schedule(&is_over, &progress);
    thread::Builder::new().name("schedule".to_owned()).spawn(schedule).map(drop)
}

// Root, and who serves the repository.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == own)
}
