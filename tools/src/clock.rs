//! The clock and random ids: the library has neither and is given both.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reelfs::format::record::Time;
use reelfs::id::{FileId, GenerationTime};
use reelfs::job::commit::Outside;
use reelfs::repo::generation_writer::WriterInputs;

use crate::failure::Failure;

/// The system's clock and random ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemOutside;

impl Outside for SystemOutside {
    #[expect(clippy::disallowed_methods, reason = "this is the edge from which time is passed in")]
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { seconds: now_seconds(), nanoseconds: since.subsec_nanos() }
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }

    fn new_id(&self) -> FileId {
        new_id()
    }
}

/// Seconds since 1970; negative before.
#[expect(clippy::disallowed_methods, reason = "this is the edge from which time is passed in")]
pub(crate) fn now_seconds() -> i64 {
    let now = SystemTime::now();
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

/// The clock of the system, for devices real and emulated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl reelfs::clock::Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the edge from which time is passed in")]
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// 256 random bits from the kernel.
///
/// # Panics
/// If the kernel has no random bytes to give, which it has since it started.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// 128 random bits from the kernel.
///
/// # Panics
/// If the kernel has no random bytes to give, which it has since it started.
pub(crate) fn new_id() -> FileId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the kernel gives random bytes");
    FileId(id)
}

/// What a writer of a generation is given.
pub(crate) fn writer_inputs() -> Result<WriterInputs, Failure> {
    let now = GenerationTime::from_seconds(now_seconds())
        .ok_or_else(|| Failure::failed("the clock is beyond the year 9999"))?;
    Ok(WriterInputs { now, new_id: Box::new(new_id) })
}
