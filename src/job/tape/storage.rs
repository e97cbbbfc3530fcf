//! A set of cartridges as a repository's storage: read-only, trees from the catalogue, data from tape.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::catalogue::{Catalogue, Piece, SetContent};
use crate::id::FileId;
use crate::storage::{DirectoryEntry, ReadFile, Storage, StorageError, WriteFile};
use crate::tape::archive::BlockAddress;

/// Reads bytes of cartridges, in whatever order is best.
pub trait BlockReader: Send + Sync + fmt::Debug {
    /// Fills `buffer` from a place on.
    ///
    /// # Errors
    /// `ENOMEDIUM` at once if the cartridge is not in the library, `EBUSY` if no drive is free in time, `EIO` if
    /// the tape cannot be read there.
    fn read(&self, volume: FileId, address: BlockAddress, buffer: &mut [u8]) -> io::Result<()>;
}

/// The objects of a set of cartridges under their names in the repository.
#[derive(Debug)]
pub struct SetStorage {
    catalogue: Catalogue,
    content: SetContent,
    reader: Arc<dyn BlockReader>,
    // What messages begin with.
    shown: String,
}

impl SetStorage {
    /// Takes what a set holds; `shown` names it in messages.
    #[must_use]
    pub fn new(
        catalogue: Catalogue,
        content: SetContent,
        reader: Arc<dyn BlockReader>,
        shown: String,
    ) -> Self {
        Self { catalogue, content, reader, shown }
    }

    /// What the set holds.
    #[must_use]
    pub fn content(&self) -> &SetContent {
        &self.content
    }

    fn refuse<T>(&self, operation: &'static str, name: &str, errno: i32) -> Result<T, StorageError> {
        let path = format!("{}:{name}", self.shown);
        Err(StorageError { operation, path, source: io::Error::from_raw_os_error(errno) })
    }

    fn cached(&self, name: &str, pieces: &[Piece]) -> Option<Box<dyn ReadFile>> {
        // A file that was cached when only a part of it was there is of no use.
        let total = pieces.first().map(|piece| piece.segment.total)?;
        pieces
            .iter()
            .map(|piece| piece.volume)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .find_map(|volume| self.catalogue.open_file(volume, name).ok().filter(|file| file.len() == total))
    }
}

impl Storage for SetStorage {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        let Some(pieces) = self.content.complete(name) else {
            return self.refuse("open", name, libc::ENOENT);
        };
        if let Some(file) = self.cached(name, pieces) {
            return Ok(file);
        }
        Ok(Box::new(TapeFile {
            pieces: pieces.to_vec(),
            reader: Arc::clone(&self.reader),
            path: format!("{}:{name}", self.shown),
        }))
    }

    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError> {
        self.refuse("create", name, libc::EROFS)
    }

    fn rename(&self, name: &str, _: &str) -> Result<(), StorageError> {
        self.refuse("rename", name, libc::EROFS)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.refuse("remove", name, libc::EROFS)
    }

    fn create_directory(&self, name: &str) -> Result<(), StorageError> {
        self.refuse("create directory", name, libc::EROFS)
    }

    fn sync_directory(&self, name: &str) -> Result<(), StorageError> {
        self.refuse("sync directory", name, libc::EROFS)
    }

    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError> {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
        let below = self
            .content
            .objects
            .range::<str, _>((std::ops::Bound::Included(prefix.as_str()), std::ops::Bound::Unbounded));
        let mut entries = BTreeSet::new();
        for (object, _) in below {
            let Some(rest) = object.strip_prefix(prefix.as_str()) else { break };
            // An object of which a piece is missing cannot be read: it is not listed as if it could.
            if let Some((directory, _)) = rest.split_once('/') {
                entries.insert(DirectoryEntry { name: directory.to_owned(), is_directory: true });
            } else if self.content.complete(object).is_some() {
                entries.insert(DirectoryEntry { name: rest.to_owned(), is_directory: false });
            }
        }
        Ok(entries.into_iter().collect())
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        Ok(self.content.complete(name).is_some() || !self.list(name)?.is_empty())
    }
}

/// An object on tape.
#[derive(Debug)]
struct TapeFile {
    pieces: Vec<Piece>,
    reader: Arc<dyn BlockReader>,
    path: String,
}

impl ReadFile for TapeFile {
    fn len(&self) -> u64 {
        self.pieces.first().map_or(0, |piece| piece.segment.total)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let error = |source| StorageError { operation: "read", path: self.path.clone(), source };
        let (mut offset, mut left) = (offset, buffer);
        while !left.is_empty() {
            let index = self.pieces.partition_point(|piece| piece.segment.offset <= offset);
            let piece = index.checked_sub(1).and_then(|index| self.pieces.get(index));
            let Some((piece, skip)) = piece
                .map(|piece| (piece, offset - piece.segment.offset))
                .filter(|(piece, skip)| *skip < piece.segment.len)
            else {
                return Err(error(io::Error::from(io::ErrorKind::UnexpectedEof)));
            };
            let len = usize::try_from(piece.segment.len - skip).unwrap_or(usize::MAX).min(left.len());
            let (now, later) = left.split_at_mut(len);
            self.reader.read(piece.volume, piece.segment.address.plus(skip), now).map_err(error)?;
            offset += len as u64;
            left = later;
        }
        Ok(())
    }
}
