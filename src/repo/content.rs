//! Reads the bytes of a file: extents, chunks, and zeros where the file has holes.

use super::error::ReadError;
use super::frames::{Chunk, FrameReader};
use super::pages::PageReader;
use super::tree::Tree;
use crate::format::page::{PageRef, TreeKind};
use crate::format::record::{Content, Extent};

// So many extents are looked at ahead of a read: all of a request of 1 MiB and of a frame after it.
const LOOK_AHEAD_COUNT_MAX: usize = 64;

/// A file's content, for reading at any offset.
#[derive(Debug, Clone, Copy)]
pub struct ContentReader<'a> {
    pages: &'a PageReader,
    frames: &'a FrameReader,
    content: &'a Content,
    size: u64,
}

impl<'a> ContentReader<'a> {
    /// Takes a file's content and its length in bytes.
    #[must_use]
    pub fn new(pages: &'a PageReader, frames: &'a FrameReader, content: &'a Content, size: u64) -> Self {
        Self { pages, frames, content, size }
    }

    /// All extents that end after `offset`, in order.
    pub fn extents_from(&self, offset: u64) -> Box<dyn Iterator<Item = Result<Extent, ReadError>> + 'a> {
        match self.content {
            Content::Inline(extents) => Box::new(
                extents.iter().filter(move |extent| extent.offset + extent.len > offset).map(|e| Ok(*e)),
            ),
            Content::Tree { root, .. } => Box::new(TreeExtents::new(self.pages, *root, offset)),
        }
    }

    /// Reads up to `len` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// [`ReadError`] if a byte of the range cannot be read; another range may be readable.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let mut bytes = Vec::with_capacity(len);
        self.read_each(offset, len, |piece| {
            match piece {
                Piece::Data(data) => bytes.extend_from_slice(data),
                Piece::Hole(len) => bytes.resize(bytes.len() + len, 0),
            }
            true
        })?;
        Ok(bytes)
    }

    /// Hands the range to `take`, piece by piece in order, until it returns `false`.
    ///
    /// # Errors
    /// [`ReadError`] at the first piece that cannot be read.
    pub fn read_each(
        &self,
        offset: u64,
        len: usize,
        mut take: impl FnMut(Piece<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let end = offset.saturating_add(len as u64).min(self.size);
        let mut position = offset;
        if position >= end {
            return Ok(());
        }
        let mut is_wished = false;
        for extent in self.extents_from(offset) {
            let extent = extent?;
            if extent.offset >= end {
                break;
            }
            if extent.offset > position {
                if !take(Piece::Hole(narrow(extent.offset - position))) {
                    return Ok(());
                }
                position = extent.offset;
            }
            let mut next = None;
            if extent.offset < end && !self.frames.is_cached(&extent.chunk) {
                let wanted = if is_wished { extent.offset } else { end };
                next = self.look_ahead(&extent, wanted);
                is_wished = true;
            }
            let data = ExtentData { chunk: self.frames.chunk_before(&extent.chunk, next)?, extent };
            let upto = (extent.offset + extent.len).min(end);
            if !take(Piece::Data(data.range(position, upto))) {
                return Ok(());
            }
            position = upto;
            if position >= end {
                return Ok(());
            }
        }
        take(Piece::Hole(narrow(end - position)));
        Ok(())
    }

    // Looks at the extents after one whose frame must be read: where that frame may end, as the next one in
    // the file is most often the next one in the BDF, too. Frames that are needed before `end` are given to
    // other threads meanwhile.
    fn look_ahead(&self, extent: &Extent, end: u64) -> Option<u64> {
        let mut frame = extent.chunk.location;
        let mut wish = None;
        let mut found = None;
        for (index, extent) in self.extents_from(extent.offset.saturating_add(extent.len)).enumerate() {
            // What cannot be read is met again by who needs it.
            let Ok(extent) = extent else { break };
            if index >= LOOK_AHEAD_COUNT_MAX {
                break;
            }
            let location = extent.chunk.location;
            if (location.file, location.frame) == (frame.file, frame.frame) {
                continue;
            }
            let next =
                (location.file == frame.file && location.frame > frame.frame).then_some(location.frame);
            match wish.take() {
                Some(chunk) => self.frames.wish(&chunk, next),
                None => found = next,
            }
            if extent.offset >= end {
                return found;
            }
            (wish, frame) = (Some(extent.chunk), location);
        }
        if let Some(chunk) = wish {
            self.frames.wish(&chunk, None);
        }
        found
    }

    /// Tells whether a range can be read from the cache, without a disk and without decompressing.
    #[must_use]
    pub fn is_ready(&self, offset: u64, len: usize) -> bool {
        let end = offset.saturating_add(len as u64).min(self.size);
        self.extents_from(offset)
            .take_while(|extent| extent.as_ref().is_ok_and(|extent| extent.offset < end))
            .all(|extent| extent.is_ok_and(|extent| self.frames.is_cached(&extent.chunk)))
    }

    /// Reads the bytes of one extent.
    ///
    /// # Errors
    /// [`ReadError`] if its chunk cannot be read; another extent may be readable.
    pub fn data(&self, extent: &Extent) -> Result<ExtentData, ReadError> {
        Ok(ExtentData { chunk: self.frames.chunk(&extent.chunk)?, extent: *extent })
    }

    /// The next offset from `offset` on that holds data, or `None` if only a hole follows.
    ///
    /// # Errors
    /// [`ReadError`] if the extents cannot be read.
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>, ReadError> {
        match self.extents_from(offset).next() {
            None => Ok(None),
            Some(extent) => extent.map(|extent| Some(extent.offset.max(offset))),
        }
    }

    /// The next offset from `offset` on that is in a hole; the end of the file counts as one.
    ///
    /// # Errors
    /// [`ReadError`] if the extents cannot be read.
    pub fn seek_hole(&self, offset: u64) -> Result<u64, ReadError> {
        let mut position = offset;
        for extent in self.extents_from(offset) {
            let extent = extent?;
            if extent.offset > position {
                break;
            }
            position = extent.offset + extent.len;
        }
        Ok(position.min(self.size))
    }
}

