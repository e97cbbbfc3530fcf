//! Frozen files as sources of what is to be stored.

use super::method::add;
use crate::job::store::StoreError;
use crate::job::store::large::FileRange;
use crate::job::store::record::Described;
use crate::job::store::source::{LargeSource, ReadFile, ReadProblem, SmallSource};
use crate::path;
use crate::repo::content::ContentReader;
use crate::repo::staging::{FrozenContent, SegmentKind, StagingError};
use crate::repo::{ReadError, Repository};

/// Where a file stands among those of the client, for messages.
pub(super) fn refused(path: &str) -> impl Fn(StagingError) -> StoreError + '_ {
    move |source| StoreError::Read { path: path.to_owned(), source: Box::new(source) }
}

/// A small file to be read by a worker.
#[derive(Debug)]
pub(super) struct StagedSmall {
    pub(super) content: FrozenContent,
    /// All of it, if it was read already.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) described: Described,
    pub(super) path: Vec<u8>,
}

impl SmallSource for StagedSmall {
    fn read(&self) -> Result<ReadFile, ReadProblem> {
        let len = usize::try_from(self.content.size).unwrap_or(usize::MAX);
        let read = || self.content.read(0, len);
        let bytes = self.bytes.clone().map_or_else(read, Ok);
        let bytes = bytes.map_err(|error| refused(&path::display(&self.path))(error))?;
        let mut described = self.described.clone();
        described.set_size(bytes.len() as u64);
        Ok(ReadFile { inconsistent: bytes.len() != len, bytes, described })
    }
}

/// A large file.
#[derive(Debug)]
pub(super) struct StagedLarge<'a> {
    pub(super) content: &'a FrozenContent,
    pub(super) path: &'a str,
}

impl LargeSource for StagedLarge<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadProblem> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let bytes = self.content.read(offset + filled as u64, rest.len()).map_err(refused(self.path))?;
            let Some(target) = rest.get_mut(..bytes.len()).filter(|_| !bytes.is_empty()) else { break };
            target.copy_from_slice(&bytes);
            filled += bytes.len();
        }
        Ok(filled)
    }
}

impl StagedLarge<'_> {
    /// All that is no hole, whether written or below.
    pub(super) fn data_ranges(&self, repository: &Repository) -> Result<Vec<FileRange>, StoreError> {
        let mut ranges = Vec::new();
        for segment in self.content.segments() {
            let segment = segment.map_err(refused(self.path))?;
            match (segment.kind, &self.content.base) {
                (SegmentKind::Written, _) => add(&mut ranges, (segment.offset, segment.len)),
                (SegmentKind::Base, Some(base)) => {
                    let (pages, frames) = (repository.pages(), repository.frames());
                    let reader = ContentReader::new(pages, frames, &base.content, base.size);
                    base_ranges(&reader, (segment.offset, segment.len), &mut ranges)?;
                }
                _ => {}
            }
        }
        Ok(ranges)
    }
}

fn base_ranges(
    reader: &ContentReader<'_>,
    (offset, len): FileRange,
    ranges: &mut Vec<FileRange>,
) -> Result<(), ReadError> {
    let end = offset + len;
    for extent in reader.extents_from(offset) {
        let extent = extent?;
        let (from, upto) = (extent.offset.max(offset), (extent.offset + extent.len).min(end));
        if from >= end {
            break;
        }
        add(ranges, (from, upto.saturating_sub(from)));
    }
    Ok(())
}
