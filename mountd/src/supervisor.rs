//! The supervisor: a small process that mounts, keeps the FUSE descriptors open and a server running.
//!
//! While a descriptor is open its mount lives. A server that dies is started again on it, and the kernel
//! sends the new one what the old one did not answer: readers see a pause. A server that dies again and again
//! is given up; then the mount is left in its place, dead, because an empty directory in its place would tell
//! `rsync --delete` that everything is gone.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use reelfs::repo::staging::MountClaims;

use crate::handover::Staging;
use crate::launch::{LaunchError, Plan, this_program, to_json};
use crate::{handover, mountpoint, server};

/// What a supervisor in the background says when the mount is ready.
pub const READY: &str = "ready";

const CRASH_COUNT_MAX: usize = 5;
const CRASH_PERIOD: Duration = Duration::from_secs(30);
const RESTART_PAUSE: Duration = Duration::from_millis(20);
// After the mount was taken off its place, those who still use it have so long.
const GRACE: Duration = Duration::from_secs(10);
// malloc otherwise keeps an arena for each thread.
const MALLOC_ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

/// Mounts and keeps the mount alive until it is unmounted or SIGTERM or SIGINT comes.
///
/// # Errors
/// [`LaunchError`] if it cannot be mounted or the server dies too often.
pub fn supervise(plan: &Plan, on_ready: impl FnOnce()) -> Result<(), LaunchError> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    let refused = |errno: nix::errno::Errno| LaunchError::Start(errno.into());
    // The server inherits this: what ends the mount is said to the supervisor.
    signals.thread_block().map_err(refused)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&signals, flags).map_err(refused)?;

    let options = &plan.options;
    let fuse = mountpoint::attach(
        &plan.mountpoint,
        &plan.source,
        options.is_private(),
        options.flags(plan.has_staging || plan.has_tapes),
    )?;
    let connections = Connections { fuse, clients: None, tapes: None, staging: None };
    let (server, connections) = match begin(plan, connections) {
        Ok(begun) => begun,
        Err(error) => {
            take_off(plan);
            return Err(error);
        }
    };
    mountpoint::set_read_ahead(&plan.mountpoint, plan.options.read_ahead_kib);
    on_ready();
    Supervisor { plan, connections, signals, server, crashes: Vec::new(), deadline: None }.run()
}

/// What outlives a server.
struct Connections {
    fuse: OwnedFd,
    clients: Option<OwnedFd>,
    tapes: Option<OwnedFd>,
    staging: Option<Staging>,
}

fn take_off(plan: &Plan) {
    // What is mounted on it goes with it.
    if let Err(error) = mountpoint::detach(&plan.mountpoint) {
        log::warn!("cannot unmount {}: {error}", plan.mountpoint.display());
    }
}

/// A server that was started.
struct Started {
    server: Child,
    socket: OwnedFd,
    output: Option<BufReader<ChildStdout>>,
}

fn begin(plan: &Plan, connections: Connections) -> Result<(Child, Connections), LaunchError> {
    let mut started = start(plan, &connections, false)?;
    let is_plain = wait_until_ready(&mut started)?;
    let clients = if is_plain { mount_clients(plan, &mut started)? } else { None };
    let tapes = if plan.has_tapes { mount_tapes(plan, &mut started)? } else { None };
    let connections = Connections { clients, tapes, ..connections };
    if !plan.has_staging {
        return Ok((started.server, connections));
    }
    // The server answers for the directory on which staging is mounted.
    let staging = match mount_staging(plan, &mut started) {
        Ok(staging) => Some(staging),
        Err(error) if plan.options.staging.is_none() && is_running(&mut started.server) => {
            log::warn!("staging is not mounted: {}", crate::errno::chain(&error));
            None
        }
        Err(error) => {
            // It may have ended by itself.
            let _killed = started.server.kill().and_then(|()| started.server.wait());
            return Err(error);
        }
    };
    Ok((started.server, Connections { staging, ..connections }))
}

fn is_running(server: &mut Child) -> bool {
    matches!(server.try_wait(), Ok(None))
}

// Below it the tree shows the same, only slower.
fn mount_clients(plan: &Plan, started: &mut Started) -> Result<Option<OwnedFd>, LaunchError> {
    let path = plan.mountpoint.join(crate::view::CLIENTS_NAME);
    let source = format!("{}/{}", plan.source, crate::view::CLIENTS_NAME);
    let options = &plan.options;
    let fuse = match mountpoint::attach(&path, &source, options.is_private(), options.flags(false)) {
        Ok(fuse) => fuse,
        Err(error) => {
            log::debug!("clients have no mount of their own: {}", crate::errno::chain(&error));
            return Ok(None);
        }
    };
    handover::give_clients(&started.socket, fuse.as_fd()).map_err(LaunchError::Start)?;
    wait_until_ready(started)?;
    mountpoint::set_read_ahead(&path, options.read_ahead_kib);
    Ok(Some(fuse))
}

// A mount without cartridges is better than none.
fn mount_tapes(plan: &Plan, started: &mut Started) -> Result<Option<OwnedFd>, LaunchError> {
    let path = plan.mountpoint.join(crate::view::TAPES_NAME);
    let source = format!("{}/{}", plan.source, crate::view::TAPES_NAME);
    let options = &plan.options;
    let fuse = match mountpoint::attach(&path, &source, options.is_private(), options.flags(false)) {
        Ok(fuse) => fuse,
        Err(error) => {
            log::warn!("cartridges are not mounted: {}", crate::errno::chain(&error));
            return Ok(None);
        }
    };
    handover::give_tapes(&started.socket, fuse.as_fd()).map_err(LaunchError::Start)?;
    wait_until_ready(started)?;
    Ok(Some(fuse))
}

