//! What a caller says to a writer, and what it hears.

use std::time::Duration;

use crate::id::FingerprintHasher;
use crate::tape::TapeError;
use crate::tape::archive::SEGMENT_LEN_MAX;
use crate::tape::drive::DriveError;

/// What a cartridge may be labelled over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overwrite {
    /// Nothing: it must be blank.
    Nothing,
    /// What calls itself so, see [`crate::tape::reader::Identified::name`].
    Named(String),
}

/// For what and when something is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// Length of a segment, at most [`SEGMENT_LEN_MAX`]; the last one on a cartridge may be shorter.
    pub segment_bytes: u64,
    /// A part is closed before it has more bytes, unless it is one segment.
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
            segment_bytes: SEGMENT_LEN_MAX,
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
    /// Where in the object the segment begins, in bytes.
    pub offset: u64,
    /// State of the fingerprint behind the segments before; without it that of the object stays unknown.
    pub hasher: Option<FingerprintHasher>,
}

/// How writing ended. What is before the place returned with it is committed.
#[derive(Debug)]
pub enum Ended {
    /// All objects are written.
    Done,
    /// The cartridge is full: go on with the next one.
    Full,
    /// The cartridge or the way to it failed after the last commit and must not be written again: go on
    /// with another one.
    Lost(DriveError),
    /// The object at the place cannot be read, or is not what the caller said: go on without it.
    Unreadable(TapeError),
}
