//! Small files on their way to a worker, many in one task.

use std::sync::Arc;

use super::emission::Emitter;
use super::error::StoreError;
use super::prepare::{SmallFile, Task};
use super::queue::{Emission, Target};
use super::report::FileReport;
use crate::format::record::Inode;

// Empty files cost time too.
const FILE_COUNT_MAX: usize = 512;

/// Small files that are given to a worker together.
#[derive(Debug, Default)]
pub(in crate::job) struct Batch {
    files: Vec<SmallFile>,
    len: u64,
}

impl Emitter<'_, '_> {
    /// Gives a small file of `size` bytes to the workers, soon. `before` is what stands at its target in the
    /// generation before.
    pub(in crate::job) fn give_small(
        &mut self,
        target: Target,
        before: Option<Arc<Inode>>,
        file: SmallFile,
        size: u64,
        report: Option<Box<FileReport>>,
    ) -> Result<(), StoreError> {
        if !self.batch.files.is_empty() && self.batch.len + size > self.pack_len {
            self.flush()?;
        }
        let (task, slot) = (self.next_task(), self.batch.files.len());
        self.queue(Emission::Small { target, before, task, slot, report });
        self.batch.files.push(file);
        self.batch.len += size;
        if self.batch.len >= self.pack_len || self.batch.files.len() >= FILE_COUNT_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Gives all small files to the workers. Tasks are numbered in order, so this comes before any other one.
    pub(in crate::job) fn flush(&mut self) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.files.is_empty() {
            return Ok(());
        }
        self.give(Task::Small(batch.files))
    }
}
