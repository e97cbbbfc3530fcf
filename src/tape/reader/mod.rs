//! Reading a cartridge: whose it is, what is on it, and any byte of it.

mod find;
mod foreign;
mod identify;
mod list;
mod run;
mod sessions;
mod stream;
mod verify;

pub use foreign::{ForeignEntry, ForeignEvent, foreign_identity, read_foreign, scan_foreign};
pub use identify::{Identified, identify, is_damage};
pub use run::{pass_to, read_run};
pub use sessions::SessionSummary;
pub use verify::{Damage, VerifyTotals};

pub(in crate::tape) use identify::DESCRIPTION_LOI;
pub(in crate::tape) use list::INDEX_PREFIX;

use self::find::{Finder, Way};
use super::TapeError;
use super::archive::{ArchiveError, BlockAddress};
use super::archive::{BLOCK_LEN, IndexHeader, SegmentEntry, VolumeDescription};
use super::drive::{AlignedBuffer, Drive, Read};
use crate::id::FingerprintHasher;
use crate::progress::Progress;

/// In what state a session left a cartridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// A closing index is at the end of data.
    Closed,
    /// The newest index, a partial one, is at the end of data; or nothing but the label is there.
    Committed,
    /// Something lies behind the newest index, or an index cannot be read: a session was cut short.
    Torn,
}

/// All that can be read on a cartridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeIndex {
    /// Header of the newest index; `None` on a cartridge that has only been labelled.
    pub header: Option<IndexHeader>,
    /// Segments in their order on the tape.
    pub segments: Vec<SegmentEntry>,
    /// First block of the newest index part.
    pub index_loi: Option<u64>,
    /// Content of the manifest of the last whole data part.
    pub last_manifest: Option<BlockAddress>,
    /// Where data ends.
    pub end_loi: u64,
    /// Number of the tape file that would be written next.
    pub next_file: u64,
    /// Whether data ends in the middle of a tape file.
    pub needs_filemark: bool,
    /// Whether the drive finds no end of data.
    pub is_end_missing: bool,
    /// In what state the last session left it.
    pub state: IndexState,
}

/// A cartridge of ours, open for reading.
#[derive(Debug)]
pub struct VolumeReader<'d> {
    drive: &'d mut Drive,
    description: VolumeDescription,
    block: AlignedBuffer,
    // The block that is in memory, with its length.
    cached: Option<(u64, usize)>,
}

impl<'d> VolumeReader<'d> {
    /// Reads the label and what follows it.
    ///
    /// # Errors
    /// [`TapeError`] if the cartridge is blank, another program's, or bears no description at all.
    pub fn open(drive: &'d mut Drive) -> Result<Self, TapeError> {
        let identified = identify(drive)?;
        let device = drive.name().to_owned();
        let description = match &identified {
            Identified::Ours(description) => VolumeDescription::clone(description),
            Identified::Blank => return Err(TapeError::Blank { device }),
            Identified::Undescribed { .. } => return Err(TapeError::NoDescription { device }),
            Identified::Foreign(_) => {
                let name = identified.name().unwrap_or_default();
                return Err(TapeError::Foreign { device, kind: identified.kind(), name });
            }
        };
        Ok(Self::assume(drive, description))
    }

    /// Takes the caller's word for which cartridge is in the drive: nothing is read.
    #[must_use]
    pub fn assume(drive: &'d mut Drive, description: VolumeDescription) -> Self {
        Self { drive, description, block: AlignedBuffer::new(BLOCK_LEN), cached: None }
    }

    /// What the cartridge is.
    #[must_use]
    pub fn description(&self) -> &VolumeDescription {
        &self.description
    }

    /// The drive.
    #[must_use]
    pub fn drive(&mut self) -> &mut Drive {
        self.drive
    }

    /// Finds what is on the cartridge: by its memory, then by the last index before the end of data, then by
    /// the manifests of all parts; and goes to the end of data, for what was written behind.
    ///
    /// # Errors
    /// [`TapeError`] if the drive failed. Damage of the cartridge is no error: what is left is found.
    pub fn index(&mut self, progress: &Progress) -> Result<VolumeIndex, TapeError> {
        self.find(Way::Indexes, progress)
    }

    /// Finds the same without any index: by the manifest of each part, and where that is lost by reading the
    /// part, as far as it goes.
    ///
    /// # Errors
    /// As [`VolumeReader::index`].
    pub fn scan(&mut self, progress: &Progress) -> Result<VolumeIndex, TapeError> {
        self.find(Way::Manifests, progress)
    }

