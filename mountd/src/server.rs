//! The server: answers the kernel's requests until the mount is gone.
//!
//! Its standard input is the FUSE descriptor, and it writes [`READY`] to its standard output.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use reelfs::repo::{CacheBytes, Repository};

use crate::control;
use crate::errno::chain;
use crate::filesystem::ReelFilesystem;
use crate::launch::Plan;
use crate::logger;
use crate::pool::Pool;
use crate::session::Connection;
use crate::spin::{self, Spin};
use crate::view::View;
use crate::watch;

/// What the server says when it answers.
pub(crate) const READY: &str = "ready";

const READ_AHEAD_THREAD_COUNT: usize = 2;
const READER_COUNT_MAX: usize = 4;

/// Serves until the mount is gone.
///
/// # Errors
/// A text for people, if it cannot start or the connection fails.
pub(crate) fn serve(plan: &Plan, is_resumed: bool) -> Result<(), String> {
    logger::start(plan.log);
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let fuse = io::stdin().as_fd().try_clone_to_owned().map_err(failed("cannot take the FUSE descriptor"))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed("/dev/null"))?;
    nix::unistd::dup2_stdin(&null).map_err(|errno| format!("cannot close standard input: {errno}"))?;
    // A server that died may have been spinning.
    spin::set_blocking(&fuse, true);

    let view = open(plan)?;
    let session = connect(plan, &view, &fuse, is_resumed).map_err(failed("cannot talk to the kernel"))?;
    if view.is_changing() {
        watch::start(Arc::clone(&view), session.notices()).map_err(failed("cannot watch"))?;
    }
    view.repository.frames().start_read_ahead(READ_AHEAD_THREAD_COUNT);
    // Nobody may be listening any more.
    let _told = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    nix::unistd::dup2_stdout(&null).map_err(|errno| format!("cannot close standard output: {errno}"))?;
    session.run().map_err(failed("the connection to the kernel failed"))
}

fn open(plan: &Plan) -> Result<Arc<View>, String> {
    let cache = CacheBytes { pages: plan.options.page_cache_bytes, frames: plan.options.frame_cache_bytes };
    let repository = Repository::open(Path::new(&plan.repository), cache).map_err(|error| chain(&error))?;
    let root = plan.root.to_root();
    let view = View::new(repository, root, plan.options.owners, control::now());
    Ok(Arc::new(view.map_err(|error| chain(&error))?))
}

fn connect(plan: &Plan, view: &Arc<View>, fuse: &OwnedFd, is_resumed: bool) -> io::Result<Connection> {
    let cpu_count = thread::available_parallelism().map_or(1, usize::from);
    let spin = if plan.options.spin.unwrap_or(cpu_count > 1) {
        let spin = Spin::new(fuse.try_clone()?);
        spin.start()?;
        Some(spin)
    } else {
        None
    };
    let pool = Pool::start(cpu_count.clamp(1, READER_COUNT_MAX))?;
    let filesystem = ReelFilesystem::new(Arc::clone(view), pool, spin);
    Connection::new(filesystem, fuse, is_resumed)
}
