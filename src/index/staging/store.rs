//! The database: reads, batches, snapshots.
//!
//! One key space without families: a batch is then one record of the log and one memtable, and a name or
//! object costs a few microseconds. The log is written before a call returns, so that a kill loses nothing,
//! and synced when asked.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rocksdb::{DB, DBRawIterator, ReadOptions, Snapshot, WriteBatch, WriteOptions};

use super::closed;
use super::error::StagingStoreError;
use super::places::FrozenPlace;
use super::row::{EntryRow, Home, ObjectRow};
use super::settings::settings;
use super::state::TreeState;
use crate::codec::{DecodeError, Reader, put_varint};
use crate::index::rocks::make_private_directory;
use crate::index::trust;

pub(super) const ENTRY: u8 = b'e';
pub(super) const OBJECT: u8 = b'o';
const LAYER: u8 = b'l';
const SINCE: u8 = b's';
const KEPT: u8 = b'k';
const UNNAMED: u8 = b'u';
const DIRECT: u8 = b'd';
pub(super) const REMOVED: u8 = b'r';
pub(super) const PLACE: u8 = b'p';
const STATE: &[u8] = b"m";

/// A set of numbers that the database keeps beside the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberSet {
    /// Objects whose changes the running commit leaves out.
    Kept,
    /// Objects without a name.
    Unnamed,
    /// Files that may be open for direct writes.
    Direct,
}

impl NumberSet {
    fn letter(self) -> u8 {
        match self {
            Self::Kept => KEPT,
            Self::Unnamed => UNNAMED,
            Self::Direct => DIRECT,
        }
    }
}

/// An open database of rows; one process at a time.
pub struct StagingStore {
    pub(super) db: DB,
    pub(super) path: String,
    /// Batches written so far; 1 is what was found, of which nobody knows whether it was synced.
    written: AtomicU64,
    /// So many had been written when a sync began that ended well.
    synced: AtomicU64,
    has_stopped: AtomicBool,
}

impl std::fmt::Debug for StagingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagingStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Changes that are written together or not at all.
#[derive(Default)]
pub struct StagingBatch {
    pub(super) batch: WriteBatch,
}

impl std::fmt::Debug for StagingBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagingBatch").field("len", &self.batch.len()).finish()
    }
}

/// The rows as they were at one moment.
pub struct StagingSnapshot<'s> {
    snapshot: Snapshot<'s>,
    store: &'s StagingStore,
}

impl std::fmt::Debug for StagingSnapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagingSnapshot").field("store", &self.store).finish_non_exhaustive()
    }
}

impl StagingStore {
    /// Opens a database, or makes an empty one.
    ///
    /// # Errors
    /// [`StagingStoreError`] if it is damaged or another process has it.
    pub fn open(path: &Path) -> Result<Self, StagingStoreError> {
        make_private_directory(path);
        let shown = crate::path::display(path.as_os_str().as_encoded_bytes());
        if let Err(source) = trust::check(path) {
            return Err(StagingStoreError::Untrusted { path: shown, source });
        }
        let was_closed = closed::check(path)?;
        match DB::open(&settings(was_closed), path) {
            Ok(db) => {
                let (written, synced) = (AtomicU64::new(1), AtomicU64::new(0));
                Ok(Self { db, path: shown, written, synced, has_stopped: AtomicBool::new(false) })
            }
            Err(source) => Err(StagingStoreError::Rocks { path: shown, operation: "open", source }),
        }
    }

