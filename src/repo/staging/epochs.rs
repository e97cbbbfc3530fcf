//! Epochs: freezing one, ending or abandoning its commit, dropping all changes, standing on another base.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::attributes::time;
use super::base::Base;
use super::content::FileState;
use super::error::StagingError;
use super::frozen::{FrozenEpoch, Moving};
use super::holding::Held;
use super::objects::{CachedRow, Edit};
use super::tree::{Core, StagingTree};
use super::watching::{Moment, moment};
use crate::format::record::ROOT_OBJECT;
use crate::id::Ordinal;
use crate::index::staging::{EntryRow, FrozenPlace, Home, NumberSet, ObjectRow, ObjectState, StagingBatch};

impl StagingTree {
    /// Freezes what was changed so far; whatever comes belongs to the next epoch.
    ///
    /// # Errors
    /// [`StagingError::Busy`] while another freeze is not finished or abandoned.
    pub fn freeze(&self) -> Result<FrozenEpoch<'_>, StagingError> {
        self.release_dropped()?;
        // These may wait for the disk, which nobody else is to wait for.
        let exposed = self.expose_all();
        let mapped = self.begin_mapped();
        let mut core = self.core_mut();
        if self.frozen_epoch() > 0 {
            return Err(StagingError::Busy { what: "another commit" });
        }
        let gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = core.state.epoch;
        core.state.epoch += 1;
        if let Err(error) = self.write_state(&mut core) {
            core.state.epoch = epoch;
            return Err(error);
        }
        let held = self.hold_direct(&core);
        let snapshot = self.store.snapshot();
        self.set_frozen_epoch(epoch);
        let is_changed = core.is_changed;
        core.is_changed_since = false;
        let mut moving = match self.carry_over(&mut core, &held, &exposed) {
            Ok(moving) => moving,
            Err(error) => {
                self.set_frozen_epoch(0);
                return Err(error);
            }
        };
        let next_ids = (core.next_linked, core.next_directory);
        let committed = core.state.committed_epoch;
        let untrusted = if self.keeps_holes { core.state.untrusted_epoch } else { u32::MAX };
        let (epochs, base) = ((committed, epoch, untrusted), core.base.clone());
        drop((gate, core));
        // Only who writes these files waits for it.
        held.copy(self, &mut moving);
        self.write_back_mapped();
        Ok(FrozenEpoch::new(self, snapshot, base, epochs, next_ids, (moving, mapped), is_changed))
    }

    // What is written directly stays pending in the new epoch. Its status now tells whether it moved on while it was
    // read, should it not be held. What did so since it was exposed may go on unseen.
    fn carry_over(
        &self,
        core: &mut Core,
        held: &Held,
        exposed: &HashMap<u64, Moment>,
    ) -> Result<HashMap<u64, Moving>, StagingError> {
        let mut moving = HashMap::new();
        let mut edit = Edit::new(self, core);
        let mut carried = Vec::new();
        for (number, cloned) in held.all() {
            let Ok(object) = edit.load(number) else { continue };
            let mut state = ObjectState::clone(&object.state);
            let epoch = edit.core.state.epoch;
            let Some(content) = state.content_mut() else { continue };
            // Only what has nothing below it is written directly.
            let Some(top) = content.layers.last_mut().filter(|top| top.below_len == 0) else { continue };
            top.epoch = epoch;
            if let Some(status) =
                cloned.map_or_else(|| self.layer_status(number, top.file), |it| Ok(Some(it)))?
            {
                let has_moved = exposed.get(&number).is_some_and(|before| *before != moment(&status));
                moving.insert(number, Moving { status, copy: None, has_moved });
            }
            let content = content.clone();
            edit.put(number, Some(&object), object.linked, state)?;
            carried.push((number, content));
        }
        if carried.is_empty() {
            return Ok(moving);
        }
        edit.apply()?;
        for (number, content) in carried {
            if let Some(file) = self.files.get(number) {
                file.state_mut().content = content;
            }
        }
        Ok(moving)
    }

    pub(super) fn announce(&self, epoch: u32, ordinal: Ordinal) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        core.state.announced = Some((epoch, ordinal));
        let mut batch = StagingBatch::default();
        batch.put_state(&core.state);
        Ok(self.store.write_durable(batch)?)
    }

    pub(super) fn keep_pending(&self, number: u64) -> Result<(), StagingError> {
        let mut batch = StagingBatch::default();
        batch.put_number(NumberSet::Kept, number);
        Ok(self.store.write(batch)?)
    }

    // From the freeze on the row is of the next epoch, whatever becomes of the commit, which reads its snapshot.
    pub(super) fn keep_removed(&self, frozen: u32, directory: u64, name: &[u8]) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        let row = self.store.entry(directory, name)?;
        let is_removed =
            |row: &EntryRow| row.target.is_none() && row.epoch <= frozen && core.is_valid(row.epoch);
        if !row.as_ref().is_some_and(is_removed) {
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        batch.put_entry(directory, name, &EntryRow { epoch: core.state.epoch, target: None });
        self.store.write(batch)?;
        core.is_changed_since = true;
        Ok(())
    }

    pub(super) fn finish_frozen(&self, epoch: u32, ordinal: Ordinal) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.finish_epoch(&mut core, epoch, ordinal)
    }

    // All rows up to the epoch become void in one batch, with the few that were changed since put right.
    fn finish_epoch(&self, core: &mut Core, epoch: u32, ordinal: Ordinal) -> Result<(), StagingError> {
        let base = Base::open(&self.repository, Some(ordinal))?;
        let mut batch = StagingBatch::default();
        let mut rows = Vec::new();
        let mut garbage = Vec::new();
        let kept: Result<HashSet<u64>, _> = self.store.numbers(NumberSet::Kept).collect();
        let kept = kept?;
        for since in self.store.all_since() {
            let (number, place) = since?;
            batch.delete_since(number);
            // The generation does not have what was kept back.
            if kept.contains(&number) {
                continue;
            }
            if let Some(row) = self.rebased(&base, epoch, number, &place, &mut garbage)? {
                batch.put_object(number, &row);
                rows.push((number, row));
            }
        }
        let mut has_kept = false;
        let mut linked = HashSet::new();
        for number in kept {
            let is_kept = self.keep_row(core, epoch, number, &mut batch, &mut rows)?;
            has_kept |= is_kept.is_some();
            linked.extend(is_kept.filter(|is_linked| *is_linked).map(|_| number));
            batch.delete_number(NumberSet::Kept, number);
        }
        self.keep_names(core, epoch, &linked, &mut batch)?;
        let mut state = core.state.clone();
        state.base = Some(ordinal);
        state.is_base_chosen = false;
        state.committed_epoch = epoch;
        state.announced = None;
        let (next_linked, next_directory) = base.next_ids();
        state.next_linked = state.next_linked.max(next_linked);
        state.next_directory = state.next_directory.max(next_directory);
        batch.put_state(&state);
        self.store.write_durable(batch)?;
        core.next_linked = core.next_linked.max(next_linked);
        core.next_directory = core.next_directory.max(next_directory);
        core.state = state;
        core.base = base;
        core.is_changed = core.is_changed_since || has_kept;
        core.reclaim.restart();
        self.set_frozen_epoch(0);
        for (number, row) in rows {
            self.rows.insert(number, Arc::new(CachedRow::from(row)));
        }
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.release_deferred();
        self.discard_files(garbage);
        self.renew_open_files(core);
        Ok(())
    }

    // A row that was changed since the freeze stands on the frozen content: the new base has that now.
    fn rebased(
        &self,
        base: &Base,
        epoch: u32,
        number: u64,
        place: &FrozenPlace,
        garbage: &mut Vec<u64>,
    ) -> Result<Option<ObjectRow>, StagingError> {
        let Some(row) = self.stored(number)?.filter(|row| row.epoch > epoch) else { return Ok(None) };
        let Some(state) = &row.state else { return Ok(None) };
        let Some((found, below)) = base.at(place)? else { return Ok(None) };
        let mut state = ObjectState::clone(state);
        let Some(content) = state.content_mut() else { return Ok(None) };
        let Some(below_content) = below.content().filter(|_| found == number) else { return Ok(None) };
        let top = content.layers.last().map(|top| (top.file, top.epoch));
        if content.layers.iter().all(|layer| layer.epoch > epoch) {
            return Ok(None);
        }
        garbage.extend(content.layers.iter().filter(|layer| layer.epoch <= epoch).map(|layer| layer.file));
        content.layers.retain(|layer| layer.epoch > epoch);
        content.base = below_content.base.clone();
        if content.layers.first().is_some_and(|lowest| lowest.below_len == 0) {
            content.base = None;
        }
        let mut set_mtime = None;
        if let (true, Some((file, _))) = (content.layers.is_empty(), top) {
            // The time that was set since holds, if any was.
            let known = self.layer_status(number, file)?.map(|status| time(status.mtime));
            if content.stamp.is_none() || content.stamp != known {
                set_mtime = Some(below.mtime);
            }
            content.stamp = None;
        }
        state.mtime = set_mtime.unwrap_or(state.mtime);
        state.ctime = state.ctime.max(below.ctime);
        Ok(Some(ObjectRow { epoch: row.epoch, linked: row.linked, object: Some(state) }))
    }

    // Carries an object's changes over into the present epoch. Returns whether it has names that are not in its row;
    // nothing if there were no changes.
    fn keep_row(
        &self,
        core: &Core,
        epoch: u32,
        number: u64,
        batch: &mut StagingBatch,
        rows: &mut Vec<(u64, ObjectRow)>,
    ) -> Result<Option<bool>, StagingError> {
        let Some(row) = self.stored(number)?.filter(|row| core.is_valid(row.epoch)) else { return Ok(None) };
        let Some(state) = &row.state else { return Ok(None) };
        let present = core.state.epoch;
        if let Some(home) = &state.home {
            let target = Some((state.kind(), number));
            batch.put_entry(home.directory, &home.name, &EntryRow { epoch: present, target });
        }
        let is_linked = Some(state.home.is_none() && row.linked.is_some());
        // Written since, its row is carried over already, but not names that are not in it.
        if row.epoch > epoch {
            return Ok(is_linked);
        }
        let object = Some(ObjectState::clone(state));
        let row = ObjectRow { epoch: present, linked: row.linked, object };
        batch.put_object(number, &row);
        rows.push((number, row));
        Ok(is_linked)
    }

    // Carries names over that are in no row of what they lead to; all that were changed are looked at.
    fn keep_names(
        &self,
        core: &Core,
        epoch: u32,
        linked: &HashSet<u64>,
        batch: &mut StagingBatch,
    ) -> Result<(), StagingError> {
        if linked.is_empty() {
            return Ok(());
        }
        for entry in self.store.all_entries(&Home::new(0, b"")) {
            let (home, mut entry) = entry?;
            let is_theirs = entry.target.is_some_and(|(_, number)| linked.contains(&number));
            if is_theirs && entry.epoch <= epoch && core.is_valid(entry.epoch) {
                entry.epoch = core.state.epoch;
                batch.put_entry(home.directory, &home.name, &entry);
            }
        }
        Ok(())
    }

    // Open files see their content where it is now.
    fn renew_open_files(&self, core: &Core) {
        for file in self.files.all() {
            let Ok(object) = self.load(core, file.number) else { continue };
            let mut state = file.state_mut();
            if object.state.content() == Some(&state.content) {
                continue;
            }
            match self.renewed(&object, &state) {
                Ok(renewed) => *state = renewed,
                Err(error) => log::warn!("an open file is read where it was before the commit: {error}"),
            }
        }
    }

    fn renewed(
        &self,
        object: &super::objects::Loaded,
        before: &FileState,
    ) -> Result<FileState, StagingError> {
        let Some(content) = object.state.content() else {
            return Err(StagingError::Stale { number: object.number });
        };
        let mut content = content.clone();
        let mut files = Vec::with_capacity(content.layers.len());
        for layer in &mut content.layers {
            let known = before.content.layers.iter().position(|known| known.file == layer.file);
            match known.and_then(|at| before.files.get(at)) {
                Some(file) => files.push(Arc::clone(file)),
                None => files.push(Arc::new(self.open_layer(layer)?)),
            }
        }
        Ok(FileState { content, files, is_stale: before.is_stale })
    }

    fn release_deferred(&self) {
        let deferred = std::mem::take(&mut *self.deferred.lock().unwrap_or_else(PoisonError::into_inner));
        self.discard_files(deferred);
    }

    pub(super) fn abandon_frozen(&self) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // A commit that failed after its generation had got its name was made all the same.
        self.end_last_commit(&mut core).or_else(|error| {
            log::warn!("whether the commit was made cannot be told now: {error}");
            self.abandon_epoch(&mut core)
        })
    }

    fn abandon_epoch(&self, core: &mut Core) -> Result<(), StagingError> {
        // Whatever the database says, no commit is running any more.
        self.set_frozen_epoch(0);
        self.release_deferred();
        let mut batch = StagingBatch::default();
        for since in self.store.all_since() {
            batch.delete_since(since?.0);
        }
        for number in self.store.numbers(NumberSet::Kept) {
            batch.delete_number(NumberSet::Kept, number?);
        }
        core.state.announced = None;
        batch.put_state(&core.state);
        Ok(self.store.write(batch)?)
    }

    /// Ends a commit that a crash cut short: it is done if its generation exists.
    pub(super) fn end_last_commit(&self, core: &mut Core) -> Result<(), StagingError> {
        if let Some((epoch, ordinal)) = core.state.announced {
            let generations = self.repository.generations(self.client())?;
            if generations.iter().any(|generation| generation.ordinal == ordinal) {
                core.is_changed_since = true;
                return self.finish_epoch(core, epoch, ordinal);
            }
        }
        self.abandon_epoch(core)
    }

    /// Drops all changes. Open files become stale.
    ///
    /// # Errors
    /// [`StagingError::Busy`] while a commit is running.
    pub fn discard(&self) -> Result<(), StagingError> {
        let _room = self.make_room()?;
        let mut core = self.core_mut();
        let base = core.state.base;
        self.drop_changes(&mut core, base)
    }

    /// Stands the tree on another generation. Open files become stale.
    ///
    /// # Errors
    /// [`StagingError::Busy`] if changes are pending or a commit is running.
    pub fn restage(&self, base: Option<Ordinal>) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        if core.is_changed && self.has_valid_rows(&core)? {
            return Err(StagingError::Busy { what: "changes that are not committed" });
        }
        let was_chosen = core.state.is_base_chosen;
        core.state.is_base_chosen = base != self.latest()?;
        let dropped = self.drop_changes(&mut core, base);
        if dropped.is_err() {
            core.state.is_base_chosen = was_chosen;
        }
        dropped
    }

    fn drop_changes(&self, core: &mut Core, base: Option<Ordinal>) -> Result<(), StagingError> {
        if self.frozen_epoch() > 0 {
            return Err(StagingError::Busy { what: "a commit" });
        }
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let root = self.load(core, ROOT_OBJECT)?;
        self.has_discarded.store(true, Ordering::Release);
        self.stand_on(core, base)?;
        for file in self.files.take_all() {
            file.state_mut().is_stale = true;
        }
        self.erase_unnamed(core)?;
        core.is_changed = false;
        if base.is_none() {
            let mut edit = Edit::new(self, core);
            edit.put(ROOT_OBJECT, None, None, ObjectState::clone(&root.state))?;
            edit.apply()?;
        }
        self.count_change();
        Ok(())
    }

    /// Makes all rows void and stands on a base.
    pub(super) fn stand_on(&self, core: &mut Core, base: Option<Ordinal>) -> Result<(), StagingError> {
        let below = Base::open(&self.repository, base)?;
        let mut state = core.state.clone();
        state.base = base;
        state.committed_epoch = state.epoch;
        state.epoch += 1;
        let (next_linked, next_directory) = below.next_ids();
        state.next_linked = state.next_linked.max(next_linked);
        state.next_directory = state.next_directory.max(next_directory);
        let mut batch = StagingBatch::default();
        batch.put_state(&state);
        self.store.write_durable(batch)?;
        core.next_linked = core.next_linked.max(next_linked);
        core.next_directory = core.next_directory.max(next_directory);
        core.state = state;
        core.base = below;
        core.is_changed = false;
        core.reclaim.restart();
        self.nodes.clear_places(&self.store);
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
