//! Why staging refuses, one variant for each error number that a file system answers with.

use std::io;

use thiserror::Error;

use crate::index::staging::StagingStoreError;
use crate::repo::error::{ReadError, RepoError};
use crate::storage::StorageError;

/// Why an operation on a staging tree was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StagingError {
    /// `ENOENT`: there is no such name.
    #[error("no such file or directory")]
    NotFound,
    /// `ESTALE`: no object has this number any more.
    #[error("object {number} is gone")]
    Stale {
        /// Its number.
        number: u64,
    },
    /// `EEXIST`: the name is taken.
    #[error("the name exists")]
    Exists,
    /// `ENOTDIR`: not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// `EISDIR`: a directory.
    #[error("is a directory")]
    IsDirectory,
    /// `ENOTEMPTY`: the directory has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// `ENAMETOOLONG`: a name of more than 255 bytes, or a target of more than 4096.
    #[error("a name of {len} bytes is too long")]
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// `EINVAL`: an argument that makes no sense, such as a directory to be moved into itself.
    #[error("not possible: {what}")]
    Invalid {
        /// What makes no sense.
        what: &'static str,
    },
    /// `EPERM`: this is never allowed, whoever asks.
    #[error("not permitted: {what}")]
    NotPermitted {
        /// What is not allowed.
        what: &'static str,
    },
    /// `ENOSPC`: less than the reserve is free, or the client's cap is reached.
    #[error("no space is left for staging: {what}")]
    NoSpace {
        /// What ran out: `disk`, `reserve` or `cap`.
        what: &'static str,
    },
    /// `EFBIG`: beyond the largest file.
    #[error("the file would be too large")]
    TooLarge,
    /// `EMLINK`: the object has all the names it can have.
    #[error("too many names for one file")]
    TooManyLinks,
    /// `ENODATA`: no such extended attribute.
    #[error("no such extended attribute")]
    NoAttribute,
    /// `EEXIST`: the extended attribute exists.
    #[error("the extended attribute exists")]
    AttributeExists,
    /// `ENOSPC`: the object has as many bytes of extended attributes as it can have.
    #[error("too many bytes of extended attributes")]
    AttributeSpace,
    /// `E2BIG` for a value of more than 64 KiB, `ERANGE` for a name that is too long.
    #[error("the value of the extended attribute is too large")]
    AttributeTooLarge,
    /// `EOPNOTSUPP`: not supported here.
    #[error("not supported: {what}")]
    NotSupported {
        /// What is not supported.
        what: &'static str,
    },
    /// `ENXIO`: no data, or no hole, from the offset on.
    #[error("nothing of that kind follows")]
    NoSegment,
    /// `EBUSY`: a commit is running, or changes are pending.
    #[error("staging is in use: {what}")]
    Busy {
        /// By what.
        what: &'static str,
    },
    /// `EBUSY`: another process has the client's staging open.
    #[error("staging of the client is open in another process")]
    Locked {
        /// The refusal.
        source: StagingStoreError,
    },
    /// `EBUSY`: a mount serves the client's staging, though its server has it not open just now.
    #[error("staging of the client is in another mount of the repository, or in one whose server is away")]
    Mounted,
    /// `EIO`: something of the client's staging is missing or not as it was written.
    #[error("{path}: expected {expected}, found {found}")]
    Damaged {
        /// The file or directory.
        path: String,
        /// What must be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// `EIO`: the base cannot be read.
    #[error("the generation below cannot be read")]
    Base(#[from] ReadError),
    /// `EIO`: the repository cannot be read.
    #[error("the repository cannot be read")]
    Repository(#[from] RepoError),
    /// `EIO`, or `ENOSPC`: the database of rows refused.
    #[error("the staging database refuses")]
    Store(#[source] StagingStoreError),
    /// `EIO`, or `ENOSPC`, `EDQUOT`, `EMFILE` and the like as the system said: a backing file could not be used.
    #[error(transparent)]
    Backing(#[from] StorageError),
}

impl StagingError {
    /// The system's error number.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::Stale { .. } => libc::ESTALE,
            Self::Exists | Self::AttributeExists => libc::EEXIST,
            Self::NotDirectory => libc::ENOTDIR,
            Self::IsDirectory => libc::EISDIR,
            Self::NotEmpty => libc::ENOTEMPTY,
            Self::NameTooLong { .. } => libc::ENAMETOOLONG,
            Self::Invalid { .. } => libc::EINVAL,
            Self::NotPermitted { .. } => libc::EPERM,
            Self::NoSpace { .. } | Self::AttributeSpace => libc::ENOSPC,
            Self::TooLarge => libc::EFBIG,
            Self::TooManyLinks => libc::EMLINK,
            Self::NoAttribute => libc::ENODATA,
            Self::AttributeTooLarge => libc::E2BIG,
            Self::NotSupported { .. } => libc::EOPNOTSUPP,
            Self::NoSegment => libc::ENXIO,
            Self::Busy { .. } | Self::Locked { .. } | Self::Mounted => libc::EBUSY,
            Self::Store(error) if error.is_disk_full() => libc::ENOSPC,
            Self::Damaged { .. } | Self::Base(_) | Self::Repository(_) | Self::Store(_) => libc::EIO,
            Self::Backing(error) => match error.source.raw_os_error() {
                Some(
                    errno @ (libc::ENOSPC
                    | libc::EDQUOT
                    | libc::EFBIG
                    | libc::EMFILE
                    | libc::ENFILE
                    | libc::ENOMEM),
                ) => errno,
                _ => libc::EIO,
            },
        }
    }

    /// Tells whether staging itself is damaged: its database, or what that stands on, but not the generation below.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Store(error) => error.is_damage(),
            _ => false,
        }
    }

    /// Wraps a refusal of the system about a backing file.
    pub(super) fn backing(operation: &'static str, path: String) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Backing(StorageError { operation, path, source })
    }
}

impl From<StagingStoreError> for StagingError {
    fn from(error: StagingStoreError) -> Self {
        if error.is_locked() { Self::Locked { source: error } } else { Self::Store(error) }
    }
}
