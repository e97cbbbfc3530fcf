//! The changes of records of a generation under construction, in any order of keys and of any number.
//!
//! So many as fit into a bounded piece of memory are kept there; more are written out in sorted runs beside
//! the DTF under construction, and merged when the tree is written. Of several changes of one key the last
//! one counts. A run is gone when the log is dropped or, after a crash, when the next writer begins:
//!
//! ```text
//! run: for each change key length 4, value length + 1 or 0 for a removal 4 (little-endian), key, value
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::RepoError;
use super::tree_writer::Change;
use crate::codec::len_u32;
use crate::storage::{ReadFile, Storage};

// Keys and values in memory before the first run is written out.
const RUN_LEN: usize = 4 << 20;
// After so many runs they are twice as long, a few times: memory stays bounded, and so do the files to be merged.
const RUNS_OF_ONE_LEN: usize = 16;
const DOUBLING_COUNT_MAX: usize = 3;
const BUFFER_LEN: usize = 64 << 10;
const HEAD_LEN: usize = 8;

/// Changes by key.
#[derive(Debug)]
pub(super) struct ChangeLog {
    storage: Arc<dyn Storage>,
    // Name of a run without its number and suffix.
    prefix: String,
    // Length of the first run.
    run_len: usize,
    recent: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    recent_len: usize,
    runs: Vec<String>,
    failed: Option<RepoError>,
}

impl ChangeLog {
    /// Starts without a change; runs have names that begin with `prefix`.
    pub(super) fn new(storage: Arc<dyn Storage>, prefix: String) -> Self {
        Self {
            storage,
            prefix,
            run_len: RUN_LEN,
            recent: BTreeMap::new(),
            recent_len: 0,
            runs: Vec::new(),
            failed: None,
        }
    }

