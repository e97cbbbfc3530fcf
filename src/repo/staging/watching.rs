//! What a commit wants to know of the tree beforehand: who is writing, and where an object is.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attributes::time;
use super::content::OpenFile;
use super::direct::Written;
use super::error::StagingError;
use super::tree::StagingTree;
use crate::format::record::{ROOT_OBJECT, Time};
use crate::index::staging::{Home, RowDetail};
use crate::storage::sparse::SparseStatus;
use crate::storage::{StorageError, sparse, write_back};

// No path is longer, whatever rows say.
const DEPTH_MAX: usize = 4096;

/// Tells whether the kernel may write a file by itself.
pub(super) fn is_written_directly(file: &OpenFile) -> bool {
    file.direct.load(Ordering::Acquire) > 0 && file.writers.load(Ordering::Acquire) > 0
}

/// The uppermost backing file of an open file.
pub(super) fn top(file: &OpenFile) -> Option<Written> {
    let state = file.state();
    let (layer, top) = state.top()?;
    Some(Written { number: file.number, layer: layer.file, file: Arc::clone(top) })
}

/// A file that is open for writing, or mapped for that, and was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// Number of the object.
    pub number: u64,
    /// When the backing file was changed last.
    pub last_write: Time,
}

/// When a file was changed last, as far as the system tells.
pub(super) type Moment = (u64, (i64, u32), (i64, u32));

/// The moment of a status: what becomes of bytes on the disk does not count.
pub(super) fn moment(status: &SparseStatus) -> Moment {
    (status.len, status.mtime, status.ctime)
}

impl StagingTree {
    /// All files that are open for writing, or mapped for that, and have been written since they were in the base.
    ///
    /// # Errors
    /// [`StagingError::Backing`] if the system does not tell of a backing file.
    pub fn writers(&self) -> Result<Vec<Writer>, StagingError> {
        let mut writers = Vec::new();
        let mut add = |number: u64, file: &File| {
            let status = sparse::status(file).map_err(super::stack::refused("look up", number))?;
            let last_write = time(status.mtime).max(time(status.ctime));
            writers.push(Writer { number, last_write });
            Ok::<_, StagingError>(())
        };
        for file in self.files.all() {
            if file.writers.load(Ordering::Acquire) == 0 {
                continue;
            }
            let state = file.state();
            let Some((_, top)) = state.top().filter(|_| !state.is_stale) else { continue };
            add(file.number, top)?;
        }
        let unseen = self.unseen_files(&self.core());
        for written in unseen {
            add(written.number, &written.file)?;
        }
        Ok(writers)
    }

    /// Files that are open for writing, or mapped for that, whether they were written or not.
    #[must_use]
    pub fn open_for_writing_count(&self) -> usize {
        let is_open =
            |file: &Arc<OpenFile>| file.writers.load(Ordering::Acquire) > 0 && !file.state().is_stale;
        let open = self.files.all().into_iter().filter(is_open).map(|file| file.number);
        let mut numbers: HashSet<u64> = open.collect();
        numbers.extend(self.unseen_files(&self.core()).into_iter().map(|written| written.number));
        numbers.len()
    }

    /// Makes the system see what is written through mappings of a file. Of one that is written directly it notes the
    /// time only when a page is written first after it was last written to the disk; what comes through here comes some
    /// time later. Returns whether there was anything, such that something may have been written unseen just now.
    #[must_use]
    pub fn expose_mapped_writes(&self, number: u64) -> bool {
        if self.expose_mapped(number) {
            return true;
        }
        let written =
            self.files.get(number).filter(|file| is_written_directly(file)).and_then(|file| top(&file));
        let unseen = || self.unseen_files(&self.core()).into_iter().find(|file| file.number == number);
        written.or_else(unseen).is_some_and(|written| self.expose(&written))
    }

    /// The same for all files, with the time of the last change that the system had seen before.
    pub(super) fn expose_all(&self) -> HashMap<u64, Moment> {
        let mut before = HashMap::new();
        let open = self.files.all().into_iter().filter(|file| is_written_directly(file));
        let open: Vec<Written> = open.filter_map(|file| top(&file)).collect();
        // The loop waits for the disk, which nobody else is to wait for.
        let unseen = self.unseen_files(&self.core());
        for written in open.into_iter().chain(unseen) {
            if let Ok(status) = sparse::status(&written.file) {
                before.insert(written.number, moment(&status));
                self.expose(&written);
            }
        }
        before
    }

    fn expose(&self, written: &Written) -> bool {
        if !write_back::is_pending(&written.file) {
            return false;
        }
        let refused =
            |source| StorageError { operation: "sync", path: self.data.shown(written.layer), source };
        let synced = sparse::sync(&written.file, false).map_err(refused);
        let synced = self.note_sync(written.number, written.layer, synced);
        // It was noted, and the commit tells.
        synced.unwrap_or_else(|error| log::debug!("{error}: {}", error.source));
        true
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
            _ => self.changed_name(number)?.ok_or(StagingError::Stale { number }),
        }
    }

    // The first name that was changed and leads to an object; all changed ones are looked at.
    fn changed_name(&self, number: u64) -> Result<Option<(u64, Vec<u8>)>, StagingError> {
        let core = self.core();
        for row in self.store.all_entries(&Home::new(0, b"")) {
            let (home, row) = row?;
            if core.is_valid(row.epoch) && row.target.is_some_and(|(_, found)| found == number) {
                return Ok(Some((home.directory, home.name.into_vec())));
            }
        }
        Ok(None)
    }
}
