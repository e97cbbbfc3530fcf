//! Chunks that this backup has met: which are stored, and which some worker is about to store.
//!
//! Workers prepare frames side by side. The first to meet a new chunk claims it; the others only note
//! its fingerprint, and the place is filled in when the claimed chunk was written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::format::frame::ChunkPointer;
use crate::id::Fingerprint;

// The map is one of few things that grow with the data. Of more chunks than this (about 100 MB) the
// oldest are forgotten: one that comes again in the same backup may be stored twice, and the next backup
// finds it in the index.
const CLAIM_COUNT_MAX: usize = 1 << 20;

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

/// The chunks met last.
#[derive(Debug, Default)]
pub(in crate::job) struct Claims {
    chunks: Mutex<Chunks>,
}

/// Two halves, of which the older one is dropped when the newer one is full. A worker's task is small
/// against a half, so that what it was told is pending is still known when its result comes.
#[derive(Debug, Default)]
struct Chunks {
    recent: HashMap<Fingerprint, Option<ChunkPointer>>,
    older: HashMap<Fingerprint, Option<ChunkPointer>>,
}

impl Chunks {
    fn get(&self, fingerprint: &Fingerprint) -> Option<Option<ChunkPointer>> {
        self.recent.get(fingerprint).or_else(|| self.older.get(fingerprint)).copied()
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

impl Claims {
    /// Asks for a chunk that may be new. `find` looks for it in the repository.
    pub(in crate::job) fn claim<E>(
        &self,
        fingerprint: &Fingerprint,
        find: impl FnOnce() -> Result<Option<ChunkPointer>, E>,
    ) -> Result<Claim, E> {
        if let Some(known) = self.lock().get(fingerprint) {
            return Ok(known.map_or(Claim::Pending, Claim::Stored));
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
        self.lock().recent.insert(pointer.fingerprint, Some(pointer));
    }

    /// The place of a chunk, once it was written.
    pub(in crate::job) fn resolve(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer> {
        self.lock().get(fingerprint).flatten()
    }

    /// Tells whether it is time to fill in what is known and then to forget the older half.
    pub(in crate::job) fn is_full(&self) -> bool {
        self.lock().recent.len() >= CLAIM_COUNT_MAX / 2
    }

    /// Forgets the older half.
    pub(in crate::job) fn forget_older(&self) {
        self.lock().forget_older();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::format::frame::Location;
    use crate::id::FileId;

    fn pointer(number: u32) -> ChunkPointer {
        let fingerprint = Fingerprint::of(&number.to_le_bytes());
        ChunkPointer {
            fingerprint,
            len: 1,
            location: Location { file: FileId([1; 16]), frame: 0, start: number },
        }
    }

    fn claim(claims: &Claims, number: u32) -> Claim {
        claims.claim(&pointer(number).fingerprint, || Ok::<_, ()>(None)).unwrap()
    }

    #[test]
    fn a_pending_chunk_is_never_forgotten_and_a_stored_one_not_at_once() {
        let claims = Claims::default();
        assert_eq!(claim(&claims, 1), Claim::Granted);
        assert_eq!(claim(&claims, 2), Claim::Granted);
        claims.stored(pointer(2));
        for _ in 0..5 {
            claims.forget_older();
            assert_eq!(claim(&claims, 1), Claim::Pending);
        }
        assert_eq!(claim(&claims, 2), Claim::Granted, "forgotten, so stored again");
        claims.stored(pointer(1));
        claims.forget_older();
        assert_eq!(claim(&claims, 1), Claim::Stored(pointer(1)));
        assert_eq!(claims.resolve(&pointer(1).fingerprint), Some(pointer(1)));
    }
}
