//! The bytes of a table, and how it is asked.
//!
//! All numbers are big-endian. An object is known by its number in the generation, a name by the number of its record,
//! both as [`Node::to_number`](crate::repo::Node::to_number) gives them.
//!
//! ```text
//! nodes        u64 object                            by rank
//! ranks        u64 object, u32 rank                  by object
//! names        u32 rank, u64 record of the name      by directory and rank
//! directories  u64 object id, u64 first name         by object id
//! BDFs         16 bytes id, u64 place                by id
//! footer       magic "RFORDER1"
//!              16 bytes id of the DTF, u32 ordinal
//!              u64 counts of ranks, names, directories, BDFs
//!              32 bytes BLAKE3 of all before
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use super::builder::MadeFrom;
use crate::id::{FileId, Fingerprint, FingerprintHasher, Ordinal};
use crate::storage::{ReadFile, StorageError};

const MAGIC: &[u8; 8] = b"RFORDER1";
const NODE_LEN: usize = 8;
pub(super) const RANKED_LEN: usize = 12;
pub(super) const NAME_LEN: usize = 12;
pub(super) const DIRECTORY_LEN: usize = 16;
const BDF_LEN: usize = 24;
const FOOTER_LEN: usize = 60;
const FINGERPRINT_LEN: usize = 32;
/// Bytes that are read at a time when a table is checked.
const PIECE_LEN: usize = 256 << 10;
/// Records from one key that is kept in memory to the next.
const SAMPLE: u64 = 256;

/// Why a table cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its bytes are not those that were written.
    #[error("{path}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Footer of a table, without the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    dtf: FileId,
    ordinal: u32,
    pub(super) rank_count: u64,
    pub(super) name_count: u64,
    pub(super) directory_count: u64,
    bdf_count: u64,
}

