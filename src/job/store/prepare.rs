//! What the workers do: read small files, find what is stored already, and make frames of the rest.

use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::dedup::Dedup;
use super::error::StoreError;
use super::record::Described;
use super::source::{ReadFile, ReadProblem, SmallSource};
use crate::chunk::compress::{CompressError, Compressor};
use crate::codec::len_u32;
use crate::format::config::{Chunking, Config};
use crate::format::frame::{ChunkInfo, ChunkPointer, Codec};
use crate::format::record::{Extent, Inode};
use crate::id::Fingerprint;
use crate::live::LiveError;
use crate::repo::bdf_writer::PreparedFrame;

/// A small file to be read by a worker.
#[derive(Debug)]
pub(in crate::job) struct SmallFile {
    pub(in crate::job) source: Box<dyn SmallSource>,
    /// The same file in the generation before.
    pub(in crate::job) before: Option<Arc<Inode>>,
}

/// A chunk of a large file.
#[derive(Debug, Clone, Copy)]
pub(in crate::job) struct Cut {
    /// Offset in the file of its first byte.
    pub(in crate::job) offset: u64,
    pub(in crate::job) len: usize,
}

/// Chunks of a large file, cut by the reader.
#[derive(Debug)]
pub(in crate::job) struct Piece {
    /// The chunks one after the other.
    pub(in crate::job) bytes: Vec<u8>,
    /// The chunks in order; the sum of their lengths is the length of `bytes`.
    pub(in crate::job) cuts: Vec<Cut>,
    pub(in crate::job) before: Option<Arc<Inode>>,
}

/// Work for one worker.
#[derive(Debug)]
pub(in crate::job) enum Task {
    Small(Vec<SmallFile>),
    Piece(Piece),
}

/// An extent whose chunk may not have a place yet.
#[derive(Debug, Clone, Copy)]
pub(in crate::job) enum PendingExtent {
    Ready(Extent),
    /// Offset, length, and the chunk of that length.
    Waiting(u64, u32, Fingerprint),
}

/// What became of a small file.
#[derive(Debug)]
pub(in crate::job) struct SmallOutcome {
    pub(in crate::job) described: Described,
    pub(in crate::job) signature: Option<Fingerprint>,
    pub(in crate::job) extents: Vec<PendingExtent>,
    pub(in crate::job) inconsistent: bool,
    pub(in crate::job) redundant: bool,
}

/// A frame with the place of each of its chunks still to come.
#[derive(Debug)]
pub(in crate::job) enum Prepared {
    Small(Vec<Result<SmallOutcome, LiveError>>),
    Piece(Vec<PendingExtent>),
}

/// The result of a task.
#[derive(Debug)]
pub(in crate::job) struct Outcome {
    pub(in crate::job) frames: Vec<PreparedFrame>,
    pub(in crate::job) prepared: Prepared,
}

/// A worker with its buffers.
#[derive(Debug)]
pub(in crate::job) struct Worker<'a> {
    dedup: &'a Dedup<'a>,
    claims: &'a Claims<'a>,
    compressor: Compressor,
    chunking: &'a Chunking,
    // Length of the frames of the task that is being done, about.
    frame_len: usize,
    // The frame that new chunks go into.
    payload: Vec<u8>,
    chunks: Vec<ChunkInfo>,
    frames: Vec<PreparedFrame>,
}

impl<'a> Worker<'a> {
    pub(in crate::job) fn new(dedup: &'a Dedup<'a>, claims: &'a Claims<'a>, config: &'a Config) -> Self {
        Self {
            dedup,
            claims,
            compressor: Compressor::new(config.compression.level),
            chunking: &config.chunking,
            frame_len: config.chunking.frame_bytes as usize,
            payload: Vec::new(),
            chunks: Vec::new(),
            frames: Vec::new(),
        }
    }

    pub(in crate::job) fn run(&mut self, task: Task) -> Result<Outcome, StoreError> {
        let prepared = match task {
            Task::Small(files) => {
                self.frame_len = self.chunking.pack_bytes as usize;
                let mut outcomes = Vec::with_capacity(files.len());
                for file in &files {
                    outcomes.push(self.small(file)?);
                }
                Prepared::Small(outcomes)
            }
            Task::Piece(piece) => {
                self.frame_len = self.chunking.frame_bytes as usize;
                Prepared::Piece(self.piece(piece)?)
            }
        };
        self.close_frame()?;
        Ok(Outcome { frames: std::mem::take(&mut self.frames), prepared })
    }

