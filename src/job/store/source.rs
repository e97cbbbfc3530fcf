//! Where the bytes of a file to be stored come from.

use std::fmt;

use super::error::StoreError;
use super::record::Described;
use crate::live::LiveError;

/// Why a file was not read.
#[derive(Debug)]
pub(in crate::job) enum ReadProblem {
    /// The file is left out and named in the summary.
    Skip(LiveError),
    /// Nothing is stored at all.
    Stop(StoreError),
}

impl From<LiveError> for ReadProblem {
    fn from(error: LiveError) -> Self {
        Self::Skip(error)
    }
}

impl From<StoreError> for ReadProblem {
    fn from(error: StoreError) -> Self {
        Self::Stop(error)
    }
}

/// A small file that was read.
#[derive(Debug)]
pub(in crate::job) struct ReadFile {
    /// All its bytes.
    pub(in crate::job) bytes: Vec<u8>,
    /// What it is beside that.
    pub(in crate::job) described: Described,
    /// It changed while it was read.
    pub(in crate::job) inconsistent: bool,
}

/// A small file that a worker reads whole.
pub(in crate::job) trait SmallSource: Send + fmt::Debug {
    /// Reads it.
    fn read(&self) -> Result<ReadFile, ReadProblem>;
}

/// A large file that is read piece by piece.
pub(in crate::job) trait LargeSource {
    /// Fills `buffer` from `offset` on and tells how many bytes that were; fewer only at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadProblem>;
}
