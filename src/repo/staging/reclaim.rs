//! Removing what is of no use any more: void rows, backing files that nothing refers to.

use std::sync::PoisonError;

use super::base::HASH_BIT;
use super::error::StagingError;
use super::objects::{CachedRow, Edit};
use super::tree::{Core, StagingTree};
use crate::index::staging::{Home, NumberSet, StagingBatch};

/// Rows that one call looks at, so that nobody waits long for it.
const STEP: usize = 2048;
/// Void rows next to each other from which on they are removed as one range.
const RANGE_LEN_MIN: usize = 64;
/// Backing files that are removed together, after the rows that did without them were synced.
const FILE_COUNT_MAX: usize = 1 << 12;

/// Where reclaiming goes on.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    /// There may be void rows of objects from this number on.
    pub(super) objects_from: Option<u64>,
    /// There may be void rows of names from this one on.
    pub(super) entries_from: Option<Home>,
    /// A crash may have left files.
    pub(super) is_sweep_due: bool,
    groups: Option<Vec<u64>>,
    /// Files of this process have ids from here on.
    pub(super) sweep_below: u64,
}

impl Reclaim {
    /// An epoch became void.
    pub(super) fn restart(&mut self) {
        self.objects_from = Some(0);
        self.entries_from = Some(Home::new(0, b""));
    }
}

impl StagingTree {
    /// Removes what is of no use any more (rows and backing files of committed epochs, files that a crash
    /// left behind) for a while; returns whether anything is left to do. For a thread in the background.
    ///
    /// # Errors
    /// [`StagingError`] if the disk refuses.
    pub fn reclaim(&self) -> Result<bool, StagingError> {
        let _turn = self.reclaiming.lock().unwrap_or_else(PoisonError::into_inner);
        self.reclaim_some()
    }

    /// Removes all that is of no use any more, for who would be refused for want of space; waits for who is at it.
    pub(super) fn reclaim_all(&self) -> Result<(), StagingError> {
        while self.reclaim()? {}
        self.direct.let_go();
        Ok(())
    }

    fn reclaim_some(&self) -> Result<bool, StagingError> {
        self.release_dropped()?;
        if self.direct.has_unseen() {
            // Those that are not written any more are forgotten.
            let _written = self.unseen_files(&self.core());
        }
        let is_more = self.reclaim_rows(&mut self.core_mut())?;
        let is_more = self.reclaim_files(is_more)? || is_more;
        Ok(self.sweep()? || is_more)
    }

    fn reclaim_rows(&self, core: &mut Core) -> Result<bool, StagingError> {
        let (mut batch, mut files) = (StagingBatch::default(), Vec::new());
        if let Some(from) = core.reclaim.objects_from.take() {
            files = self.reclaim_objects(core, from, &mut batch)?;
        } else if let Some(from) = core.reclaim.entries_from.take() {
            self.reclaim_entries(core, &from, &mut batch)?;
        }
        if !batch.is_empty() {
            self.store.write(batch)?;
            self.discard_files(files);
        }
        Ok(core.reclaim.objects_from.is_some() || core.reclaim.entries_from.is_some())
    }

    // Returns their backing files.
    fn reclaim_objects(
        &self,
        core: &mut Core,
        from: u64,
        batch: &mut StagingBatch,
    ) -> Result<Vec<u64>, StagingError> {
        let (mut run, mut files) = (Vec::new(), Vec::new());
        for (index, row) in self.store.all_objects(from).enumerate() {
            let (number, row) = row?;
            if index >= STEP {
                core.reclaim.objects_from = Some(number);
                break;
            }
            if core.is_valid(row.epoch) {
                remove_objects(batch, &mut run);
                continue;
            }
            let row = CachedRow::from(row);
            let content = row.state.as_ref().and_then(|state| state.content());
            for layer in content.map_or(&[][..], |content| &content.layers) {
                files.push(layer.file);
                if layer.file != number {
                    batch.delete_layer_owner(layer.file);
                }
            }
            run.push(number);
            self.rows.remove(&number);
        }
        remove_objects(batch, &mut run);
        Ok(files)
    }

    fn reclaim_entries(
        &self,
        core: &mut Core,
        from: &Home,
        batch: &mut StagingBatch,
    ) -> Result<(), StagingError> {
        let mut run = Vec::new();
        for (index, row) in self.store.all_entries(from).enumerate() {
            let (home, row) = row?;
            if index >= STEP {
                core.reclaim.entries_from = Some(home);
                break;
            }
            if core.is_valid(row.epoch) {
                remove_entries(batch, &mut run);
            } else {
                run.push(home);
            }
        }
        remove_entries(batch, &mut run);
        Ok(())
    }

