//! Time, as it is passed in.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// A clock; several processes that share a library need clocks that agree.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since 1970-01-01 UTC, or since any other moment that all users of a library agree on.
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
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.saturating_add(duration);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
