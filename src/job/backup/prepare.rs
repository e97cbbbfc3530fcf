//! What the workers do: read small files, find what is stored already, and make frames of the rest.

use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::dedup::Dedup;
use super::error::BackupError;
use crate::chunk::compress::{CompressError, Compressor};
use crate::codec::len_u32;
use crate::format::frame::{ChunkInfo, ChunkPointer, Codec};
use crate::format::record::{Extent, Inode, XattrList};
use crate::id::{Fingerprint, FingerprintHasher};
use crate::live::LiveError;
use crate::live::{Attributes, SourceDirectory};
use crate::repo::bdf_writer::PreparedFrame;

/// A small file to be read by a worker.
#[derive(Debug)]
pub(super) struct SmallFile {
    pub(super) directory: Arc<SourceDirectory>,
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
    /// The same file in the generation before.
    pub(super) before: Option<Arc<Inode>>,
}

/// A run of chunks of a large file, cut by the reader.
#[derive(Debug)]
pub(super) struct Piece {
    /// Offset in the file of the first byte.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// Lengths of the chunks, in order; their sum is the length of `bytes`.
    pub(super) cuts: Vec<usize>,
    pub(super) before: Option<Arc<Inode>>,
}

/// Work for one worker.
#[derive(Debug)]
pub(super) enum Task {
    Small(Vec<SmallFile>),
    Piece(Piece),
}

/// An extent whose chunk may not have a place yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum PendingExtent {
    Ready(Extent),
    /// Offset, length, and the chunk of that length.
    Waiting(u64, u32, Fingerprint),
}

/// What became of a small file.
#[derive(Debug)]
pub(super) struct SmallOutcome {
    pub(super) attributes: Attributes,
    pub(super) xattrs: XattrList,
    pub(super) signature: Option<Fingerprint>,
    pub(super) extents: Vec<PendingExtent>,
    pub(super) inconsistent: bool,
    pub(super) redundant: bool,
}

/// A frame with the place of each of its chunks still to come.
#[derive(Debug)]
pub(super) enum Prepared {
    Small(Vec<Result<SmallOutcome, LiveError>>),
    Piece(Vec<PendingExtent>),
}

/// The result of a task.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) frames: Vec<PreparedFrame>,
    pub(super) prepared: Prepared,
}

