//! Reads a large file piece by piece, around its holes, and cuts it into chunks.

use std::sync::Arc;

use super::prepare::{Cut, Piece, Task};
use super::signature::SignatureHasher;
use super::source::{LargeSource, ReadProblem};
use crate::chunk::split::{ChunkSizes, Splitter};
use crate::format::record::Inode;
use crate::id::Fingerprint;

const READ_LEN: usize = 1 << 20;

/// A part of a file that is no hole: offset and length.
pub(in crate::job) type FileRange = (u64, u64);

/// Takes the tasks that reading a file makes.
pub(in crate::job) type Give<'a> = &'a mut dyn FnMut(Task) -> Result<(), ReadProblem>;

/// Reads a file of `size` bytes whole and hands its pieces to `give`. Returns how far it went, which is less
/// than `size` if the file became shorter, and the signature if it was worth computing.
pub(in crate::job) fn read(
    source: &dyn LargeSource,
    size: u64,
    ranges: impl Iterator<Item = Result<FileRange, ReadProblem>>,
    before: Option<&Arc<Inode>>,
    frame_len: usize,
    give: Give<'_>,
) -> Result<(u64, Option<Fingerprint>), ReadProblem> {
    let mut cutter = Cutter::new(source, size, before.cloned(), frame_len);
    let mut signature = SignatureHasher::new();
    let mut position = 0;
    let mut size = size;
    for range in ranges {
        let (start, len) = range?;
        signature.hole(start.saturating_sub(position));
        position = cutter.range((start, len), Some(&mut signature), give)?;
        if position < start + len {
            // The file became shorter; what is beyond is not there to be read.
            size = position;
            break;
        }
    }
    cutter.finish(give)?;
    signature.hole(size.saturating_sub(position));
    Ok((size, signature.finish()))
}

/// Reads only these parts of a file of `size` bytes and hands them to `give` in pieces, many parts to a piece
/// if they are short. Returns the bytes read.
pub(in crate::job) fn read_parts(
    source: &dyn LargeSource,
    size: u64,
    parts: impl Iterator<Item = Result<FileRange, ReadProblem>>,
    frame_len: usize,
    give: Give<'_>,
) -> Result<u64, ReadProblem> {
    // Compressing against the bytes before would mean to read them.
    let mut cutter = Cutter::new(source, size, None, frame_len);
    let mut read = 0;
    for part in parts {
        let (start, len) = part?;
        read += cutter.range((start, len), None, give)?.saturating_sub(start);
    }
    cutter.finish(give)?;
    Ok(read)
}

/// Computes the signature of a file without storing anything; `None` if it became shorter or is not worth it.
pub(in crate::job) fn signature(
    source: &dyn LargeSource,
    size: u64,
    ranges: impl Iterator<Item = Result<FileRange, ReadProblem>>,
) -> Result<Option<Fingerprint>, ReadProblem> {
    let mut hasher = SignatureHasher::new();
    let mut position = 0;
    let mut buffer = vec![0; READ_LEN];
    for range in ranges {
        let (start, len) = range?;
        hasher.hole(start.saturating_sub(position));
        position = start;
        while position < start + len {
            let want = usize::try_from(start + len - position).unwrap_or(READ_LEN).min(READ_LEN);
            let Some(target) = buffer.get_mut(..want) else { break };
            let read = source.read_at(target, position)?;
            if read == 0 {
                return Ok(None);
            }
            hasher.data(target.get(..read).unwrap_or_default());
            position += read as u64;
        }
    }
    hasher.hole(size.saturating_sub(position));
    Ok(hasher.finish())
}

// Cuts ranges into chunks and gathers them in pieces.
struct Cutter<'a> {
    source: &'a dyn LargeSource,
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

impl<'a> Cutter<'a> {
    fn new(source: &'a dyn LargeSource, size: u64, before: Option<Arc<Inode>>, frame_len: usize) -> Self {
        Self {
            source,
            frame_len,
            splitter: Splitter::new(ChunkSizes::for_file(size)),
            position: 0,
            end: 0,
            window: Vec::new(),
            window_start: 0,
            piece: Piece { bytes: Vec::new(), cuts: Vec::new(), before },
        }
    }

    // Returns the offset that was reached.
    fn range(
        &mut self,
        (start, len): FileRange,
        mut signature: Option<&mut SignatureHasher>,
        give: Give<'_>,
    ) -> Result<u64, ReadProblem> {
        (self.position, self.end) = (start, start.saturating_add(len));
        let mut offset = start;
        loop {
            self.fill(signature.as_deref_mut())?;
            let rest = self.window.get(self.window_start..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(self.position);
            }
            let len = self.splitter.cut(rest);
            // All of a frame is decompressed to read a little of it: it is closed before it is too long.
            if self.piece.bytes.len() + len > self.frame_len {
                self.finish(give)?;
            }
            let chunk = self.window.get(self.window_start..self.window_start + len).unwrap_or_default();
            if self.piece.bytes.is_empty() {
                self.piece.bytes.reserve_exact(self.frame_len.max(len));
            }
            self.piece.bytes.extend_from_slice(chunk);
            self.piece.cuts.push(Cut { offset, len });
            self.window_start += len;
            offset += len as u64;
        }
    }

    fn finish(&mut self, give: Give<'_>) -> Result<(), ReadProblem> {
        if self.piece.cuts.is_empty() {
            return Ok(());
        }
        let next = Piece { bytes: Vec::new(), cuts: Vec::new(), before: self.piece.before.clone() };
        give(Task::Piece(std::mem::replace(&mut self.piece, next)))
    }

    // Sees to it that the window holds all that one cut may look at, or all there is.
    fn fill(&mut self, mut signature: Option<&mut SignatureHasher>) -> Result<(), ReadProblem> {
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
            let read = self.source.read_at(target, self.position)?;
            if let Some(signature) = signature.as_deref_mut() {
                signature.data(target.get(..read).unwrap_or_default());
            }
            self.window.truncate(filled + read);
            self.position += read as u64;
            if read < want {
                self.end = self.position;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    impl LargeSource for Vec<u8> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadProblem> {
            let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
            let len = buffer.len().min(rest.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }
    }

    #[test]
    fn a_frame_of_a_large_file_is_no_longer_than_asked_for_unless_one_chunk_is() {
        let mut data = vec![0; 3 << 20];
        blake3::Hasher::new().update(b"seed").finalize_xof().fill(&mut data);
        let size = data.len() as u64;
        for frame_len in [256 << 10, 100_000, 1] {
            let mut found = Vec::new();
            let mut give = |task| {
                let Task::Piece(piece) = task else { panic!("a large file has no small ones") };
                assert!(piece.bytes.len() <= frame_len || piece.cuts.len() == 1, "{}", piece.bytes.len());
                assert_eq!(piece.cuts.iter().map(|cut| cut.len).sum::<usize>(), piece.bytes.len());
                found.extend_from_slice(&piece.bytes);
                Ok(())
            };
            read(&data, size, std::iter::once(Ok((0, size))), None, frame_len, &mut give).expect("reads");
            assert!(found == data, "{frame_len}");
        }
    }
}
