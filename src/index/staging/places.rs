//! Where objects are: rows that a commit keeps, and rows that only the process needs that wrote them.

use rocksdb::{ReadOptions, WriteOptions};

use super::error::StagingStoreError;
use super::row::Home;
use super::store::{PLACE, StagingBatch, StagingStore, malformed, number_key};
use crate::codec::{DecodeError, Reader, put_varint};

/// Where the record of an object is in a generation, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrozenPlace {
    /// At a name.
    Entry(Home),
    /// At an object id.
    Linked(u64),
}

impl FrozenPlace {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(32);
        match self {
            Self::Linked(object) => {
                value.push(0);
                put_varint(&mut value, *object);
            }
            Self::Entry(home) => {
                value.push(1);
                put_varint(&mut value, home.directory);
                value.extend_from_slice(&home.name);
            }
        }
        value
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        Ok(match reader.u8("place")? {
            0 => Self::Linked(reader.varint("object id")?),
            _ => {
                let directory = reader.varint("directory")?;
                Self::Entry(Home::new(directory, reader.bytes("name", reader.remaining())?))
            }
        })
    }
}

impl StagingStore {
    /// Where an object was seen last, if this process noted it.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn place(&self, number: u64) -> Result<Option<FrozenPlace>, StagingStoreError> {
        let value = self.db.get_pinned(number_key(PLACE, number)).map_err(self.refused("read"))?;
        value.map(|value| FrozenPlace::decode(&value)).transpose().map_err(malformed("place"))
    }

    /// Writes a batch that need not outlive the process: no log is written.
    ///
    /// # Errors
    /// [`StagingStoreError`] if RocksDB refuses; then nothing of the batch is there.
    pub fn write_passing(&self, batch: StagingBatch) -> Result<(), StagingStoreError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch.batch, &options).map_err(self.refused("write"))
    }

    /// Removes all notes of where objects were seen.
    ///
    /// # Errors
    /// [`StagingStoreError`] if RocksDB refuses.
    pub fn delete_places(&self) -> Result<(), StagingStoreError> {
        if self.rows(ReadOptions::default(), &[PLACE], PLACE).next().transpose()?.is_none() {
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        batch.batch.delete_range([PLACE], [PLACE + 1]);
        self.write_passing(batch)
    }
}

impl StagingBatch {
    /// Notes where an object was seen.
    pub fn put_place(&mut self, number: u64, place: &FrozenPlace) {
        self.batch.put(number_key(PLACE, number), place.encode());
    }

    /// Forgets where an object was seen.
    pub fn delete_place(&mut self, number: u64) {
        self.batch.delete(number_key(PLACE, number));
    }
}
