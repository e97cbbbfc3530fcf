//! Why a backup failed as a whole.

use thiserror::Error;

use crate::job::store::StoreError;
use crate::live::ExcludeError;
use crate::live::LiveError;
use crate::progress::Cancelled;
use crate::repo::{ReadError, RepoError};

/// Why a backup made no generation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// What was read could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source directory cannot be opened.
    #[error(transparent)]
    Source(LiveError),
    /// The names of a large directory could not be kept in the repository's directory meanwhile.
    #[error("cannot keep the names of a large directory in the repository's directory")]
    Names {
        /// The refusal.
        source: std::io::Error,
    },
    /// An exclusion pattern is not valid.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
}

impl From<RepoError> for BackupError {
    fn from(error: RepoError) -> Self {
        Self::Store(error.into())
    }
}

impl From<ReadError> for BackupError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl From<Cancelled> for BackupError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Store(cancelled.into())
    }
}