fn staging_path(plan: &Plan) -> PathBuf {
    plan.mountpoint.join(crate::view::STAGING_NAME)
}

fn mount_staging(plan: &Plan, started: &mut Started) -> Result<Staging, LaunchError> {
    let path = staging_path(plan);
    let options = &plan.options;
    let source = format!("{}/{}", plan.source, crate::view::STAGING_NAME);
    let table = |name| crate::staging::make_table(name).map_err(LaunchError::Start);
    let (handles, listings) = (table("reelfs-handles")?, table("reelfs-listings")?);
    let claims = MountClaims::open(Path::new(&plan.repository));
    let claims = claims.map_err(|error| LaunchError::Start(io::Error::other(error)))?.into_descriptor();
    let fuse = mountpoint::attach(&path, &source, options.is_private(), options.staging_flags())?;
    let staging = Staging { fuse, handles, listings, claims };
    let told = handover::give_staging(&started.socket, &staging).map_err(LaunchError::Start);
    if let Err(error) = told.and_then(|()| wait_until_ready(started)) {
        if let Err(error) = mountpoint::detach(&path) {
            log::warn!("cannot unmount {}: {error}", path.display());
        }
        return Err(error);
    }
    mountpoint::set_read_ahead(&path, options.read_ahead_kib);
    Ok(staging)
}

fn start(plan: &Plan, connections: &Connections, is_resumed: bool) -> Result<Started, LaunchError> {
    let (socket, theirs) = handover::pair().map_err(LaunchError::Start)?;
    let mut command = this_program();
    command
        .arg(if is_resumed { "--resume" } else { "--serve" })
        .arg(to_json(plan))
        .current_dir("/")
        .env(MALLOC_ARENAS.0, MALLOC_ARENAS.1)
        .stdin(Stdio::from(theirs))
        .stdout(if is_resumed { Stdio::null() } else { Stdio::piped() });
    let mut server = command.spawn().map_err(LaunchError::Start)?;
    handover::give_tree(&socket, connections.fuse.as_fd()).map_err(LaunchError::Start)?;
    if let Some(fuse) = &connections.clients {
        handover::give_clients(&socket, fuse.as_fd()).map_err(LaunchError::Start)?;
    }
    if let Some(fuse) = &connections.tapes {
        handover::give_tapes(&socket, fuse.as_fd()).map_err(LaunchError::Start)?;
    }
    if let Some(staging) = &connections.staging {
        handover::give_staging(&socket, staging).map_err(LaunchError::Start)?;
    }
    let output = server.stdout.take().map(BufReader::new);
    Ok(Started { server, socket, output })
}

// Tells whether nothing stored has extended attributes.
fn wait_until_ready(started: &mut Started) -> Result<bool, LaunchError> {
    let mut text = String::new();
    if let Some(output) = &mut started.output {
        output.read_line(&mut text).map_err(LaunchError::Start)?;
        match text.trim() {
            server::READY => return Ok(false),
            server::READY_PLAIN => return Ok(true),
            _ => {}
        }
        if let Some(reason) = text.trim().strip_prefix(server::NO_STAGING) {
            return Err(LaunchError::Server { text: reason.trim().to_owned(), code: 1 });
        }
        output.read_to_string(&mut text).map_err(LaunchError::Start)?;
    }
    let status = started.server.wait().map_err(LaunchError::Start)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    let text = text.trim();
    let text = if text.is_empty() { format!("the server ended: {status}") } else { text.to_owned() };
    Err(LaunchError::Server { text, code: code.unwrap_or(1) })
}

struct Supervisor<'a> {
    plan: &'a Plan,
    connections: Connections,
    signals: SignalFd,
    server: Child,
    crashes: Vec<Instant>,
    // When to stop waiting for those who use a mount that was taken off.
    deadline: Option<Instant>,
}

impl Supervisor<'_> {
    fn run(mut self) -> Result<(), LaunchError> {
        loop {
            if let Some(status) = self.server.try_wait().map_err(LaunchError::Start)? {
                if status.success() {
                    return Ok(());
                }
                self.restart(status)?;
                continue;
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return self.end_now();
            }
            self.wait();
            while let Ok(Some(signal)) = self.signals.read_signal() {
                let is_end = [Signal::SIGTERM, Signal::SIGINT]
                    .into_iter()
                    .any(|end| u32::try_from(end as i32).is_ok_and(|number| number == signal.ssi_signo));
                if is_end && self.deadline.is_some() {
                    return self.end_now();
                }
                if is_end {
                    take_off(self.plan);
                    self.deadline = Some(Instant::now() + GRACE);
                }
            }
        }
    }

    fn wait(&self) {
        let timeout = match self.deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)
            }
        };
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Err(errno) = poll(&mut fds, timeout) {
            log::debug!("poll: {errno}");
        }
    }

    // The descriptor closes with this process; the kernel then ends the connection for whoever is left.
    fn end_now(mut self) -> Result<(), LaunchError> {
        self.server.kill().and_then(|()| self.server.wait()).map_err(LaunchError::Start)?;
        Ok(())
    }

    fn restart(&mut self, status: ExitStatus) -> Result<(), LaunchError> {
        let now = Instant::now();
        self.crashes.retain(|crash| now.duration_since(*crash) < CRASH_PERIOD);
        self.crashes.push(now);
        if self.crashes.len() >= CRASH_COUNT_MAX {
            let (count, seconds) = (self.crashes.len(), CRASH_PERIOD.as_secs());
            return Err(LaunchError::Crashes { count, seconds });
        }
        log::warn!("the server ended ({status}) and is started again");
        std::thread::sleep(RESTART_PAUSE);
        self.server = start(self.plan, &self.connections, true)?.server;
        Ok(())
    }
}
