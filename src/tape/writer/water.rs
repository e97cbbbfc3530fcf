//! When a drive is given data: a tape that stops has to go back before it can start again, so it starts when much is
//! there and pauses, completely, when little is.

use super::WriterOptions;
use crate::tape::archive::BLOCK_LEN;

/// Buffers that there are at least.
const BUFFERS_MIN: usize = 8;

/// Marks in a ring of buffers, each of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaterMarks {
    /// Buffers that there are.
    pub(super) capacity: usize,
    high: usize,
    low: usize,
}

/// What comes next for the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It stands still and goes on now.
    Start,
    /// It is given the next piece.
    Give,
    /// It stops.
    Pause,
    /// It stands still and waits.
    Wait,
}

impl WaterMarks {
    /// In whole buffers, the one above the other.
    pub(super) fn new(options: &WriterOptions) -> Self {
        let capacity = (options.ring_bytes / BLOCK_LEN).max(BUFFERS_MIN);
        let high = options.high_water_bytes.div_ceil(BLOCK_LEN).clamp(1, capacity - 2);
        let low = (options.low_water_bytes / BLOCK_LEN).min(high - 1);
        Self { capacity, high, low }
    }

    /// With so many pieces ready, and `is_all_here` when no more will come.
    pub(super) fn flow(self, is_paused: bool, ready: usize, is_all_here: bool) -> Flow {
        // A reader and the hasher may each hold a buffer: the ring is full without them.
        let is_much = ready >= self.high || ready + 2 >= self.capacity;
        match (is_paused, is_all_here) {
            (true, _) if is_much || is_all_here => Flow::Start,
            (true, _) => Flow::Wait,
            (false, _) if ready > self.low || is_all_here => Flow::Give,
            (false, _) => Flow::Pause,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn marks(ring: usize, high: usize, low: usize) -> WaterMarks {
        WaterMarks::new(&WriterOptions {
            ring_bytes: ring * BLOCK_LEN,
            high_water_bytes: high * BLOCK_LEN,
            low_water_bytes: low * BLOCK_LEN,
            ..WriterOptions::default()
        })
    }

    #[test]
    fn a_drive_starts_at_high_water_and_pauses_at_low_water() {
        let marks = marks(100, 60, 10);
        for ready in 0..60 {
            assert_eq!(marks.flow(true, ready, false), Flow::Wait, "{ready} ready");
        }
        assert_eq!(marks.flow(true, 60, false), Flow::Start);
        // Once it goes, it goes on down to low water, and not up and down at high water.
        for ready in (11..60).rev() {
            assert_eq!(marks.flow(false, ready, false), Flow::Give, "{ready} ready");
        }
        assert_eq!(marks.flow(false, 10, false), Flow::Pause);
    }

    #[test]
    fn a_drive_is_given_all_that_is_left_when_no_more_comes() {
        let marks = marks(100, 60, 10);
        for ready in 0..60 {
            assert_eq!(marks.flow(true, ready, true), Flow::Start);
            assert_eq!(marks.flow(false, ready, true), Flow::Give);
        }
    }

    #[test]
    fn marks_that_cannot_be_reached_are_moved_to_where_they_can() {
        for (ring, high, low) in [(100, 1000, 1000), (4, 4, 4), (0, 0, 0), (100, 99, 98), (8, 7, 9)] {
            let marks = marks(ring, high, low);
            assert!(marks.low < marks.high && marks.high <= marks.capacity - 2, "{marks:?}");
            // Two buffers in the hands of reader and hasher, all others ready: nobody waits for ever.
            assert_eq!(marks.flow(true, marks.capacity - 2, false), Flow::Start, "{marks:?}");
        }
        let halves = WriterOptions {
            ring_bytes: 16 * BLOCK_LEN,
            high_water_bytes: 8 * BLOCK_LEN + 1,
            low_water_bytes: 2 * BLOCK_LEN - 1,
            ..WriterOptions::default()
        };
        assert_eq!(WaterMarks::new(&halves), WaterMarks { capacity: 16, high: 9, low: 1 });
    }
}
