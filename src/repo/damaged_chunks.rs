//! The record of damaged chunks: an empty file `damaged/<fingerprint>` for each.
//!
//! Whoever finds a chunk damaged where a pointer leads notes it here: readers and mounts without a lock,
//! `verify` for the newest generations. The next backup reads the files again whose chunks these are, though
//! they did not change, and stores what is damaged anew. The record can be deleted: verification makes it again.

use std::collections::HashSet;

use crate::id::Fingerprint;
use crate::storage::{Storage, StorageError};

const DIRECTORY: &str = "damaged";
// More are not noted one by one: 32 bytes of memory each in the next backup.
const CHUNK_COUNT_MAX: usize = 1 << 17;
// Noted instead of the chunk that is one too many.
const MANY: &str = "many";

/// The damaged chunks that are on record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DamagedChunks {
    chunks: HashSet<Fingerprint>,
    /// There are more, of which nothing is known: every file may have one.
    pub is_more: bool,
}

impl DamagedChunks {
    /// Reads the record.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be listed.
    pub fn read(storage: &dyn Storage) -> Result<Self, StorageError> {
        let mut record = Self::default();
        for entry in storage.list(DIRECTORY)? {
            match parse(&entry.name) {
                Some(_) if record.chunks.len() >= CHUNK_COUNT_MAX => record.is_more = true,
                Some(fingerprint) => drop(record.chunks.insert(fingerprint)),
                None => record.is_more |= entry.name == MANY,
            }
        }
        Ok(record)
    }

    /// Tells whether nothing is on record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && !self.is_more
    }

    /// Tells whether the chunk was found damaged.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.chunks.contains(fingerprint)
    }

    /// The chunks in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Fingerprint> {
        self.chunks.iter()
    }
}

/// Notes a damaged chunk. `known_count` is how many the caller has noted before.
///
/// # Errors
/// [`StorageError`] if the storage refuses, as one that cannot be written does.
pub fn note(
    storage: &dyn Storage,
    fingerprint: &Fingerprint,
    known_count: usize,
) -> Result<(), StorageError> {
    storage.create_directory(DIRECTORY)?;
    let name = match known_count < CHUNK_COUNT_MAX {
        true => format!("{DIRECTORY}/{fingerprint}"),
        false => format!("{DIRECTORY}/{MANY}"),
    };
    match storage.create(&name) {
        Err(error) if error.source.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Takes chunks out of the record, because they can be read again or nobody needs them.
///
/// # Errors
/// [`StorageError`] if the storage refuses.
pub fn forget<'a>(
    storage: &dyn Storage,
    fingerprints: impl IntoIterator<Item = &'a Fingerprint>,
) -> Result<(), StorageError> {
    let names = fingerprints.into_iter().map(|fingerprint| format!("{DIRECTORY}/{fingerprint}"));
    for name in names {
        remove(storage, &name)?;
    }
    Ok(())
}

/// Forgets that there are more than are known.
///
/// # Errors
/// [`StorageError`] if the storage refuses.
pub fn forget_many(storage: &dyn Storage) -> Result<(), StorageError> {
    remove(storage, &format!("{DIRECTORY}/{MANY}"))
}

fn remove(storage: &dyn Storage, name: &str) -> Result<(), StorageError> {
    match storage.remove(name) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn parse(name: &str) -> Option<Fingerprint> {
    let digits = name.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if digits.0.len() != bytes.len() || !digits.1.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.0) {
        let text = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(text, 16).ok()?;
    }
    let fingerprint = Fingerprint(bytes);
    // One spelling only.
    (fingerprint.to_string() == name).then_some(fingerprint)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn what_is_noted_is_read_until_it_is_forgotten() {
        let storage = MemoryStorage::new();
        assert!(DamagedChunks::read(&storage).expect("reads").is_empty());
        let chunks = [1_u8, 2, 3].map(|number| Fingerprint::of(&[number]));
        for chunk in chunks.iter().chain(&chunks) {
            note(&storage, chunk, 0).expect("notes");
        }
        storage.put("damaged/not a fingerprint", b"");
        storage.put(&format!("damaged/{}", chunks[0].to_string().to_uppercase()), b"");
        let record = DamagedChunks::read(&storage).expect("reads");
        assert_eq!((record.iter().count(), record.is_more), (3, false));
        forget(&storage, &chunks[..2]).expect("forgets");
        forget(&storage, &chunks[..2]).expect("forgets what is not there");
        let record = DamagedChunks::read(&storage).expect("reads");
        assert!(record.contains(&chunks[2]) && !record.contains(&chunks[0]));
        note(&storage, &chunks[0], CHUNK_COUNT_MAX).expect("notes");
        assert!(DamagedChunks::read(&storage).expect("reads").is_more);
        forget_many(&storage).expect("forgets");
        assert!(!DamagedChunks::read(&storage).expect("reads").is_more);
    }
}
