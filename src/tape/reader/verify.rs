//! Reading a whole cartridge and comparing it with its index.

use std::sync::atomic::Ordering;

use super::identify::is_damage;
use super::{VolumeIndex, VolumeReader};
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::SegmentEntry;

/// A segment that cannot be read, or is not what the index says.
#[derive(Debug)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentEntry,
    /// What is wrong.
    pub error: TapeError,
}

/// What a verification went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyTotals {
    /// Segments read.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Segments that are damaged.
    pub damages: u64,
}

impl VolumeReader<'_> {
    /// Reads every segment in the order of the tape and compares its fingerprint; tells of each that is
    /// damaged and goes on.
    ///
    /// # Errors
    /// [`TapeError`] if the drive failed, or `progress` was cancelled.
    pub fn verify(
        &mut self,
        index: &VolumeIndex,
        progress: &Progress,
        found: &mut dyn FnMut(Damage),
    ) -> Result<VerifyTotals, TapeError> {
        let mut totals = VerifyTotals::default();
        progress.add_total(index.segments.len() as u64, index.segments.iter().map(|entry| entry.len).sum());
        for segment in &index.segments {
            let result = self.copy(segment, progress, |bytes| {
                progress.done_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok::<(), TapeError>(())
            });
            progress.add(1, 0);
            totals.segments += 1;
            totals.bytes += segment.len;
            match result {
                Ok(()) => {}
                Err(error) if is_damage(&error) => {
                    totals.damages += 1;
                    found(Damage { segment: segment.clone(), error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(totals)
    }
}
