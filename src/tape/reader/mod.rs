//! Reading a cartridge.

use super::TapeError;
use super::archive::{Entry, IndexHeader, Recognised, SegmentEntry, VolumeDescription};
use super::drive::Drive;
use crate::progress::Progress;

/// What is on the cartridge in a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identified {
    /// Nothing.
    Blank,
    /// One of ours.
    Ours(Box<VolumeDescription>),
    /// One of ours whose second tape file cannot be read.
    Undescribed {
        /// First six characters of the barcode.
        serial: String,
    },
    /// Another program's.
    Foreign(Recognised),
}

/// How the list of what is on a cartridge was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// From a closing index at the end of data.
    Closed,
    /// From partial indexes, the newest at the end of data.
    Committed,
    /// Something follows the newest index, or the index cannot be read: a session was cut short.
    Torn,
}

/// All that is committed on a cartridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeIndex {
    /// Header of the newest index; `None` on a cartridge that has only been labelled.
    pub header: Option<IndexHeader>,
    /// Segments in their order on the tape.
    pub segments: Vec<SegmentEntry>,
    /// First block of the newest index part.
    pub index_loi: Option<u64>,
    /// Where its commit ends.
    pub end_loi: u64,
    /// How it was come by.
    pub state: IndexState,
}

/// Something that cannot be read, or is not what its list says.
#[derive(Debug)]
pub struct Damage {
    /// Block.
    pub loi: u64,
    /// The object, as far as it is known.
    pub segment: Option<SegmentEntry>,
    /// What is wrong.
    pub error: TapeError,
}

/// What a verification went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyTotals {
    /// Segments whose fingerprint was computed.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Damages told of.
    pub damages: u64,
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unimplemented, unused_variables)]
pub fn identify(drive: &mut Drive) -> Result<Identified, TapeError> {
    unimplemented!()
}

/// Lists the entries of a tar or pax cartridge of another program; `part` is the tape file, `loi` its
/// first block.
#[allow(missing_docs, clippy::missing_errors_doc, clippy::unimplemented, unused_variables)]
pub fn list_foreign(
    drive: &mut Drive,
    progress: &Progress,
    found: &mut dyn FnMut(u64, u64, &Entry),
) -> Result<(), TapeError> {
    unimplemented!()
}

/// A cartridge of ours, open for reading.
#[derive(Debug)]
pub struct VolumeReader<'d> {
    _drive: &'d mut Drive,
}

#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unimplemented,
    unused_variables,
    clippy::must_use_candidate
)]
impl<'d> VolumeReader<'d> {
    /// Checks the label.
    pub fn open(drive: &'d mut Drive) -> Result<Self, TapeError> {
        unimplemented!()
    }
    pub fn description(&self) -> &VolumeDescription {
        unimplemented!()
    }
    /// Finds the newest index: by the cartridge's memory, then from the end backwards, then by a scan.
    pub fn index(&mut self, progress: &Progress) -> Result<VolumeIndex, TapeError> {
        unimplemented!()
    }
    /// The same by a scan from the beginning, without any index.
    pub fn scan(&mut self, progress: &Progress) -> Result<VolumeIndex, TapeError> {
        unimplemented!()
    }
    /// Fills `buffer` from blocks `loi` on; the position is kept, so that reading on moves nothing.
    /// `buffer.len()` is a multiple of BLOCK_LEN.
    pub fn read_blocks(&mut self, loi: u64, buffer: &mut [u8]) -> Result<(), TapeError> {
        unimplemented!()
    }
    /// Fills `buffer` from `offset` in a segment on.
    pub fn read_at(
        &mut self,
        segment: &SegmentEntry,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), TapeError> {
        unimplemented!()
    }
    /// Reads a whole segment in order and checks its fingerprint.
    pub fn copy(
        &mut self,
        segment: &SegmentEntry,
        progress: &Progress,
        sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), TapeError> {
        unimplemented!()
    }
    /// Reads everything and compares it with its list.
    pub fn verify(
        &mut self,
        index: &VolumeIndex,
        progress: &Progress,
        found: &mut dyn FnMut(Damage),
    ) -> Result<VerifyTotals, TapeError> {
        unimplemented!()
    }
}
