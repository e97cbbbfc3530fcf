//! Brings data back from tape for those who read at any offset: in the order of the tape, ahead of them, and through
//! a cache on disk.
//!
//! The unit is a run of up to 16 MiB. What is asked for waits in a queue; a thread that has a drive takes first what
//! is on the cartridge in it, from the present position on, and keeps what it passes on the way. One that reads a
//! cartridge gives its drive up when nobody asks, and after a while when another cartridge waits. A cartridge that is
//! not in the library is an error at once: nobody waits for a person.
//!
//! ```text
//! parts      where on a cartridge there is content, and the runs that it is cut into
//! queue      what is asked for; whose turn it is
//! worker     a thread that gets a drive, and serves a cartridge with it
//! passage    the way along the tape: what is read, passed over, read ahead
//! interest   whether somebody still waits
//! ```

mod interest;
mod parts;
mod passage;
mod queue;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use self::interest::while_wanted;
use self::parts::{Part, Parts, RUN_BYTES, Run};
use self::queue::{Queue, Ticket};
use super::catalogue::Catalogue;
use super::devices::{LibraryAddress, LibraryInputs};
use super::extents::ExtentCache;
use super::storage::BlockReader;
use crate::id::FileId;
use crate::progress::Progress;
use crate::tape::archive::{BLOCK_LEN, BlockAddress, ForeignDescription};
use crate::tape::drive::DriveOptions;

/// Most blocks of a run on a cartridge of ours.
pub const RUN_BLOCKS: u64 = RUN_BYTES / BLOCK_LEN as u64;

/// Time between two looks whether a reader still waits.
const LOOK: Duration = Duration::from_millis(50);
/// Who has waited in vain and asks again so soon is the kernel, which reads a page once more by itself before it tells
/// the program: the answer is the same.
const AGAIN: Duration = Duration::from_secs(1);

/// How data is recalled.
#[derive(Debug, Clone)]
pub struct RecallOptions {
    /// Where the cartridges are.
    pub library: LibraryAddress,
    /// Number of the drive to use; any if not given.
    pub drive: Option<usize>,
    /// Most drives in use at a time, each for a cartridge of its own; at least 1.
    pub drive_count_max: usize,
    /// Directory of the cache; it is emptied at the start and removed at the end.
    pub cache: PathBuf,
    /// Bound of the cache in bytes.
    pub cache_bytes_max: u64,
    /// Most bytes that are read ahead of who reads in order.
    pub ahead_bytes_max: u64,
    /// Longest wait for a free drive.
    pub drive_wait: Duration,
    /// A cartridge that is read keeps its drive so long, though another one waits for a drive; without an end if not
    /// given.
    pub turn: Option<Duration>,
    /// A cartridge that nobody read from for so long is put away.
    pub idle: Duration,
    /// How the drive is used.
    pub drive_options: DriveOptions,
}

#[derive(Debug)]
struct Shared {
    catalogue: Catalogue,
    inputs: LibraryInputs,
    options: RecallOptions,
    queue: Queue,
    cache: Mutex<ExtentCache>,
    parts: Mutex<BTreeMap<FileId, Arc<Parts>>>,
    // When a reader of a cartridge last waited in vain for a drive.
    in_vain: Mutex<BTreeMap<FileId, Duration>>,
    progress: Arc<Progress>,
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, ExtentCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self, volume: FileId) -> io::Result<Arc<Parts>> {
        let mut known = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = known.get(&volume) {
            return Ok(Arc::clone(parts));
        }
        let parts = Arc::new(self.read_parts(volume).map_err(|error| {
            log::warn!("{}", crate::job::chain(&error));
            io::Error::from_raw_os_error(libc::EIO)
        })?);
        known.insert(volume, Arc::clone(&parts));
        Ok(parts)
    }

    fn read_parts(&self, volume: FileId) -> Result<Parts, super::catalogue::CatalogueError> {
        if let Some(foreign) = self.catalogue.foreign(volume)? {
            return Ok(foreign_parts(&foreign));
        }
        let block_len = u32::try_from(BLOCK_LEN).unwrap_or(u32::MAX);
        let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
        for segment in self.catalogue.segments(volume)?.iter().filter(|segment| segment.len > 0) {
            let (first, end) = (segment.address.loi, segment.address.plus(segment.len - 1).loi + 1);
            let part = parts.entry(segment.part).or_insert(Part { first, end, block_len });
            (part.first, part.end) = (part.first.min(first), part.end.max(end));
        }
        Ok(Parts::new(parts.into_values().collect()))
    }

    // The run that holds a block; what was asked for before a cartridge was archived to again is looked up again.
    fn run(&self, volume: FileId, loi: u64) -> io::Result<Run> {
        if let Some(run) = self.parts(volume)?.run(volume, loi) {
            return Ok(run);
        }
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).remove(&volume);
        self.parts(volume)?.run(volume, loi).ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))
    }
}

fn foreign_parts(foreign: &ForeignDescription) -> Parts {
    let mut parts = Vec::new();
    for file in &foreign.files {
        for (index, run) in file.blocks.iter().enumerate() {
            let end = file.blocks.get(index + 1).map_or(file.end_loi, |next| next.loi);
            parts.push(Part { first: run.loi, end, block_len: run.block_len });
        }
    }
    Parts::new(parts)
}

