//! Time, as it is passed in.

use std::fmt;
use std::time::Duration;

/// A clock that only goes forward, and waiting.
///
/// With an emulated drive it may be the drive's own, counted time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since any fixed moment.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration);
}