    fn small(&mut self, file: &SmallFile) -> Result<Result<SmallOutcome, LiveError>, StoreError> {
        let read = match file.source.read() {
            Ok(read) => read,
            Err(ReadProblem::Skip(error)) => return Ok(Err(error)),
            Err(ReadProblem::Stop(error)) => return Err(error),
        };
        let ReadFile { bytes, described, inconsistent } = read;
        let mut outcome =
            SmallOutcome { described, signature: None, extents: Vec::new(), inconsistent, redundant: false };
        if bytes.is_empty() {
            outcome.signature = Some(Fingerprint::of(b""));
            return Ok(Ok(outcome));
        }
        // The file is one chunk: what RFE asks for, whether a whole file of this signature is stored, is whether
        // the chunk is.
        let signature = Fingerprint::of(&bytes);
        outcome.signature = Some(signature);
        let redundant = &mut outcome.redundant;
        let find = || -> Result<_, StoreError> {
            let found = self.dedup.chunk(&signature, bytes.len())?;
            *redundant = found.is_some();
            Ok(found)
        };
        let extent = match self.claims.claim(&signature, find)? {
            Claim::Stored(chunk) => whole(0, chunk),
            Claim::Pending => PendingExtent::Waiting(0, len_u32(bytes.len()), signature),
            Claim::Granted => {
                let bases = match &file.before {
                    Some(before) => self.dedup.bases(before, 0, bytes.len() as u64)?,
                    None => Vec::new(),
                };
                if bases.is_empty() || !self.delta(&bytes, &[info(&bytes, signature)], bases)? {
                    self.add(&bytes, signature)?;
                }
                PendingExtent::Waiting(0, len_u32(bytes.len()), signature)
            }
        };
        outcome.extents.push(extent);
        Ok(Ok(outcome))
    }

    fn piece(&mut self, piece: Piece) -> Result<Vec<PendingExtent>, StoreError> {
        let mut extents = Vec::with_capacity(piece.cuts.len());
        // Runs of new chunks next to each other, as ranges of the piece.
        let mut runs: Vec<Run> = Vec::new();
        let mut start = 0;
        for Cut { offset, len } in &piece.cuts {
            let chunk = piece.bytes.get(start..start + len).unwrap_or_default();
            let (offset, fingerprint) = (*offset, Fingerprint::of(chunk));
            extents.push(match self.claims.claim(&fingerprint, || self.dedup.chunk(&fingerprint, *len))? {
                Claim::Stored(pointer) => whole(offset, pointer),
                Claim::Pending => PendingExtent::Waiting(offset, len_u32(*len), fingerprint),
                Claim::Granted => {
                    match runs.last_mut().filter(|run| run.is_followed_by(start, offset, &piece)) {
                        Some(run) => run.add(*len, info(chunk, fingerprint)),
                        None => runs.push(Run::new(start, offset, info(chunk, fingerprint))),
                    }
                    PendingExtent::Waiting(offset, len_u32(*len), fingerprint)
                }
            });
            start += len;
        }
        if piece.before.is_none()
            && let [run] = &mut runs[..]
            && run.end - run.start == piece.bytes.len()
        {
            // All of it is new, which is most often so: the piece is the frame.
            self.close_frame()?;
            self.chunks = std::mem::take(&mut run.chunks);
            self.payload = piece.bytes;
            self.close_frame()?;
            return Ok(extents);
        }
        for run in runs {
            self.store_run(&piece, &run)?;
        }
        Ok(extents)
    }

    fn store_run(&mut self, piece: &Piece, run: &Run) -> Result<(), StoreError> {
        let bytes = piece.bytes.get(run.start..run.end).unwrap_or_default();
        let bases = match &piece.before {
            Some(before) => self.dedup.bases(before, run.offset, bytes.len() as u64)?,
            None => Vec::new(),
        };
        if !bases.is_empty() && self.delta(bytes, &run.chunks, bases)? {
            return Ok(());
        }
        let mut rest = bytes;
        for chunk in &run.chunks {
            let (data, after) = rest.split_at_checked(chunk.len as usize).unwrap_or((rest, &[]));
            rest = after;
            self.add(data, chunk.fingerprint)?;
        }
        Ok(())
    }

    // Adds a chunk to the open frame.
    fn add(&mut self, bytes: &[u8], fingerprint: Fingerprint) -> Result<(), StoreError> {
        if !self.payload.is_empty() && self.payload.len() + bytes.len() > self.frame_len * 5 / 4 {
            self.close_frame()?;
        }
        self.payload.extend_from_slice(bytes);
        self.chunks.push(info(bytes, fingerprint));
        if self.payload.len() >= self.frame_len {
            self.close_frame()?;
        }
        Ok(())
    }

