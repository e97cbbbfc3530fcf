//! A cache on disk for what was read from cartridges, bounded in bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::id::FileId;

/// A run of blocks on a cartridge: its first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtentKey {
    /// The cartridge.
    pub volume: FileId,
    /// Logical object identifier of the first block.
    pub first_loi: u64,
}

/// A run in the cache.
#[derive(Debug, Clone)]
struct Known {
    len_bytes: u64,
    // Numbers of the blocks that could not be read, from 0.
    bad_blocks: Arc<[u32]>,
    // When it was used last.
    used: u64,
}

/// Files of one run of blocks each, of which those that were not used for longest are removed.
///
/// What is in them needs no checksum: whoever reads verifies, as if it came from tape.
#[derive(Debug)]
pub struct ExtentCache {
    directory: PathBuf,
    bytes_max: u64,
    bytes: u64,
    known: BTreeMap<ExtentKey, Known>,
    by_use: BTreeSet<(u64, ExtentKey)>,
    uses: u64,
}

impl ExtentCache {
    /// Begins with an empty directory: what another process left there is removed.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub fn create(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            bytes_max,
            bytes: 0,
            known: BTreeMap::new(),
            by_use: BTreeSet::new(),
            uses: 0,
        })
    }

    /// Opens a run that is there, and takes note that it was used; with the numbers of the blocks of it that could not
    /// be read, from 0.
    pub fn open(&mut self, key: ExtentKey) -> Option<(File, Arc<[u32]>)> {
        let file = self.known.contains_key(&key).then(|| File::open(self.path(key)).ok()).flatten()?;
        let known = self.known.get_mut(&key)?;
        self.uses += 1;
        let before = std::mem::replace(&mut known.used, self.uses);
        self.by_use.remove(&(before, key));
        self.by_use.insert((self.uses, key));
        Some((file, Arc::clone(&known.bad_blocks)))
    }

    /// Tells whether a run is there.
    #[must_use]
    pub fn contains(&self, key: ExtentKey) -> bool {
        self.known.contains_key(&key)
    }

    /// Takes a run in, with the numbers of the blocks of it that could not be read, from 0.
    ///
    /// # Errors
    /// The refusal of the file system; then it is not there.
    pub fn insert(&mut self, key: ExtentKey, bytes: &[u8], bad_blocks: Vec<u32>) -> io::Result<()> {
        let len = bytes.len() as u64;
        while self.bytes + len > self.bytes_max && self.remove_oldest()? {}
        let path = self.path(key);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(bytes, 0)?;
        self.uses += 1;
        let known = Known { len_bytes: len, bad_blocks: bad_blocks.into(), used: self.uses };
        if let Some(before) = self.known.insert(key, known) {
            self.by_use.remove(&(before.used, key));
            self.bytes -= before.len_bytes;
        }
        self.by_use.insert((self.uses, key));
        self.bytes += len;
        Ok(())
    }

    // Who has it open still reads it.
    fn remove_oldest(&mut self) -> io::Result<bool> {
        let Some((_, key)) = self.by_use.pop_first() else { return Ok(false) };
        if let Some(known) = self.known.remove(&key) {
            self.bytes -= known.len_bytes;
        }
        fs::remove_file(self.path(key))?;
        Ok(true)
    }

    fn path(&self, key: ExtentKey) -> PathBuf {
        self.directory.join(format!("{}-{}", key.volume, key.first_loi))
    }
}

impl Drop for ExtentCache {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            log::info!("{} stays: {error}", self.directory.display());
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut cache = ExtentCache::create(&directory.path().join("blocks"), 300).expect("created");
        let key = |first_loi| ExtentKey { volume: FileId([7; 16]), first_loi };
        for first_loi in 0..3 {
            cache.insert(key(first_loi), &[1; 100], Vec::new()).expect("written");
        }
        assert!(cache.open(key(0)).is_some());
        cache.insert(key(3), &[2; 100], Vec::new()).expect("written");
        assert_eq!([0, 1, 2, 3].map(|loi| cache.contains(key(loi))), [true, false, true, true]);
        cache.insert(key(4), &[3; 250], Vec::new()).expect("written");
        assert_eq!(cache.bytes, 250);
        let root = directory.path().join("blocks");
        assert_eq!(fs::read_dir(&root).expect("listed").count(), 1);
        drop(cache);
        assert!(!root.exists());
    }
}
