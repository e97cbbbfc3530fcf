//! Brings data back from tape for those who read at any offset: in the order of the tape, ahead of them, and through
//! a cache on disk.
//!
//! The unit is a run of up to 32 blocks. One thread has the drive; what is asked for waits in a queue, of which it
//! takes first what is on the cartridge in the drive, from the present position on. A cartridge that is not in the
//! library is an error at once: nobody waits for a person.

mod queue;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use self::queue::{Queue, Ticket};
use super::catalogue::Catalogue;
use super::devices::{LibraryAddress, LibraryInputs};
use super::extents::{ExtentCache, ExtentKey};
use super::storage::BlockReader;
use crate::id::FileId;
use crate::progress::Progress;
use crate::tape::archive::{BLOCK_LEN, BlockAddress};
use crate::tape::drive::DriveOptions;

/// Most blocks of a run: 16 MiB, which a drive reads faster than it finds a place.
pub const RUN_BLOCKS: u64 = 32;

/// How data is recalled.
#[derive(Debug, Clone)]
pub struct RecallOptions {
    /// Where the cartridges are.
    pub library: LibraryAddress,
    /// Number of the drive to use; any if not given.
    pub drive: Option<usize>,
    /// Directory of the cache; it is emptied at the start and removed at the end.
    pub cache: PathBuf,
    /// Bound of the cache in bytes.
    pub cache_bytes_max: u64,
    /// Runs that are read ahead of who reads in order.
    pub ahead: u64,
    /// Longest wait for a free drive.
    pub drive_wait: Duration,
    /// A cartridge that nobody read from for so long is put away.
    pub idle: Duration,
    /// How the drive is used.
    pub drive_options: DriveOptions,
}

/// Runs of full blocks on a cartridge: first block, and the one behind the last.
type Parts = Arc<Vec<(u64, u64)>>;

#[derive(Debug)]
struct Shared {
    catalogue: Catalogue,
    inputs: LibraryInputs,
    options: RecallOptions,
    queue: Queue,
    cache: Mutex<ExtentCache>,
    parts: Mutex<BTreeMap<FileId, Parts>>,
    progress: Arc<Progress>,
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, ExtentCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self, volume: FileId) -> io::Result<Parts> {
        let mut known = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = known.get(&volume) {
            return Ok(Arc::clone(parts));
        }
        let segments = self.catalogue.segments(volume).map_err(|error| {
            log::warn!("{}", crate::job::chain(&error));
            io::Error::from_raw_os_error(libc::EIO)
        })?;
        let mut ranges: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for segment in segments.iter().filter(|segment| segment.len > 0) {
            let last = segment.address.plus(segment.len - 1).loi;
            let range = ranges.entry(segment.part).or_insert((segment.address.loi, last + 1));
            *range = (range.0.min(segment.address.loi), range.1.max(last + 1));
        }
        let parts: Parts = Arc::new(ranges.into_values().collect());
        known.insert(volume, Arc::clone(&parts));
        Ok(parts)
    }

    // The run that holds a block: it never crosses a filemark.
    fn run(&self, volume: FileId, loi: u64) -> io::Result<(ExtentKey, u64)> {
        let parts = self.parts(volume)?;
        let (first, end) = parts
            .iter()
            .find(|(first, end)| (*first..*end).contains(&loi))
            .copied()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))?;
        let aligned = loi - loi % RUN_BLOCKS;
        let start = aligned.max(first);
        Ok((ExtentKey { volume, first_loi: start }, (aligned + RUN_BLOCKS).min(end) - start))
    }
}

/// Reads cartridges for others.
#[derive(Debug)]
pub struct Recall {
    shared: Arc<Shared>,
}

impl Recall {
    /// Starts the thread, which moves nothing until something is asked for, and ends when this is dropped.
    ///
    /// # Errors
    /// The refusal of the cache's directory or of a thread.
    pub fn start(
        catalogue: Catalogue,
        inputs: LibraryInputs,
        options: RecallOptions,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let cache = ExtentCache::create(&options.cache, options.cache_bytes_max)?;
        let shared = Arc::new(Shared {
            catalogue,
            inputs,
            options,
            queue: Queue::default(),
            cache: Mutex::new(cache),
            parts: Mutex::default(),
            progress,
        });
        let worker = Arc::clone(&shared);
        thread::Builder::new().name("recall".to_owned()).spawn(move || worker::run(&worker))?;
        Ok(Self { shared })
    }

    /// Asks for the run that holds a block without waiting for it.
    ///
    /// # Errors
    /// `EIO` if the catalogue knows no such block.
    pub fn prefetch(&self, volume: FileId, loi: u64) -> io::Result<()> {
        let (key, blocks) = self.shared.run(volume, loi)?;
        if !self.shared.cache().contains(key) {
            self.shared.queue.ask(key, blocks);
        }
        Ok(())
    }

    // Tells whether bytes were copied; if not, the run has to be asked for.
    fn copy_cached(&self, key: ExtentKey, skip: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let file = self.shared.cache().open(key);
        match file {
            Some(file) => file.read_exact_at(buffer, skip).map(|()| true),
            None => Ok(false),
        }
    }

    fn read_run(&self, key: ExtentKey, blocks: u64, skip: u64, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            if self.copy_cached(key, skip, buffer)? {
                return Ok(());
            }
            let ticket: Arc<Ticket> = self.shared.queue.ask(key, blocks);
            // It may have come between the two looks.
            if self.copy_cached(key, skip, buffer)? {
                return Ok(());
            }
            ticket.wait()?;
        }
    }
}

impl Drop for Recall {
    fn drop(&mut self) {
        self.shared.queue.stop();
    }
}

impl BlockReader for Recall {
    fn read(&self, volume: FileId, address: BlockAddress, buffer: &mut [u8]) -> io::Result<()> {
        let (mut address, mut left) = (address, buffer);
        while !left.is_empty() {
            let (key, blocks) = self.shared.run(volume, address.loi)?;
            let skip = (address.loi - key.first_loi) * BLOCK_LEN as u64 + u64::from(address.byte);
            let there = blocks * BLOCK_LEN as u64 - skip;
            let len = usize::try_from(there).unwrap_or(usize::MAX).min(left.len());
            let (now, later) = left.split_at_mut(len);
            self.read_run(key, blocks, skip, now)?;
            address = address.plus(len as u64);
            left = later;
        }
        Ok(())
    }
}
