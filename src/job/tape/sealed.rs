//! Reads a sealed file from its beginning to its end, verified on the way by its own checksums.
//!
//! A BDF comes as header, frames, footer with seal; a DTF as header, pages, footer with seal. Every byte is
//! covered by a checksum that was compared, but for the zeros between pages, which are compared with zero.

use std::collections::BTreeSet;

use crate::checksum::crc32;
use crate::format::FormatError;
use crate::format::bdf::{self, BdfHeader};
use crate::format::dtf::{self, DtfHeader};
use crate::format::frame::{self, FrameHeader, FrameLengths};
use crate::format::page::{self, ALIGNMENT, PageHeader};
use crate::format::seal::Seal;
use crate::id::FileId;
use crate::repo::ReadError;
use crate::repo::pages::read_sealed;
use crate::storage::ReadFile;

/// What kind of sealed file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedKind {
    /// A backup data file.
    Bdf,
    /// A directory tree file.
    Dtf,
}

/// A sealed file on its way elsewhere.
#[derive(Debug)]
pub struct SealedReader {
    file: Box<dyn ReadFile>,
    kind: SealedKind,
    id: FileId,
    seal: Seal,
    offset: u64,
    bases: BTreeSet<FileId>,
}

impl SealedReader {
    /// Takes a file of this kind and repository, and verifies header, footer and seal.
    ///
    /// # Errors
    /// [`ReadError`] if it is none, is damaged there, or cannot be read.
    pub fn new(file: Box<dyn ReadFile>, kind: SealedKind, repository: FileId) -> Result<Self, ReadError> {
        let (id, owner) = read_header(&*file, kind)?;
        if owner != repository {
            let (expected, actual) = (repository, owner);
            let source = FormatError::Identity { structure: "repository of the file", expected, actual };
            return Err(ReadError::Format { path: file.path().to_owned(), offset: 0, source });
        }
        let (seal, footer) = read_sealed(&*file, id)?;
        let computed = crc32(&[&footer]);
        if computed != seal.footer_crc {
            let source = FormatError::Checksum { structure: "footer", stored: seal.footer_crc, computed };
            return Err(ReadError::Format {
                path: file.path().to_owned(),
                offset: seal.footer_offset,
                source,
            });
        }
        Ok(Self { file, kind, id, seal, offset: 0, bases: BTreeSet::new() })
    }

