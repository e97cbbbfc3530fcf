//! The extents of a file on its way into a generation, in ascending order and of any number.
//!
//! So many as fit into a bounded piece of memory are kept there; more wait in a file beside the DTF under
//! construction, which is gone when the list is dropped or, after a crash, when the next writer begins:
//!
//! ```text
//! list: for each extent its key in an extent tree 8, length of the value 2 (little-endian), value
//! ```

use std::sync::Arc;

use super::error::{ReadError, RepoError};
use crate::format::FormatError;
use crate::format::record::Extent;
use crate::storage::{ReadFile, Storage, WriteFile};

// About 90 bytes each.
const RECENT_COUNT_MAX: usize = 1 << 12;
const BUFFER_LEN: usize = 64 << 10;
const KEY_LEN: usize = 8;
const HEAD_LEN: usize = KEY_LEN + 2;

/// Extents of one file.
#[derive(Debug, Default)]
pub struct ExtentList {
    // Where to write what does not fit.
    place: Option<(Arc<dyn Storage>, String)>,
    spilled: Option<Box<dyn WriteFile>>,
    recent: Vec<Extent>,
    count: u64,
    len_bytes: u64,
}

impl From<Vec<Extent>> for ExtentList {
    /// A list that stays in memory.
    fn from(extents: Vec<Extent>) -> Self {
        let (count, len_bytes) = (extents.len() as u64, extents.iter().map(|extent| extent.len).sum());
        Self { place: None, spilled: None, count, len_bytes, recent: extents }
    }
}

impl ExtentList {
    /// Starts empty; `name` is that of the file, if one is needed.
    pub(super) fn new(storage: Arc<dyn Storage>, name: String) -> Self {
        let place = Some((storage, name));
        Self { place, spilled: None, recent: Vec::new(), count: 0, len_bytes: 0 }
    }

    /// Extents in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes that the extents cover.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Extents in memory.
    #[must_use]
    pub fn memory_count(&self) -> usize {
        self.recent.len()
    }

    /// Adds an extent behind all others.
    ///
    /// # Errors
    /// [`RepoError`] if memory ran over and the storage refuses.
    pub fn push(&mut self, extent: Extent) -> Result<(), RepoError> {
        if self.recent.len() >= RECENT_COUNT_MAX && self.place.is_some() {
            self.spill()?;
        }
        self.recent.push(extent);
        self.count += 1;
        self.len_bytes += extent.len;
        Ok(())
    }

    fn spill(&mut self) -> Result<(), RepoError> {
        let Some((storage, name)) = &self.place else { return Ok(()) };
        let file = match self.spilled.take() {
            Some(file) => file,
            None => storage.create(name)?,
        };
        let file = self.spilled.insert(file);
        let mut bytes = Vec::with_capacity(self.recent.len() * 90);
        for extent in self.recent.drain(..) {
            bytes.extend_from_slice(&Extent::key(extent.offset));
            let head = bytes.len();
            bytes.extend_from_slice(&[0; 2]);
            extent.put_value(&mut bytes);
            let len = u16::try_from(bytes.len() - head - 2).expect("a value has 100 bytes at most");
            if let Some(place) = bytes.get_mut(head..head + 2) {
                place.copy_from_slice(&len.to_le_bytes());
            }
        }
        Ok(file.append(&bytes)?)
    }

    /// The extents as a short list, if they are few.
    pub(super) fn short(&self, count_max: usize) -> Option<&[Extent]> {
        (self.count <= count_max as u64).then_some(&self.recent[..])
    }

    /// The extents in order.
    ///
    /// # Errors
    /// [`RepoError`] if what was written out cannot be opened.
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Extent, RepoError>> + '_, RepoError> {
        let spilled = match (&self.spilled, &self.place) {
            (Some(_), Some((storage, name))) => Some(Spilled::open(&**storage, name)?),
            _ => None,
        };
        Ok(spilled.into_iter().flatten().chain(self.recent.iter().map(|extent| Ok(*extent))))
    }
}

impl Drop for ExtentList {
    fn drop(&mut self) {
        if self.spilled.take().is_some()
            && let Some((storage, name)) = &self.place
            && let Err(error) = storage.remove(name)
        {
            log::warn!("a list of extents is left: {error}");
        }
    }
}

// The extents that were written out.
struct Spilled {
    file: Box<dyn ReadFile>,
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl Spilled {
    fn open(storage: &dyn Storage, name: &str) -> Result<Self, RepoError> {
        Ok(Self { file: storage.open(name)?, offset: 0, buffer: Vec::new(), start: 0 })
    }

    fn fill(&mut self) -> Result<(), RepoError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let left = usize::try_from(self.file.len() - self.offset).unwrap_or(usize::MAX);
        let (filled, more) = (self.buffer.len(), BUFFER_LEN.min(left));
        self.buffer.resize(filled + more, 0);
        if let Some(target) = self.buffer.get_mut(filled..) {
            self.file.read_exact_at(target, self.offset)?;
        }
        self.offset += more as u64;
        Ok(())
    }

    fn decode(&self) -> Option<(Result<Extent, FormatError>, usize)> {
        let rest = self.buffer.get(self.start..)?;
        let (key, after) = rest.split_at_checked(KEY_LEN)?;
        let (len, after) = after.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len));
        Some((Extent::decode(key, after.get(..len)?), HEAD_LEN + len))
    }
}

impl Iterator for Spilled {
    type Item = Result<Extent, RepoError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.decode().is_none()
            && let Err(error) = self.fill()
        {
            return Some(Err(error));
        }
        let (extent, len) = self.decode()?;
        self.start += len;
        let offset = self.offset;
        let format = |source| ReadError::Format { path: self.file.path().to_owned(), offset, source };
        Some(extent.map_err(|source| format(source).into()))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::format::frame::{ChunkPointer, Location};
    use crate::id::{FileId, Fingerprint};
    use crate::storage::MemoryStorage;

    fn extent(number: u64) -> Extent {
        let location = Location { file: FileId([7; 16]), frame: number << 20, start: 5 };
        let chunk = ChunkPointer { fingerprint: Fingerprint::of(&number.to_le_bytes()), len: 100, location };
        Extent { offset: number * 1000, len: 1 + number % 90, skip: 3, chunk }
    }

    #[test]
    fn extents_that_do_not_fit_into_memory_come_back_in_order_and_leave_nothing() {
        let storage = MemoryStorage::new();
        let mut list = ExtentList::new(Arc::new(storage.clone()), "list".to_owned());
        let all: Vec<_> = (0..50_000).map(extent).collect();
        for extent in &all {
            list.push(*extent).expect("pushes");
            assert!(list.memory_count() <= RECENT_COUNT_MAX);
        }
        assert_eq!(storage.names(), ["list"]);
        for _ in 0..2 {
            let found: Vec<_> = list.iter().expect("opens").collect::<Result<_, _>>().expect("reads");
            assert_eq!(found, all);
        }
        assert_eq!(list.count(), all.len() as u64);
        assert_eq!(list.len_bytes(), all.iter().map(|extent| extent.len).sum::<u64>());
        drop(list);
        assert_eq!(storage.names(), Vec::<String>::new());
    }
}
