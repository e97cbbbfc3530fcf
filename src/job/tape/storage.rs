//! A set of cartridges as a repository's storage: read-only, trees from the catalogue, data from tape.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::catalogue::{Catalogue, Piece, SetContent, piece_name};
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

/// Where trees come from that the catalogue does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataFrom {
    /// The cartridge: whoever asks waits for it.
    Tape,
    /// Nowhere: a question about metadata moves no tape, and is refused with `ENOMEDIUM`.
    Kept,
}

/// The objects of a set of cartridges under their names in the repository.
#[derive(Debug)]
pub struct SetStorage {
    catalogue: Catalogue,
    content: SetContent,
    reader: Arc<dyn BlockReader>,
    // What messages begin with.
    shown: String,
    metadata: MetadataFrom,
}

impl SetStorage {
    /// Takes what a set holds; `shown` names it in messages.
    #[must_use]
    pub fn new(
        catalogue: Catalogue,
        content: SetContent,
        reader: Arc<dyn BlockReader>,
        shown: String,
        metadata: MetadataFrom,
    ) -> Self {
        Self { catalogue, content, reader, shown, metadata }
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
        let total = pieces.first().map(|piece| piece.segment.total)?;
        let volumes: BTreeSet<FileId> = pieces.iter().map(|piece| piece.volume).collect();
        let kept = |volume: &FileId, name: &str| self.catalogue.open_file(*volume, name).ok();
        // A file that was cached when only a part of it was there is of no use.
        if let Some(whole) =
            volumes.iter().find_map(|volume| kept(volume, name).filter(|file| file.len() == total))
        {
            return Some(whole);
        }
        // Each cartridge has the piece that is on it.
        let mut joined = JoinedFile { pieces: Vec::new(), len: 0, path: format!("{}:{name}", self.shown) };
        while joined.len < total {
            let piece_name = piece_name(name, joined.len, 0, total);
            let piece = volumes.iter().find_map(|volume| kept(volume, &piece_name))?;
            let start = joined.len;
            joined.len += piece.len();
            if piece.is_empty() {
                return None;
            }
            joined.pieces.push((start, piece));
        }
        (joined.len == total).then(|| Box::new(joined) as Box<dyn ReadFile>)
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
        if self.metadata == MetadataFrom::Kept && !name.ends_with(".bdf") {
            return self.refuse("open", name, libc::ENOMEDIUM);
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
        let mut entries = BTreeSet::new();
        for object in self.content.names_from(&prefix) {
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

/// A file of which the catalogue keeps all pieces, each of another cartridge.
#[derive(Debug)]
struct JoinedFile {
    // With the offset at which each begins.
    pieces: Vec<(u64, Box<dyn ReadFile>)>,
    len: u64,
    path: String,
}

impl ReadFile for JoinedFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let (mut offset, mut left) = (offset, buffer);
        while !left.is_empty() {
            let index = self.pieces.partition_point(|(start, _)| *start <= offset);
            let piece = index.checked_sub(1).and_then(|index| self.pieces.get(index));
            let rest = piece.map_or(0, |(start, piece)| (start + piece.len()).saturating_sub(offset));
            let Some((start, piece)) = piece.filter(|_| rest > 0) else {
                let source = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(StorageError { operation: "read", path: self.path.clone(), source });
            };
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(left.len());
            let (now, later) = left.split_at_mut(len);
            piece.read_exact_at(now, offset - start)?;
            offset += len as u64;
            left = later;
        }
        Ok(())
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

#[cfg(test)]
mod test {
    use super::*;
    use crate::id::Fingerprint;
    use crate::tape::archive::SegmentEntry;

    #[derive(Debug)]
    struct NoDrive;

    impl BlockReader for NoDrive {
        fn read(&self, _: FileId, _: BlockAddress, _: &mut [u8]) -> io::Result<()> {
            panic!("a tape was moved");
        }
    }

    const NAME: &str = "clients/web1/tree.dtf";

    fn segment(number: u32, offset: u64, len: u64, total: u64) -> SegmentEntry {
        SegmentEntry {
            name: NAME.into(),
            segment: number,
            offset,
            len,
            total,
            fingerprint: Fingerprint::NONE,
            object_fingerprint: None,
            mtime_seconds: 0,
            part: 2,
            address: BlockAddress { loi: 9, byte: 0 },
        }
    }

    #[test]
    fn a_tree_that_goes_over_two_cartridges_is_read_from_the_pieces_that_are_kept_of_each() {
        let directory = tempfile::tempdir().expect("a directory");
        let catalogue = Catalogue::new(directory.path());
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| (number % 251) as u8).collect();
        let mut content = SetContent::default();
        let volumes = [FileId([1; 16]), FileId([2; 16])];
        let pieces = [(0_usize, 6_000_usize), (6_000, 10_000)];
        let storage = |content: &SetContent, metadata| {
            SetStorage::new(catalogue.clone(), content.clone(), Arc::new(NoDrive), "set".to_owned(), metadata)
        };
        for (number, (volume, (start, end))) in (0..).zip(volumes.into_iter().zip(pieces)) {
            let (offset, len) = (start as u64, (end - start) as u64);
            content.add(volume, segment(number, offset, len, 10_000));
            let refused = storage(&content, MetadataFrom::Kept).open(NAME).err().map(|error| error.source);
            let expected = if number == 0 { libc::ENOENT } else { libc::ENOMEDIUM };
            assert_eq!(refused.and_then(|error| error.raw_os_error()), Some(expected));
            let name = piece_name(NAME, offset, len, 10_000);
            let piece = bytes.get(start..end).unwrap_or_default();
            catalogue.put_file(volume, &name, None, |file| file.append(piece)).expect("kept");
        }
        let file = storage(&content, MetadataFrom::Kept).open(NAME).expect("kept in two pieces");
        assert_eq!(file.len(), 10_000);
        for (start, end) in [(0, 10_000), (5_990, 6_010), (6_000, 6_001), (5_999, 6_000), (9_999, 10_000)] {
            let mut buffer = vec![0; end - start];
            file.read_exact_at(&mut buffer, start as u64).expect("read");
            assert!(buffer == bytes[start..end], "{start}..{end}");
        }
        assert!(file.read_exact_at(&mut [0; 2], 9_999).is_err(), "beyond the end");
    }
}