    /// Identity of the file.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// Never true: the file has a header and a seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Path as people know it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.file.path()
    }

    /// Offset of the piece that comes next.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// BDFs that frames read so far are compressed against.
    #[must_use]
    pub fn bases(&self) -> &BTreeSet<FileId> {
        &self.bases
    }

    /// Goes to the piece that holds this byte of the file, or to the end.
    ///
    /// # Errors
    /// [`ReadError`] if the file is damaged on the way or cannot be read.
    pub fn seek(&mut self, offset: u64) -> Result<(), ReadError> {
        if offset >= self.seal.footer_offset {
            self.offset = if offset >= self.len() { self.len() } else { self.seal.footer_offset };
            return Ok(());
        }
        match self.kind {
            SealedKind::Bdf if offset >= bdf::HEADER_LEN as u64 => {
                let (seal, footer) = read_sealed(&*self.file, self.id)?;
                let spans =
                    bdf::decode_footer(&footer, seal.footer_crc).map_err(|source| self.damaged(source))?;
                let index = spans.partition_point(|span| span.offset <= offset);
                let span = index.checked_sub(1).and_then(|index| spans.get(index));
                self.offset = span.map_or(bdf::HEADER_LEN as u64, |span| span.offset);
            }
            SealedKind::Bdf => self.offset = 0,
            // Pages are found one after the other only.
            SealedKind::Dtf => {
                if offset < self.offset {
                    self.offset = 0;
                }
                let mut start = self.offset;
                while self.offset <= offset {
                    start = self.offset;
                    self.read_next()?;
                }
                self.offset = start;
            }
        }
        Ok(())
    }

    /// Reads the next piece, at most about 17 MiB, verified; an empty one is the end.
    ///
    /// # Errors
    /// [`ReadError`] if the file is damaged there or cannot be read.
    pub fn read_next(&mut self) -> Result<Vec<u8>, ReadError> {
        let piece = if self.offset == 0 {
            self.read(match self.kind {
                SealedKind::Bdf => bdf::HEADER_LEN,
                SealedKind::Dtf => dtf::HEADER_LEN,
            })?
        } else if self.offset < self.seal.footer_offset {
            match self.kind {
                SealedKind::Bdf => self.frame()?,
                SealedKind::Dtf => self.page()?,
            }
        } else {
            // Opening compared footer and seal; what is read now must be the same.
            let len = self.file.len().saturating_sub(self.offset);
            let rest = self.read(usize::try_from(len).unwrap_or(usize::MAX))?;
            self.check_footer(&rest)?;
            rest
        };
        self.offset += piece.len() as u64;
        Ok(piece)
    }

    fn check_footer(&self, rest: &[u8]) -> Result<(), ReadError> {
        let footer_len = usize::try_from(self.seal.footer_len).unwrap_or(usize::MAX);
        let (Some((footer, seal)), true) =
            (rest.split_at_checked(footer_len), self.offset == self.seal.footer_offset)
        else {
            return Ok(());
        };
        let computed = crc32(&[footer]);
        if computed != self.seal.footer_crc || seal != self.seal.encode() {
            let source =
                FormatError::Checksum { structure: "footer", stored: self.seal.footer_crc, computed };
            return Err(self.damaged(source));
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut fixed = [0; frame::HEADER_LEN];
        self.file.read_exact_at(&mut fixed, self.offset)?;
        let lengths = FrameLengths::peek(&fixed).map_err(|source| self.damaged(source))?;
        let bytes = self.read_before_footer(lengths.total(), "frame")?;
        let header =
            FrameHeader::decode(&bytes, self.id, self.offset).map_err(|source| self.damaged(source))?;
        let payload = bytes.get(frame::HEADER_LEN + lengths.tables_len..).unwrap_or_default();
        let (stored, computed) = (header.payload_crc, crc32(&[payload]));
        if stored != computed {
            return Err(self.damaged(FormatError::Checksum { structure: "frame payload", stored, computed }));
        }
        self.bases.extend(header.bases.iter().map(|base| base.location.file).filter(|file| *file != self.id));
        Ok(bytes)
    }

    // A page with the zeros before it.
    fn page(&mut self) -> Result<Vec<u8>, ReadError> {
        let start = self.offset.next_multiple_of(ALIGNMENT);
        let padding = usize::try_from(start - self.offset).unwrap_or_default();
        if start >= self.seal.footer_offset {
            let left = usize::try_from(self.seal.footer_offset - self.offset).unwrap_or_default();
            let zeros = self.read(left)?;
            return self.zeros(&zeros).map(|()| zeros);
        }
        let mut fixed = [0; page::HEADER_LEN];
        self.file.read_exact_at(&mut fixed, start)?;
        let stored_len = PageHeader::peek_stored_len(&fixed).map_err(|source| self.damaged(source))?;
        let bytes = self.read_before_footer(padding + page::HEADER_LEN + stored_len as usize, "page")?;
        let (zeros, page) = bytes.split_at_checked(padding).unwrap_or_default();
        self.zeros(zeros)?;
        PageHeader::decode(page, self.id, start).map_err(|source| self.damaged(source))?;
        Ok(bytes)
    }

    fn zeros(&self, bytes: &[u8]) -> Result<(), ReadError> {
        match bytes.iter().find(|byte| **byte != 0) {
            None => Ok(()),
            Some(byte) => {
                let value = u64::from(*byte);
                Err(self.damaged(FormatError::Unknown {
                    structure: "DTF",
                    field: "space between pages",
                    value,
                }))
            }
        }
    }

    fn read_before_footer(&self, len: usize, structure: &'static str) -> Result<Vec<u8>, ReadError> {
        // Nothing is allocated for what is not there.
        if len as u64 > self.seal.footer_offset - self.offset {
            return Err(self.damaged(FormatError::Unknown { structure, field: "length", value: len as u64 }));
        }
        self.read(len)
    }

    fn read(&self, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }

    fn damaged(&self, source: FormatError) -> ReadError {
        ReadError::Format { path: self.file.path().to_owned(), offset: self.offset, source }
    }
}

fn read_header(file: &dyn ReadFile, kind: SealedKind) -> Result<(FileId, FileId), ReadError> {
    let format = |source| ReadError::Format { path: file.path().to_owned(), offset: 0, source };
    match kind {
        SealedKind::Bdf => {
            let mut bytes = [0; bdf::HEADER_LEN];
            file.read_exact_at(&mut bytes, 0)?;
            let header = BdfHeader::decode(&bytes).map_err(format)?;
            Ok((header.file, header.repository))
        }
        SealedKind::Dtf => {
            let mut bytes = [0; dtf::HEADER_LEN];
            file.read_exact_at(&mut bytes, 0)?;
            let header = DtfHeader::decode(&bytes).map_err(format)?;
            Ok((header.file, header.repository))
        }
    }
}
