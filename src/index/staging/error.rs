//! Why the rows of staging could not be read or written.

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
            if source.kind() == rocksdb::ErrorKind::IOError && source.as_ref().to_lowercase().contains("lock "))
    }

    /// Tells whether there was no space to write.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Rocks { source, .. } if source.as_ref().contains("No space left on device"))
    }
}
