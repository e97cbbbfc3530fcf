//! Chunks that are damaged where a pointer leads, and whole in another place that the index knows.

use std::collections::HashMap;

use crate::format::frame::ChunkPointer;
use crate::id::Fingerprint;
use crate::index::Index;
use crate::repo::Repository;

// Of more chunks the answers are not kept.
const KNOWN_COUNT_MAX: usize = 1 << 16;

/// Looks for other places of damaged chunks.
pub(super) struct Elsewhere<'a> {
    repository: &'a Repository,
    index: Option<&'a Index>,
    known: HashMap<Fingerprint, bool>,
}

impl<'a> Elsewhere<'a> {
    pub(super) fn new(repository: &'a Repository, index: Option<&'a Index>) -> Self {
        Self { repository, index, known: HashMap::new() }
    }

    /// Tells whether a reader who asks the index gets the chunk all the same.
    pub(super) fn has(&mut self, pointer: &ChunkPointer) -> bool {
        let Some(index) = self.index else { return false };
        if let Some(known) = self.known.get(&pointer.fingerprint) {
            return *known;
        }
        let other = index.chunk(&pointer.fingerprint).ok().flatten();
        let is_readable = other.is_some_and(|other| {
            other.location != pointer.location
                && other.len == pointer.len
                && self.repository.frames().chunk_there(&other).is_ok()
        });
        if self.known.len() < KNOWN_COUNT_MAX {
            self.known.insert(pointer.fingerprint, is_readable);
        }
        is_readable
    }
}
