//! Writing a cartridge.

use std::time::Duration;

use super::archive::{SegmentEntry, VolumeDescription};
use super::drive::Drive;
use super::reader::VolumeIndex;
use super::{Objects, TapeError};
use crate::id::{FileId, FingerprintHasher};
use crate::progress::Progress;

/// What a cartridge may be labelled over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overwrite {
    /// Nothing: it must be blank.
    Nothing,
    /// What calls itself so: the barcode of one of ours, the label of another program, or in want of one
    /// the word that [`super::archive::Recognised::as_str`] has for it.
    Named(String),
}

/// For what and when something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// For people: who, what.
    pub text: String,
    /// The present time, seconds since 1970.
    pub now_seconds: i64,
    /// Until when the cartridge must not be written over, seconds since 1970; never shortened.
    pub retain_until_seconds: Option<i64>,
}

/// How a cartridge is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Memory for data on its way to the drive, in bytes.
    pub ring_bytes: usize,
    /// The drive starts when so much is there, or all of it.
    pub high_water_bytes: usize,
    /// The drive pauses, until high water, when no more is there.
    pub low_water_bytes: usize,
    /// Threads that read.
    pub reader_count: usize,
    /// A part is closed when it has so many bytes.
    pub part_bytes: u64,
    /// A commit follows when so many bytes came since the last one.
    pub commit_bytes: u64,
    /// A commit follows when so much time passed since the last one.
    pub commit_interval: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            ring_bytes: 2 << 30,
            high_water_bytes: 3 << 29,
            low_water_bytes: 64 << 20,
            reader_count: 2,
            part_bytes: 16 << 30,
            commit_bytes: 64 << 30,
            commit_interval: Duration::from_secs(600),
        }
    }
}

/// Where in a list of objects writing is to begin, or has ended.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Number of the object.
    pub object: u64,
    /// Number of the segment in it.
    pub segment: u32,
    /// Fingerprint of the segments before, as far as it is known.
    pub hasher: Option<FingerprintHasher>,
}

/// Why writing ended without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All objects are written and committed.
    Done,
    /// The cartridge is full; what is before the place is committed.
    Full,
}

/// Labels a cartridge: VOL1, self-description, memory of the cartridge.
#[allow(missing_docs, clippy::missing_errors_doc, clippy::unimplemented, unused_variables)]
pub fn label(
    drive: &mut Drive,
    volume: &VolumeDescription,
    overwrite: &Overwrite,
    session: &Session,
) -> Result<(), TapeError> {
    unimplemented!()
}

/// A cartridge of ours, open for writing at its end.
#[derive(Debug)]
pub struct VolumeWriter<'d> {
    _drive: &'d mut Drive,
}

#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unimplemented,
    unused_variables,
    clippy::must_use_candidate
)]
impl<'d> VolumeWriter<'d> {
    /// Checks that it is the cartridge `volume`, finds the newest index and goes to the end.
    pub fn append(
        drive: &'d mut Drive,
        volume: FileId,
        session: Session,
        options: WriterOptions,
        progress: &Progress,
    ) -> Result<Self, TapeError> {
        unimplemented!()
    }
    pub fn description(&self) -> &VolumeDescription {
        unimplemented!()
    }
    /// Writes objects from a place on, cut into segments, and commits. Returns with the place of the first
    /// segment that is not on this cartridge.
    pub fn write(
        &mut self,
        objects: &dyn Objects,
        from: Place,
        progress: &Progress,
    ) -> Result<(Ended, Place), TapeError> {
        unimplemented!()
    }
    /// What is committed, oldest first, earlier sessions included.
    pub fn committed(&self) -> &[SegmentEntry] {
        unimplemented!()
    }
    /// Writes the closing index twice and the cartridge's memory.
    pub fn finish(self, is_continued: bool) -> Result<VolumeIndex, TapeError> {
        unimplemented!()
    }
}