/// A worker with its buffers.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    dedup: &'a Dedup<'a>,
    claims: &'a Claims,
    compressor: Compressor,
    frame_len: usize,
    // The frame that new chunks go into.
    payload: Vec<u8>,
    chunks: Vec<ChunkInfo>,
    frames: Vec<PreparedFrame>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(dedup: &'a Dedup<'a>, claims: &'a Claims, level: i32, frame_len: usize) -> Self {
        Self {
            dedup,
            claims,
            compressor: Compressor::new(level),
            frame_len,
            payload: Vec::new(),
            chunks: Vec::new(),
            frames: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, task: Task) -> Result<Outcome, BackupError> {
        let prepared = match task {
            Task::Small(files) => {
                let mut outcomes = Vec::with_capacity(files.len());
                for file in &files {
                    outcomes.push(self.small(file)?);
                }
                Prepared::Small(outcomes)
            }
            Task::Piece(piece) => Prepared::Piece(self.piece(piece)?),
        };
        self.close_frame()?;
        Ok(Outcome { frames: std::mem::take(&mut self.frames), prepared })
    }

    fn small(&mut self, file: &SmallFile) -> Result<Result<SmallOutcome, LiveError>, BackupError> {
        let read = match read_whole(file) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let ReadFile { bytes, attributes, xattrs, inconsistent } = read;
        let mut outcome = SmallOutcome {
            attributes,
            xattrs,
            signature: None,
            extents: Vec::new(),
            inconsistent,
            redundant: false,
        };
        if bytes.is_empty() {
            outcome.signature = Some(Fingerprint::of(b""));
            return Ok(Ok(outcome));
        }
        let signature = Fingerprint::of(&bytes);
        outcome.signature = Some(signature);
        if let Some(extents) = self.dedup.redundant_file(&file.name, &attributes, signature)? {
            outcome.redundant = true;
            outcome.extents = extents.into_iter().map(PendingExtent::Ready).collect();
            return Ok(Ok(outcome));
        }
        let extent = match self.claims.claim(&signature, || self.dedup.chunk(&signature, bytes.len()))? {
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

    fn piece(&mut self, piece: Piece) -> Result<Vec<PendingExtent>, BackupError> {
        let mut extents = Vec::with_capacity(piece.cuts.len());
        // Runs of new chunks next to each other, as ranges of the piece.
        let mut runs: Vec<Run> = Vec::new();
        let mut start = 0;
        for len in &piece.cuts {
            let chunk = piece.bytes.get(start..start + len).unwrap_or_default();
            let offset = piece.offset + start as u64;
            let fingerprint = Fingerprint::of(chunk);
            extents.push(match self.claims.claim(&fingerprint, || self.dedup.chunk(&fingerprint, *len))? {
                Claim::Stored(pointer) => whole(offset, pointer),
                Claim::Pending => PendingExtent::Waiting(offset, len_u32(*len), fingerprint),
                Claim::Granted => {
                    match runs.last_mut().filter(|run| run.end == start) {
                        Some(run) => run.add(*len, info(chunk, fingerprint)),
                        None => {
                            runs.push(Run { start, end: start + len, chunks: vec![info(chunk, fingerprint)] })
                        }
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

    fn store_run(&mut self, piece: &Piece, run: &Run) -> Result<(), BackupError> {
        let bytes = piece.bytes.get(run.start..run.end).unwrap_or_default();
        let bases = match &piece.before {
            Some(before) => self.dedup.bases(before, piece.offset + run.start as u64, bytes.len() as u64)?,
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
    fn add(&mut self, bytes: &[u8], fingerprint: Fingerprint) -> Result<(), BackupError> {
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

    fn close_frame(&mut self) -> Result<(), BackupError> {
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
    ) -> Result<bool, BackupError> {
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
    chunks: Vec<ChunkInfo>,
}

impl Run {
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

struct ReadFile {
    bytes: Vec<u8>,
    attributes: Attributes,
    xattrs: XattrList,
    inconsistent: bool,
}

// A small file that became larger than this meanwhile is kept cut short, and reported as inconsistent.
const READ_LEN_MAX: usize = 8 << 20;

// A file that changes while it is read is read once more, then kept as it is and reported.
fn read_whole(file: &SmallFile) -> Result<ReadFile, LiveError> {
    let mut expected = file.attributes;
    for attempt in 0..2 {
        let source = file.directory.open_file(&file.name, &expected)?;
        let attributes = *source.attributes();
        // A file that grows meanwhile is told by its attributes afterwards.
        let mut bytes = vec![0; usize::try_from(attributes.size).unwrap_or(READ_LEN_MAX).min(READ_LEN_MAX)];
        let len = source.read_at(&mut bytes, 0)?;
        bytes.truncate(len);
        let xattrs = source.xattrs()?;
        let now = source.attributes_now()?;
        let consistent = now.is_unchanged_since(&attributes) && len as u64 == attributes.size;
        if consistent || attempt == 1 {
            let attributes = Attributes { size: len as u64, ..now };
            return Ok(ReadFile { bytes, attributes, xattrs, inconsistent: !consistent });
        }
        expected = now;
    }
    Err(LiveError::Replaced { path: crate::path::display(&file.name) })
}

/// Hashes a large file as it goes by.
#[derive(Debug, Default)]
pub(super) struct SignatureHasher {
    hasher: FingerprintHasher,
    zeros_left: u64,
    given_up: bool,
}

impl SignatureHasher {
    // Hashing more zeros than this would take longer than the backup of the data.
    const HOLE_LEN_MAX: u64 = 256 << 20;

    pub(super) fn new() -> Self {
        Self { zeros_left: Self::HOLE_LEN_MAX, ..Self::default() }
    }

    pub(super) fn data(&mut self, bytes: &[u8]) {
        if !self.given_up {
            self.hasher.update(bytes);
        }
    }

    pub(super) fn hole(&mut self, len: u64) {
        if self.given_up || len > self.zeros_left {
            self.given_up = true;
            return;
        }
        self.zeros_left -= len;
        let zeros = [0; 64 << 10];
        let mut left = len;
        while left > 0 {
            let piece = left.min(zeros.len() as u64);
            self.hasher.update(zeros.get(..usize::try_from(piece).unwrap_or_default()).unwrap_or_default());
            left -= piece;
        }
    }

    pub(super) fn finish(&self) -> Option<Fingerprint> {
        (!self.given_up).then(|| self.hasher.finish())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_small_file_that_has_grown_large_is_kept_as_far_as_a_chunk_can_go() {
        let source = tempfile::tempdir().expect("a directory");
        let path = source.path().join("log");
        std::fs::write(&path, b"small").expect("writes");
        let directory = Arc::new(SourceDirectory::open_root(source.path()).expect("opens"));
        let attributes = directory.attributes_of(b"log").expect("looks");
        std::fs::File::options().write(true).open(&path).expect("opens").set_len(1 << 42).expect("grows");
        let file = SmallFile { directory, name: b"log".to_vec(), attributes, before: None };
        let read = read_whole(&file).expect("reads");
        assert!(read.inconsistent);
        assert_eq!((read.bytes.len(), read.attributes.size), (READ_LEN_MAX, READ_LEN_MAX as u64));
    }

    #[test]
    fn a_bit_that_flips_in_memory_after_it_was_read_stops_the_backup() {
        let storage: Arc<dyn crate::storage::Storage> = Arc::new(crate::storage::MemoryStorage::new());
        crate::repo::Repository::initialise(&storage, crate::id::FileId([1; 16])).expect("initialises");
        let cache = crate::repo::CacheBytes::default();
        let repository = crate::repo::Repository::open_storage(storage, cache).expect("opens");
        let (dedup, claims) = (Dedup::new(&repository, None), Claims::default());
        for level in [0, 3] {
            let mut worker = Worker::new(&dedup, &claims, level, 256 << 10);
            let bytes = vec![b'a'; 10_000];
            worker.add(&bytes, Fingerprint::of(&bytes)).expect("fits");
            worker.payload[5000] ^= 1;
            let stored = worker.close_frame();
            assert!(matches!(stored, Err(BackupError::Compress(CompressError::Mismatch))), "level {level}");
        }
    }
}
