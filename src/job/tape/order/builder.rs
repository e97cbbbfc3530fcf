//! Names as they come become a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::sorter::Sorter;
use super::table::{DIRECTORY_LEN, Footer, NAME_LEN, RANKED_LEN};
use crate::id::{FileId, FingerprintHasher, Ordinal};
use crate::path;
use crate::storage::{StorageError, WriteFile};

/// Where data begins: the place of its BDF, and frame and byte in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) bdf: u64,
    pub(super) frame: u64,
    pub(super) start: u32,
}

/// A name, and what the table is sorted by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    /// Absent without data.
    pub(super) place: Option<Place>,
    pub(super) is_directory: bool,
    /// Number of the object in its generation.
    pub(super) node: u64,
    /// Object id of the directory.
    pub(super) directory: u64,
    /// Number of the record of the name.
    pub(super) entry: u64,
}

const SORTED_LEN: usize = 46;

impl Name {
    // Big-endian, so that the order of bytes is the order wanted.
    fn encode(&self) -> [u8; SORTED_LEN] {
        let place = self.place.unwrap_or(Place { bdf: 0, frame: 0, start: 0 });
        joined([
            &[u8::from(self.place.is_some())][..],
            &place.bdf.to_be_bytes(),
            &place.frame.to_be_bytes(),
            &place.start.to_be_bytes(),
            &[u8::from(!self.is_directory)],
            &self.node.to_be_bytes(),
            &self.directory.to_be_bytes(),
            &self.entry.to_be_bytes(),
        ])
    }
}

/// What a table is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MadeFrom {
    /// The DTF.
    pub(super) dtf: FileId,
    /// Number of the generation.
    pub(super) ordinal: Ordinal,
    /// Its BDFs, and where they begin.
    pub(super) places: BTreeMap<FileId, u64>,
}

/// Takes the names of a generation in any order.
#[derive(Debug)]
pub(super) struct Builder {
    scratch: PathBuf,
    names: Sorter<SORTED_LEN>,
}

impl Builder {
    /// Starts empty; what does not fit into memory goes to files in `scratch`.
    pub(super) fn new(scratch: &Path) -> Self {
        Self { scratch: scratch.to_owned(), names: Sorter::new(scratch) }
    }

    fn refused(&self, source: std::io::Error) -> StorageError {
        let path = path::display(self.scratch.as_os_str().as_encoded_bytes());
        StorageError { operation: "sort in", path, source }
    }

    /// Takes a name.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub(super) fn add(&mut self, name: &Name) -> Result<(), StorageError> {
        self.names.add(name.encode()).map_err(|source| self.refused(source))
    }

    /// Writes the table.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub(super) fn finish(mut self, of: &MadeFrom, file: &mut dyn WriteFile) -> Result<(), StorageError> {
        let empty = Sorter::new(&self.scratch);
        let names = std::mem::replace(&mut self.names, empty);
        let mut out = Out::new(file);
        let mut footer = Footer::new(of);
        let sorted = self.nodes(names, &mut out, &mut footer)?;
        self.ranks(sorted.ranked, &mut out)?;
        self.names(sorted.listed, &mut out, &mut footer)?;
        for (bdf, place) in &of.places {
            out.put(&bdf.0)?;
            out.put(&place.to_be_bytes())?;
        }
        out.put(&footer.encode())?;
        let fingerprint = out.hasher.finish();
        out.put(&fingerprint.0)?;
        out.flush()
    }

    // Gives ranks. What comes with the same object is one of its names.
    fn nodes(
        &self,
        names: Sorter<SORTED_LEN>,
        out: &mut Out<'_>,
        footer: &mut Footer,
    ) -> Result<SortedAgain, StorageError> {
        let refused = |source| self.refused(source);
        let mut again =
            SortedAgain { ranked: Sorter::new(&self.scratch), listed: Sorter::new(&self.scratch) };
        let mut names = names.finish().map_err(refused)?;
        let mut last = None;
        while let Some(record) = names.next().map_err(refused)? {
            let (_, tail) = record.split_at(SORTED_LEN - 24);
            let [node, directory, entry] = *tail.as_chunks::<8>().0 else { continue };
            if last != Some(node) {
                out.put(&node)?;
                again.ranked.add(joined([&node, &rank(footer.rank_count)?])).map_err(refused)?;
                footer.rank_count += 1;
                last = Some(node);
            }
            let own = rank(footer.rank_count - 1)?;
            again.listed.add(joined([&directory[..], &own, &entry])).map_err(refused)?;
        }
        Ok(again)
    }

    fn ranks(&self, ranked: Sorter<RANKED_LEN>, out: &mut Out<'_>) -> Result<(), StorageError> {
        let refused = |source| self.refused(source);
        let mut ranked = ranked.finish().map_err(refused)?;
        while let Some(record) = ranked.next().map_err(refused)? {
            out.put(&record)?;
        }
        Ok(())
    }

    fn names(
        &self,
        listed: Sorter<LISTED_LEN>,
        out: &mut Out<'_>,
        footer: &mut Footer,
    ) -> Result<(), StorageError> {
        let refused = |source| self.refused(source);
        let mut directories = Sorter::<DIRECTORY_LEN>::new(&self.scratch);
        let mut listed = listed.finish().map_err(refused)?;
        let mut last = None;
        while let Some(record) = listed.next().map_err(refused)? {
            let (directory, name) = record.split_at(8);
            if last.as_ref() != directory.first_chunk::<8>() {
                last = directory.first_chunk().copied();
                let first = joined([directory, &footer.name_count.to_be_bytes()]);
                directories.add(first).map_err(refused)?;
                footer.directory_count += 1;
            }
            out.put(name)?;
            footer.name_count += 1;
        }
        let mut directories = directories.finish().map_err(refused)?;
        while let Some(record) = directories.next().map_err(refused)? {
            out.put(&record)?;
        }
        Ok(())
    }
}

const LISTED_LEN: usize = 8 + NAME_LEN;

// The second orders, in which the rest of the table is.
struct SortedAgain {
    // Object, rank.
    ranked: Sorter<RANKED_LEN>,
    // Directory, rank, record of the name.
    listed: Sorter<LISTED_LEN>,
}

fn rank(count: u64) -> Result<[u8; 4], StorageError> {
    let rank = u32::try_from(count).map_err(|_| StorageError {
        operation: "sort",
        path: "a generation".to_owned(),
        source: std::io::ErrorKind::FileTooLarge.into(),
    })?;
    Ok(rank.to_be_bytes())
}

fn joined<const N: usize, const K: usize>(parts: [&[u8]; K]) -> [u8; N] {
    let mut record = [0; N];
    let bytes = parts.into_iter().flatten();
    record.iter_mut().zip(bytes).for_each(|(target, byte)| *target = *byte);
    record
}

/// The file, of which everything is hashed.
struct Out<'a> {
    file: &'a mut dyn WriteFile,
    pending: Vec<u8>,
    hasher: FingerprintHasher,
}

const PIECE_LEN: usize = 64 << 10;

impl<'a> Out<'a> {
    fn new(file: &'a mut dyn WriteFile) -> Self {
        Self { file, pending: Vec::with_capacity(PIECE_LEN), hasher: FingerprintHasher::default() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.pending.extend_from_slice(bytes);
        self.hasher.update(bytes);
        if self.pending.len() >= PIECE_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.file.append(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}
