//! The index in RocksDB. This module alone knows RocksDB.
//!
//! Column families and layouts, integers big-endian so that keys sort by number:
//!
//! ```text
//! chunks  key:   fingerprint 32
//!         value: where the chunk is ([`super::chunk_row`])
//! rfe     key:   CRC-32 over name, size and mtime 4, file id 8 (inode number of the record)
//!         value: client id 4 (CRC-32 of the name), low 32 bits of the size 4, first bytes of the
//!                file signature 8; 28 bytes in all
//! ```
//!
//! A file that is one chunk has no record in `rfe`: its signature is the chunk's fingerprint, and the record of the
//! chunk is that of the file.
//!
//! A record is a hint: whoever finds one checks that the BDF or the DTF record is still there.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rocksdb::{
    ColumnFamilyDescriptor, DB, Direction, InfoLogger, IteratorMode, LogLevel, Options, WriteBatch,
    WriteOptions,
};
use thiserror::Error;

use super::chunk_row::{self, File, Numbers, Row};

use crate::checksum::crc32;
use crate::codec::{DecodeError, Reader};
use crate::format::frame::ChunkPointer;
use crate::format::record::Time;
use crate::id::{ClientName, FileId, Fingerprint};
use crate::index::tables;
use crate::index::trust::{self, UntrustedError};

const CHUNKS: &str = "chunks";
const RFE: &str = "rfe";
const CACHE_BYTES: usize = 16 << 20;
const WRITE_BUFFER_BYTES: usize = 4 << 20;
const TABLE_BYTES: u64 = 16 << 20;
const BATCH_LEN_MAX: usize = 1 << 20;

/// Why the index could not be used; it can always be rebuilt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// RocksDB refused.
    #[error("index {path}: cannot {operation}")]
    Rocks {
        /// Directory of the index.
        path: String,
        /// What was tried, as a verb.
        operation: &'static str,
        /// The refusal.
        source: rocksdb::Error,
    },
    /// It is not opened, because RocksDB would trust it.
    #[error("index {path}: not to be trusted")]
    Untrusted {
        /// Directory of the index.
        path: String,
        /// What is wrong with it.
        source: UntrustedError,
    },
    /// The table for spilled memory of a job that was killed cannot be removed.
    #[error("cannot remove {path}")]
    Scratch {
        /// Its directory.
        path: String,
        /// The refusal.
        source: io::Error,
    },
    /// A row of the table for spilled memory is not as it was written.
    #[error("spilled memory: malformed row")]
    Row,
    /// A record is not as this version writes it.
    #[error("index: malformed {family} record")]
    Malformed {
        /// Column family.
        family: &'static str,
        /// What is wrong.
        source: DecodeError,
    },
}

impl IndexError {
    /// Tells whether another process has the index open.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        // RocksDB has no kind of its own for this.
        matches!(self, Self::Rocks { operation: "open", source, .. }
            if source.kind() == rocksdb::ErrorKind::IOError && source.as_ref().contains("While lock file"))
    }

    /// Tells whether there was no space to write.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Rocks { source, .. } if source.as_ref().contains("No space left on device"))
    }

    /// Tells whether the index itself is at fault, so that it must be made again.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Malformed { .. } => true,
            Self::Untrusted { source, .. } => {
                matches!(source, UntrustedError::Kind { .. } | UntrustedError::Writable { .. })
            }
            Self::Scratch { .. } | Self::Row => false,
            Self::Rocks { source, .. } => {
                use rocksdb::ErrorKind;
                let kind = source.kind();
                // A file that RocksDB's own manifest names and that is gone is an IOError, too.
                matches!(kind, ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument)
                    || kind == ErrorKind::IOError && source.as_ref().contains("No such file or directory")
            }
        }
    }
}

fn check(path: &Path) -> Result<(), IndexError> {
    trust::check(path).map_err(|source| {
        let path = crate::path::display(path.as_os_str().as_encoded_bytes());
        IndexError::Untrusted { path, source }
    })
}

/// CRC-32 over name, size and mtime: candidates for being the same file (row H4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RfeKey(pub u32);

