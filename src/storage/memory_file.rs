//! A file whose bytes are in memory.

use std::io;
use std::sync::Arc;

use super::{ReadFile, StorageError};

/// The bytes of a file as they were when it was read, or of one that only memory has; clones share them.
#[derive(Debug, Clone)]
pub struct MemoryFile {
    /// Name in the storage.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

impl ReadFile for MemoryFile {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn path(&self) -> &str {
        &self.name
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(bytes) = self.bytes.get(start..).and_then(|rest| rest.get(..buffer.len())) else {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(StorageError { operation: "read", path: self.name.clone(), source });
        };
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}