    /// Tells whether there is no change.
    pub(super) fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.runs.is_empty()
    }

    /// Adds a change. That memory ran over and could not be written out is told by [`ChangeLog::merged`].
    pub(super) fn insert(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.recent_len += key.len() + value.as_ref().map_or(0, Vec::len) + 64;
        self.recent.insert(key, value);
        if self.recent_len >= self.run_len << (self.runs.len() / RUNS_OF_ONE_LEN).min(DOUBLING_COUNT_MAX)
            && self.failed.is_none()
            && let Err(error) = self.write_run()
        {
            self.failed = Some(error);
        }
    }

    fn write_run(&mut self) -> Result<(), RepoError> {
        let name = format!("{}.changes-{}.partial", self.prefix, self.runs.len());
        let mut file = self.storage.create(&name)?;
        self.runs.push(name);
        let mut buffer = Vec::with_capacity(BUFFER_LEN * 2);
        for (key, value) in std::mem::take(&mut self.recent) {
            let value_len = value.as_ref().map_or(0, |value| len_u32(value.len()) + 1);
            buffer.extend_from_slice(&len_u32(key.len()).to_le_bytes());
            buffer.extend_from_slice(&value_len.to_le_bytes());
            buffer.extend_from_slice(&key);
            buffer.extend_from_slice(value.as_deref().unwrap_or_default());
            if buffer.len() >= BUFFER_LEN {
                file.append(&buffer)?;
                buffer.clear();
            }
        }
        file.append(&buffer)?;
        self.recent_len = 0;
        Ok(())
    }

    /// All changes in ascending order of keys.
    ///
    /// # Errors
    /// [`RepoError`] if a run could not be written or cannot be read.
    pub(super) fn merged(&mut self) -> Result<Merged, RepoError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut sources = Vec::with_capacity(self.runs.len() + 1);
        for name in &self.runs {
            sources.push(Source::new(Records::Run(Run::open(&*self.storage, name)?))?);
        }
        sources.push(Source::new(Records::Recent(std::mem::take(&mut self.recent).into_iter()))?);
        Ok(Merged { sources, failed: None })
    }

    /// Removes the runs.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses; the next writer removes what is left.
    pub(super) fn clear(&mut self) -> Result<(), RepoError> {
        self.recent.clear();
        for name in self.runs.drain(..) {
            self.storage.remove(&name)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Run {
    file: Box<dyn ReadFile>,
    // Offset in the file of what follows the buffer.
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl Run {
    fn open(storage: &dyn Storage, name: &str) -> Result<Self, RepoError> {
        Ok(Self { file: storage.open(name)?, offset: 0, buffer: Vec::new(), start: 0 })
    }

    // Takes the next `len` bytes, of which there are so many unless the file was cut short.
    fn take(&mut self, len: usize) -> Result<Vec<u8>, RepoError> {
        if self.buffer.len() - self.start < len {
            self.buffer.drain(..self.start);
            self.start = 0;
            let missing = len - self.buffer.len();
            let left = usize::try_from(self.file.len() - self.offset).unwrap_or(usize::MAX);
            let more = missing.max(BUFFER_LEN.min(left));
            let filled = self.buffer.len();
            self.buffer.resize(filled + more, 0);
            let target = self.buffer.get_mut(filled..).unwrap_or_default();
            self.file.read_exact_at(target, self.offset)?;
            self.offset += more as u64;
        }
        let end = self.start + len;
        let taken = self.buffer.get(self.start..end).unwrap_or_default().to_vec();
        self.start = end;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<Change>, RepoError> {
        if self.start == self.buffer.len() && self.offset >= self.file.len() {
            return Ok(None);
        }
        let head = self.take(HEAD_LEN)?;
        let number = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        let key_len = number(head.first_chunk());
        let value_len = number(head.last_chunk());
        let key = self.take(key_len)?;
        let value = match value_len.checked_sub(1) {
            Some(len) => Some(self.take(len)?),
            None => None,
        };
        Ok(Some((key, value)))
    }
}

#[derive(Debug)]
enum Records {
    Run(Run),
    Recent(std::collections::btree_map::IntoIter<Vec<u8>, Option<Vec<u8>>>),
}

#[derive(Debug)]
struct Source {
    records: Records,
    first: Option<Change>,
}

impl Source {
    fn new(records: Records) -> Result<Self, RepoError> {
        let mut source = Self { records, first: None };
        source.step()?;
        Ok(source)
    }

    // Takes the first change and reads the next.
    fn step(&mut self) -> Result<Option<Change>, RepoError> {
        let next = match &mut self.records {
            Records::Run(run) => run.next()?,
            Records::Recent(recent) => recent.next(),
        };
        Ok(std::mem::replace(&mut self.first, next))
    }
}

/// The changes of all runs in ascending order of keys; later runs win.
#[derive(Debug)]
pub(super) struct Merged {
    // From the oldest run to what was in memory.
    sources: Vec<Source>,
    failed: Option<RepoError>,
}

impl Merged {
    /// Tells whether all changes were returned; the iterator ends early when a run cannot be read.
    ///
    /// # Errors
    /// [`RepoError`] if it ended early.
    pub(super) fn finish(self) -> Result<(), RepoError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn next_change(&mut self) -> Result<Option<Change>, RepoError> {
        let keys = self.sources.iter().filter_map(|source| Some(&source.first.as_ref()?.0));
        let Some(key) = keys.min().cloned() else { return Ok(None) };
        let mut last = None;
        for source in &mut self.sources {
            if source.first.as_ref().is_some_and(|(first, _)| *first == key) {
                last = source.step()?;
            }
        }
        Ok(last)
    }
}

impl Iterator for Merged {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        if self.failed.is_some() {
            return None;
        }
        match self.next_change() {
            Ok(change) => change,
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::storage::MemoryStorage;

    fn log(storage: &MemoryStorage) -> ChangeLog {
        let mut log = ChangeLog::new(Arc::new(storage.clone()), "run".to_owned());
        log.run_len = 2000;
        log
    }

    #[test]
    fn changes_that_do_not_fit_into_memory_come_back_in_order_and_the_last_one_of_a_key_counts() {
        let storage = MemoryStorage::new();
        let mut log = log(&storage);
        let mut expected = BTreeMap::new();
        for number in 0..1000_u32 {
            let key = (number.wrapping_mul(2_654_435_761) % 400).to_be_bytes().to_vec();
            let value = (number % 3 > 0).then(|| vec![7; (number % 90) as usize]);
            expected.insert(key.clone(), value.clone());
            log.insert(key, value);
        }
        assert!(log.runs.len() > 10, "{}", log.runs.len());
        let mut merged = log.merged().expect("readable");
        assert_eq!(merged.by_ref().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        merged.finish().expect("complete");
        log.clear().expect("removed");
        assert_eq!(storage.names(), Vec::<String>::new());
    }

    #[test]
    fn a_run_that_cannot_be_written_is_told_before_the_tree_is() {
        let storage = MemoryStorage::new();
        let mut log = log(&storage);
        storage.set_fault(2, crate::storage::Fault::Once(libc::EIO));
        for number in 0..100_u32 {
            log.insert(number.to_be_bytes().to_vec(), Some(vec![1; 50]));
        }
        assert!(log.merged().is_err());
    }
}