impl RfeKey {
    /// Computes the key of a file.
    #[must_use]
    pub fn of(name: &[u8], size: u64, mtime: Time) -> Self {
        let (seconds, nanoseconds) = (mtime.seconds.to_le_bytes(), mtime.nanoseconds.to_le_bytes());
        Self(crc32(&[name, &size.to_le_bytes(), &seconds, &nanoseconds]))
    }
}

/// A file that is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfeRecord {
    /// Inode number of the record in a DTF ([`crate::format::record`]).
    pub file: u64,
    /// CRC-32 of the name of the client that brought it first.
    pub client: u32,
    /// Low 32 bits of its size in bytes.
    pub size_low: u32,
    /// First bytes of its signature.
    pub signature: [u8; 8],
}

impl RfeRecord {
    /// Makes the record of a file.
    #[must_use]
    pub fn new(file: u64, client: &ClientName, size: u64, signature: Fingerprint) -> Self {
        let [_, _, _, _, a, b, c, d] = size.to_be_bytes();
        let mut start = [0; 8];
        start.copy_from_slice(signature.0.first_chunk::<8>().unwrap_or(&[0; 8]));
        Self {
            file,
            client: crc32(&[client.as_str().as_bytes()]),
            size_low: u32::from_be_bytes([a, b, c, d]),
            signature: start,
        }
    }

    /// Tells whether it may be a file of this size and signature.
    #[must_use]
    pub fn may_match(&self, size: u64, signature: Fingerprint) -> bool {
        u64::from(self.size_low) == size & u64::from(u32::MAX) && signature.0.starts_with(&self.signature)
    }
}

/// An open index; one process at a time.
pub struct Index {
    db: DB,
    path: String,
    numbers: Mutex<Numbers>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Changes to the index that are written together.
#[derive(Default)]
pub struct IndexBatch {
    batch: WriteBatch,
    // The BDF whose number was put last.
    numbered: Option<FileId>,
}

impl std::fmt::Debug for IndexBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexBatch").field("len", &self.batch.len()).finish()
    }
}

