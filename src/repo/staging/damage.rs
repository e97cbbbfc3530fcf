//! A staging tree that is damaged: found out before an empty one is taken for it, and set aside when its client begins
//! anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory;
use super::error::StagingError;
use super::tree::StagingTree;
use crate::id::ClientName;
use crate::index::staging::{StagingStore, TreeState};
use crate::path;
use crate::repo::Repository;
use crate::storage::byte_locks::ByteLocks;
use crate::storage::sparse::SparseDirectory;

/// Directory of the database.
const META: &str = "meta";
/// Directory of the backing files.
pub(super) const DATA: &str = "data";
const LOCK: &str = "LOCK";

/// A damaged tree that was set aside with all that is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its directory now.
    pub path: PathBuf,
    /// Count of backing files: one, or a few, for each file that was written.
    pub file_count: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

fn shown(path: &Path) -> String {
    path::display(path.as_os_str().as_encoded_bytes())
}

/// Opens the database of a tree. One that is missing is made only if nothing was written: an empty one would be taken for
/// what was lost.
pub(super) fn open_store(path: &Path) -> Result<StagingStore, StagingError> {
    let meta = path.join(META);
    if !StagingStore::is_there(&meta) {
        check_data(path, false)?;
    }
    Ok(StagingStore::open(&meta)?)
}

/// Where the tree stands; nothing if it is new. Database and backing files must be those of one tree.
pub(super) fn state(path: &Path, store: &StagingStore) -> Result<Option<TreeState>, StagingError> {
    let state = store.state()?;
    check_data(path, state.is_some())?;
    Ok(state)
}

fn check_data(path: &Path, is_known: bool) -> Result<(), StagingError> {
    let data = path.join(DATA);
    if is_known {
        let expected = "the directory of what was written";
        return match data.is_dir() {
            true => Ok(()),
            false => Err(StagingError::Damaged { path: shown(&data), expected, found: "nothing".to_owned() }),
        };
    }
    if !data.is_dir() {
        return Ok(());
    }
    let (file_count, _) = count(&data)?;
    let expected = "a database that names what was written";
    let found = || format!("none, and {file_count} files in {}", shown(&data));
    match file_count {
        0 => Ok(()),
        _ => Err(StagingError::Damaged { path: shown(&path.join(META)), expected, found: found() }),
    }
}

// Backing files, and bytes that they take.
fn count(data: &Path) -> Result<(u64, u64), StagingError> {
    let data = SparseDirectory::open(data)?;
    let (mut file_count, mut bytes) = (0, 0);
    for group in data.groups()? {
        // The first is made for a moment, to try the file system.
        for id in data.ids(group)?.into_iter().filter(|id| *id > 0) {
            file_count += 1;
            bytes += data.status(id).map_or(0, |status| status.allocated);
        }
    }
    Ok((file_count, bytes))
}

impl StagingTree {
    /// Reads every row of the database.
    ///
    /// # Errors
    /// [`StagingError`] at the first that cannot be read.
    pub fn check(&self) -> Result<(), StagingError> {
        Ok(self.store.check()?)
    }

    /// Takes the tree out of use before it is set aside: open files become stale, and another one may have its client.
    pub fn abandon(&self) {
        for file in self.files.take_all() {
            file.state_mut().is_stale = true;
        }
        self.claim.release();
    }

    /// Sets a damaged tree aside: its client has no staging then. `mark` becomes part of its new name;
    /// `is_ours` says that this process had it open.
    ///
    /// # Errors
    /// [`StagingError::Mounted`] if another process has it open, or why it cannot be renamed.
    pub fn set_aside(
        repository: &Repository,
        client: &ClientName,
        mark: &str,
        is_ours: bool,
    ) -> Result<SetAside, StagingError> {
        let path = directory::path(repository, client)?;
        let lock = path.join(META).join(LOCK);
        // To close the file would take the lock from this process.
        if !is_ours
            && let Some(lock) = ByteLocks::open_existing(&lock)?
            && lock.is_locked_elsewhere(0)?
        {
            return Err(StagingError::Mounted);
        }
        let (file_count, bytes) = match fs::symlink_metadata(path.join(DATA)) {
            Ok(found) if found.is_dir() => count(&path.join(DATA))?,
            _ => (0, 0),
        };
        let path = directory::set_aside(repository, client, mark)?;
        Ok(SetAside { path, file_count, bytes })
    }
}
