//! Rows of names that were removed lately: a listing may have to go on behind one.

use rocksdb::ReadOptions;

use super::error::StagingStoreError;
use super::store::{REMOVED, StagingBatch, StagingStore, malformed, number_of};
use crate::codec::{DecodeError, Reader, put_varint};

/// Where the note of a removed name is, and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemovedKey {
    /// Grows with each name that is removed.
    pub sequence: u64,
    /// Number of the directory.
    pub directory: u64,
    /// Cookie of the name in listings.
    pub cookie: u64,
}

/// A name that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedName {
    /// Which removal wrote it last.
    pub sequence: u64,
    /// The name.
    pub name: Vec<u8>,
}

impl StagingStore {
    /// The name of a directory with this cookie, if it was removed lately.
    ///
    /// # Errors
    /// [`StagingStoreError`] if the row cannot be read.
    pub fn removed_name(
        &self,
        directory: u64,
        cookie: u64,
    ) -> Result<Option<RemovedName>, StagingStoreError> {
        let value = self.db.get_pinned(removed_key(directory, cookie)).map_err(self.refused("read"))?;
        value.map(|value| decode_removed(&value)).transpose().map_err(malformed("removed name"))
    }

    /// All notes of removed names, in order of directories and cookies.
    pub fn all_removed(&self) -> impl Iterator<Item = Result<RemovedKey, StagingStoreError>> {
        self.rows(ReadOptions::default(), &[REMOVED], REMOVED).map(|row| {
            let (key, value) = row?;
            let decode = || -> Result<RemovedKey, DecodeError> {
                let mut reader = Reader::new(key.get(9..).unwrap_or_default());
                let cookie = u64::from_be_bytes(reader.array("cookie")?);
                let sequence = decode_removed(&value)?.sequence;
                Ok(RemovedKey { sequence, directory: number_of(&key)?, cookie })
            };
            decode().map_err(malformed("removed name"))
        })
    }
}

impl StagingBatch {
    /// Notes a name that is removed.
    pub fn put_removed(&mut self, key: RemovedKey, name: &[u8]) {
        let mut value = Vec::with_capacity(10 + name.len());
        put_varint(&mut value, key.sequence);
        value.extend_from_slice(name);
        self.batch.put(removed_key(key.directory, key.cookie), value);
    }

    /// Forgets a name that was removed.
    pub fn delete_removed(&mut self, directory: u64, cookie: u64) {
        self.batch.delete(removed_key(directory, cookie));
    }
}

fn decode_removed(value: &[u8]) -> Result<RemovedName, DecodeError> {
    let mut reader = Reader::new(value);
    let sequence = reader.varint("sequence")?;
    let name = reader.bytes("name", reader.remaining())?.to_vec();
    Ok(RemovedName { sequence, name })
}

fn removed_key(directory: u64, cookie: u64) -> [u8; 17] {
    let mut key = [REMOVED; 17];
    let numbers = directory.to_be_bytes().into_iter().chain(cookie.to_be_bytes());
    key.iter_mut().skip(1).zip(numbers).for_each(|(place, byte)| *place = byte);
    key
}
