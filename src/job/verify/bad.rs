//! The places of data that cannot be read.

use std::collections::HashSet;

use crate::format::frame::{ChunkPointer, Location};
use crate::id::FileId;

// Beyond this many, a whole BDF is taken as bad where one frame of it is.
const PLACE_COUNT_MAX: usize = 1 << 20;

/// All places that were found damaged.
#[derive(Debug, Default)]
pub(super) struct Bad {
    files: HashSet<FileId>,
    frames: HashSet<(FileId, u64)>,
    chunks: HashSet<Location>,
    // Pointers to where their chunk is not, though another may be.
    pointers: HashSet<ChunkPointer>,
}

impl Bad {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.frames.is_empty() && self.chunks.is_empty() && self.pointers.is_empty()
    }

    fn is_full(&self) -> bool {
        self.frames.len() + self.chunks.len() + self.pointers.len() >= PLACE_COUNT_MAX
    }

    pub(super) fn add_file(&mut self, file: FileId) {
        self.files.insert(file);
    }

    pub(super) fn add_frame(&mut self, file: FileId, offset: u64) {
        if self.is_full() {
            return self.add_file(file);
        }
        self.frames.insert((file, offset));
    }

    pub(super) fn add_chunk(&mut self, location: Location) {
        if self.is_full() {
            return self.add_file(location.file);
        }
        self.chunks.insert(location);
    }

    pub(super) fn add_pointer(&mut self, pointer: ChunkPointer) {
        if self.is_full() {
            return self.add_file(pointer.location.file);
        }
        self.pointers.insert(pointer);
    }

    /// Tells whether a pointer leads to damage.
    pub(super) fn is_bad(&self, pointer: &ChunkPointer) -> bool {
        let location = pointer.location;
        self.files.contains(&location.file)
            || self.frames.contains(&(location.file, location.frame))
            || self.chunks.contains(&location)
            || self.pointers.contains(pointer)
    }
}
