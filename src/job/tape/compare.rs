//! Compares what is on a cartridge with what is in the repository, by the checksums in the cartridge's index.

use super::error::TapeJobError;
use crate::format::config;
use crate::id::FingerprintHasher;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::storage::ReadFile;
use crate::tape::archive::SegmentEntry;

/// Bytes that are read at a time.
const PIECE_LEN: usize = 1 << 20;

/// Why a segment is not what the repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The repository has no such file.
    Missing,
    /// The file has another length.
    Length,
    /// The bytes of the segment are others.
    Content,
}

impl Difference {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "is not in the repository",
            Self::Length => "has another length in the repository",
            Self::Content => "has another content in the repository",
        }
    }
}

/// What a comparison went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompareTotals {
    /// Segments compared.
    pub segments: u64,
    /// Bytes of them that were read.
    pub bytes: u64,
    /// Segments that are not what the repository has.
    pub differences: u64,
}

/// Reads, of each segment on a cartridge, the same bytes in the repository, and compares checksums. The configuration is
/// left out: it may change. Sealed files never do, so that a difference means damage on one side.
///
/// # Errors
/// [`TapeJobError`] if a file of the repository cannot be read, or `progress` was cancelled.
pub fn compare(
    repository: &Repository,
    segments: &[SegmentEntry],
    progress: &Progress,
    found: &mut dyn FnMut(&SegmentEntry, Difference),
) -> Result<CompareTotals, TapeJobError> {
    let mut totals = CompareTotals::default();
    let compared = || segments.iter().filter(|segment| segment.name.as_ref() != config::FILE_NAME);
    progress.add_total(compared().count() as u64, compared().map(|segment| segment.len).sum());
    for segment in compared() {
        let difference = match repository.storage().open(&segment.name) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Some(Difference::Missing),
            Err(error) => return Err(error.into()),
            Ok(file) if file.len() != segment.total => Some(Difference::Length),
            Ok(file) => {
                totals.bytes += segment.len;
                let is_same = fingerprint(&*file, segment, progress)? == segment.fingerprint;
                (!is_same).then_some(Difference::Content)
            }
        };
        totals.segments += 1;
        progress.add(1, 0);
        if let Some(difference) = difference {
            totals.differences += 1;
            found(segment, difference);
        }
    }
    Ok(totals)
}

fn fingerprint(
    file: &dyn ReadFile,
    segment: &SegmentEntry,
    progress: &Progress,
) -> Result<crate::id::Fingerprint, TapeJobError> {
    let mut hasher = FingerprintHasher::default();
    let mut piece = vec![0; PIECE_LEN];
    let mut done = 0;
    while done < segment.len {
        progress.check()?;
        let len = usize::try_from(segment.len - done).unwrap_or(usize::MAX).min(PIECE_LEN);
        let target = piece.get_mut(..len).unwrap_or_default();
        file.read_exact_at(target, segment.offset + done)?;
        hasher.update(target);
        progress.add(0, len as u64);
        done += len as u64;
    }
    Ok(hasher.finish())
}