    fn find(&mut self, way: Way, progress: &Progress) -> Result<VolumeIndex, TapeError> {
        self.cached = None;
        Finder::new(self.drive, self.description.volume, way, progress).find()
    }

    /// Fills `buffer`, whole blocks, from block `loi` on. Reading on from where the last read ended moves
    /// nothing.
    ///
    /// # Errors
    /// [`TapeError`] if one of them cannot be read.
    pub fn read_blocks(&mut self, loi: u64, buffer: &mut [u8]) -> Result<(), TapeError> {
        self.drive.go_to(loi)?;
        for (number, target) in (loi..).zip(buffer.chunks_mut(BLOCK_LEN)) {
            let read = self.drive.read_block(target)?;
            self.check_length(number, read, target.len())?;
        }
        Ok(())
    }

    fn check_length(&self, loi: u64, read: Read, expected_bytes: usize) -> Result<(), TapeError> {
        let len_bytes = if let Read::Block(len) = read { len } else { 0 };
        if len_bytes == expected_bytes {
            return Ok(());
        }
        Err(TapeError::BlockLength { device: self.drive.name().to_owned(), loi, len_bytes, expected_bytes })
    }

    /// Fills `buffer` from `offset` in a segment on; the last block is kept for the next read.
    ///
    /// # Errors
    /// [`TapeError`] if the segment is shorter, or a block cannot be read.
    pub fn read_at(
        &mut self,
        segment: &SegmentEntry,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), TapeError> {
        let is_within = offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= segment.len);
        if !is_within {
            let source = ArchiveError::Cut { structure: "segment", offset: segment.len };
            let device = self.drive.name().to_owned();
            return Err(TapeError::Archive { device, loi: segment.address.loi, source });
        }
        self.read_from(segment.address.plus(offset), buffer)
    }

    /// Fills `buffer` from a place in a part on; the last block is kept for the next read.
    ///
    /// # Errors
    /// [`TapeError`] if a block cannot be read.
    pub fn read_from(&mut self, mut address: BlockAddress, buffer: &mut [u8]) -> Result<(), TapeError> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let block = self.block_at(address.loi)?;
            let bytes = block.get(address.byte as usize..).unwrap_or_default();
            let len = bytes.len().min(rest.len());
            let (target, after) = rest.split_at_mut_checked(len).unwrap_or_default();
            target.copy_from_slice(bytes.get(..len).unwrap_or_default());
            address = BlockAddress { loi: address.loi + 1, byte: 0 };
            rest = after;
        }
        Ok(())
    }

    fn block_at(&mut self, loi: u64) -> Result<&[u8], TapeError> {
        if self.cached.is_none_or(|(cached, _)| cached != loi) {
            self.cached = None;
            self.drive.go_to(loi)?;
            let read = self.drive.read_block(self.block.as_mut_slice())?;
            self.check_length(loi, read, BLOCK_LEN)?;
            self.cached = Some((loi, BLOCK_LEN));
        }
        Ok(self.block.as_slice())
    }

    /// Reads a whole segment in order, gives it to `sink` in pieces, and checks its fingerprint at the end:
    /// what `sink` was given counts only if this succeeds.
    ///
    /// # Errors
    /// [`TapeError`] if it cannot be read or is not what the index says, or what `sink` returned.
    pub fn copy<E: From<TapeError>>(
        &mut self,
        segment: &SegmentEntry,
        progress: &Progress,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut hasher = FingerprintHasher::default();
        let mut address = segment.address;
        let mut left = segment.len;
        while left > 0 {
            progress.check().map_err(TapeError::from)?;
            let block = self.block_at(address.loi)?;
            let bytes = block.get(address.byte as usize..).unwrap_or_default();
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(..len).unwrap_or_default();
            hasher.update(bytes);
            sink(bytes)?;
            left -= len as u64;
            address = BlockAddress { loi: address.loi + 1, byte: 0 };
        }
        let computed = hasher.finish();
        if computed != segment.fingerprint {
            let (stored, computed) = (segment.fingerprint.to_string(), computed.to_string());
            let source = ArchiveError::Fingerprint { structure: "segment", stored, computed };
            let device = self.drive.name().to_owned();
            return Err(TapeError::Archive { device, loi: segment.address.loi, source }.into());
        }
        Ok(())
    }
}
