//! Files of which a sync failed: what was written to them may be lost, and the system says so only once.
//!
//! A later sync of the same backing file would end well whatever became of the bytes. So none is tried: a file
//! stays as it is here until it is written anew, from nothing, into another backing file. The process after this one
//! must know, too: `staging/CLIENT/unsynced` has a line for each, backing file and object in hexadecimal. It is a file
//! of its own because the database takes no rows when the disk has refused its log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::StagingError;
use super::tree::StagingTree;
use crate::index::staging::LayerRow;
use crate::storage::{StorageError, write_back};

// Longer than a line for each file of a million.
const LIST_LEN_MAX: u64 = 64 << 20;

/// Backing files of which a sync failed, and whose layers they are.
#[derive(Debug)]
pub(super) struct FailedSyncs {
    list: PathBuf,
    owners: Mutex<BTreeMap<u64, u64>>,
}

impl FailedSyncs {
    /// Takes up what the process before this one noted.
    pub(super) fn open(list: PathBuf) -> Result<Self, StagingError> {
        let mut text = Vec::new();
        let read = File::open(&list).and_then(|file| file.take(LIST_LEN_MAX).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(refused("read", &list)(error).into())
            }
            _ => Ok(Self { list, owners: Mutex::new(parse(&text)) }),
        }
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, number: u64, file: u64) {
        let mut owners = self.owners();
        if owners.insert(file, number).is_some() {
            return;
        }
        let noted = append(&self.list, &line(file, number));
        if let Err(error) = noted.map_err(refused("write", &self.list)) {
            log::error!("{error}: {}: a server that starts again will not know of it", error.source);
        }
    }

    /// Tells whether a sync of a backing file failed.
    pub(super) fn contains(&self, file: u64) -> bool {
        self.owners().contains_key(&file)
    }

    /// What was in a backing file is in another one, too.
    pub(super) fn follow(&self, from: u64, to: u64) {
        let owner = self.owners().get(&from).copied();
        if let Some(number) = owner {
            self.add(number, to);
        }
    }

    /// The backing files are gone.
    pub(super) fn forget(&self, files: &[u64]) {
        let mut owners = self.owners();
        let count = owners.len();
        for file in files {
            let _owner = owners.remove(file);
        }
        if owners.len() == count {
            return;
        }
        // Of a backing file that is gone the list may tell: no other gets its number.
        if let Err(error) = replace(&self.list, &owners).map_err(refused("write", &self.list)) {
            log::warn!("{error}: {}", error.source);
        }
    }
}

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = crate::path::display(path.as_os_str().as_encoded_bytes());
    move |source| StorageError { operation, path, source }
}

fn line(file: u64, number: u64) -> String {
    format!("{file:x} {number:x}\n")
}

// A line that is none was cut off.
fn parse(text: &[u8]) -> BTreeMap<u64, u64> {
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let pair = |line: &[u8]| {
        let (file, number) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some((u64::from_str_radix(file, 16).ok()?, u64::from_str_radix(number, 16).ok()?))
    };
    lines.filter_map(pair).collect()
}

fn append(list: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).mode(0o600).open(list)?;
    file.write_all(text.as_bytes())?;
    // A kill leaves it as it is; against a loss of power a disk that refuses syncs cannot hold it.
    if let Err(error) = file.sync_all() {
        log::warn!("{}: {error}", crate::path::display(list.as_os_str().as_encoded_bytes()));
    }
    Ok(())
}

fn replace(list: &Path, owners: &BTreeMap<u64, u64>) -> io::Result<()> {
    if owners.is_empty() {
        return fs::remove_file(list);
    }
    let partial = list.with_extension("partial");
    let mut text = String::new();
    for (file, number) in owners {
        text.write_str(&line(*file, *number)).expect("a string takes all");
    }
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, list)
}

impl StagingTree {
    /// Notes what became of a sync of a backing file.
    pub(super) fn note_sync(
        &self,
        number: u64,
        file: u64,
        synced: Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        synced.inspect_err(|error| {
            log::error!("{}: {}: what was written to it may be lost", error, error.source);
            // A list that is written needs space on a disk that may be full.
            let _room = self.make_room();
            self.failed_syncs.add(number, file);
        })
    }

    /// Tells whether something of what was written to these layers may be lost: a sync failed, or the system could
    /// not write later what it had taken.
    pub(super) fn has_lost_writes(&self, number: u64, layers: &[LayerRow], files: &[Arc<File>]) -> bool {
        let mut has_lost = false;
        for (layer, file) in layers.iter().zip(files) {
            let failed =
                |source| StorageError { operation: "write", path: self.data.shown(layer.file), source };
            has_lost |= self.failed_syncs.contains(layer.file)
                || self.note_sync(number, layer.file, write_back::check(file).map_err(failed)).is_err();
        }
        has_lost
    }

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
        let owners = self.failed_syncs.owners().clone();
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

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_failed_is_known_to_the_next_process_until_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("unsynced");
        let open = || FailedSyncs::open(list.clone()).unwrap();
        assert!(!open().contains(1));
        open().add(7, 1);
        open().add(8, u64::MAX);
        let failed = open();
        assert_eq!(*failed.owners(), [(1, 7), (u64::MAX, 8)].into());
        failed.forget(&[1, 5]);
        assert_eq!(*open().owners(), [(u64::MAX, 8)].into());
        failed.forget(&[u64::MAX]);
        assert!(!list.exists());
    }

    #[test]
    fn a_list_that_is_damaged_gives_what_can_be_read_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("unsynced");
        fs::write(&list, b"1 2\n\xff\n3\n-4 5\n fffffffffffffffff 1\na b\nc d").unwrap();
        assert_eq!(*FailedSyncs::open(list).unwrap().owners(), [(1, 2), (10, 11)].into());
    }
}
