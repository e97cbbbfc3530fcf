//! A large file while it is read: its extents are gathered as the workers answer, so that their number is
//! no matter of memory.

use std::ops::Range;

use super::emission::Emitter;
use super::error::StoreError;
use super::queue::{Bytes, Emission, StoredFile};
use crate::repo::extent_list::ExtentList;

/// The large file that is being read.
#[derive(Debug)]
pub(super) struct LargeFile {
    first_task: u64,
    // Of those whose extents are not gathered.
    next_task: u64,
    extents: ExtentList,
}

impl Emitter<'_, '_> {
    /// Says that the tasks from now on are those of a large file, until it is queued or discarded.
    pub(in crate::job) fn begin_large(&mut self) {
        let next_task = self.next_task();
        let extents = self.writer.extent_list();
        self.large = Some(LargeFile { first_task: next_task, next_task, extents });
    }

    /// Queues the large file, whose bytes are those of all its tasks.
    pub(in crate::job) fn queue_large(&mut self, mut file: StoredFile) -> Result<(), StoreError> {
        let LargeFile { next_task, extents, .. } = self.large.take().ok_or(StoreError::Worker)?;
        match &mut file.bytes {
            Bytes::Extents(list) | Bytes::Over { extents: list, .. } => *list = extents,
            Bytes::Kept(_) => return Err(StoreError::Worker),
        }
        let tasks = next_task..self.next_task();
        self.queue(Emission::Large { file: Box::new(file), tasks });
        Ok(())
    }

    /// Forgets what was read of the large file.
    pub(in crate::job) fn discard_large(&mut self) {
        if let Some(large) = self.large.take() {
            self.discard(large.first_task);
        }
    }

    // Takes the extents that have come so far, in order.
    pub(super) fn gather_large(&mut self) -> Result<(), StoreError> {
        let Some(mut large) = self.large.take() else { return Ok(()) };
        while let Some(extents) = self.take_piece(large.next_task)? {
            for extent in extents {
                large.extents.push(extent)?;
            }
            large.next_task += 1;
        }
        self.large = Some(large);
        Ok(())
    }

    // Adds the extents of the tasks that were left when the file was queued.
    pub(super) fn add_pieces(&mut self, file: &mut StoredFile, tasks: Range<u64>) -> Result<(), StoreError> {
        for task in tasks {
            let more = self.take_piece(task)?.ok_or(StoreError::Worker)?;
            match &mut file.bytes {
                Bytes::Extents(extents) | Bytes::Over { extents, .. } => {
                    more.into_iter().try_for_each(|extent| extents.push(extent))?;
                }
                Bytes::Kept(_) => return Err(StoreError::Worker),
            }
        }
        Ok(())
    }
}