    fn close_frame(&mut self) -> Result<(), StoreError> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let chunks = std::mem::take(&mut self.chunks);
        let compressed = self.compressor.compress(&self.payload, &[])?;
        self.frames.push(frame(&self.payload, compressed, chunks, Vec::new())?);
        self.payload.clear();
        Ok(())
    }

    // Makes a frame compressed against the bases, if that is worth a second read when it is restored.
    fn delta(
        &mut self,
        bytes: &[u8],
        chunks: &[ChunkInfo],
        bases: Vec<ChunkPointer>,
    ) -> Result<bool, StoreError> {
        let Some(prefix) = self.dedup.prefix(&bases) else { return Ok(false) };
        let Some(delta) = self.compressor.compress(bytes, &prefix)? else { return Ok(false) };
        if delta.len() * 8 > bytes.len() {
            let alone = self.compressor.compress(bytes, &[])?;
            let alone_len = alone.map_or(bytes.len(), |alone| alone.len());
            if delta.len() + DELTA_GAIN_MIN > alone_len * 3 / 4 {
                return Ok(false);
            }
        }
        self.frames.push(frame(bytes, Some(delta), chunks.to_vec(), bases)?);
        Ok(true)
    }
}

// Header and tables of a frame of its own.
const DELTA_GAIN_MIN: usize = 200;

/// New chunks next to each other in a piece, from `start` to `end`.
#[derive(Debug)]
struct Run {
    start: usize,
    end: usize,
    // Of the first one in the file.
    offset: u64,
    chunks: Vec<ChunkInfo>,
}

impl Run {
    fn new(start: usize, offset: u64, chunk: ChunkInfo) -> Self {
        Self { start, end: start + chunk.len as usize, offset, chunks: vec![chunk] }
    }

    // Chunks that are compressed against those before must be neighbours in the file, too.
    fn is_followed_by(&self, start: usize, offset: u64, piece: &Piece) -> bool {
        self.end == start
            && (piece.before.is_none() || self.offset + (self.end - self.start) as u64 == offset)
    }

    fn add(&mut self, len: usize, chunk: ChunkInfo) {
        self.end += len;
        self.chunks.push(chunk);
    }
}

fn info(bytes: &[u8], fingerprint: Fingerprint) -> ChunkInfo {
    ChunkInfo { len: len_u32(bytes.len()), fingerprint }
}

fn whole(offset: u64, chunk: ChunkPointer) -> PendingExtent {
    PendingExtent::Ready(Extent { offset, len: chunk.len.into(), skip: 0, chunk })
}

// The chunks are compared with the fingerprints that were computed when they were read: what memory did to
// them meanwhile must not be stored. What was compressed was proven to come back as `payload`.
fn frame(
    payload: &[u8],
    compressed: Option<Vec<u8>>,
    chunks: Vec<ChunkInfo>,
    bases: Vec<ChunkPointer>,
) -> Result<PreparedFrame, CompressError> {
    let plain_len = len_u32(payload.len());
    let (codec, stored) = match compressed {
        Some(stored) => (Codec::Zstd, stored),
        None => (Codec::Raw, payload.to_vec()),
    };
    let mut rest = if codec == Codec::Raw { &stored[..] } else { payload };
    for chunk in &chunks {
        let (data, after) = rest.split_at_checked(chunk.len as usize).ok_or(CompressError::Mismatch)?;
        if Fingerprint::of(data) != chunk.fingerprint {
            return Err(CompressError::Mismatch);
        }
        rest = after;
    }
    Ok(PreparedFrame { codec, stored, plain_len, chunks, bases })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_bit_that_flips_in_memory_after_it_was_read_stops_the_backup() {
        let storage: Arc<dyn crate::storage::Storage> = Arc::new(crate::storage::MemoryStorage::new());
        crate::repo::Repository::initialise(&storage, crate::id::FileId([1; 16])).expect("initialises");
        let cache = crate::repo::CacheBytes::default();
        let repository = crate::repo::Repository::open_storage(storage, cache).expect("opens");
        let (dedup, claims) = (Dedup::new(&repository, None), Claims::default());
        for level in [0, 3] {
            let mut config = repository.config().clone();
            config.compression.level = level;
            let mut worker = Worker::new(&dedup, &claims, &config);
            let bytes = vec![b'a'; 10_000];
            worker.add(&bytes, Fingerprint::of(&bytes)).expect("fits");
            worker.payload[5000] ^= 1;
            let stored = worker.close_frame();
            assert!(matches!(stored, Err(StoreError::Compress(CompressError::Mismatch))), "level {level}");
        }
    }
}