    /// What a name leads to.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn entry(&self, directory: u64, name: &[u8]) -> Result<Option<EntryRow>, StagingStoreError> {
        let value = self.db.get_pinned(entry_key(directory, name)).map_err(self.refused("read"))?;
        value.map(|value| EntryRow::decode(&value)).transpose().map_err(malformed("entry"))
    }

    /// An object.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn object(&self, number: u64) -> Result<Option<ObjectRow>, StagingStoreError> {
        let value = self.db.get_pinned(number_key(OBJECT, number)).map_err(self.refused("read"))?;
        value.map(|value| ObjectRow::decode(&value)).transpose().map_err(malformed("object"))
    }

    /// Where the tree stands; nothing if the database is new.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn state(&self) -> Result<Option<TreeState>, StagingStoreError> {
        let value = self.db.get_pinned(STATE).map_err(self.refused("read"))?;
        value.map(|value| TreeState::decode(&value)).transpose().map_err(malformed("state"))
    }

    /// Object whose layer a backing file is, if it was noted.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn layer_owner(&self, file: u64) -> Result<Option<u64>, StagingStoreError> {
        let value = self.db.get_pinned(number_key(LAYER, file)).map_err(self.refused("read"))?;
        value.map(|value| Reader::new(&value).varint("number")).transpose().map_err(malformed("layer"))
    }

    /// Where an object stood at the freeze, if that was noted.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn since(&self, number: u64) -> Result<bool, StagingStoreError> {
        Ok(self.db.get_pinned(number_key(SINCE, number)).map_err(self.refused("read"))?.is_some())
    }

    /// All objects of which it was noted where they stood at the freeze, in order of numbers.
    pub fn all_since(&self) -> impl Iterator<Item = Result<(u64, FrozenPlace), StagingStoreError>> {
        self.rows(ReadOptions::default(), &[SINCE], SINCE).map(|row| {
            let (key, value) = row?;
            let decode = || Ok((number_of(&key)?, FrozenPlace::decode(&value)?));
            decode().map_err(malformed("since"))
        })
    }

    /// All numbers of a set, in order.
    pub fn numbers(&self, set: NumberSet) -> impl Iterator<Item = Result<u64, StagingStoreError>> {
        let letter = set.letter();
        self.rows(ReadOptions::default(), &[letter], letter)
            .map(|row| number_of(&row?.0).map_err(malformed("number")))
    }

    /// Names of a directory from `name` on, in order.
    pub fn entries<'s>(
        &'s self,
        directory: u64,
        name: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, EntryRow), StagingStoreError>> + use<'s> {
        let rows = self.rows(ReadOptions::default(), &entry_key(directory, name), ENTRY);
        rows.map(|row| entry_row(&row?))
            .take_while(move |row| row.as_ref().map_or(true, |(home, _)| home.directory == directory))
            .map(|row| row.map(|(home, row)| (home.name.into_vec(), row)))
    }

    /// All names from one on, in order of directories and names.
    pub fn all_entries<'s>(
        &'s self,
        from: &Home,
    ) -> impl Iterator<Item = Result<(Home, EntryRow), StagingStoreError>> + use<'s> {
        self.rows(ReadOptions::default(), &entry_key(from.directory, &from.name), ENTRY)
            .map(|row| entry_row(&row?))
    }

    /// All objects from a number on, in order.
    pub fn all_objects(
        &self,
        from: u64,
    ) -> impl Iterator<Item = Result<(u64, ObjectRow), StagingStoreError>> {
        self.rows(ReadOptions::default(), &number_key(OBJECT, from), OBJECT).map(|row| object_row(&row?))
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> StagingSnapshot<'_> {
        StagingSnapshot { snapshot: self.db.snapshot(), store: self }
    }

    /// Writes a batch; what was written outlives the process.
    ///
    /// # Errors
    /// [`StagingStoreError`] if RocksDB refuses; then nothing of the batch is there.
    pub fn write(&self, batch: StagingBatch) -> Result<(), StagingStoreError> {
        let written = self.db.write_opt(batch.batch, &WriteOptions::default());
        written.map_err(self.refused_change("write"))?;
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Writes a batch that outlives a loss of power, with all before it.
    ///
    /// # Errors
    /// As [`StagingStore::write`].
    pub fn write_durable(&self, batch: StagingBatch) -> Result<(), StagingStoreError> {
        let written = self.written.load(Ordering::Acquire);
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch.batch, &options).map_err(self.refused_change("write"))?;
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Makes all that was written outlive a loss of power. Costs nothing if nothing was written since the
    /// last time; who comes while another one syncs waits for a sync of his own.
    ///
    /// # Errors
    /// [`StagingStoreError`] if RocksDB refuses.
    pub fn sync(&self) -> Result<(), StagingStoreError> {
        let written = self.written.load(Ordering::Acquire);
        if self.synced.load(Ordering::Acquire) >= written {
            return Ok(());
        }
        self.db.flush_wal(true).map_err(self.refused_change("sync"))?;
        self.synced.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Tells whether the database takes nothing more until it is opened again, which reads the log back and
    /// writes what it holds anew.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.has_stopped.load(Ordering::Acquire)
    }

    /// Count of rows by RocksDB's estimate.
    #[must_use]
    pub fn estimated_count(&self) -> u64 {
        self.db.property_int_value("rocksdb.estimate-num-keys").ok().flatten().unwrap_or(0)
    }

    pub(super) fn rows(&self, options: ReadOptions, from: &[u8], letter: u8) -> Rows<'_> {
        let mut options = options;
        options.set_iterate_upper_bound([letter + 1]);
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek(from);
        Rows { iterator, store: self, ended: false }
    }

    pub(super) fn all_rows(&self) -> Rows<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek_to_first();
        Rows { iterator, store: self, ended: false }
    }

    // After a write or sync of the log that failed RocksDB takes nothing more, because it does not know what is
    // on the disk. When the disk was full it goes on by itself once there is space.
    fn refused_change(&self, operation: &'static str) -> impl FnOnce(rocksdb::Error) -> StagingStoreError {
        move |source| {
            let error = self.refused(operation)(source);
            if !error.is_disk_full() && !error.is_damage() {
                self.has_stopped.store(true, Ordering::Release);
            }
            error
        }
    }

    pub(super) fn refused(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(rocksdb::Error) -> StagingStoreError {
        move |source| StagingStoreError::Rocks { path: self.path.clone(), operation, source }
    }
}