impl Footer {
    pub(super) fn new(of: &MadeFrom) -> Self {
        Self {
            dtf: of.dtf,
            ordinal: of.ordinal.get(),
            rank_count: 0,
            name_count: 0,
            directory_count: 0,
            bdf_count: of.places.len() as u64,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let counts = [self.rank_count, self.name_count, self.directory_count, self.bdf_count];
        let counts = counts.map(u64::to_be_bytes);
        [&MAGIC[..], &self.dtf.0, &self.ordinal.to_be_bytes(), counts.as_flattened()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (dtf, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (ordinal, rest) = rest.split_first_chunk()?;
        let [rank_count, name_count, directory_count, bdf_count] = rest
            .as_chunks::<8>()
            .0
            .try_into()
            .ok()
            .map(|counts: [[u8; 8]; 4]| counts.map(u64::from_be_bytes))?;
        let (dtf, ordinal) = (FileId(*dtf), u32::from_be_bytes(*ordinal));
        Some(Self { dtf, ordinal, rank_count, name_count, directory_count, bdf_count })
    }

    // Where the sections behind the nodes begin, and where the last one ends; `None` if no file is so long.
    fn offsets(&self) -> Option<[u64; 5]> {
        let end = |start: u64, count: u64, len: usize| start.checked_add(count.checked_mul(len as u64)?);
        let ranks = end(0, self.rank_count, NODE_LEN)?;
        let names = end(ranks, self.rank_count, RANKED_LEN)?;
        let directories = end(names, self.name_count, NAME_LEN)?;
        let bdfs = end(directories, self.directory_count, DIRECTORY_LEN)?;
        Some([ranks, names, directories, bdfs, end(bdfs, self.bdf_count, BDF_LEN)?])
    }
}

/// A run of records of one length, ordered by the number that each begins with.
#[derive(Debug)]
struct Section {
    start: u64,
    count: u64,
    len: usize,
    // The key of every 256th.
    samples: Vec<u64>,
}

impl Section {
    fn new(file: &dyn ReadFile, start: u64, count: u64, len: usize) -> Result<Self, StorageError> {
        let mut samples = Vec::new();
        for index in (0..count).step_by(usize::try_from(SAMPLE).unwrap_or(usize::MAX)) {
            let mut key = [0; 8];
            file.read_exact_at(&mut key, start + index * len as u64)?;
            samples.push(u64::from_be_bytes(key));
        }
        Ok(Self { start, count, len, samples })
    }

    // The record with a key and its index.
    fn find(&self, file: &dyn ReadFile, key: u64) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let sample = self.samples.partition_point(|known| *known <= key);
        let Some(sample) = sample.checked_sub(1) else { return Ok(None) };
        let first = sample as u64 * SAMPLE;
        let count = usize::try_from(SAMPLE.min(self.count - first)).unwrap_or_default();
        let mut records = vec![0; count * self.len];
        file.read_exact_at(&mut records, self.start + first * self.len as u64)?;
        let records: Vec<&[u8]> = records.chunks_exact(self.len).collect();
        let found = records.binary_search_by_key(&Some(key), |record| key_of(record));
        Ok(found.ok().and_then(|index| Some((first + index as u64, (*records.get(index)?).to_vec()))))
    }
}

fn key_of(record: &[u8]) -> Option<u64> {
    record.first_chunk().map(|key| u64::from_be_bytes(*key))
}

/// An open table; in memory is one key of 256.
#[derive(Debug)]
pub struct TapeOrder {
    file: Box<dyn ReadFile>,
    footer: Footer,
    fingerprint: Fingerprint,
    ranks: Section,
    directories: Section,
    names_start: u64,
    places: BTreeMap<FileId, u64>,
}

impl TapeOrder {
    /// Opens a table and reads it once to see that it is whole.
    ///
    /// # Errors
    /// [`OrderError`] if it is not.
    pub fn open(file: Box<dyn ReadFile>) -> Result<Self, OrderError> {
        let path = file.path().to_owned();
        let damaged = |what| OrderError::Damaged { path: path.clone(), what };
        let tail = (FOOTER_LEN + FINGERPRINT_LEN) as u64;
        let end = file.len().checked_sub(tail).ok_or_else(|| damaged("too short"))?;
        let fingerprint =
            check(&*file)?.ok_or_else(|| damaged("bytes that are not those that were written"))?;
        let mut footer = [0; FOOTER_LEN];
        file.read_exact_at(&mut footer, end)?;
        let footer = Footer::decode(&footer).ok_or_else(|| damaged("no footer"))?;
        let offsets = footer.offsets().filter(|offsets| offsets[4] == end);
        let [ranks, names_start, directories, bdfs, _] = offsets.ok_or_else(|| damaged("length"))?;
        let mut places = BTreeMap::new();
        for index in 0..footer.bdf_count {
            let mut record = [0; BDF_LEN];
            file.read_exact_at(&mut record, bdfs + index * BDF_LEN as u64)?;
            if let (Some(id), Some(place)) = (record.first_chunk(), record.last_chunk()) {
                places.insert(FileId(*id), u64::from_be_bytes(*place));
            }
        }
        let ranks = Section::new(&*file, ranks, footer.rank_count, RANKED_LEN)?;
        let directories = Section::new(&*file, directories, footer.directory_count, DIRECTORY_LEN)?;
        Ok(Self { file, footer, fingerprint, ranks, directories, names_start, places })
    }

    /// What tells this table from any other one.
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.fingerprint.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// Tells whether it is the table of this tree, whose data is still where it was.
    pub(super) fn is_of(&self, dtf: FileId, ordinal: Ordinal, place: &dyn Fn(FileId) -> u64) -> bool {
        self.footer.dtf == dtf
            && self.footer.ordinal == ordinal.get()
            && self.places.iter().all(|(bdf, known)| place(*bdf) == *known)
    }

    /// Rank of an object; `None` of one that no name leads to, such as the root.
    ///
    /// # Errors
    /// [`OrderError`] if it cannot be read.
    pub fn rank(&self, node: u64) -> Result<Option<u32>, OrderError> {
        let found = self.ranks.find(&*self.file, node)?;
        let rank = found.and_then(|(_, record)| record.last_chunk().map(|rank| u32::from_be_bytes(*rank)));
        Ok(rank)
    }

    /// The object of a rank.
    ///
    /// # Errors
    /// [`OrderError`] if it cannot be read, or the object has another rank.
    pub fn node(&self, rank: u32) -> Result<Option<u64>, OrderError> {
        if u64::from(rank) >= self.footer.rank_count {
            return Ok(None);
        }
        let mut node = [0; NODE_LEN];
        self.file.read_exact_at(&mut node, u64::from(rank) * NODE_LEN as u64)?;
        let node = u64::from_be_bytes(node);
        // A number must never lead to another file than the one that it was given for, whatever the disk does.
        if self.rank(node)? != Some(rank) {
            return Err(OrderError::Damaged { path: self.file.path().to_owned(), what: "ranks" });
        }
        Ok(Some(node))
    }

    /// Where the names of a directory are, in order of rank; empty if it has none.
    ///
    /// # Errors
    /// [`OrderError`] if they cannot be read.
    pub fn names(&self, directory: u64) -> Result<Range<u64>, OrderError> {
        let Some((index, record)) = self.directories.find(&*self.file, directory)? else { return Ok(0..0) };
        let first = |record: &[u8]| record.last_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        let mut next = [0; DIRECTORY_LEN];
        let end = match index + 1 < self.footer.directory_count {
            false => self.footer.name_count,
            true => {
                let offset = self.directories.start + (index + 1) * DIRECTORY_LEN as u64;
                self.file.read_exact_at(&mut next, offset)?;
                first(&next)
            }
        };
        Ok(first(&record)..end.min(self.footer.name_count))
    }

    /// Records of the names in a range, at most `most` of them.
    ///
    /// # Errors
    /// [`OrderError`] if they cannot be read.
    pub fn records(&self, names: Range<u64>, most: usize) -> Result<Vec<u64>, OrderError> {
        let end = names.end.min(self.footer.name_count);
        let count = usize::try_from(end.saturating_sub(names.start)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; count * NAME_LEN];
        self.file.read_exact_at(&mut bytes, self.names_start + names.start * NAME_LEN as u64)?;
        let record = |name: &[u8]| name.last_chunk().map(|record| u64::from_be_bytes(*record));
        Ok(bytes.chunks_exact(NAME_LEN).filter_map(record).collect())
    }
}

// The fingerprint, if the bytes before it have it.
fn check(file: &dyn ReadFile) -> Result<Option<Fingerprint>, StorageError> {
    let end = file.len().saturating_sub(FINGERPRINT_LEN as u64);
    let mut hasher = FingerprintHasher::default();
    let mut piece = vec![0; PIECE_LEN];
    let mut offset = 0;
    while offset < end {
        let len = usize::try_from(end - offset).unwrap_or(usize::MAX).min(PIECE_LEN);
        let Some(piece) = piece.get_mut(..len) else { break };
        file.read_exact_at(piece, offset)?;
        hasher.update(piece);
        offset += len as u64;
    }
    let mut fingerprint = [0; FINGERPRINT_LEN];
    file.read_exact_at(&mut fingerprint, end)?;
    let fingerprint = Fingerprint(fingerprint);
    Ok((hasher.finish() == fingerprint).then_some(fingerprint))
}

#[cfg(test)]
mod test {
    use super::super::builder::{Builder, Name, Place};
    use super::*;
    use crate::storage::{LocalStorage, Storage};

    const DIRECTORIES: u64 = 7;

    // Of object 3 there are names in several directories.
    fn names() -> Vec<Name> {
        let mut names = Vec::new();
        let mut state = 0x5eed_0011_u64;
        for entry in 0..700_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let node = if entry % 50 == 7 { 3 } else { 1000 + (entry * 577 % 700) };
            let by_node = Place { bdf: node % 5, frame: node % 11 * 1000, start: 0 };
            names.push(Name {
                place: (node % 4 > 0).then_some(by_node),
                is_directory: node % 13 == 1,
                node,
                directory: (state >> 33) % DIRECTORIES * 3,
                entry,
            });
        }
        names
    }

    fn made_from() -> MadeFrom {
        let ordinal = Ordinal::new(9).expect("in range");
        MadeFrom {
            dtf: FileId([8; 16]),
            ordinal,
            places: [(FileId([1; 16]), 5), (FileId([2; 16]), 6)].into(),
        }
    }

    fn write(storage: &LocalStorage, directory: &std::path::Path, names: &[Name]) -> TapeOrder {
        let mut builder = Builder::new(directory);
        names.iter().for_each(|name| builder.add(name).expect("added"));
        let mut file = storage.create("table").expect("created");
        builder.finish(&made_from(), &mut *file).expect("written");
        TapeOrder::open(storage.open("table").expect("there")).expect("whole")
    }

    #[test]
    fn objects_have_ranks_by_place_and_directories_are_listed_by_rank() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = LocalStorage::new(directory.path());
        let names = names();
        let order = write(&storage, directory.path(), &names);
        let key = |name: &Name| (name.place, !name.is_directory, name.node);
        let mut objects: Vec<_> = names.iter().map(key).collect();
        objects.sort_unstable();
        objects.dedup();
        for (rank, (_, _, node)) in (0..).zip(&objects) {
            assert_eq!(order.rank(*node).expect("read"), Some(rank));
            assert_eq!(order.node(rank).expect("read"), Some(*node));
        }
        let end = u32::try_from(objects.len()).expect("small");
        assert_eq!((order.node(end).expect("read"), order.rank(999).expect("read")), (None, None));
        for number in 0..DIRECTORIES {
            let mut expected: Vec<_> = names.iter().filter(|name| name.directory == number * 3).collect();
            expected.sort_unstable_by_key(|name| (key(name), name.entry));
            let expected: Vec<u64> = expected.iter().map(|name| name.entry).collect();
            let range = order.names(number * 3).expect("read");
            assert_eq!(order.records(range.clone(), 1 << 20).expect("read"), expected);
            assert_eq!(order.records(range.start + 2..range.end, 3).expect("read"), expected[2..5]);
            assert!(order.names(number * 3 + 1).expect("read").is_empty());
        }
    }

