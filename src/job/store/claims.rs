//! Chunks that this backup has met: which are stored, and which some worker is about to store.
//!
//! Workers prepare frames side by side. The first to meet a new chunk claims it; the others only note
//! its fingerprint, and the place is filled in when the claimed chunk was written.
//!
//! The chunks met last are in memory, all others in the job's scratch: a backup knows each chunk that it
//! stored, however many there are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::format::frame::{ChunkPointer, Location};
use crate::id::{FileId, Fingerprint};
use crate::index::{IndexError, Scratch, ScratchRow};

// A half of the table is full at this many, so that a hash table of 2^16 places holds it: 4 MB. Without a
// scratch, what falls out is forgotten, and a chunk that comes again in the same backup is stored twice.
const HALF_COUNT_MAX: usize = (1 << 16) / 8 * 7;
// Begins the keys of claims in the scratch.
const LETTER: u8 = b'c';

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::job) enum Claim {
    /// The caller is the first and must store it.
    Granted,
    /// It is being stored; ask again with [`Claims::resolve`].
    Pending,
    /// It is stored.
    Stored(ChunkPointer),
}

/// The chunks of this backup.
#[derive(Debug, Default)]
pub(in crate::job) struct Claims<'a> {
    chunks: Mutex<Chunks>,
    scratch: Option<&'a Scratch>,
}

// Where a chunk is; its BDF by its number in the table.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: u32,
    start: u32,
    len: u32,
    frame: u64,
}

/// Two halves, of which the older one is dropped when the newer one is full. A worker's task is small
/// against a half, so that what it was told is pending is still known when its result comes.
#[derive(Debug, Default)]
struct Chunks {
    recent: HashMap<Fingerprint, Option<Place>>,
    older: HashMap<Fingerprint, Option<Place>>,
    // The BDFs that this backup has written, of which there are few.
    files: Vec<FileId>,
}

impl Chunks {
    fn get(&self, fingerprint: &Fingerprint) -> Option<Option<ChunkPointer>> {
        let found = self.recent.get(fingerprint).or_else(|| self.older.get(fingerprint))?;
        Some(found.and_then(|place| self.pointer(*fingerprint, place)))
    }

    fn pointer(&self, fingerprint: Fingerprint, place: Place) -> Option<ChunkPointer> {
        let Place { file, start, len, frame } = place;
        let file = *self.files.get(file as usize)?;
        Some(ChunkPointer { fingerprint, len, location: Location { file, frame, start } })
    }

    fn place(&mut self, pointer: &ChunkPointer) -> Option<Place> {
        let Location { file, frame, start } = pointer.location;
        if self.files.last() != Some(&file) {
            self.files.push(file);
        }
        let file = u32::try_from(self.files.len() - 1).ok()?;
        Some(Place { file, start, len: pointer.len, frame })
    }

    fn forget_older(&mut self) {
        let dropped = std::mem::replace(&mut self.older, std::mem::take(&mut self.recent));
        // What is not stored yet is still waited for.
        let pending = dropped
            .into_iter()
            .filter(|(fingerprint, place)| place.is_none() && !self.older.contains_key(fingerprint));
        self.recent.extend(pending);
    }
}

impl<'a> Claims<'a> {
    /// Starts without a chunk; `scratch` holds what does not fit into memory.
    pub(in crate::job) fn new(scratch: Option<&'a Scratch>) -> Self {
        Self { chunks: Mutex::default(), scratch }
    }