impl Index {
    /// Opens the index, or makes an empty one.
    ///
    /// # Errors
    /// [`IndexError`] if it is damaged or another process has it; the first calls for a rebuild.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        check(path)?;
        let (options, families) = settings();
        make_private_directory(path);
        Self::opened(path, DB::open_cf_descriptors(&options, path, families))
    }

    /// Opens the index as it is now to look things up; another process may have it open for writing.
    ///
    /// # Errors
    /// [`IndexError`] if there is none or it is damaged.
    pub fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        check(path)?;
        let (options, families) = settings();
        Self::opened(path, DB::open_cf_descriptors_read_only(&options, path, families, false))
    }

    fn opened(path: &Path, opened: Result<DB, rocksdb::Error>) -> Result<Self, IndexError> {
        let shown = crate::path::display(path.as_os_str().as_encoded_bytes());
        match opened {
            Ok(db) => Ok(Self { db, path: shown, numbers: Mutex::default() }),
            Err(source) => Err(IndexError::Rocks { path: shown, operation: "open", source }),
        }
    }

    /// Finds a chunk.
    ///
    /// # Errors
    /// [`IndexError`] if the index is damaged.
    pub fn chunk(&self, fingerprint: &Fingerprint) -> Result<Option<ChunkPointer>, IndexError> {
        let value =
            self.db.get_pinned_cf(self.family(CHUNKS), fingerprint.0).map_err(self.refused("read"))?;
        value.map(|value| self.decode_chunk(*fingerprint, &value)).transpose()
    }

    /// All chunks in order of fingerprints.
    pub fn chunks(&self) -> impl Iterator<Item = Result<ChunkPointer, IndexError>> {
        self.db.iterator_cf(self.family(CHUNKS), IteratorMode::Start).filter_map(|item| {
            let (key, value) = match item.map_err(self.refused("read")) {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let fingerprint = chunk_row::fingerprint_of_key(&key)?;
            Some(self.decode_chunk(fingerprint, &value))
        })
    }

    fn decode_chunk(&self, fingerprint: Fingerprint, value: &[u8]) -> Result<ChunkPointer, IndexError> {
        let row = Row::decode(value).map_err(malformed(CHUNKS))?;
        let file = match row.file {
            File::Id(file) => file,
            File::Number(number) => self.numbered(number)?,
        };
        Ok(row.pointer(fingerprint, file))
    }

    // The BDF that a number stands for.
    fn numbered(&self, number: u32) -> Result<FileId, IndexError> {
        if let Some(file) = self.numbers().file(number) {
            return Ok(file);
        }
        let key = chunk_row::number_key(number);
        let value = self.db.get_pinned_cf(self.family(CHUNKS), key).map_err(self.refused("read"))?;
        let file = Reader::new(value.as_deref().unwrap_or_default()).array("file id of a number");
        let file = FileId(file.map_err(malformed(CHUNKS))?);
        self.numbers().note(file, number);
        Ok(file)
    }

    // The number of a BDF, a new one if it has none.
    fn number(&self, file: FileId) -> Result<u32, IndexError> {
        let mut numbers = self.numbers();
        if let Some(number) = numbers.number(file) {
            return Ok(number);
        }
        let family = self.family(CHUNKS);
        let known = self.db.get_pinned_cf(family, chunk_row::file_key(file)).map_err(self.refused("read"))?;
        if let Some(value) = known {
            let number = Reader::new(&value).array("number").map_err(malformed(CHUNKS))?;
            numbers.note(file, u32::from_be_bytes(number));
            return Ok(u32::from_be_bytes(number));
        }
        let number = match numbers.next {
            Some(next) => next,
            None => self.last_number()?.map_or(0, |last| last.saturating_add(1)),
        };
        numbers.next = Some(number.saturating_add(1));
        numbers.note(file, number);
        Ok(number)
    }

    fn last_number(&self) -> Result<Option<u32>, IndexError> {
        let mode = IteratorMode::From(&chunk_row::LAST_NUMBER_KEY, Direction::Reverse);
        let last = self.db.iterator_cf(self.family(CHUNKS), mode).next().transpose();
        Ok(last.map_err(self.refused("read"))?.and_then(|(key, _)| chunk_row::number_of_key(&key)))
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the files that may be the same as one with this key.
    ///
    /// # Errors
    /// [`IndexError`] if the index is damaged.
    pub fn candidates(&self, key: RfeKey) -> Result<Vec<RfeRecord>, IndexError> {
        // More than a few are a sign of an attack on the CRC, not of a common file.
        const CANDIDATE_COUNT_MAX: usize = 16;
        let start = key.0.to_be_bytes();
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut found = Vec::new();
        for item in self.db.iterator_cf(self.family(RFE), mode).take(CANDIDATE_COUNT_MAX) {
            let (key, value) = item.map_err(self.refused("read"))?;
            if !key.starts_with(&start) {
                break;
            }
            found.push(decode_rfe(&key, &value)?);
        }
        Ok(found)
    }

    /// Writes a batch; what is lost with the machine's power can be rebuilt.
    ///
    /// # Errors
    /// [`IndexError`] if RocksDB refuses.
    pub fn write(&self, batch: IndexBatch) -> Result<(), IndexError> {
        self.db.write_opt(batch.batch, &WriteOptions::default()).map_err(self.refused("write"))
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// [`IndexError`] if RocksDB refuses.
    pub fn sync(&self) -> Result<(), IndexError> {
        self.db.flush_wal(true).map_err(self.refused("sync"))?;
        // Else the next process to open the index would write all of it again, out of the log.
        for family in [CHUNKS, RFE] {
            self.db.flush_cf(self.family(family)).map_err(self.refused("sync"))?;
        }
        Ok(())
    }

    /// Adds a chunk to a batch.
    ///
    /// # Errors
    /// [`IndexError`] if the index is damaged.
    pub fn put_chunk(&self, batch: &mut IndexBatch, chunk: &ChunkPointer) -> Result<(), IndexError> {
        let (family, file) = (self.family(CHUNKS), chunk.location.file);
        let number = self.number(file)?;
        if batch.numbered != Some(file) {
            // In each batch, as nobody knows whether an earlier one was written.
            batch.batch.put_cf(family, chunk_row::number_key(number), file.0);
            batch.batch.put_cf(family, chunk_row::file_key(file), number.to_be_bytes());
            batch.numbered = Some(file);
        }
        batch.batch.put_cf(family, chunk.fingerprint.0, chunk_row::encode(number, chunk));
        Ok(())
    }

    /// Removes a chunk in a batch, because it was found damaged or gone.
    pub fn remove_chunk(&self, batch: &mut IndexBatch, fingerprint: &Fingerprint) {
        batch.batch.delete_cf(self.family(CHUNKS), fingerprint.0);
    }

    /// Adds a file to a batch.
    pub fn put_file(&self, batch: &mut IndexBatch, key: RfeKey, record: &RfeRecord) {
        let mut full_key = [0; 12];
        for (target, byte) in
            full_key.iter_mut().zip(key.0.to_be_bytes().into_iter().chain(record.file.to_be_bytes()))
        {
            *target = byte;
        }
        let mut value = Vec::with_capacity(16);
        value.extend_from_slice(&record.client.to_be_bytes());
        value.extend_from_slice(&record.size_low.to_be_bytes());
        value.extend_from_slice(&record.signature);
        batch.batch.put_cf(self.family(RFE), full_key, value);
    }

    /// Counts of records: chunks, and files of more than one chunk, for `stats`; RocksDB's estimate.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let count = |family: &str| {
            let key = "rocksdb.estimate-num-keys";
            self.db.property_int_value_cf(self.family(family), key).ok().flatten().unwrap_or(0)
        };
        let numbered_count = self.last_number().ok().flatten().map_or(0, |last| u64::from(last) + 1);
        // Two rows for each number.
        (count(CHUNKS).saturating_sub(2 * numbered_count), count(RFE))
    }

    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("all column families were opened")
    }

    fn refused(&self, operation: &'static str) -> impl FnOnce(rocksdb::Error) -> IndexError {
        let path = self.path.clone();
        move |source| IndexError::Rocks { path, operation, source }
    }
}

