//! Adaptive spinning: while requests come, the dispatcher polls the FUSE descriptor and does not sleep.
//!
//! To wake a sleeping thread on another CPU costs several times as much as to answer. The first request
//! after a pause makes the descriptor non-blocking, and the session's loop then reads it again and again;
//! a second thread makes it blocking when there was no request for half a millisecond. Idle, both sleep.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Lets one dispatcher spin at a time: two would take turns on the processors that the clients need.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicBool);

impl Gate {
    /// Takes the turn if nobody has it.
    pub(crate) fn enter(&self) -> bool {
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::AcqRel)
    }

    /// Gives the turn back.
    pub(crate) fn leave(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How long after a request the next is waited for without sleeping.
pub(crate) const PAUSE: Duration = Duration::from_micros(500);

/// Decides when the dispatcher spins.
#[derive(Debug)]
pub(crate) struct Spin {
    // Shares the open file, and with it the flag, with the session.
    fd: OwnedFd,
    request_count: AtomicU64,
    is_spinning: AtomicBool,
    gate: Arc<Gate>,
    cooler: OnceLock<Thread>,
}

impl Spin {
    /// Takes a duplicate of the session's descriptor.
    pub(crate) fn new(fd: OwnedFd, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            fd,
            request_count: AtomicU64::new(0),
            is_spinning: AtomicBool::new(false),
            gate,
            cooler: OnceLock::new(),
        })
    }

    /// Starts the thread that ends spinning; without it there is none.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let spin = Arc::clone(self);
        let thread = thread::Builder::new().name("spin".to_owned()).spawn(move || spin.cool())?;
        // It cannot be set: it is set only here.
        let _set = self.cooler.set(thread.thread().clone());
        Ok(())
    }

    /// Called for each request.
    pub(crate) fn hit(&self) {
        let Some(cooler) = self.cooler.get() else { return };
        self.request_count.fetch_add(1, Ordering::Relaxed);
        if !self.is_spinning.load(Ordering::Relaxed)
            && self.gate.enter()
            && !self.is_spinning.swap(true, Ordering::AcqRel)
        {
            self.set_blocking(false);
            cooler.unpark();
        }
    }

    /// Called when a request takes other threads long: they need the processor more.
    pub(crate) fn rest(&self) {
        if self.is_spinning.load(Ordering::Relaxed) && self.is_spinning.swap(false, Ordering::AcqRel) {
            self.set_blocking(true);
            self.gate.leave();
        }
    }

    fn cool(&self) {
        loop {
            if !self.is_spinning.load(Ordering::Acquire) {
                thread::park();
                continue;
            }
            let before = self.request_count.load(Ordering::Relaxed);
            thread::sleep(PAUSE);
            if self.request_count.load(Ordering::Relaxed) == before {
                self.rest();
            }
        }
    }

    fn set_blocking(&self, is_blocking: bool) {
        set_blocking(&self.fd, is_blocking);
    }
}

/// Makes reads of a descriptor wait, or not.
pub(crate) fn set_blocking(fd: impl AsFd, is_blocking: bool) {
    let flags = if is_blocking { OFlag::empty() } else { OFlag::O_NONBLOCK };
    if let Err(error) = fcntl(fd, FcntlArg::F_SETFL(flags)) {
        log::debug!("cannot change the mode of the FUSE descriptor: {error}");
    }
}
