//! The supervisor: a small process that mounts, keeps the FUSE descriptor open and a server running.
//!
//! While the descriptor is open the mount lives. A server that dies is started again on it, and the kernel
//! sends the new one what the old one did not answer: readers see a pause. A server that dies again and again
//! is given up; then the mount is left in its place, dead, because an empty directory in its place would tell
//! `rsync --delete` that everything is gone.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::launch::{LaunchError, Plan, this_program, to_json};
use crate::{mountpoint, server};

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

    let fuse = mountpoint::attach(&plan.mountpoint, &plan.source, &plan.options)?;
    let server = match start(plan, &fuse, false).and_then(wait_until_ready) {
        Ok(server) => server,
        Err(error) => {
            take_off(plan);
            return Err(error);
        }
    };
    mountpoint::set_read_ahead(&plan.mountpoint, plan.options.read_ahead_kib);
    on_ready();
    Supervisor { plan, fuse, signals, server, crashes: Vec::new(), deadline: None }.run()
}

fn take_off(plan: &Plan) {
    if let Err(error) = mountpoint::detach(&plan.mountpoint) {
        log::warn!("cannot unmount {}: {error}", plan.mountpoint.display());
    }
}

fn start(plan: &Plan, fuse: &OwnedFd, is_resumed: bool) -> Result<Child, LaunchError> {
    let fuse = fuse.try_clone().map_err(LaunchError::Start)?;
    let mut command = this_program();
    command
        .arg(if is_resumed { "--resume" } else { "--serve" })
        .arg(to_json(plan))
        .current_dir("/")
        .env(MALLOC_ARENAS.0, MALLOC_ARENAS.1)
        .stdin(Stdio::from(fuse))
        .stdout(if is_resumed { Stdio::null() } else { Stdio::piped() });
    command.spawn().map_err(LaunchError::Start)
}

fn wait_until_ready(mut server: Child) -> Result<Child, LaunchError> {
    let mut text = String::new();
    if let Some(output) = server.stdout.take() {
        let mut output = BufReader::new(output);
        output.read_line(&mut text).map_err(LaunchError::Start)?;
        if text.trim() == server::READY {
            return Ok(server);
        }
        output.read_to_string(&mut text).map_err(LaunchError::Start)?;
    }
    let status = server.wait().map_err(LaunchError::Start)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    let text = text.trim();
    let text = if text.is_empty() { format!("the server ended: {status}") } else { text.to_owned() };
    Err(LaunchError::Server { text, code: code.unwrap_or(1) })
}

struct Supervisor<'a> {
    plan: &'a Plan,
    fuse: OwnedFd,
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
        self.server = start(self.plan, &self.fuse, true)?;
        Ok(())
    }
}
