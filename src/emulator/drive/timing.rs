//! How long a drive takes: loads, motion, streaming.

use super::Drive;
use crate::emulator::place::Place;

impl Drive {
    /// The clock as this drive sees it, in nanoseconds.
    pub(super) fn now_ns(&self) -> u64 {
        let clock = u64::try_from(self.place.clock.now().as_nanos()).unwrap_or(u64::MAX);
        clock.saturating_add(self.file.state.time.skew_ns)
    }

    /// Where the head is.
    pub(super) fn head(&self) -> (usize, Place) {
        self.file
            .state
            .loaded
            .as_ref()
            .map_or((0, Place::default()), |loaded| (loaded.partition, loaded.place))
    }

    /// The tape has moved from there to where it is now.
    pub(super) fn travel(&mut self, _from: (usize, Place)) {}

    /// Something takes a while; returns when it is done.
    pub(super) fn begin_motion(&mut self, _duration_ns: u64) -> u64 {
        0
    }
}
