//! What was changed since the base. There may be many rows to look at: nobody waits meanwhile.

use std::collections::HashMap;

use super::base::Base;
use super::error::StagingError;
use super::terms::Pending;
use super::tree::{Core, StagingTree};
use crate::format::record::{FileKind, ROOT_OBJECT};
use crate::index::staging::{FrozenPlace, ObjectRow, ObjectState, PINNED, StagingSnapshot};

impl StagingTree {
    pub(super) fn has_valid_rows(&self, core: &Core) -> Result<bool, StagingError> {
        has_changes(&self.store.snapshot(), core.state.committed_epoch, &core.base)
    }

    /// Tells whether anything was changed since the base.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn is_changed(&self) -> Result<bool, StagingError> {
        // Void rows may be many, and nobody shall wait while they are looked at.
        let (snapshot, committed, base) = {
            let core = self.core();
            if !core.is_changed {
                return Ok(false);
            }
            (self.store.snapshot(), core.state.committed_epoch, core.base.clone())
        };
        has_changes(&snapshot, committed, &base)
    }

    /// Counts what was changed since the base; looks at each change.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn pending(&self) -> Result<Pending, StagingError> {
        let (snapshot, committed) = {
            let core = self.core();
            (self.store.snapshot(), core.state.committed_epoch)
        };
        let is_change = |epoch: u32| epoch > committed && epoch != PINNED;
        let mut pending = Pending::default();
        // Names of files with several that were changed, less those that have a row of their own.
        let mut names_left = HashMap::new();
        for row in snapshot.objects(0..u64::MAX) {
            let (number, row) = row?;
            pending.object_count += u64::from(is_change(row.epoch));
            if let (Some(_), Some(state), true) = (row.linked, row.object, is_change(row.epoch)) {
                names_left.insert(number, state.link_count);
            }
        }
        for row in snapshot.entries() {
            let (_, row) = row?;
            pending.entry_count += u64::from(is_change(row.epoch));
            if let Some((_, number)) = row.target.filter(|_| is_change(row.epoch))
                && let Some(left) = names_left.get_mut(&number)
            {
                *left = left.saturating_sub(1);
            }
        }
        pending.entry_count += names_left.values().copied().map(u64::from).sum::<u64>();
        pending.backing_bytes = self.space.usage.look(self)?;
        Ok(pending)
    }
}

fn has_changes(snapshot: &StagingSnapshot<'_>, committed: u32, base: &Base) -> Result<bool, StagingError> {
    let is_change = |epoch: u32| epoch > committed && epoch != PINNED;
    for row in snapshot.entries() {
        if is_change(row?.1.epoch) {
            return Ok(true);
        }
    }
    for row in snapshot.objects(0..u64::MAX) {
        let (number, row) = row?;
        if is_change(row.epoch) && !is_touched_only(base, number, &row)? {
            return Ok(true);
        }
    }
    Ok(false)
}

// Names that came and went leave a directory that has other times than before, of which no commit makes a generation.
fn is_touched_only(base: &Base, number: u64, row: &ObjectRow) -> Result<bool, StagingError> {
    // The root that stands on nothing is no change.
    if number == ROOT_OBJECT && base.generation().is_none() {
        return Ok(true);
    }
    let Some(state) = row.object.as_ref().filter(|state| state.kind() == FileKind::Directory) else {
        return Ok(false);
    };
    let Some((_, before)) = base.at(&FrozenPlace::Linked(number))? else { return Ok(false) };
    let what = |state: &ObjectState| (state.permissions, state.uid, state.gid, state.link_count);
    Ok(what(state) == what(&before) && state.xattrs == before.xattrs && state.detail == before.detail)
}