/// A piece of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// So many zeros that take no space.
    Hole(usize),
}

/// The verified bytes of one extent.
#[derive(Debug, Clone)]
pub struct ExtentData {
    chunk: Chunk,
    extent: Extent,
}

impl ExtentData {
    /// The bytes from offset `from` of the file up to `upto`, both within the extent.
    #[must_use]
    pub fn range(&self, from: u64, upto: u64) -> &[u8] {
        let place = |offset: u64| {
            narrow(offset.saturating_sub(self.extent.offset)).saturating_add(self.extent.skip as usize)
        };
        // Decoding made sure that skip and length lie within the chunk.
        self.chunk.bytes().get(place(from)..place(upto)).unwrap_or_default()
    }
}

fn narrow(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

struct TreeExtents<'a> {
    before: Option<Result<Extent, ReadError>>,
    cursor: super::tree::Cursor<'a>,
    end: u64,
    failed: bool,
}

impl<'a> TreeExtents<'a> {
    fn new(pages: &'a PageReader, root: PageRef, offset: u64) -> Self {
        let tree = Tree::new(pages, root, TreeKind::Extents);
        // The extent that covers the offset begins at or before it.
        let before = match tree.floor(&Extent::key(offset)) {
            Ok(None) => None,
            Ok(Some(found)) => match decode(found.key(), found.value()) {
                Ok(extent) if extent.offset + extent.len > offset && extent.offset < offset => {
                    Some(Ok(extent))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            },
            Err(error) => Some(Err(error)),
        };
        Self { before, cursor: tree.range(&Extent::key(offset)), end: 0, failed: false }
    }
}

fn decode(key: &[u8], value: &[u8]) -> Result<Extent, ReadError> {
    Extent::decode(key, value).map_err(|source| ReadError::Format {
        path: "extent tree".to_owned(),
        offset: 0,
        source,
    })
}

impl Iterator for TreeExtents<'_> {
    type Item = Result<Extent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = match self.before.take() {
            Some(before) => before,
            None => self.cursor.next()?.and_then(|found| decode(found.key(), found.value())),
        };
        // What overlaps would be served twice; a writer makes no such tree.
        let next = next.and_then(|extent| {
            if extent.offset >= self.end {
                return Ok(extent);
            }
            let source = crate::format::FormatError::Order { structure: "extent tree", index: 0 };
            Err(ReadError::Format { path: "extent tree".to_owned(), offset: extent.offset, source })
        });
        match &next {
            Ok(extent) => self.end = extent.offset + extent.len,
            Err(_) => self.failed = true,
        }
        Some(next)
    }
}
