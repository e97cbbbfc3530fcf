//! Files that may be open for direct writes, noted in the database: after a takeover the kernel still writes to
//! backing files that the new process has not seen opened.

use std::collections::HashSet;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::content::OpenFile;
use super::error::StagingError;
use super::handle::FileHandle;
use super::tree::StagingTree;
use crate::index::staging::{NumberSet, StagingBatch};

/// Notes of closed files that are removed together.
const CLOSED_COUNT_MAX: usize = 256;

/// Files that may be written directly though nobody here has them open, and notes that can go.
#[derive(Debug, Default)]
pub(super) struct DirectFiles {
    before: Mutex<HashSet<u64>>,
    closed: Mutex<Vec<u64>>,
}

impl DirectFiles {
    /// Files that are no longer open.
    pub(super) fn closed(&self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.closed.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
        }
    }

    /// Objects that the kernel has forgotten: it has them open no more.
    pub(super) fn forgotten(&self, numbers: &[u64]) {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<u64> = numbers.iter().copied().filter(|number| before.remove(number)).collect();
        drop(before);
        self.closed(gone);
    }

    /// Tells whether the process before had a file open for direct writes, and the kernel still may have.
    pub(super) fn was_before(&self, number: u64) -> bool {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).contains(&number)
    }

    /// Files that the process before had open for direct writes, and that the kernel still may have.
    pub(super) fn all_before(&self) -> Vec<u64> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl StagingTree {
    /// The backing file, if the kernel may read and write it itself from now on until the handle is dropped
    /// ([`FileHandle::passthrough`]); a freeze then knows that it cannot hold such writes back.
    ///
    /// # Errors
    /// [`StagingError`] if it cannot be noted for a process after this one.
    pub fn begin_passthrough(&self, handle: &FileHandle) -> Result<Option<Arc<File>>, StagingError> {
        if !self.lets_kernel_write() {
            return Ok(None);
        }
        let backing = {
            // A freeze is over, and its epoch seen here, or it begins after this and sees the mark.
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let Some(backing) = handle.passthrough() else { return Ok(None) };
            handle.set_passthrough();
            backing
        };
        if handle.is_writable()
            && let Err(error) = self.note_direct(handle.file())
        {
            handle.end_passthrough();
            return Err(error);
        }
        Ok(Some(backing))
    }

    /// Notes that a file may be written directly from now on.
    pub(super) fn note_direct(&self, file: &OpenFile) -> Result<(), StagingError> {
        use std::sync::atomic::Ordering;
        if file.is_noted.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        batch.put_number(NumberSet::Direct, file.number);
        Ok(self.store.write(batch)?)
    }

    /// Takes up the notes of the process before, or removes them.
    pub(super) fn begin_direct(&self) -> Result<(), StagingError> {
        let known: Result<Vec<u64>, _> = self.store.numbers(NumberSet::Direct).collect();
        if self.is_taken_over() {
            self.direct.before.lock().unwrap_or_else(PoisonError::into_inner).extend(known?);
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        for number in known? {
            batch.delete_number(NumberSet::Direct, number);
        }
        if batch.is_empty() { Ok(()) } else { Ok(self.store.write(batch)?) }
    }

    /// Removes notes of files that are closed, when there are enough of them.
    pub(super) fn drop_direct_notes(&self) -> Result<(), StagingError> {
        let mut closed = self.direct.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() < CLOSED_COUNT_MAX {
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        for number in closed.drain(..) {
            // Opened again since, it has its note for that.
            if !self.files.is_known(number) {
                batch.delete_number(NumberSet::Direct, number);
            }
        }
        drop(closed);
        if batch.is_empty() { Ok(()) } else { Ok(self.store.write(batch)?) }
    }
}
