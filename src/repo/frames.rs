//! Reads frames of BDFs and the chunks in them, verified, through a cache bounded in bytes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quick_cache::sync::{Cache, GuardResult};
use quick_cache::{OptionsBuilder, Weighter};

use super::damaged_chunks;
use super::error::ReadError;
use super::locator::ChunkLocator;
use super::read_ahead::ReadAhead;
use crate::chunk::compress;
use crate::format::bdf::Area;
use crate::format::frame::{ChunkPointer, Codec, FrameHeader, HEADER_LEN};
use crate::id::{ClientName, FileId, Fingerprint};
use crate::storage::Storage;

// Each open BDF holds a file descriptor.
const OPEN_BDF_COUNT_MAX: usize = 128;
pub(super) type FrameKey = (FileId, u64);

pub use super::bdf_file::{BdfFile, all_bdfs, bdf_name};

/// A decompressed frame.
#[derive(Debug)]
pub struct Frame {
    header: FrameHeader,
    // Start of each chunk in the payload.
    starts: Vec<u32>,
    payload: Vec<u8>,
    verified: Vec<AtomicBool>,
    // A reader has asked for a chunk of it; it was not only read ahead.
    is_used: AtomicBool,
    offset: u64,
    next: u64,
}

impl Frame {
    fn new(header: FrameHeader, payload: Vec<u8>, offset: u64, next: u64) -> Self {
        let mut start = 0_u32;
        let mut starts = Vec::with_capacity(header.chunks.len());
        for chunk in &header.chunks {
            starts.push(start);
            // The sum was checked against the frame's length.
            start = start.saturating_add(chunk.len);
        }
        let verified = header.chunks.iter().map(|_| AtomicBool::new(false)).collect();
        Self { header, starts, payload, verified, is_used: AtomicBool::new(false), offset, next }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Offset of the frame that follows in the file.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of memory that the frame takes.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        self.payload.capacity() + self.starts.len() * (4 + 1 + 36) + size_of::<Self>()
    }

