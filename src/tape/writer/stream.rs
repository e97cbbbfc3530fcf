//! The loop that the drive's thread runs: pieces of objects from the ring onto the tape.

use super::out::Fault;
use super::part::OpenPart;
use super::ring::{Begin, Ring};
use super::{Ended, Place, VolumeWriter};
use crate::progress::Progress;
use crate::tape::Objects;
use crate::tape::archive::SEGMENT_COUNT_MAX;
use crate::tape::drive::Room;

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
        let ring = Ring::new(objects, place.clone(), &options);
        std::thread::scope(|scope| {
            ring.start(scope, options.reader_count);
            let result = self.drain(&ring, place, progress);
            ring.stop();
            self.pauses += ring.pauses();
            result
        })
    }

    // The drive's own loop: pieces from the ring onto tape.
    fn drain(&mut self, ring: &Ring<'_>, place: &mut Place, progress: &Progress) -> Result<Ended, Fault> {
        let mut reached = place.clone();
        while let Some((chunk, has_rested)) = ring.next(progress)? {
            if has_rested {
                self.out.check_position(progress)?;
            }
            if let Some(begin) = &chunk.begin {
                if self.is_full_for(begin) {
                    return self.end_full(reached, place, progress);
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
                reached = end.next;
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
        self.commit(progress)?;
        *place = reached;
        Ok(Ended::Done)
    }

    // Whether a segment would need room that is kept for indexes.
    fn is_full_for(&self, begin: &Begin) -> bool {
        let count = (self.segments.len() + self.unindexed.len()) as u64;
        let is_short = self.free_bytes().is_some_and(|free| free < begin.len);
        let is_full = self.out.room() != Room::Plenty || count >= SEGMENT_COUNT_MAX || is_short;
        if is_full {
            log::info!(
                "{}: full: {:?}, {count} segments, {:?} bytes free",
                self.out.drive.name(),
                self.out.room(),
                self.free_bytes()
            );
        }
        is_full
    }

    fn is_commit_due(&self) -> bool {
        let is_between = self.part.as_ref().is_none_or(OpenPart::is_between_segments);
        let passed = self.out.drive.clock().now().saturating_sub(self.committed_at);
        let has_something = self.uncommitted_bytes > 0;
        is_between
            && has_something
            && (self.uncommitted_bytes >= self.options.commit_bytes || passed >= self.options.commit_interval)
    }

    fn end_full(&mut self, reached: Place, place: &mut Place, progress: &Progress) -> Result<Ended, Fault> {
        let is_between = self.part.as_ref().is_none_or(OpenPart::is_between_segments);
        if !is_between {
            self.abandon_part(progress)?;
        }
        self.commit(progress)?;
        *place = reached;
        Ok(Ended::Full)
    }
}
