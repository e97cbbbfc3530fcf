//! Durable files: the one way in which the repository reaches a disk, and the seam where tests put
//! faults.
//!
//! Names are relative to the storage's root, with `/` between parts. What a [`Storage`] promises
//! after power is lost: a file's bytes are there once [`WriteFile::sync`] returned, its name once
//! [`Storage::sync_directory`] of its directory did. A failed sync is final: the file must be
//! abandoned, because the kernel may have dropped the bytes and say so only once.

pub mod byte_locks;
mod local;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod memory_file;
pub mod openers;
pub mod sparse;
pub mod write_back;
pub mod write_hold;

use std::fmt;
use std::io;

pub use local::LocalStorage;
#[cfg(any(test, feature = "testing"))]
pub use memory::{Fault, MemoryStorage};
pub use memory_file::MemoryFile;

/// A refused operation, with the path it was about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct StorageError {
    /// What was tried, as a verb: `read`, `write`, `sync`.
    pub operation: &'static str,
    /// The path as people know it.
    pub path: String,
    /// The refusal.
    pub source: io::Error,
}

impl StorageError {
    /// Tells whether the file or directory does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Tells whether stored bytes are wrong or missing, as against a refusal that may pass.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        // A disk that does not take new bytes may still hold the old ones.
        matches!(self.operation, "list" | "look up" | "open" | "read")
            && (matches!(self.source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
                || self.source.raw_os_error() == Some(libc::EIO))
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// The name; entries whose name is not UTF-8 are left out, the project makes none.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// A directory of durable files.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`StorageError`] if there is none or it is not a regular file.
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError>;

    /// Creates a file for writing at its end; it must not exist. Mode 0600.
    ///
    /// # Errors
    /// [`StorageError`] if it exists or cannot be made.
    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError>;

    /// Gives a file another name in place of what may have that name.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    fn rename(&self, name: &str, new_name: &str) -> Result<(), StorageError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    fn remove(&self, name: &str) -> Result<(), StorageError>;

    /// Creates a directory with all above it, each one's name synced; mode 0700.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    fn create_directory(&self, name: &str) -> Result<(), StorageError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    fn sync_directory(&self, name: &str) -> Result<(), StorageError>;

    /// Lists a directory in order of names; one that does not exist is empty.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError>;

    /// Tells whether a file or directory exists.
    ///
    /// # Errors
    /// [`StorageError`] if that cannot be found out.
    fn exists(&self, name: &str) -> Result<bool, StorageError>;
}

/// A file open for reading at any offset, by many threads at once.
pub trait ReadFile: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Tells whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Path as people know it, for messages.
    fn path(&self) -> &str;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`StorageError`] if the file ends before, or cannot be read.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError>;
}

/// A file open for writing at its end.
pub trait WriteFile: Send + fmt::Debug {
    /// Bytes written so far.
    fn len(&self) -> u64;

    /// Tells whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Path as people know it, for messages.
    fn path(&self) -> &str;

    /// Writes all of `bytes` at the end.
    ///
    /// # Errors
    /// [`StorageError`]; how much was written is then unknown and the file must be abandoned.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes all bytes written so far durable.
    ///
    /// # Errors
    /// [`StorageError`]; the file must then be abandoned.
    fn sync(&mut self) -> Result<(), StorageError>;
}
