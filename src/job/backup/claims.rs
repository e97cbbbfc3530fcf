//! Chunks that this backup has met: which are stored, and which some worker is about to store.
//!
//! Workers prepare frames side by side. The first to meet a new chunk claims it; the others only note
//! its fingerprint, and the place is filled in when the claimed chunk was written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::format::frame::ChunkPointer;
use crate::id::Fingerprint;

// The map is one of few things that grow with the data. Beyond this many chunks (about 100 MB) a chunk
// that occurs twice in one backup may be stored twice; the next backup finds it in the index.
const CLAIM_COUNT_MAX: usize = 1 << 20;

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The caller is the first and must store it.
    Granted,
    /// It is being stored; ask again with [`Claims::resolve`].
    Pending,
    /// It is stored.
    Stored(ChunkPointer),
}

/// All chunks met so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    chunks: Mutex<HashMap<Fingerprint, Option<ChunkPointer>>>,
}

impl Claims {
    /// Asks for a chunk that may be new. `find` looks for it in the repository.
    pub(super) fn claim<E>(
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
        chunks.insert(*fingerprint, None);
        Ok(Claim::Granted)
    }

    /// Fills in the place of a chunk that was claimed.
    pub(super) fn stored(&self, pointer: ChunkPointer) {
        let mut chunks = self.lock();
        if chunks.len() > CLAIM_COUNT_MAX {
            chunks.retain(|_, place| place.is_none());
        }
        chunks.insert(pointer.fingerprint, Some(pointer));
    }

    /// The place of a chunk, once it was written.
    pub(super) fn resolve(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer> {
        self.lock().get(fingerprint).copied().flatten()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Fingerprint, Option<ChunkPointer>>> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