    /// The bytes of the chunk at `index`, compared with the fingerprint in the chunk table once.
    ///
    /// # Errors
    /// The fingerprint of the bytes if it is another one.
    pub fn chunk(&self, index: usize) -> Result<&[u8], Fingerprint> {
        let (Some(start), Some(info)) = (self.starts.get(index), self.header.chunks.get(index)) else {
            return Err(Fingerprint::NONE);
        };
        let start = *start as usize;
        let bytes = self.payload.get(start..start + info.len as usize).unwrap_or_default();
        let verified = self.verified.get(index).ok_or(Fingerprint::NONE)?;
        if !verified.load(Ordering::Relaxed) {
            let actual = Fingerprint::of(bytes);
            if actual != info.fingerprint {
                return Err(actual);
            }
            verified.store(true, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    fn find(&self, pointer: &ChunkPointer, path: &dyn Fn() -> String) -> Result<&[u8], ReadError> {
        let index = self.starts.binary_search(&pointer.location.start).ok();
        // An empty chunk shares its start with the next one; there are none, a writer makes no such.
        let index = index.filter(|index| {
            self.header
                .chunks
                .get(*index)
                .is_some_and(|info| info.fingerprint == pointer.fingerprint && info.len == pointer.len)
        });
        let index = index.ok_or_else(|| ReadError::NoChunk {
            path: path(),
            offset: self.offset,
            start: pointer.location.start,
            fingerprint: pointer.fingerprint,
        })?;
        self.chunk(index).map_err(|actual| ReadError::Fingerprint {
            path: path(),
            offset: self.offset,
            expected: pointer.fingerprint,
            actual,
        })
    }
}

/// A verified chunk, kept alive with its frame.
#[derive(Debug, Clone)]
pub struct Chunk {
    frame: Arc<Frame>,
    start: usize,
    len: usize,
}

impl Chunk {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.frame.payload.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
struct FrameWeight;

impl Weighter<FrameKey, Arc<Frame>> for FrameWeight {
    fn weight(&self, _: &FrameKey, frame: &Arc<Frame>) -> u64 {
        frame.memory_len() as u64
    }
}

#[derive(Debug)]
struct Shared {
    storage: Arc<dyn Storage>,
    repository: FileId,
    files: Cache<FileId, Arc<BdfFile>>,
    frames: Cache<FrameKey, Arc<Frame>, FrameWeight>,
    locator: OnceLock<Arc<dyn ChunkLocator>>,
    loaded_count: AtomicU64,
    noted_count: AtomicUsize,
}

/// Reads chunks of all BDFs of a repository.
#[derive(Debug)]
pub struct FrameReader {
    shared: Arc<Shared>,
    read_ahead: Mutex<Option<ReadAhead>>,
}

impl FrameReader {
    /// Takes the bound of the frame cache in bytes.
    ///
    /// # Panics
    /// Never: the options are complete.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, repository: FileId, cache_bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(usize::try_from(cache_bytes / (256 << 10)).unwrap_or(1 << 20).max(16))
            .weight_capacity(cache_bytes)
            .build()
            .expect("capacities are set");
        let frames = Cache::with_options(
            options,
            FrameWeight,
            quick_cache::DefaultHashBuilder::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        let files = Cache::new(OPEN_BDF_COUNT_MAX);
        let shared = Shared {
            storage,
            repository,
            files,
            frames,
            locator: OnceLock::new(),
            loaded_count: AtomicU64::new(0),
            noted_count: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared), read_ahead: Mutex::new(None) }
    }

    /// Says who knows other places of a chunk; only the first call counts.
    pub fn set_locator(&self, locator: Arc<dyn ChunkLocator>) {
        // A second one would be as good as the first.
        let _kept = self.shared.locator.set(locator);
    }

    /// Starts threads that decompress frames ahead of those who read in order.
    ///
    /// They end when the reader is dropped.
    pub fn start_read_ahead(&self, thread_count: usize) {
        let shared = Arc::clone(&self.shared);
        let started = ReadAhead::start(thread_count, move |(file, offset), next| {
            // After the last frame comes the footer, which is no frame and ends this.
            shared.frame((file, offset), next, 0).map(|frame| (file, frame.next))
        });
        *self.read_ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
    }

    /// Finds and verifies a chunk where the pointer says, or, if it is damaged there, elsewhere.
    ///
    /// # Errors
    /// [`ReadError`] if it is not there or damaged, and nowhere else either.
    pub fn chunk(&self, pointer: &ChunkPointer) -> Result<Chunk, ReadError> {
        self.chunk_before(pointer, None)
    }

    /// As [`FrameReader::chunk`], with a hint where in the BDF the frame may end.
    ///
    /// # Errors
    /// [`ReadError`] if it is not there or damaged, and nowhere else either.
    pub(super) fn chunk_before(&self, pointer: &ChunkPointer, next: Option<u64>) -> Result<Chunk, ReadError> {
        self.shared.chunk_or_other(pointer, |there| {
            self.chunk_at(there, next.filter(|_| there.location == pointer.location))
        })
    }

    /// Has the frame of a chunk decompressed by another thread, if there is one for that.
    pub(super) fn wish(&self, pointer: &ChunkPointer, next: Option<u64>) {
        let mut ahead = self.read_ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ahead) = &mut *ahead {
            ahead.wish((pointer.location.file, pointer.location.frame), next);
        }
    }

    /// Finds and verifies a chunk where the pointer says and nowhere else.
    ///
    /// # Errors
    /// [`ReadError`] if it is not there or damaged.
    pub fn chunk_there(&self, pointer: &ChunkPointer) -> Result<Chunk, ReadError> {
        self.chunk_at(pointer, None)
    }

    fn chunk_at(&self, pointer: &ChunkPointer, next: Option<u64>) -> Result<Chunk, ReadError> {
        let key = (pointer.location.file, pointer.location.frame);
        let frame = self.shared.frame(key, next, 0)?;
        if !frame.is_used.swap(true, Ordering::Relaxed) {
            let mut ahead = self.read_ahead.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(ahead) = &mut *ahead {
                ahead.used(key, (key.0, frame.next));
            }
        }
        chunk_of(frame, pointer, &|| self.path(pointer.location.file))
    }

    /// Tells whether the frame of a chunk is in the cache.
    #[must_use]
    pub fn is_cached(&self, pointer: &ChunkPointer) -> bool {
        self.shared.frames.contains_key(&(pointer.location.file, pointer.location.frame))
    }

    /// Reads and decompresses a frame from the storage, whatever the cache holds.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn read_uncached(&self, file: FileId, offset: u64) -> Result<Frame, ReadError> {
        self.shared.load((file, offset), None, 0)
    }

    /// Path of a BDF as people know it, or its name if it cannot be opened.
    #[must_use]
    pub fn path(&self, file: FileId) -> String {
        self.shared.path(file)
    }

    /// Opens a BDF, or takes the open one.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn bdf(&self, file: FileId) -> Result<Arc<BdfFile>, ReadError> {
        self.shared.bdf(file)
    }

    /// Decompresses a frame, or takes it from the cache; its chunks are not yet verified.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn frame(&self, file: FileId, offset: u64) -> Result<Arc<Frame>, ReadError> {
        self.shared.frame((file, offset), None, 0)
    }

    /// Count of frames decompressed since the start.
    #[must_use]
    pub fn loaded_count(&self) -> u64 {
        self.shared.loaded_count.load(Ordering::Relaxed)
    }
}

