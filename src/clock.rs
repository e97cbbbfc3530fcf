//! Time, as it is passed in: the library has no clock of its own.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A clock that only goes forward, and waiting.
///
/// With an emulated drive it may be the drive's own, counted time. Several processes that share an emulated library
/// need clocks that agree.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since 1970-01-01 UTC, or since any other moment that all its users agree on.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration);
}

/// A clock that goes on only when it is told to, or when somebody sleeps by it.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<Duration>,
}

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.saturating_add(duration);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