    // While rows are left to look at, files wait for more of them.
    fn reclaim_files(&self, are_rows_left: bool) -> Result<bool, StagingError> {
        let garbage = || self.garbage.lock().unwrap_or_else(PoisonError::into_inner);
        let (some, is_more) = {
            let mut garbage = garbage();
            if are_rows_left && garbage.len() < FILE_COUNT_MAX {
                return Ok(false);
            }
            let keep = garbage.len().saturating_sub(FILE_COUNT_MAX);
            (garbage.split_off(keep), keep > 0)
        };
        if some.is_empty() {
            return Ok(false);
        }
        if let Err(error) = self.remove_files(&some) {
            // Nothing else knows of them until the tree is opened after a kill.
            garbage().extend(some);
            return Err(error);
        }
        self.space.freed();
        Ok(is_more)
    }

    // A file must not be gone while a loss of power could bring back the row that names it.
    fn remove_files(&self, ids: &[u64]) -> Result<(), StagingError> {
        self.sync_rows()?;
        self.failed_syncs.forget(ids);
        let next_number = self.core().next_number;
        self.give_back_files(ids);
        Ok(self.data.remove_all(ids, next_number)?)
    }

    // Looks at one group of files after an unclean end.
    fn sweep(&self) -> Result<bool, StagingError> {
        let core = self.core_mut();
        // A commit may read files that no row names any more.
        if !core.reclaim.is_sweep_due || self.frozen_epoch() > 0 {
            return Ok(false);
        }
        let mut core = core;
        let groups = match core.reclaim.groups.take() {
            Some(groups) => groups,
            None => self.data.groups()?,
        };
        let mut groups = groups;
        let Some(group) = groups.pop() else {
            core.reclaim.is_sweep_due = false;
            return Ok(false);
        };
        let mut orphans = Vec::new();
        let ids = self.data.ids(group)?;
        for id in &ids {
            if *id < core.reclaim.sweep_below && !self.is_used(*id)? {
                orphans.push(*id);
            }
        }
        if ids.is_empty() {
            self.data.remove_group(group);
        }
        self.discard_files(orphans);
        core.reclaim.groups = Some(groups);
        Ok(true)
    }

    fn is_used(&self, id: u64) -> Result<bool, StagingError> {
        debug_assert!(id & HASH_BIT == 0, "backing files have numbers of the counter");
        let owner = self.store.layer_owner(id)?.unwrap_or(id);
        let row = self.stored(owner)?;
        let state = row.as_ref().and_then(|row| row.state.as_ref());
        let content = state.and_then(|state| state.content());
        Ok(content.is_some_and(|content| content.layers.iter().any(|layer| layer.file == id)))
    }

    /// Removes an object without a name, which a process before this one made for somebody who was never told of it.
    ///
    /// # Errors
    /// [`StagingError`] if the disk refuses.
    pub fn remove_unheld(&self, number: u64) -> Result<(), StagingError> {
        self.release_dropped()?;
        if self.nodes.is_held(number) || self.files.is_open(number) {
            return Ok(());
        }
        self.remove_unnamed(&mut self.core_mut(), &[number])
    }

    /// Removes objects without a name that nobody holds.
    pub(super) fn remove_unnamed(&self, core: &mut Core, numbers: &[u64]) -> Result<(), StagingError> {
        let mut edit = Edit::new(self, core);
        for number in numbers {
            let Ok(object) = edit.load(*number) else { continue };
            if object.state.link_count > 0 {
                continue;
            }
            edit.remove_object(&object)?;
            edit.batch.delete_number(NumberSet::Unnamed, *number);
        }
        edit.apply()
    }

    /// Removes the rows of all objects without a name: the base has those of its own again.
    pub(super) fn erase_unnamed(&self, core: &mut Core) -> Result<(), StagingError> {
        let numbers: Result<Vec<u64>, _> = self.store.numbers(NumberSet::Unnamed).collect();
        let mut edit = Edit::new(self, core);
        for number in numbers? {
            if let Ok(object) = edit.load(number) {
                edit.erase_object(&object);
            }
            edit.batch.delete_number(NumberSet::Unnamed, number);
        }
        edit.apply()
    }

    /// Removes all objects without a name: nobody holds any.
    pub(super) fn purge_unnamed(&self, core: &mut Core) -> Result<(), StagingError> {
        let numbers: Result<Vec<u64>, _> = self.store.numbers(NumberSet::Unnamed).collect();
        let numbers = numbers?;
        if numbers.is_empty() { Ok(()) } else { self.remove_unnamed(core, &numbers) }
    }
}

// Between void rows next to each other there are no others: nobody writes while they are looked at.
fn remove_objects(batch: &mut StagingBatch, run: &mut Vec<u64>) {
    match (run.first(), run.last()) {
        (Some(first), Some(last)) if run.len() >= RANGE_LEN_MIN => batch.delete_objects(*first, *last),
        _ => run.iter().for_each(|number| batch.delete_object(*number)),
    }
    run.clear();
}

fn remove_entries(batch: &mut StagingBatch, run: &mut Vec<Home>) {
    match (run.first(), run.last()) {
        (Some(first), Some(last)) if run.len() >= RANGE_LEN_MIN => batch.delete_entries(first, last),
        _ => run.iter().for_each(|home| batch.delete_entry(home.directory, &home.name)),
    }
    run.clear();
}
