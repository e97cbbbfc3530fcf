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
use reelfs::job::control::{CONTROL, ControlListener, ServedBy, Service, Stagings};
use reelfs::progress::Progress;
use reelfs::repo::Repository;
use reelfs::repo::staging::{Caller, STAGING, SetAside, StagingError, StagingTree};

use crate::control;
use crate::staging::clients::Clients;
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

    fn served_by(&self, client: &ClientName) -> Option<ServedBy> {
        self.clients.served_by(client)
    }

    // Who opens a client has it until it is unmounted: of several mounts that is for those who use it to choose.
    fn is_scheduled(&self, client: &ClientName) -> bool {
        self.clients.served_by(client).is_some() || !self.clients.has_others()
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
    /// Starts the threads.
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
        commands.start_schedule()?;
        let (service, stop) = (Arc::clone(&commands.service), Arc::clone(&commands.is_over));
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || answer(&root, &clients, &service, &stop))?;
        Ok(commands)
    }

    fn start_schedule(&self) -> io::Result<()> {
        let (service, is_over) = (Arc::clone(&self.service), Arc::clone(&self.is_over));
        let progress = Arc::clone(&self.progress);
        let schedule = move || service.run_schedule(&is_over, &progress);
        thread::Builder::new().name("schedule".to_owned()).spawn(schedule).map(drop)
    }

    /// Begins nothing more, and waits for the end of what was asked for.
    pub(crate) fn end(self) {
        self.is_over.store(true, Ordering::Release);
        self.progress.cancel();
        self.service.wait_idle();
    }
}

// Answers on the socket that all commands know. While another process does, on one of its own, too: that process may
// serve another mount, or have been unmounted a moment ago.
fn answer(root: &Path, clients: &Arc<Clients>, service: &Arc<Service>, stop: &Arc<AtomicBool>) {
    let mut has_own = false;
    while !stop.load(Ordering::Acquire) {
        let bound = match ControlListener::bind(root) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !has_own => {
                ControlListener::bind_another(root)
            }
            bound => bound,
        };
        match bound {
            Ok(listener) if listener.name() == CONTROL => return serve(&listener, clients, service, stop),
            Ok(listener) => {
                has_own = true;
                let (clients, service, stop) = (Arc::clone(clients), Arc::clone(service), Arc::clone(stop));
                let own = move || serve(&listener, &clients, &service, &stop);
                if let Err(error) = thread::Builder::new().name("control".to_owned()).spawn(own) {
                    log::error!("commands of staging are not answered: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return log::error!("commands of staging are not answered: {error}"),
        }
        thread::sleep(BIND_PAUSE);
    }
}

fn serve(listener: &ControlListener, clients: &Clients, service: &Arc<Service>, stop: &AtomicBool) {
    clients.answers_on(listener.name());
    // One who is let in when all is over would see trees that are being closed.
    let is_let_in = |stream: &UnixStream| !stop.load(Ordering::Acquire) && is_allowed(stream);
    if let Err(error) = service.serve(listener, &is_let_in) {
        log::error!("commands of staging are not answered any more: {error}");
    }
}

// Root, and who serves the repository.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == own)
}