fn chunk_of(
    frame: Arc<Frame>,
    pointer: &ChunkPointer,
    path: &dyn Fn() -> String,
) -> Result<Chunk, ReadError> {
    let len = frame.find(pointer, path)?.len();
    Ok(Chunk { frame, start: pointer.location.start as usize, len })
}

impl Shared {
    fn path(&self, file: FileId) -> String {
        self.bdf(file).map_or_else(|_| format!("{file}.bdf"), |bdf| bdf.file().path().to_owned())
    }

    fn bdf(&self, id: FileId) -> Result<Arc<BdfFile>, ReadError> {
        if let Some(file) = self.files.get(&id) {
            return Ok(file);
        }
        let file = Arc::new(self.open_bdf(id)?);
        self.files.insert(id, Arc::clone(&file));
        Ok(file)
    }

    // The pointer does not say whose BDF it is: data is shared by clients.
    fn open_bdf(&self, id: FileId) -> Result<BdfFile, ReadError> {
        for area in Area::ALL {
            for directory in self.storage.list(area.directory())? {
                let Ok(client) = directory.name.parse::<ClientName>() else { continue };
                match BdfFile::open(&*self.storage, self.repository, &bdf_name(area, client.as_str(), id), id)
                {
                    Err(ReadError::Storage(error)) if error.is_not_found() => {}
                    opened => return opened,
                }
            }
        }
        Err(ReadError::NoBdf { file: id })
    }

    fn frame(&self, key: FrameKey, next: Option<u64>, depth: usize) -> Result<Arc<Frame>, ReadError> {
        if depth > 0 {
            // The thread has a guard already. To wait for another one could be to wait for itself, if a
            // damaged frame names itself as its base.
            if let Some(frame) = self.frames.get(&key) {
                return Ok(frame);
            }
            let frame = Arc::new(self.load(key, next, depth)?);
            self.frames.insert(key, Arc::clone(&frame));
            return Ok(frame);
        }
        match self.frames.get_value_or_guard(&key, None) {
            GuardResult::Value(frame) => Ok(frame),
            GuardResult::Guard(guard) => {
                let frame = Arc::new(self.load(key, next, 0)?);
                // A refusal means that the key was removed meanwhile; the frame is good all the same.
                let _removed = guard.insert(Arc::clone(&frame));
                Ok(frame)
            }
            GuardResult::Timeout => Ok(Arc::new(self.load(key, next, 0)?)),
        }
    }

    // A pointer is a hint: the chunk may be whole in another place (DESIGN 2.3).
    fn chunk_or_other(
        &self,
        pointer: &ChunkPointer,
        read: impl Fn(&ChunkPointer) -> Result<Chunk, ReadError>,
    ) -> Result<Chunk, ReadError> {
        let error = match read(pointer) {
            Err(error) if error.is_damage() => error,
            answer => return answer,
        };
        // A repository that cannot be written is read all the same.
        let known_count = self.noted_count.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = damaged_chunks::note(&*self.storage, &pointer.fingerprint, known_count) {
            log::debug!("a damaged chunk is not noted: {refused}");
        }
        let other = self.locator.get().and_then(|locator| locator.locate(&pointer.fingerprint));
        match other {
            Some(other) if other.location != pointer.location && other.len == pointer.len => {
                read(&other).map_err(|_| error)
            }
            _ => Err(error),
        }
    }

    fn load(&self, (file, offset): FrameKey, next: Option<u64>, depth: usize) -> Result<Frame, ReadError> {
        let bdf = self.bdf(file)?;
        bdf.with_stored(offset, next, |header, stored, damage| {
            let path = || bdf.file().path().to_owned();
            if depth > 0 && !header.bases.is_empty() {
                return Err(ReadError::DeepDelta { path: path(), offset });
            }
            let prefix = self.prefix(&header, depth)?;
            let payload =
                match header.codec {
                    Codec::Raw => stored.to_vec(),
                    Codec::Zstd => compress::decompress(stored, header.plain_len as usize, &prefix).map_err(
                        |source| damage.unwrap_or(ReadError::Compress { path: path(), offset, source }),
                    )?,
                };
            self.loaded_count.fetch_add(1, Ordering::Relaxed);
            let next = offset + HEADER_LEN as u64 + header.tables_len() + u64::from(header.stored_len);
            Ok(Frame::new(header, payload, offset, next))
        })
    }

    // The base chunks of a frame, one after the other.
    fn prefix(&self, header: &FrameHeader, depth: usize) -> Result<Vec<u8>, ReadError> {
        let mut prefix = Vec::new();
        for base in &header.bases {
            let chunk = self.chunk_or_other(base, |base| {
                let location = base.location;
                let frame = self.frame((location.file, location.frame), None, depth + 1)?;
                chunk_of(frame, base, &|| self.path(location.file))
            })?;
            prefix.extend_from_slice(chunk.bytes());
        }
        Ok(prefix)
    }
}
