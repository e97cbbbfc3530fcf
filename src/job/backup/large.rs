//! Reads a large file piece by piece, around its holes, and cuts it into chunks.

use std::sync::Arc;

use super::error::BackupError;
use super::prepare::{Piece, SignatureHasher, Task};
use crate::chunk::split::{ChunkSizes, Splitter};
use crate::format::record::Inode;
use crate::id::Fingerprint;
use crate::live::Attributes;
use crate::live::LiveError;
use crate::live::SourceFile;

const READ_LEN: usize = 1 << 20;

/// What reading a large file came to.
#[derive(Debug)]
pub(super) enum LargeRead {
    /// It was read.
    Done {
        /// Attributes when reading began.
        attributes: Attributes,
        /// Whole-file signature, if it was worth computing.
        signature: Option<Fingerprint>,
        /// The file is not what it was when reading began.
        changed: bool,
    },
    /// It refused.
    Failed(LiveError),
}

/// Reads `file` and hands its pieces to `give`.
pub(super) fn read(
    file: &SourceFile,
    before: Option<&Arc<Inode>>,
    frame_len: usize,
    give: &mut dyn FnMut(Task) -> Result<(), BackupError>,
) -> Result<LargeRead, BackupError> {
    let mut attributes = *file.attributes();
    let mut signature = SignatureHasher::new();
    let mut position = 0;
    let ranges: Vec<Result<(u64, u64), LiveError>> = if attributes.may_have_holes() {
        file.data_ranges().collect()
    } else {
        vec![Ok((0, attributes.size))]
    };
    for range in ranges {
        let (start, len) = match range {
            Ok(range) => range,
            Err(error) => return Ok(LargeRead::Failed(error)),
        };
        signature.hole(start.saturating_sub(position));
        let mut reader = RangeReader {
            file,
            before,
            frame_len,
            splitter: Splitter::new(ChunkSizes::for_file(attributes.size)),
            position: start,
            end: start + len,
            window: Vec::new(),
            window_start: 0,
            piece: Piece { offset: start, bytes: Vec::new(), cuts: Vec::new(), before: before.cloned() },
        };
        match reader.run(&mut signature, give)? {
            Ok(end) => position = end,
            Err(error) => return Ok(LargeRead::Failed(error)),
        }
        if position < start + len {
            // The file became shorter; what is beyond is not there to be read.
            attributes.size = position;
            break;
        }
    }
    signature.hole(attributes.size.saturating_sub(position));
    let changed = match file.attributes_now() {
        Ok(now) => !now.is_unchanged_since(file.attributes()) || attributes.size != file.attributes().size,
        Err(error) => return Ok(LargeRead::Failed(error)),
    };
    Ok(LargeRead::Done { attributes, signature: signature.finish(), changed })
}

/// Computes the signature of a file without storing anything.
pub(super) fn signature(file: &SourceFile) -> Result<Option<Fingerprint>, LiveError> {
    let mut hasher = SignatureHasher::new();
    let mut position = 0;
    let mut buffer = vec![0; READ_LEN];
    for range in file.data_ranges() {
        let (start, len) = range?;
        hasher.hole(start.saturating_sub(position));
        position = start;
        while position < start + len {
            let want = usize::try_from(start + len - position).unwrap_or(READ_LEN).min(READ_LEN);
            let Some(target) = buffer.get_mut(..want) else { break };
            let read = file.read_at(target, position)?;
            if read == 0 {
                return Ok(None);
            }
            hasher.data(target.get(..read).unwrap_or_default());
            position += read as u64;
        }
    }
    hasher.hole(file.attributes().size.saturating_sub(position));
    Ok(hasher.finish())
}

struct RangeReader<'a> {
    file: &'a SourceFile,
    before: Option<&'a Arc<Inode>>,
    frame_len: usize,
    splitter: Splitter,
    // Next byte to read, and end of the range.
    position: u64,
    end: u64,
    // Bytes read and not yet cut.
    window: Vec<u8>,
    window_start: usize,
    piece: Piece,
}

impl RangeReader<'_> {
    // Returns the offset that was reached.
    fn run(
        &mut self,
        signature: &mut SignatureHasher,
        give: &mut dyn FnMut(Task) -> Result<(), BackupError>,
    ) -> Result<Result<u64, LiveError>, BackupError> {
        loop {
            if let Err(error) = self.fill(signature) {
                return Ok(Err(error));
            }
            let rest = self.window.get(self.window_start..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let len = self.splitter.cut(rest);
            if self.piece.bytes.is_empty() {
                self.piece.bytes.reserve_exact(self.frame_len + self.splitter.lookahead());
            }
            self.piece.bytes.extend_from_slice(rest.get(..len).unwrap_or_default());
            self.piece.cuts.push(len);
            self.window_start += len;
            if self.piece.bytes.len() >= self.frame_len {
                give(Task::Piece(self.next_piece()))?;
            }
        }
        if !self.piece.cuts.is_empty() {
            give(Task::Piece(self.next_piece()))?;
        }
        Ok(Ok(self.position))
    }

    fn next_piece(&mut self) -> Piece {
        let offset = self.piece.offset + self.piece.bytes.len() as u64;
        let next = Piece { offset, bytes: Vec::new(), cuts: Vec::new(), before: self.before.cloned() };
        std::mem::replace(&mut self.piece, next)
    }

    // Sees to it that the window holds all that one cut may look at, or all there is.
    fn fill(&mut self, signature: &mut SignatureHasher) -> Result<(), LiveError> {
        if self.window.len() - self.window_start >= self.splitter.lookahead() {
            return Ok(());
        }
        self.window.drain(..self.window_start);
        self.window_start = 0;
        while self.window.len() < self.splitter.lookahead() + READ_LEN && self.position < self.end {
            let want = usize::try_from(self.end - self.position).unwrap_or(READ_LEN).min(READ_LEN);
            let filled = self.window.len();
            self.window.resize(filled + want, 0);
            let target = self.window.get_mut(filled..).unwrap_or_default();
            let read = self.file.read_at(target, self.position)?;
            signature.data(target.get(..read).unwrap_or_default());
            self.window.truncate(filled + read);
            self.position += read as u64;
            if read < want {
                self.end = self.position;
            }
        }
        Ok(())
    }
}
