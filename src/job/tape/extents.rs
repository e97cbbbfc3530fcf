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
    // It was read to its end: who reads in order has no more use for it.
    is_behind: bool,
}

impl Known {
    fn place(&self, key: ExtentKey) -> Place {
        (!self.is_behind, self.used, key)
    }
}

// What is removed first comes first.
type Place = (bool, u64, ExtentKey);

/// How near to its end a run has to be read to be behind its readers, in bytes: what comes after the last data of a
/// file of the archive is never read.
const END_BYTES: u64 = 64 << 10;

/// Files of one run of blocks each. Those that were read to their ends are removed first, then those that were not used
/// for longest.
///
/// What is in them needs no checksum: whoever reads verifies, as if it came from tape.
#[derive(Debug)]
pub struct ExtentCache {
    directory: PathBuf,
    bytes_max: u64,
    bytes: u64,
    known: BTreeMap<ExtentKey, Known>,
    by_use: BTreeSet<Place>,
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

    /// Opens a run that is there, and takes note that it is used up to the byte `end`; with the numbers of the blocks of
    /// it that could not be read, from 0.
    pub fn open(&mut self, key: ExtentKey, end: u64) -> Option<(File, Arc<[u32]>)> {
        let file = self.known.contains_key(&key).then(|| File::open(self.path(key)).ok()).flatten()?;
        let known = self.known.get_mut(&key)?;
        self.uses += 1;
        self.by_use.remove(&known.place(key));
        known.used = self.uses;
        known.is_behind |= end.saturating_add(END_BYTES.min(known.len_bytes / 4)) >= known.len_bytes;
        self.by_use.insert(known.place(key));
        Some((file, Arc::clone(&known.bad_blocks)))
    }

    /// Bytes that can come in without driving out what may still be read: what is free, and what was read to its end,
    /// but for the run that was used last.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let behind = self.known.values().filter(|known| known.is_behind && known.used != self.uses);
        let behind: u64 = behind.map(|known| known.len_bytes).sum();
        self.bytes_max.saturating_sub(self.bytes) + behind
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
        let bad_blocks = bad_blocks.into();
        let known = Known { len_bytes: len, bad_blocks, used: self.uses, is_behind: false };
        self.by_use.insert(known.place(key));
        if let Some(before) = self.known.insert(key, known) {
            self.by_use.remove(&before.place(key));
            self.bytes -= before.len_bytes;
        }
        self.bytes += len;
        Ok(())
    }

    /// Removes what is there and takes nothing in any more.
    pub fn end(&mut self) {
        (self.bytes, self.bytes_max) = (0, 0);
        self.known.clear();
        self.by_use.clear();
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::info!("{} stays: {error}", self.directory.display());
            }
            _ => {}
        }
    }

    // Who has it open still reads it.
    fn remove_oldest(&mut self) -> io::Result<bool> {
        let Some((_, _, key)) = self.by_use.pop_first() else { return Ok(false) };
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
        self.end();
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
        assert!(cache.open(key(0), 1).is_some());
        cache.insert(key(3), &[2; 100], Vec::new()).expect("written");
        assert_eq!([0, 1, 2, 3].map(|loi| cache.contains(key(loi))), [true, false, true, true]);
        cache.insert(key(4), &[3; 250], Vec::new()).expect("written");
        assert_eq!(cache.bytes, 250);
        let root = directory.path().join("blocks");
        assert_eq!(fs::read_dir(&root).expect("listed").count(), 1);
        drop(cache);
        assert!(!root.exists());
    }

    #[test]
    fn what_was_read_to_its_end_goes_before_what_was_not() {
        const LEN: u64 = 100 << 10;
        let directory = tempfile::tempdir().expect("a directory");
        let mut cache = ExtentCache::create(&directory.path().join("blocks"), 3 * LEN).expect("created");
        let key = |first_loi| ExtentKey { volume: FileId([7; 16]), first_loi };
        let bytes = vec![1; usize::try_from(LEN).expect("it fits")];
        for first_loi in 0..3 {
            assert_eq!(cache.room_bytes(), (3 - first_loi) * LEN);
            cache.insert(key(first_loi), &bytes, Vec::new()).expect("written");
        }
        assert!(cache.open(key(0), 10).is_some());
        assert!(cache.open(key(1), LEN).is_some());
        assert_eq!(cache.room_bytes(), 0, "it may be read further");
        assert!(cache.open(key(2), 10).is_some());
        assert_eq!(cache.room_bytes(), LEN);
        cache.insert(key(3), &bytes, Vec::new()).expect("written");
        assert_eq!([0, 1, 2, 3].map(|loi| cache.contains(key(loi))), [true, false, true, true]);
        cache.insert(key(4), &bytes, Vec::new()).expect("written");
        assert_eq!([0, 2, 3, 4].map(|loi| cache.contains(key(loi))), [false, true, true, true]);
    }
}