impl StagingSnapshot<'_> {
    /// An object.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn object(&self, number: u64) -> Result<Option<ObjectRow>, StagingStoreError> {
        let value = self.snapshot.get(number_key(OBJECT, number)).map_err(self.store.refused("read"))?;
        value.map(|value| ObjectRow::decode(&value)).transpose().map_err(malformed("object"))
    }

    /// What is known of a name.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn entry(&self, directory: u64, name: &[u8]) -> Result<Option<EntryRow>, StagingStoreError> {
        let value = self.snapshot.get(entry_key(directory, name)).map_err(self.store.refused("read"))?;
        value.map(|value| EntryRow::decode(&value)).transpose().map_err(malformed("entry"))
    }

    /// All names, in order of directories and names.
    pub fn entries(&self) -> impl Iterator<Item = Result<(Home, EntryRow), StagingStoreError>> + '_ {
        self.store.rows(self.options(), &[ENTRY], ENTRY).map(|row| entry_row(&row?))
    }

    /// All objects with numbers in a range, in order.
    pub fn objects(
        &self,
        numbers: std::ops::Range<u64>,
    ) -> impl Iterator<Item = Result<(u64, ObjectRow), StagingStoreError>> + '_ {
        let rows = self.store.rows(self.options(), &number_key(OBJECT, numbers.start), OBJECT);
        rows.map(|row| object_row(&row?))
            .take_while(move |row| row.as_ref().map_or(true, |(number, _)| *number < numbers.end))
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        options
    }
}

impl StagingBatch {
    /// Sets what a name leads to.
    pub fn put_entry(&mut self, directory: u64, name: &[u8], row: &EntryRow) {
        self.batch.put(entry_key(directory, name), row.encode());
    }

    /// Removes the row of a name.
    pub fn delete_entry(&mut self, directory: u64, name: &[u8]) {
        self.batch.delete(entry_key(directory, name));
    }

    /// Sets an object.
    pub fn put_object(&mut self, number: u64, row: &ObjectRow) {
        self.batch.put(number_key(OBJECT, number), row.encode());
    }

