//! How long a drive takes: loads, motion, streaming.

use std::time::Duration;

use super::Drive;
use crate::emulator::place::Place;
use crate::emulator::shape::TimeMode;
use crate::emulator::time_model::{BACK_HITCH_NS, Cost, along_mm, duration_ns, streamed_mm, wind_ns};

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

    /// The tape was wound from there to where it is now.
    pub(super) fn travel(&mut self, from: (usize, Place)) {
        let figures = self.figures();
        self.flush_stream();
        let to = self.head();
        let distance = along_mm(figures, from.1.offset).abs_diff(along_mm(figures, to.1.offset));
        self.file.state.counters.tape_moved_mm += distance;
        self.begin_motion(wind_ns(figures, distance));
    }

    /// Something takes a while: the drive is busy, or the host waits. Returns when it is done.
    pub(super) fn begin_motion(&mut self, duration_ns: u64) -> u64 {
        if self.place.config.time == TimeMode::Off {
            return 0;
        }
        self.file.state.counters.motion_ns += duration_ns;
        if !self.is_immediate {
            self.spend(duration_ns);
            return 0;
        }
        let now_ns = self.now_ns();
        self.file.state.time.busy_since_ns = now_ns;
        let until_ns = now_ns.saturating_add(duration_ns);
        if self.place.config.time == TimeMode::Counted {
            self.spend(duration_ns);
            return 0;
        }
        if let Some(loaded) = self.file.state.loaded.as_mut() {
            loaded.ready_at_ns = loaded.ready_at_ns.max(until_ns);
        }
        until_ns
    }

    fn spend(&mut self, duration_ns: u64) {
        match self.place.config.time {
            TimeMode::Off => {}
            TimeMode::Counted => self.file.state.time.skew_ns += duration_ns,
            TimeMode::Real => self.place.clock.sleep(Duration::from_nanos(duration_ns)),
        }
    }

    /// The host has written so many bytes, from an offset on.
    pub(super) fn streamed_out(&mut self, offset: u64, bytes: u64) {
        let (figures, now_ns) = (self.figures(), self.now_ns());
        self.file.state.counters.tape_moved_mm += streamed_mm(figures, offset, bytes);
        if self.place.config.time != TimeMode::Off {
            let cost = self.file.state.time.stream.write(figures, now_ns, bytes);
            self.pay(cost, bytes);
        }
    }

    /// The host has read so many bytes, from an offset on.
    pub(super) fn streamed_in(&mut self, offset: u64, bytes: u64) {
        let (figures, now_ns) = (self.figures(), self.now_ns());
        self.file.state.counters.tape_moved_mm += streamed_mm(figures, offset, bytes);
        if self.place.config.time != TimeMode::Off {
            let cost = self.file.state.time.stream.read(figures, now_ns, bytes);
            self.pay(cost, bytes);
        }
    }

    fn pay(&mut self, cost: Cost, bytes: u64) {
        let rate = self.figures().rate_bytes_per_s;
        let counters = &mut self.file.state.counters;
        counters.back_hitch_count += cost.back_hitches;
        counters.motion_ns += cost.back_hitches * BACK_HITCH_NS;
        counters.streaming_ns += duration_ns(bytes, rate);
        if cost.wait_ns > 0 {
            self.spend(cost.wait_ns);
        }
    }

    /// The buffer is written out before the tape does something else.
    pub(super) fn flush_stream(&mut self) {
        if self.place.config.time != TimeMode::Off {
            let (figures, now_ns) = (self.figures(), self.now_ns());
            let wait_ns = self.file.state.time.stream.flush(figures, now_ns);
            self.spend(wait_ns);
        }
    }
}
