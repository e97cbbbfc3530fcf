//! A repository's storage that can be read and takes everything written without keeping it: what a preview
//! writes to.

use std::sync::Arc;

use crate::storage::{DirectoryEntry, ReadFile, Storage, StorageError, WriteFile};

/// The storage below, not written to.
#[derive(Debug)]
pub(super) struct DryStorage {
    below: Arc<dyn Storage>,
}

impl DryStorage {
    pub(super) fn new(below: Arc<dyn Storage>) -> Self {
        Self { below }
    }
}

impl Storage for DryStorage {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        self.below.open(name)
    }

    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError> {
        Ok(Box::new(DryFile { path: name.to_owned(), len: 0 }))
    }

    fn rename(&self, _name: &str, _new_name: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove(&self, _name: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn create_directory(&self, _name: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync_directory(&self, _name: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError> {
        self.below.list(name)
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        self.below.exists(name)
    }
}

#[derive(Debug)]
struct DryFile {
    path: String,
    len: u64,
}

impl WriteFile for DryFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}