    #[test]
    fn it_says_what_it_was_made_from() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = LocalStorage::new(directory.path());
        let order = write(&storage, directory.path(), &names());
        let of = made_from();
        let place = |moved: u64| move |bdf: FileId| if bdf.0[0] == 1 { 5 } else { 6 + moved };
        assert!(order.is_of(of.dtf, of.ordinal, &place(0)));
        assert!(!order.is_of(of.dtf, of.ordinal, &place(1)));
        assert!(!order.is_of(FileId([7; 16]), of.ordinal, &place(0)));
        assert!(!order.is_of(of.dtf, Ordinal::new(8).expect("in range"), &place(0)));
    }

    #[test]
    fn the_same_names_give_the_same_bytes_in_whatever_order_they_come() {
        let (one, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("another"));
        let mut names = names();
        let first = write(&LocalStorage::new(one.path()), one.path(), &names);
        names.reverse();
        let second = write(&LocalStorage::new(other.path()), other.path(), &names);
        assert_eq!(first.identity(), second.identity());
        let bytes =
            |directory: &tempfile::TempDir| std::fs::read(directory.path().join("table")).expect("read");
        assert!(bytes(&one) == bytes(&other));
        names.pop();
        std::fs::remove_file(other.path().join("table")).expect("removed");
        let third = write(&LocalStorage::new(other.path()), other.path(), &names);
        assert_ne!(first.identity(), third.identity());
    }

    #[test]
    fn any_byte_that_changed_and_any_end_that_is_missing_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = LocalStorage::new(directory.path());
        drop(write(&storage, directory.path(), &names()[..90]));
        let path = directory.path().join("table");
        let whole = std::fs::read(&path).expect("read");
        let is_open = || TapeOrder::open(storage.open("table").expect("there")).is_ok();
        for offset in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[offset] ^= 1 << (offset % 8);
            std::fs::write(&path, bytes).expect("written");
            assert!(!is_open(), "byte {offset}");
        }
        for len in (0..whole.len()).step_by(97).chain(whole.len() - 100..whole.len()) {
            std::fs::write(&path, &whole[..len]).expect("written");
            assert!(!is_open(), "{len} bytes");
        }
        std::fs::write(&path, [&whole[..], &[0]].concat()).expect("written");
        assert!(!is_open(), "a byte more");
        std::fs::write(&path, whole).expect("written");
        assert!(is_open());
    }

    #[test]
    fn a_number_that_a_disk_changed_later_leads_to_no_other_object() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = LocalStorage::new(directory.path());
        let order = write(&storage, directory.path(), &names());
        let other = order.node(11).expect("read").expect("there");
        let file =
            std::fs::OpenOptions::new().write(true).open(directory.path().join("table")).expect("open");
        std::os::unix::fs::FileExt::write_all_at(&file, &other.to_be_bytes(), 10 * 8).expect("written");
        assert!(matches!(order.node(10), Err(OrderError::Damaged { .. })));
    }

    #[test]
    fn a_tree_without_a_name_has_a_table_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let order = write(&LocalStorage::new(directory.path()), directory.path(), &[]);
        assert_eq!((order.rank(1).expect("read"), order.node(0).expect("read")), (None, None));
        assert!(order.names(1).expect("read").is_empty());
    }
}