/// Reads cartridges for others.
#[derive(Debug)]
pub struct Recall {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Recall {
    /// Starts the threads, which move nothing until something is asked for, and end with [`Recall::end`] or
    /// when this is dropped.
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
        let count = options.drive_count_max.max(1);
        let shared = Arc::new(Shared {
            catalogue,
            inputs,
            options,
            queue: Queue::default(),
            cache: Mutex::new(cache),
            parts: Mutex::default(),
            in_vain: Mutex::default(),
            progress,
        });
        let recall = Self { shared, workers: Mutex::default() };
        for _ in 0..count {
            let of_worker = Arc::clone(&recall.shared);
            let thread = thread::Builder::new().name("recall".to_owned());
            let worker = thread.spawn(move || worker::run(&of_worker))?;
            recall.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        Ok(recall)
    }

    /// Ends all reading, and returns when the threads have put their cartridges away. What is asked for afterwards fails
    /// with `EIO`.
    pub fn end(&self) {
        self.shared.queue.stop();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            // A panic in it was told by the panic itself.
            worker.join().unwrap_or_default();
        }
        self.shared.cache().end();
    }

    /// Asks for the run that holds a block without waiting for it.
    ///
    /// # Errors
    /// `EIO` if the catalogue knows no such block.
    pub fn prefetch(&self, volume: FileId, loi: u64) -> io::Result<()> {
        let run = self.shared.run(volume, loi)?;
        if !self.shared.cache().contains(run.key) {
            self.shared.queue.ask(run);
        }
        Ok(())
    }

    // Tells whether bytes were copied; if not, the run has to be asked for.
    fn copy_cached(&self, run: &Run, skip: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let file = self.shared.cache().open(run.key, skip + buffer.len() as u64);
        match file {
            Some((_, bad)) if touches(&bad, run.block_len, skip, buffer.len()) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Some((file, _)) => file.read_exact_at(buffer, skip).map(|()| true),
            None => Ok(false),
        }
    }

    fn read_run(&self, run: &Run, skip: u64, buffer: &mut [u8]) -> io::Result<()> {
        while !self.copy_cached(run, skip, buffer)? {
            let ticket = self.shared.queue.ask(*run);
            // It may have come between the two looks.
            let copied = self.copy_cached(run, skip, buffer);
            if !matches!(copied, Ok(false)) {
                self.shared.queue.leave(run.key, ticket);
                return copied.map(drop);
            }
            self.wait(run, ticket)?;
        }
        Ok(())
    }

    fn in_vain(&self) -> MutexGuard<'_, BTreeMap<FileId, Duration>> {
        self.shared.in_vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn longest_wait(&self, volume: FileId) -> Duration {
        let now = self.shared.inputs.clock.now();
        let is_again = self.in_vain().get(&volume).is_some_and(|then| now.saturating_sub(*then) < AGAIN);
        if is_again { Duration::ZERO } else { self.shared.options.drive_wait }
    }

    // Until the run is there, a drive was looked for too long, or nobody wants it any more.
    fn wait(&self, run: &Run, ticket: Arc<Ticket>) -> io::Result<()> {
        let longest = self.longest_wait(run.key.volume);
        let mut waited = Duration::ZERO;
        let errno = loop {
            if let Some(result) = ticket.wait_for(LOOK) {
                return result.map_err(io::Error::from_raw_os_error);
            }
            if !interest::is_wanted() {
                break libc::EINTR;
            }
            if !self.shared.queue.lacks_drive(run.key.volume) {
                continue;
            }
            waited += LOOK;
            if waited >= longest {
                if !longest.is_zero() {
                    let now = self.shared.inputs.clock.now();
                    self.in_vain().insert(run.key.volume, now);
                }
                break libc::EBUSY;
            }
        };
        self.shared.queue.leave(run.key, ticket);
        Err(io::Error::from_raw_os_error(errno))
    }
}

// Whether one of the blocks in which these bytes are is bad.
fn touches(bad_blocks: &[u32], block_len: u32, skip: u64, len: usize) -> bool {
    let block = |offset: u64| offset / u64::from(block_len.max(1));
    let last = (skip + len as u64).saturating_sub(1);
    bad_blocks.iter().any(|bad| (block(skip)..=block(last)).contains(&u64::from(*bad)))
}

impl Drop for Recall {
    fn drop(&mut self) {
        self.end();
    }
}

impl BlockReader for Recall {
    fn read(&self, volume: FileId, address: BlockAddress, buffer: &mut [u8]) -> io::Result<()> {
        let (mut address, mut left) = (address, buffer);
        while !left.is_empty() {
            let run = self.shared.run(volume, address.loi)?;
            let skip = (address.loi - run.key.first_loi) * u64::from(run.block_len) + u64::from(address.byte);
            let len =
                usize::try_from(run.len_bytes().saturating_sub(skip)).unwrap_or(usize::MAX).min(left.len());
            if len == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let (now, later) = left.split_at_mut(len);
            self.read_run(&run, skip, now)?;
            // Content goes on in the next block, whatever the length of blocks there.
            address = BlockAddress { loi: run.end(), byte: 0 };
            left = later;
        }
        Ok(())
    }
}
