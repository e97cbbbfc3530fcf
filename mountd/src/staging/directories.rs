//! Open directories. Where each stands is also in a table that the supervisor keeps, a file in memory: after the
//! server was killed the kernel asks for what follows a name that may be removed by then.
//!
//! ```text
//! at each 2 MiB   handle (0: free), length of the rest, then of each name that may be asked about its length
//!                 (2 bytes) and bytes
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reelfs::repo::staging::Listing;
use rustix::fs::{FallocateFlags, fallocate};

// More than an answer has of names; what is not written takes no memory.
const RECORD_LEN_MAX: u64 = 2 << 20;
const HEADER_LEN: usize = 12;
// A longer record gives its memory back at the end.
const KEPT_LEN_MAX: usize = 4096;

#[derive(Debug)]
struct Open {
    listing: Option<Arc<Mutex<Listing>>>,
    // Index of its record, and the record's length.
    record: Option<(u64, usize)>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<u64, Open>,
    free: Vec<u64>,
    record_count: u64,
    next: u64,
}

/// Where listings stand, by handle.
#[derive(Debug)]
pub(crate) struct Directories {
    table: File,
    state: Mutex<State>,
}

impl Directories {
    /// Begins a table, or goes on with that of the server before, in the era after its.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn open(table: OwnedFd, era: u32) -> io::Result<Self> {
        let table = File::from(table);
        let mut state = State {
            record_count: table.metadata()?.len().div_ceil(RECORD_LEN_MAX),
            next: u64::from(era) << 32 | 1,
            ..State::default()
        };
        for index in 0..state.record_count {
            match read_header(&table, index)? {
                (0, _) => state.free.push(index),
                (handle, len) => {
                    state.open.insert(handle, Open { listing: None, record: Some((index, len)) });
                }
            }
        }
        Ok(Self { table, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a listing and returns its handle.
    pub(crate) fn put(&self, listing: Listing) -> u64 {
        let mut state = self.state();
        let handle = state.next;
        state.next += 1;
        let listing = Some(Arc::new(Mutex::new(listing)));
        state.open.insert(handle, Open { listing, record: None });
        handle
    }

    /// The listing of a handle; `begin` makes it if a server before this one had it.
    ///
    /// # Errors
    /// That of `begin`.
    pub(crate) fn get<E>(
        &self,
        handle: u64,
        begin: impl FnOnce() -> Result<Listing, E>,
    ) -> Result<Arc<Mutex<Listing>>, E> {
        let mut state = self.state();
        let open = state.open.entry(handle).or_insert(Open { listing: None, record: None });
        if let Some(listing) = &open.listing {
            return Ok(Arc::clone(listing));
        }
        let mut listing = begin()?;
        if let Some((index, len)) = open.record {
            match self.read(index, len) {
                Ok(record) => names_of(&record).for_each(|name| listing.remember(name)),
                Err(error) => log::warn!("cannot read the table of open directories: {error}"),
            }
        }
        let listing = Arc::new(Mutex::new(listing));
        open.listing = Some(Arc::clone(&listing));
        Ok(listing)
    }

    /// Notes where a listing stands, before the kernel is answered.
    pub(crate) fn keep(&self, handle: u64, listing: &Listing) {
        let mut record = vec![0; HEADER_LEN];
        for name in listing.resume_names() {
            // Names have 255 bytes at most.
            let Ok(len) = u16::try_from(name.len()) else { continue };
            record.extend_from_slice(&len.to_ne_bytes());
            record.extend_from_slice(name);
        }
        let len = record.len();
        if len == HEADER_LEN {
            return;
        }
        let header = header_of(handle, len - HEADER_LEN);
        record.splice(..HEADER_LEN, header);
        let mut state = self.state();
        let Some(known) = state.open.get(&handle).map(|open| open.record) else { return };
        let index = known.map_or_else(|| state.take_record(), |(index, _)| index);
        if let Err(error) = self.table.write_all_at(&record, index * RECORD_LEN_MAX) {
            log::warn!("cannot write the table of open directories: {error}");
        }
        let kept_len = len.max(known.map_or(0, |(_, len)| len));
        if let Some(open) = state.open.get_mut(&handle) {
            open.record = Some((index, kept_len));
        }
    }

    /// Forgets a listing.
    pub(crate) fn remove(&self, handle: u64) {
        let mut state = self.state();
        let Some((index, len)) = state.open.remove(&handle).and_then(|open| open.record) else { return };
        let offset = index * RECORD_LEN_MAX;
        let freed = if len > KEPT_LEN_MAX {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.table, flags, offset, RECORD_LEN_MAX).map_err(io::Error::from)
        } else {
            self.table.write_all_at(&[0; HEADER_LEN], offset)
        };
        if let Err(error) = freed {
            log::warn!("cannot write the table of open directories: {error}");
        }
        state.free.push(index);
    }

    fn read(&self, index: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut record = vec![0; len];
        self.table.read_exact_at(&mut record, index * RECORD_LEN_MAX + HEADER_LEN as u64)?;
        Ok(record)
    }
}

impl State {
    fn take_record(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.record_count += 1;
            self.record_count - 1
        })
    }
}

fn header_of(handle: u64, len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let fields = handle.to_ne_bytes().into_iter().chain(u32::try_from(len).unwrap_or(0).to_ne_bytes());
    for (place, byte) in header.iter_mut().zip(fields) {
        *place = byte;
    }
    header
}

fn read_header(table: &File, index: u64) -> io::Result<(u64, usize)> {
    let mut header = [0; HEADER_LEN];
    table.read_exact_at(&mut header, index * RECORD_LEN_MAX)?;
    let [a, b, c, d, e, f, g, h, len @ ..] = header;
    let len = usize::try_from(u32::from_ne_bytes(len)).unwrap_or_default();
    Ok((u64::from_ne_bytes([a, b, c, d, e, f, g, h]), len.min(usize::try_from(RECORD_LEN_MAX).unwrap_or(0))))
}

fn names_of(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = record;
    std::iter::from_fn(move || {
        let (len, tail) = rest.split_first_chunk()?;
        let (name, tail) = tail.split_at_checked(usize::from(u16::from_ne_bytes(*len)))?;
        rest = tail;
        Some(name)
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_record_is_free_again_when_its_directory_is_closed() {
        let table = || OwnedFd::from(tempfile::tempfile().unwrap());
        let (first, second) = (table(), table());
        let copy = first.try_clone().unwrap();
        let directories = Directories::open(first, 1).unwrap();
        assert_eq!(directories.state().take_record(), 0);
        let header = header_of(7, 5);
        directories.table.write_all_at(&header, 0).unwrap();
        directories.table.write_all_at(b"\x03\0abc", HEADER_LEN as u64).unwrap();
        let next = Directories::open(copy, 2).unwrap();
        assert_eq!(next.state().open[&7].record, Some((0, 5)));
        let record = next.read(0, 5).unwrap();
        assert_eq!(names_of(&record).collect::<Vec<_>>(), [b"abc"]);
        next.remove(7);
        assert_eq!(next.state().take_record(), 0);
        assert_eq!(next.state().take_record(), 1);
        drop(Directories::open(second, 1).unwrap());
    }

    #[test]
    fn what_is_no_record_has_no_names() {
        assert_eq!(names_of(b"").count(), 0);
        assert_eq!(names_of(b"\x09\0abc").count(), 0);
        assert_eq!(names_of(b"\x01").count(), 0);
    }
}
