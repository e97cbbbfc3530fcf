//! Why a commit failed as a whole.

use thiserror::Error;

use crate::job::store::StoreError;
use crate::live::ExcludeError;
use crate::progress::Cancelled;
use crate::repo::staging::StagingError;
use crate::repo::{ReadError, RepoError};

/// Why a commit made no generation. What was staged is staged as before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// What was staged could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The staging tree refused.
    #[error("staging of {client}")]
    Staging {
        /// The client.
        client: String,
        /// The refusal.
        source: Box<StagingError>,
    },
    /// A pattern of a group of files is not valid.
    #[error(transparent)]
    Group(#[from] ExcludeError),
    /// The clock is beyond the last name of a generation.
    #[error("the clock is beyond the year 9999")]
    Clock,
}

impl From<RepoError> for CommitError {
    fn from(error: RepoError) -> Self {
        Self::Store(error.into())
    }
}

impl From<ReadError> for CommitError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl From<Cancelled> for CommitError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Store(cancelled.into())
    }
}
