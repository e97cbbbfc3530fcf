//! Files of which a sync failed: what was written to them may be lost, and the system says so only once.
//!
//! A later sync of the same backing file would end well whatever became of the bytes. So none is tried: a file
//! stays as it is here until it is written anew, from nothing, into another backing file.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::error::StagingError;
use super::tree::StagingTree;
use crate::storage::StorageError;

/// Backing files of which a sync failed, and whose layers they are.
#[derive(Debug, Default)]
pub(super) struct FailedSyncs {
    owners: Mutex<HashMap<u64, u64>>,
}

impl FailedSyncs {
    /// Notes what became of a sync of a backing file.
    pub(super) fn note(
        &self,
        number: u64,
        file: u64,
        synced: Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        synced.inspect_err(|error| {
            log::error!("{}: {}: what was written to it may be lost", error, error.source);
            self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(file, number);
        })
    }

    /// Tells whether a sync of a backing file failed.
    pub(super) fn contains(&self, file: u64) -> bool {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&file)
    }

    /// The backing files are gone.
    pub(super) fn forget(&self, files: &[u64]) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files {
            owners.remove(file);
        }
    }
}

impl StagingTree {
    /// Tells whether the tree takes no more changes until it is opened again, because the disk refused to write
    /// or sync its database.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.store.has_stopped()
    }

    /// Numbers of files of which a sync failed, and that were not written anew since: what they hold may be
    /// damaged.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn unsynced_files(&self) -> Result<Vec<u64>, StagingError> {
        let owners = self.failed_syncs.owners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut numbers = Vec::new();
        for (file, number) in owners {
            let core = self.core();
            match self.load(&core, number) {
                Ok(object) => {
                    let layers = object.state.content().map_or(&[][..], |content| &content.layers);
                    numbers.extend(layers.iter().any(|layer| layer.file == file).then_some(number));
                }
                Err(StagingError::Stale { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(numbers)
    }
}