impl IndexBatch {
    /// Tells whether it is time to write the batch.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.batch.size_in_bytes() >= BATCH_LEN_MAX
    }
}

// RocksDB makes files by the umask; what is in the repository is nobody else's to read.
pub(super) fn make_private_directory(path: &Path) {
    if let Err(error) = DirBuilder::new().mode(0o700).create(path)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        log::warn!("cannot make {}: {error}", crate::path::display(path.as_os_str().as_encoded_bytes()));
    }
}

fn settings() -> (Options, [ColumnFamilyDescriptor; 2]) {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::PointInTime);
    options.set_max_open_files(64);
    // Its own log would be larger than the index of a small repository.
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Error, |_, message| {
        log::debug!("index: {message}");
    }));
    options.set_max_total_wal_size(32 << 20);
    options.set_max_background_jobs(2);
    options.set_db_write_buffer_size(2 * WRITE_BUFFER_BYTES);
    let mut family = Options::default();
    family.set_block_based_table_factory(&tables::layout(CACHE_BYTES));
    family.set_write_buffer_size(WRITE_BUFFER_BYTES);
    // While a table is made, eight bytes for each of its keys are in memory.
    family.set_target_file_size_base(TABLE_BYTES);
    let families = [CHUNKS, RFE].map(|name| ColumnFamilyDescriptor::new(name, family.clone()));
    (options, families)
}

fn malformed(family: &'static str) -> impl FnOnce(DecodeError) -> IndexError {
    move |source| IndexError::Malformed { family, source }
}

fn decode_rfe(key: &[u8], value: &[u8]) -> Result<RfeRecord, IndexError> {
    let decode = || -> Result<RfeRecord, DecodeError> {
        let mut reader = Reader::new(key);
        reader.bytes("CRC-32", 4)?;
        let file = reader.array("file id").map(u64::from_be_bytes)?;
        let mut reader = Reader::new(value);
        let client = reader.array("client").map(u32::from_be_bytes)?;
        let size_low = reader.array("size").map(u32::from_be_bytes)?;
        let signature = reader.array("signature")?;
        reader.finish("record")?;
        Ok(RfeRecord { file, client, size_low, signature })
    };
    decode().map_err(|source| IndexError::Malformed { family: RFE, source })
}
