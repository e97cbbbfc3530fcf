//! What a commit wants to know of the tree beforehand: who is writing, and where an object is.

use std::sync::atomic::Ordering;

use super::attributes::time;
use super::error::StagingError;
use super::tree::StagingTree;
use crate::format::record::{ROOT_OBJECT, Time};
use crate::index::staging::RowDetail;
use crate::storage::sparse;

// No path is longer, whatever rows say.
const DEPTH_MAX: usize = 4096;

/// A file that is open for writing and was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// Number of the object.
    pub number: u64,
    /// When the backing file was changed last.
    pub last_write: Time,
}

impl StagingTree {
    /// All files that are open for writing and have been written since they were in the base.
    ///
    /// # Errors
    /// [`StagingError::Backing`] if the system does not tell of a backing file.
    pub fn writers(&self) -> Result<Vec<Writer>, StagingError> {
        let mut writers = Vec::new();
        for file in self.files.all() {
            if file.writers.load(Ordering::Acquire) == 0 {
                continue;
            }
            let state = file.state();
            let Some((_, top)) = state.top().filter(|_| !state.is_stale) else { continue };
            let status = sparse::status(top).map_err(super::stack::refused("look up", file.number))?;
            let last_write = time(status.mtime).max(time(status.ctime));
            writers.push(Writer { number: file.number, last_write });
        }
        Ok(writers)
    }

    /// Path of an object from the root, without a leading `/`; of several names one. For the names of
    /// directories those above them are searched, unless they were met in such a search before.
    ///
    /// # Errors
    /// [`StagingError::Stale`] if it has no name.
    pub fn path(&self, number: u64) -> Result<Vec<u8>, StagingError> {
        let mut parts = Vec::new();
        let mut at = number;
        while at != ROOT_OBJECT {
            if parts.len() >= DEPTH_MAX {
                return Err(StagingError::Stale { number });
            }
            let (directory, name) = self.place_of_name(at)?;
            parts.push(name);
            at = directory;
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }

    fn place_of_name(&self, number: u64) -> Result<(u64, Vec<u8>), StagingError> {
        let object = self.load(&self.core(), number)?;
        if let Some(home) = &object.state.home {
            return Ok((home.directory, home.name.to_vec()));
        }
        match object.state.detail {
            RowDetail::Directory { parent } => Ok((parent, self.name_in(parent, number)?)),
            // The names of a file with several are in no row of it.
            _ => Err(StagingError::Stale { number }),
        }
    }
}
