//! Why nothing could be stored.

use thiserror::Error;

use crate::chunk::compress::CompressError;
use crate::index::IndexError;
use crate::progress::Cancelled;
use crate::repo::{ReadError, RepoError};

/// Why storing files failed as a whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The repository could not be read or written.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The index is damaged; `rebuild` makes it again.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Data could not be compressed, or not be proven to decompress again.
    #[error("cannot store data")]
    Compress(#[from] CompressError),
    /// What is to be stored could not be read, and cannot be left out either.
    #[error("cannot read {path}")]
    Read {
        /// The file as people know it.
        path: String,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A worker thread ended before its work.
    #[error("a worker thread ended before its work")]
    Worker,
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        Self::Repo(error.into())
    }
}

impl From<Cancelled> for StoreError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Repo(cancelled.into())
    }
}
