//! The loop that the drive's thread runs: pieces of objects from the ring onto the tape.

use super::out::Fault;
use super::part::OpenPart;
use super::ring::{Begin, Ring};
use super::{Ended, Place, VolumeWriter};
use crate::progress::Progress;
use crate::tape::archive::{BLOCK_LEN, SEGMENT_COUNT_MAX};
use crate::tape::drive::Room;
use crate::tape::{Objects, TapeError};

/// What is left on a cartridge is used for a shorter segment if that is a sixteenth of a usual one, or this many bytes.
const CUT_BYTES_MIN: u64 = 4 << 20;

/// How a ring was written out.
enum Drained {
    /// There is no more in it, or no more room.
    Ended(Ended),
    /// The next segment has to be cut to so many bytes.
    Cut(u64),
}

/// Whether a segment has room on the cartridge.
enum Fit {
    Whole,
    /// Only so many bytes of it.
    Cut(u64),
    Not,
}

impl VolumeWriter<'_> {
    /// Reads objects from a place on and writes them, until there are no more or there is no more room.
    /// `place` follows the commits.
    pub(super) fn run(
        &mut self,
        objects: &dyn Objects,
        place: &mut Place,
        progress: &Progress,
    ) -> Result<Ended, Fault> {
        let options = self.options.clone();
        let mut reached = place.clone();
        let mut only_bytes = None;
        loop {
            let ring = Ring::new(objects, reached.clone(), &options, only_bytes);
            let drained = std::thread::scope(|scope| {
                ring.start(scope, options.reader_count);
                let result = self.drain(&ring, only_bytes.is_some(), place, &mut reached, progress);
                ring.stop();
                self.pauses += ring.pauses();
                result
            })?;
            match drained {
                Drained::Ended(ended) => return Ok(ended),
                Drained::Cut(bytes) => only_bytes = Some(bytes),
            }
        }
    }

    // The drive's own loop: pieces from the ring onto tape. `is_cut`: the ring is the last segment that has room.
    fn drain(
        &mut self,
        ring: &Ring<'_>,
        is_cut: bool,
        place: &mut Place,
        reached: &mut Place,
        progress: &Progress,
    ) -> Result<Drained, Fault> {
        loop {
            let (chunk, has_rested) = match ring.next(progress) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) if is_of_object(&error) => {
                    self.end_early(reached, place, progress)?;
                    return Ok(Drained::Ended(Ended::Unreadable(error)));
                }
                Err(error) => return Err(error.into()),
            };
            if has_rested {
                self.out.check_position(progress)?;
            }
            if let Some(begin) = &chunk.begin {
                match self.fit(begin) {
                    Fit::Whole => {}
                    Fit::Cut(bytes) if !is_cut => return Ok(Drained::Cut(bytes)),
                    Fit::Cut(_) | Fit::Not => return self.end_full(reached, place, progress),
                }
                self.begin_segment(begin, progress)?;
                self.is_closed = false;
            }
            let bytes = chunk.buffer.as_slice().get(..chunk.len).unwrap_or_default();
            self.out.put(bytes, progress)?;
            progress.add(0, chunk.len as u64);
            if let Some(end) = chunk.end {
                self.end_segment(&end, progress)?;
                progress.add(u64::from(end.next.segment == 0), 0);
                *reached = end.next;
            }
            ring.recycle(chunk.buffer);
            if self.out.room() == Room::AtEnd {
                return self.end_full(reached, place, progress);
            }
            if self.is_commit_due() {
                self.commit(progress)?;
                *place = reached.clone();
            }
        }
        if is_cut {
            return self.end_full(reached, place, progress);
        }
        self.commit(progress)?;
        *place = reached.clone();
        Ok(Drained::Ended(Ended::Done))
    }

    // Whether a segment has room beside what is kept for indexes.
    fn fit(&self, begin: &Begin) -> Fit {
        let count = (self.segments.len() + self.unindexed.len()) as u64;
        let free = self.free_bytes();
        let is_open = self.out.room() == Room::Plenty && count < SEGMENT_COUNT_MAX;
        if is_open && free.is_none_or(|free| free >= begin.len) {
            return Fit::Whole;
        }
        // A block less: the header of the segment, and what its part may have to be filled up with.
        let block = BLOCK_LEN as u64;
        let bytes = free.unwrap_or(0).saturating_sub(block) / block * block;
        let bytes_min = (self.options.segment_bytes / 16).clamp(1, CUT_BYTES_MIN);
        let room = self.out.room();
        let device = self.out.drive.name();
        if is_open && bytes >= bytes_min && bytes < begin.len {
            log::info!("{device}: almost full, {free:?} bytes free: a segment of {bytes} bytes is the last");
            return Fit::Cut(bytes);
        }
        log::info!("{device}: full: {room:?}, {count} segments, {free:?} bytes free");
        Fit::Not
    }

    fn is_commit_due(&self) -> bool {
        let is_between = self.part.as_ref().is_none_or(OpenPart::is_between_segments);
        let passed = self.out.drive.clock().now().saturating_sub(self.committed_at);
        let has_something = self.uncommitted_bytes > 0;
        is_between
            && has_something
            && (self.uncommitted_bytes >= self.options.commit_bytes || passed >= self.options.commit_interval)
    }

    fn end_full(
        &mut self,
        reached: &Place,
        place: &mut Place,
        progress: &Progress,
    ) -> Result<Drained, Fault> {
        self.end_early(reached, place, progress)?;
        Ok(Drained::Ended(Ended::Full))
    }

    // Whole segments are committed, also those of a part that is given up.
    fn end_early(&mut self, reached: &Place, place: &mut Place, progress: &Progress) -> Result<(), Fault> {
        let is_between = self.part.as_ref().is_none_or(OpenPart::is_between_segments);
        if !is_between {
            self.abandon_part(progress)?;
        }
        self.commit(progress)?;
        *place = reached.clone();
        Ok(())
    }
}

// What is to be written cannot be had; the drive and the cartridge are well.
fn is_of_object(error: &TapeError) -> bool {
    matches!(error, TapeError::Source(_) | TapeError::Object { .. } | TapeError::BadObject { .. })
}
