//! Other places of a chunk, for when it is damaged where a pointer says.

use std::fmt;

use crate::format::frame::ChunkPointer;
use crate::id::Fingerprint;
use crate::index::Index;

/// Somebody who knows where chunks are; the index is one.
pub trait ChunkLocator: Send + Sync + fmt::Debug {
    /// A place where the chunk may be; the reader verifies it.
    fn locate(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer>;
}

impl ChunkLocator for Index {
    fn locate(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer> {
        // An index that cannot be read knows nothing; the damage itself is what is reported.
        self.chunk(fingerprint).ok().flatten()
    }
}