    /// What holds what does not fit into memory.
    pub(in crate::job) fn scratch(&self) -> Option<&'a Scratch> {
        self.scratch
    }

    /// Asks for a chunk that may be new. `find` looks for it in the repository.
    pub(in crate::job) fn claim<E: From<IndexError>>(
        &self,
        fingerprint: &Fingerprint,
        find: impl FnOnce() -> Result<Option<ChunkPointer>, E>,
    ) -> Result<Claim, E> {
        if let Some(known) = self.lock().get(fingerprint) {
            return Ok(known.map_or(Claim::Pending, Claim::Stored));
        }
        if let Some(spilled) = self.spilled(fingerprint)? {
            return Ok(Claim::Stored(spilled));
        }
        if let Some(found) = find()? {
            return Ok(Claim::Stored(found));
        }
        let mut chunks = self.lock();
        if let Some(known) = chunks.get(fingerprint) {
            return Ok(known.map_or(Claim::Pending, Claim::Stored));
        }
        chunks.recent.insert(*fingerprint, None);
        Ok(Claim::Granted)
    }

    /// Fills in the place of a chunk that was claimed.
    pub(in crate::job) fn stored(&self, pointer: ChunkPointer) {
        let mut chunks = self.lock();
        let place = chunks.place(&pointer);
        chunks.recent.insert(pointer.fingerprint, place);
    }

    /// The place of a chunk, once it was written; of those in memory.
    pub(in crate::job) fn resolve(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer> {
        self.lock().get(fingerprint).flatten()
    }

    /// The place of a chunk, if it was written, however long ago.
    ///
    /// # Errors
    /// [`IndexError`] if the scratch cannot be read.
    pub(in crate::job) fn find(&self, fingerprint: &Fingerprint) -> Result<Option<ChunkPointer>, IndexError> {
        match self.resolve(fingerprint) {
            Some(found) => Ok(Some(found)),
            None => self.spilled(fingerprint),
        }
    }

    /// Tells whether it is time to fill in what is known and then to move the older half out of memory.
    pub(in crate::job) fn is_full(&self) -> bool {
        self.lock().recent.len() >= HALF_COUNT_MAX
    }

    /// Moves the older half out of memory.
    ///
    /// # Errors
    /// [`IndexError`] if the scratch cannot be written.
    pub(in crate::job) fn forget_older(&self) -> Result<(), IndexError> {
        if let Some(scratch) = self.scratch {
            // A chunk must always be in memory or in the scratch: other threads ask meanwhile.
            let rows: Vec<ScratchRow> = {
                let chunks = self.lock();
                let stored = chunks.older.iter().filter_map(|(fingerprint, place)| {
                    chunks.pointer(*fingerprint, (*place)?).map(|pointer| row(&pointer))
                });
                stored.collect()
            };
            scratch.write(rows)?;
        }
        self.lock().forget_older();
        Ok(())
    }

    fn spilled(&self, fingerprint: &Fingerprint) -> Result<Option<ChunkPointer>, IndexError> {
        let Some(scratch) = self.scratch.filter(|scratch| !scratch.is_unused()) else { return Ok(None) };
        let found = scratch.get(&row_key(fingerprint))?;
        found.map(|value| decoded(*fingerprint, &value).ok_or(IndexError::Row)).transpose()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row_key(fingerprint: &Fingerprint) -> Vec<u8> {
    [&[LETTER], &fingerprint.0[..]].concat()
}

fn row(pointer: &ChunkPointer) -> ScratchRow {
    let Location { file, frame, start } = pointer.location;
    let parts = [&file.0[..], &frame.to_le_bytes(), &start.to_le_bytes(), &pointer.len.to_le_bytes()];
    (row_key(&pointer.fingerprint), Some(parts.concat()))
}

fn decoded(fingerprint: Fingerprint, value: &[u8]) -> Option<ChunkPointer> {
    let (file, rest) = value.split_first_chunk()?;
    let (frame, rest) = rest.split_first_chunk()?;
    let (start, rest) = rest.split_first_chunk()?;
    let (frame, start) = (u64::from_le_bytes(*frame), u32::from_le_bytes(*start));
    let len = u32::from_le_bytes(rest.try_into().ok()?);
    Some(ChunkPointer { fingerprint, len, location: Location { file: FileId(*file), frame, start } })
}

#[cfg(test)]
mod test {
    use super::*;

    fn pointer(number: u32) -> ChunkPointer {
        let fingerprint = Fingerprint::of(&number.to_le_bytes());
        let file = FileId([u8::try_from(number / 10_000).expect("few"); 16]);
        ChunkPointer { fingerprint, len: 1, location: Location { file, frame: 1 << 40, start: number } }
    }

    fn claim(claims: &Claims<'_>, number: u32) -> Claim {
        claims.claim(&pointer(number).fingerprint, || Ok::<_, IndexError>(None)).unwrap()
    }

    #[test]
    fn a_pending_chunk_is_never_forgotten_and_a_stored_one_not_at_once() {
        let claims = Claims::default();
        assert_eq!(claim(&claims, 1), Claim::Granted);
        assert_eq!(claim(&claims, 2), Claim::Granted);
        claims.stored(pointer(2));
        for _ in 0..5 {
            claims.forget_older().unwrap();
            assert_eq!(claim(&claims, 1), Claim::Pending);
        }
        assert_eq!(claim(&claims, 2), Claim::Granted, "forgotten, so stored again");
        claims.stored(pointer(1));
        claims.forget_older().unwrap();
        assert_eq!(claim(&claims, 1), Claim::Stored(pointer(1)));
        assert_eq!(claims.resolve(&pointer(1).fingerprint), Some(pointer(1)));
    }

    #[test]
    fn with_a_scratch_no_chunk_is_stored_twice_however_many_there_are() {
        const COUNT: u32 = 200_000;
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(&directory.path().join("scratch")).unwrap();
        let claims = Claims::new(Some(&scratch));
        for number in 0..COUNT {
            assert_eq!(claim(&claims, number), Claim::Granted, "{number}");
            claims.stored(pointer(number));
            if claims.is_full() {
                claims.forget_older().unwrap();
            }
            let chunks = claims.lock();
            assert!(chunks.recent.len() + chunks.older.len() <= 2 * HALF_COUNT_MAX);
        }
        for number in (0..COUNT).step_by(7) {
            assert_eq!(claim(&claims, number), Claim::Stored(pointer(number)));
            assert_eq!(claims.find(&pointer(number).fingerprint).unwrap(), Some(pointer(number)));
        }
        assert_eq!(claims.resolve(&pointer(0).fingerprint), None, "still in memory");
    }
}
