//! The server: answers the kernel's requests until the mount is gone.
//!
//! Its standard input is a socket from which it takes the FUSE descriptors, and it writes [`READY`] to its
//! standard output, once for each.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use reelfs::job::tape::catalogue::{CATALOGUE, Catalogue};
use reelfs::repo::{CacheBytes, Repository};

use crate::clients::Snapshot;
use crate::control;
use crate::errno::chain;
use crate::filesystem::ReelFilesystem;
use crate::handover::{self, Handed};
use crate::launch::Plan;
use crate::logger;
use crate::plain::{self, Place, PlainClients};
use crate::pool::Pool;
use crate::session::Connection;
use crate::shown::Shown;
use crate::spin::{self, Gate, Spin};
use crate::view::{CLIENTS_NAME, View};
use crate::watch;
use crate::{staging, tapes};

/// What the server says when it answers.
pub(crate) const READY: &str = "ready";
/// What it says instead when nothing that clients have stored has extended attributes.
pub(crate) const READY_PLAIN: &str = "ready, without extended attributes";

const READ_AHEAD_THREAD_COUNT: usize = 2;
const READER_COUNT_MAX: usize = 4;
// Each waits for a tape: the more, the better their order can be chosen.
const TAPE_READER_COUNT: usize = 16;

/// What begins the line that says why there is no staging.
pub(crate) const NO_STAGING: &str = "no staging:";

/// Serves until the mount is gone.
///
/// # Errors
/// A text for people, if it cannot start or the connection fails.
pub(crate) fn serve(plan: &Plan, is_resumed: bool) -> Result<(), String> {
    logger::start(plan.log);
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed("cannot take the socket"))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed("/dev/null"))?;
    nix::unistd::dup2_stdin(&null).map_err(|errno| format!("cannot close standard input: {errno}"))?;
    let handed = handover::take(&socket).map_err(failed("cannot take the FUSE descriptor"))?;
    let Some(Handed::Tree(fuse)) = handed else { return Err("no FUSE descriptor was handed over".into()) };
    // A server that died may have been spinning.
    spin::set_blocking(&fuse, true);

    let gate = Arc::new(Gate::default());
    let view = open(plan)?;
    let pool = Pool::start(cpu_count().clamp(1, READER_COUNT_MAX)).map_err(failed("cannot read"))?;
    let session = connect(plan, Arc::clone(&view) as _, pool.clone(), &fuse, &gate, is_resumed)
        .map_err(failed("cannot talk to the kernel"))?;
    if view.is_changing() {
        watch::start(Arc::clone(&view), session.notices()).map_err(failed("cannot watch"))?;
    }
    view.repository.frames().start_read_ahead(READ_AHEAD_THREAD_COUNT);
    let known = view.clients.snapshot();
    let is_plain = !is_resumed && plan.has_clients() && plain::is_possible(&view, &known);
    say(if is_plain { READY_PLAIN } else { READY });
    let more = More {
        plan: plan.clone(),
        view: Arc::clone(&view),
        pool,
        gate,
        checked: if is_plain { known } else { Arc::default() },
        is_resumed,
    };
    let thread = thread::Builder::new().name("connections".to_owned());
    let thread = thread.spawn(move || more.serve(&socket, &null)).map_err(failed("cannot serve"))?;
    let result = session.run().map_err(failed("the connection to the kernel failed"));
    thread.join().map_err(|_| "serving staging or cartridges failed".to_owned())?;
    result
}

fn say(text: &str) {
    // Nobody may be listening any more.
    let _told = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
}

/// What is mounted on directories of the tree.
struct More {
    plan: Plan,
    view: Arc<View>,
    pool: Pool,
    gate: Arc<Gate>,
    // Generations that have no extended attributes.
    checked: Arc<Snapshot>,
    is_resumed: bool,
}

impl More {
    // Takes connections as they are mounted, and serves each on a thread until it is unmounted.
    fn serve(&self, socket: &OwnedFd, null: &File) {
        thread::scope(|scope| {
            loop {
                match handover::take(socket) {
                    Ok(Some(Handed::Clients(fuse))) => drop(scope.spawn(move || self.serve_clients(&fuse))),
                    Ok(Some(Handed::Tapes(fuse))) => drop(scope.spawn(move || self.serve_tapes(&fuse))),
                    Ok(Some(Handed::Staging(handed))) => {
                        drop(scope.spawn(move || self.serve_staging(handed)));
                    }
                    Ok(_) => break,
                    Err(error) => {
                        say(&format!("{NO_STAGING} {error}"));
                        break;
                    }
                }
            }
            if let Err(errno) = nix::unistd::dup2_stdout(null) {
                log::debug!("cannot close standard output: {errno}");
            }
        });
    }

