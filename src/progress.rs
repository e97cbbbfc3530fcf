//! Progress of a long operation, and the wish that it stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;

/// The operation was asked to stop and did, leaving nothing half-made visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("interrupted")]
pub struct Cancelled;

/// Counters that the working threads add to and another thread shows.
#[derive(Debug, Default)]
pub struct Progress {
    cancelled: AtomicBool,
    /// Files and other objects finished.
    pub done_items: AtomicU64,
    /// Bytes of content finished.
    pub done_bytes: AtomicU64,
    /// Files and other objects that are expected in all; 0 if not known.
    pub total_items: AtomicU64,
    /// Bytes of content that are expected in all; 0 if not known.
    pub total_bytes: AtomicU64,
}

impl Progress {
    /// Starts at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the operation to stop soon; safe to call from a signal handler's thread.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Returns an error once [`Progress::cancel`] was called.
    ///
    /// # Errors
    /// [`Cancelled`] from then on.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }

    /// Starts again at zero, because the work begins anew.
    pub fn restart(&self) {
        for count in [&self.done_items, &self.done_bytes, &self.total_items, &self.total_bytes] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Adds finished work.
    pub fn add(&self, items: u64, bytes: u64) {
        self.done_items.fetch_add(items, Ordering::Relaxed);
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds work that is expected. What is added while work is done makes the part that is done smaller.
    pub fn add_total(&self, items: u64, bytes: u64) {
        self.total_items.fetch_add(items, Ordering::Relaxed);
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