    /// Removes the rows of all names from one to another, both included.
    pub fn delete_entries(&mut self, first: &Home, last: &Home) {
        let mut end = entry_key(last.directory, &last.name);
        // No name has a zero: this is the key behind the last.
        end.push(0);
        self.batch.delete_range(entry_key(first.directory, &first.name), end);
    }

    /// Removes the rows of all objects from one number to another, both included.
    pub fn delete_objects(&mut self, first: u64, last: u64) {
        self.batch.delete_range(number_key(OBJECT, first), number_key(OBJECT, last.saturating_add(1)));
    }

    /// Removes the row of an object.
    pub fn delete_object(&mut self, number: u64) {
        self.batch.delete(number_key(OBJECT, number));
    }

    /// Notes whose layer a backing file is.
    pub fn put_layer_owner(&mut self, file: u64, number: u64) {
        let mut value = Vec::with_capacity(8);
        put_varint(&mut value, number);
        self.batch.put(number_key(LAYER, file), value);
    }

    /// Removes the note whose layer a backing file is.
    pub fn delete_layer_owner(&mut self, file: u64) {
        self.batch.delete(number_key(LAYER, file));
    }

    /// Notes where an object stood at the freeze.
    pub fn put_since(&mut self, number: u64, place: &FrozenPlace) {
        self.batch.put(number_key(SINCE, number), place.encode());
    }

    /// Removes a note where an object stood.
    pub fn delete_since(&mut self, number: u64) {
        self.batch.delete(number_key(SINCE, number));
    }

    /// Adds a number to a set.
    pub fn put_number(&mut self, set: NumberSet, number: u64) {
        self.batch.put(number_key(set.letter(), number), []);
    }

    /// Takes a number out of a set.
    pub fn delete_number(&mut self, set: NumberSet, number: u64) {
        self.batch.delete(number_key(set.letter(), number));
    }

    /// Sets where the tree stands.
    pub fn put_state(&mut self, state: &TreeState) {
        self.batch.put(STATE, state.encode());
    }

    /// Count of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Tells whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

pub(super) struct Rows<'s> {
    iterator: DBRawIterator<'s>,
    store: &'s StagingStore,
    ended: bool,
}

pub(super) type RawRow = (Vec<u8>, Vec<u8>);

impl Iterator for Rows<'_> {
    type Item = Result<RawRow, StagingStoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.iterator.item() {
            Some((key, value)) => {
                let row = (key.to_vec(), value.to_vec());
                self.iterator.next();
                Some(Ok(row))
            }
            None => {
                self.ended = true;
                self.iterator.status().err().map(|error| Err(self.store.refused("read")(error)))
            }
        }
    }
}

pub(super) fn entry_row((key, value): &RawRow) -> Result<(Home, EntryRow), StagingStoreError> {
    let decode = || -> Result<(Home, EntryRow), DecodeError> {
        let directory = number_of(key)?;
        Ok((Home::new(directory, key.get(9..).unwrap_or_default()), EntryRow::decode(value)?))
    };
    decode().map_err(malformed("entry"))
}

pub(super) fn object_row((key, value): &RawRow) -> Result<(u64, ObjectRow), StagingStoreError> {
    let decode =
        || -> Result<(u64, ObjectRow), DecodeError> { Ok((number_of(key)?, ObjectRow::decode(value)?)) };
    decode().map_err(malformed("object"))
}

pub(super) fn number_of(key: &[u8]) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(key);
    reader.u8("letter")?;
    reader.array("number").map(u64::from_be_bytes)
}

fn entry_key(directory: u64, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + name.len());
    key.push(ENTRY);
    key.extend_from_slice(&directory.to_be_bytes());
    key.extend_from_slice(name);
    key
}

pub(super) fn number_key(letter: u8, number: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [letter, a, b, c, d, e, f, g, h]
}

pub(super) fn malformed(family: &'static str) -> impl FnOnce(DecodeError) -> StagingStoreError {
    move |source| StagingStoreError::Malformed { family, source }
}