    fn serve_staging(&self, handed: handover::Staging) {
        let inputs = staging::Inputs {
            repository: Arc::clone(&self.view.repository),
            passthrough: self.plan.options.passthrough,
            gate: spins(&self.plan).then(|| Arc::clone(&self.gate)),
            counts: Arc::clone(&self.view.staging_counts),
            bell: Arc::clone(&self.view.bell),
            is_resumed: self.is_resumed,
            path: self.plan.mountpoint.join(crate::view::STAGING_NAME),
        };
        let session = match staging::Session::start(inputs, handed) {
            Ok(session) => session,
            Err(error) => {
                log::error!("staging: {error}");
                return say(&format!("{NO_STAGING} {error}"));
            }
        };
        say(READY);
        if let Err(error) = session.run() {
            log::error!("staging: the connection to the kernel failed: {error}");
        }
    }

    fn serve_clients(&self, fuse: &OwnedFd) {
        let place = Arc::new(Place::new(self.plan.mountpoint.join(CLIENTS_NAME)));
        let tree = Arc::new(PlainClients::new(Arc::clone(&self.view), Arc::clone(&place)));
        let session = match connect(&self.plan, tree, self.pool.clone(), fuse, &self.gate, self.is_resumed) {
            Ok(session) => session,
            Err(error) => {
                // A server that is resumed finds it gone if it was taken off before.
                log::info!("clients: cannot talk to the kernel: {error}");
                return say(READY);
            }
        };
        let connection = Arc::new(());
        let (view, checked) = (Arc::clone(&self.view), Arc::clone(&self.checked));
        let ended = Arc::downgrade(&connection);
        if let Err(error) = watch::start_plain(view, session.notices(), place, checked, ended) {
            log::error!("clients: cannot watch: {error}");
        }
        say(READY);
        if let Err(error) = session.run() {
            log::error!("clients: the connection to the kernel failed: {error}");
        }
        drop(connection);
    }

    fn serve_tapes(&self, fuse: &OwnedFd) {
        let catalogue = Path::new(&self.plan.repository).join(CATALOGUE);
        // The process may not end before: who watches the tree has it for longer, sometimes.
        let (tree, _ending) = tapes::open(&self.plan, Catalogue::new(&catalogue), control::now());
        let started = Pool::start(TAPE_READER_COUNT).and_then(|pool| {
            let tree = Arc::clone(&tree);
            Connection::new(ReelFilesystem::new(tree, pool, None), fuse, self.is_resumed)
        });
        let session = match started {
            Ok(session) => session,
            Err(error) => {
                log::error!("cartridges: cannot talk to the kernel: {error}");
                return say(READY);
            }
        };
        if let Err(error) = tapes::watch(&tree, session.notices()) {
            log::error!("cartridges: cannot watch: {error}");
        }
        say(READY);
        if let Err(error) = session.run() {
            log::error!("cartridges: the connection to the kernel failed: {error}");
        }
    }
}

fn open(plan: &Plan) -> Result<Arc<View>, String> {
    let cache = CacheBytes { pages: plan.options.page_cache_bytes, frames: plan.options.frame_cache_bytes };
    let repository = Repository::open(Path::new(&plan.repository), cache).map_err(|error| chain(&error))?;
    let root = plan.root.to_root();
    let view = View::new(Arc::new(repository), root, plan.options.owners, control::now());
    let mut view = view.map_err(|error| chain(&error))?;
    view.has_staging = plan.has_staging;
    view.has_tapes = plan.has_tapes;
    Ok(Arc::new(view))
}

fn cpu_count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn spins(plan: &Plan) -> bool {
    plan.options.spin.unwrap_or(cpu_count() > 1)
}

fn connect(
    plan: &Plan,
    tree: Arc<dyn Shown>,
    pool: Pool,
    fuse: &OwnedFd,
    gate: &Arc<Gate>,
    is_resumed: bool,
) -> io::Result<Connection> {
    let spin = if spins(plan) {
        let spin = Spin::new(fuse.try_clone()?, Arc::clone(gate));
        spin.start()?;
        Some(spin)
    } else {
        None
    };
    let filesystem = ReelFilesystem::new(tree, pool, spin);
    Connection::new(filesystem, fuse, is_resumed)
}
