//! Verifies pointers to chunks against the chunk tables of frames.

use std::collections::HashSet;
use std::sync::Arc;

use quick_cache::unsync::Cache;

use super::Run;
use crate::format::frame::{ChunkPointer, FrameHeader};
use crate::id::FileId;

// Neighbours in a tree point to the same few frames.
const HEADER_COUNT_MAX: usize = 1024;

/// Looks pointers up.
pub(super) struct Pointers<'a> {
    run: &'a Run<'a>,
    headers: Cache<(FileId, u64), Arc<Result<FrameHeader, String>>>,
    /// All BDFs that were pointed to.
    pub(super) referenced: HashSet<FileId>,
}

impl<'a> Pointers<'a> {
    pub(super) fn new(run: &'a Run<'a>) -> Self {
        Self { run, headers: Cache::new(HEADER_COUNT_MAX), referenced: HashSet::new() }
    }

    /// What is wrong with where a pointer leads to, if anything is.
    pub(super) fn verify(&mut self, pointer: &ChunkPointer) -> Result<(), String> {
        let location = pointer.location;
        self.referenced.insert(location.file);
        let key = (location.file, location.frame);
        let header = match self.headers.get(&key) {
            Some(header) => Arc::clone(header),
            None => {
                let frames = self.run.repository.frames();
                let read = frames.bdf(location.file).and_then(|bdf| bdf.read_header(location.frame));
                let header = Arc::new(read.map_err(|error| crate::job::chain(&error)));
                self.headers.insert(key, Arc::clone(&header));
                header
            }
        };
        let header = match &*header {
            Ok(header) => header,
            Err(error) => {
                self.run.bad().add_frame(location.file, location.frame);
                return Err(error.clone());
            }
        };
        let found = header.chunk_at(location.start);
        if found.is_some_and(|info| info.fingerprint == pointer.fingerprint && info.len == pointer.len) {
            return Ok(());
        }
        self.run.bad().add_pointer(*pointer);
        Err(format!(
            "no chunk {} is at byte {} of the frame at byte {} of {}.bdf",
            pointer.fingerprint, location.start, location.frame, location.file
        ))
    }
}
