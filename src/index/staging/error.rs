//! Why the rows of staging could not be read or written.

use rocksdb::ErrorKind;
use thiserror::Error;

use crate::codec::DecodeError;
use crate::index::UntrustedError;

/// Why the database of a staging tree could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StagingStoreError {
    /// RocksDB refused.
    #[error("staging database {path}: cannot {operation}")]
    Rocks {
        /// Directory of the database.
        path: String,
        /// What was tried, as a verb.
        operation: &'static str,
        /// The refusal.
        source: rocksdb::Error,
    },
    /// It is not opened, because RocksDB would trust it.
    #[error("staging database {path}: not to be trusted")]
    Untrusted {
        /// Directory of the database.
        path: String,
        /// What is wrong with it.
        source: UntrustedError,
    },
    /// A file of it is not as it was when the database was closed.
    #[error("{path}: expected {expected}, found {found}")]
    Lost {
        /// The file.
        path: String,
        /// What must be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A row is not as this version writes it.
    #[error("staging database: malformed {family} row")]
    Malformed {
        /// Column family.
        family: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
}

impl StagingStoreError {
    /// Tells whether another process has the database open.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        // RocksDB has no kind of its own for this.
        matches!(self, Self::Rocks { operation: "open", source, .. }
            if source.kind() == ErrorKind::IOError && source.as_ref().to_lowercase().contains("lock "))
    }

    /// Tells whether the database is damaged, such that opening it again does not help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Malformed { .. } => true,
            Self::Untrusted { source, .. } => matches!(source, UntrustedError::Kind { .. }),
            // Files that its own manifest names and that are gone are an IOError.
            Self::Rocks { source, .. } => {
                matches!(source.kind(), ErrorKind::Corruption | ErrorKind::NotFound)
                    || source.kind() == ErrorKind::IOError
                        && source.as_ref().contains("No such file or directory")
            }
        }
    }

    /// Tells whether there was no space to write.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Rocks { source, .. } if source.as_ref().contains("No space left on device"))
    }
}
