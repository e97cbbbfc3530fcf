//! Errors as refusals: one sort for each exit code and hint.

use std::error::Error;
use std::io;

use super::message::{Refusal, RefusalKind};
use crate::job::chain;
use crate::job::commit::CommitError;
use crate::job::index::IndexingError;
use crate::job::store::StoreError;
use crate::progress::Cancelled;
use crate::repo::staging::StagingError;
use crate::repo::{ReadError, RepoError};

impl Refusal {
    /// A refusal of this sort.
    #[must_use]
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    fn of(kind: RefusalKind, error: &(dyn Error + 'static)) -> Self {
        let kind = if is_disk_full(error) { RefusalKind::DiskFull } else { kind };
        Self { kind, text: chain(error) }
    }
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn kind_of_read(error: &ReadError) -> RefusalKind {
    if error.is_damage() { RefusalKind::Damaged } else { RefusalKind::Failed }
}

fn kind_of_repo(error: &RepoError) -> RefusalKind {
    match error {
        RepoError::Read(error) => kind_of_read(error),
        RepoError::Locked { .. } => RefusalKind::Locked,
        RepoError::Cancelled(_) => RefusalKind::Interrupted,
        RepoError::NoClient { .. } | RepoError::NoGeneration { .. } | RepoError::Ambiguous { .. } => {
            RefusalKind::NoGeneration
        }
        _ => RefusalKind::Failed,
    }
}

fn kind_of_staging(error: &StagingError) -> RefusalKind {
    match error {
        StagingError::NotFound => RefusalKind::NoStaging,
        StagingError::Locked { .. } => RefusalKind::Open,
        StagingError::Mounted => RefusalKind::Mounted,
        StagingError::Busy { .. } => RefusalKind::Pending,
        StagingError::NoSpace { .. } => RefusalKind::DiskFull,
        error if error.is_damage() => RefusalKind::StagingDamaged,
        // A row names a backing file that is gone.
        StagingError::Backing(error) if error.is_not_found() => RefusalKind::StagingDamaged,
        StagingError::Base(error) => kind_of_read(error),
        StagingError::Repository(error) => kind_of_repo(error),
        _ => RefusalKind::Failed,
    }
}

fn kind_of_store(error: &StoreError) -> RefusalKind {
    match error {
        StoreError::Repo(error) => kind_of_repo(error),
        StoreError::Index(error) if error.is_disk_full() => RefusalKind::DiskFull,
        StoreError::Index(error) if error.is_damage() => RefusalKind::Damaged,
        StoreError::Read { source, .. } => {
            source.downcast_ref::<StagingError>().map_or(RefusalKind::Failed, kind_of_staging)
        }
        _ => RefusalKind::Failed,
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        let kind = match &error {
            CommitError::Store(error) => kind_of_store(error),
            CommitError::Staging { source, .. } => match kind_of_staging(source) {
                RefusalKind::Pending => RefusalKind::Committing,
                kind => kind,
            },
            _ => RefusalKind::Failed,
        };
        Self::of(kind, &error)
    }
}

impl From<RepoError> for Refusal {
    fn from(error: RepoError) -> Self {
        Self::of(kind_of_repo(&error), &error)
    }
}

impl From<StagingError> for Refusal {
    fn from(error: StagingError) -> Self {
        Self::of(kind_of_staging(&error), &error)
    }
}

impl From<Cancelled> for Refusal {
    fn from(error: Cancelled) -> Self {
        Self::of(RefusalKind::Interrupted, &error)
    }
}

impl From<IndexingError> for Refusal {
    fn from(error: IndexingError) -> Self {
        let kind = match &error {
            IndexingError::Repo(error) => kind_of_repo(error),
            IndexingError::Index(error) if error.is_locked() => RefusalKind::Locked,
            IndexingError::Index(error) if error.is_damage() => RefusalKind::Damaged,
            IndexingError::Index(error) if error.is_disk_full() => RefusalKind::DiskFull,
            IndexingError::Cancelled(_) => RefusalKind::Interrupted,
            _ => RefusalKind::Failed,
        };
        Self::of(kind, &error)
    }
}
