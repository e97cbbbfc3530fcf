//! Why a backup failed as a whole.

use thiserror::Error;

use crate::chunk::compress::CompressError;
use crate::index::IndexError;
use crate::live::ExcludeError;
use crate::live::LiveError;
use crate::progress::Cancelled;
use crate::repo::{ReadError, RepoError};

/// Why a backup made no generation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The repository could not be read or written.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The source directory cannot be opened.
    #[error(transparent)]
    Source(LiveError),
    /// The index is damaged; `rebuild` makes it again.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// An exclusion pattern is not valid.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
    /// Data could not be compressed, or not be proven to decompress again.
    #[error("cannot store data")]
    Compress(#[from] CompressError),
    /// A worker thread ended before its work.
    #[error("a worker thread ended before its work")]
    Worker,
}

impl From<ReadError> for BackupError {
    fn from(error: ReadError) -> Self {
        Self::Repo(error.into())
    }
}

impl From<Cancelled> for BackupError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Repo(cancelled.into())
    }
}
