//! What the library does not have and is given: a clock, and random ids.

use std::fmt;
use std::time::Duration;

use crate::format::record::Time;
use crate::id::FileId;

/// A clock, and a source of random ids.
pub trait Outside: Send + Sync + fmt::Debug {
    /// The present time.
    fn now(&self) -> Time;

    /// Lets so much time pass.
    fn sleep(&self, span: Duration);

    /// A random id.
    fn new_id(&self) -> FileId;
}

/// Time from `earlier` to `later`; none if a clock was set back.
#[must_use]
pub fn since(earlier: Time, later: Time) -> Duration {
    let seconds = later.seconds.saturating_sub(earlier.seconds);
    let all =
        i128::from(seconds) * 1_000_000_000 + i128::from(later.nanoseconds) - i128::from(earlier.nanoseconds);
    Duration::from_nanos(u64::try_from(all.max(0)).unwrap_or(u64::MAX))
}
