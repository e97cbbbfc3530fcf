//! Answers the commands of staging, and makes the commits that the policies ask for.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
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
use reelfs::repo::staging::{Caller, STAGING, StagingError, StagingTree};

use crate::control;
use crate::staging::control::Control;

const RANDOM: &str = "/dev/urandom";
const PERMISSIONS: u16 = 0o755;

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

    fn create(&self, client: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let caller = Caller { uid, gid, umask: 0, now: control::now() };
        self.clients.create(client, caller, PERMISSIONS)
    }

    fn forget(&self, tree: &StagingTree) {
        Self::forget(self, tree);
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

/// The threads that answer and that watch the time; dropped, they begin nothing more.
#[derive(Debug)]
pub(crate) struct Commands {
    is_over: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.progress.cancel();
    }
}

impl Commands {
    /// Starts the threads.
    ///
    /// # Errors
    /// The refusal of the system; `AddrInUse` if another process answers for the repository.
    pub(crate) fn start(control: Control) -> io::Result<Self> {
        let root = control.clients.repository().root().ok_or(io::ErrorKind::Unsupported)?;
        // The first client would make it.
        std::fs::create_dir_all(root.join(STAGING))?;
        let listener = ControlListener::bind(root)?;
        let service = Arc::new(Service::new(Arc::new(control), Arc::new(System)));
        let (is_over, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(Progress::new()));
        let answering = Arc::clone(&service);
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            if let Err(error) = answering.serve(&listener, &is_allowed) {
                log::error!("commands of staging are not answered any more: {error}");
            }
        })?;
        let (stop, cancelled) = (Arc::clone(&is_over), Arc::clone(&progress));
        thread::Builder::new()
            .name("schedule".to_owned())
            .spawn(move || service.run_schedule(&stop, &cancelled))?;
        Ok(Self { is_over, progress })
    }
}

// Root, and who serves the repository.
fn is_allowed(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == own)
}
