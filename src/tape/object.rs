//! What is to be written to a cartridge: objects that can be read again until they are committed.

use std::fmt;
use std::sync::Arc;

use crate::id::Fingerprint;
use crate::storage::{ReadFile, StorageError};

/// Where the bytes of an object come from; opened again when a part of the tape must be written again.
pub trait ObjectSource: Send + Sync + fmt::Debug {
    /// Opens it for reading.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    fn open(&self) -> Result<Box<dyn ReadFile>, StorageError>;
}

/// One file for the cartridge.
#[derive(Debug, Clone)]
pub struct Object {
    /// Name on the cartridge: a relative path as in a repository, at most
    /// [`NAME_LEN_MAX`](super::archive::NAME_LEN_MAX) bytes.
    pub name: Arc<str>,
    /// Length in bytes; the source must have as many.
    pub len: u64,
    /// Time of change, seconds since 1970.
    pub mtime_seconds: i64,
    /// BLAKE3 of the whole, if it is known: what is read must have it.
    pub fingerprint: Option<Fingerprint>,
    /// Its bytes.
    pub source: Arc<dyn ObjectSource>,
}

/// Objects in the order in which they are to be written. Asked for by number, from more than one thread,
/// and again after a fault.
pub trait Objects: Sync {
    /// The object of this number, from 0; `None` behind the last one.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be found out what is to be written.
    fn object(&self, number: u64) -> Result<Option<Object>, StorageError>;
}

impl Objects for Vec<Object> {
    fn object(&self, number: u64) -> Result<Option<Object>, StorageError> {
        Ok(usize::try_from(number).ok().and_then(|number| self.get(number)).cloned())
    }
}
