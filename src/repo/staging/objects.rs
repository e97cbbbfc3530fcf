//! Reading objects, from rows or from the base, and writing rows.

use std::sync::Arc;

use super::base::{self, Base, BaseEntry};
use super::error::StagingError;
use super::tree::{Core, StagingTree};
use crate::format::record::{FileKind, Time};
use crate::index::staging::{
    EntryRow, FrozenPlace, Home, NumberSet, ObjectRow, ObjectState, PINNED, RowDetail, StagingBatch,
};

/// An object, and the row that it had when it was read.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) number: u64,
    pub(super) linked: Option<u64>,
    pub(super) state: Arc<ObjectState>,
    /// Whatever row the database has, void or not.
    pub(super) stored: Option<Arc<CachedRow>>,
    /// Whether that row is what the object is.
    pub(super) is_valid: bool,
}

impl Loaded {
    /// Tells whether it is a file that lost its last name while nobody had it open. A kernel that comes with its
    /// number has looked the name up before; told that it is stale, it looks again.
    pub(super) fn is_removed_file(&self) -> bool {
        !self.is_valid && self.state.link_count == 0 && self.state.kind() == FileKind::Regular
    }
}

/// A row as it is in the database.
#[derive(Debug)]
pub(super) struct CachedRow {
    pub(super) epoch: u32,
    pub(super) linked: Option<u64>,
    pub(super) state: Option<Arc<ObjectState>>,
    pub(super) memory_len: u64,
}

impl From<ObjectRow> for CachedRow {
    fn from(row: ObjectRow) -> Self {
        let memory_len = row.memory_len();
        Self { epoch: row.epoch, linked: row.linked, state: row.object.map(Arc::new), memory_len }
    }
}

/// What a name leads to.
#[derive(Debug)]
pub(super) struct FoundName {
    pub(super) number: u64,
    pub(super) kind: FileKind,
    /// What the base has at the name, if it was asked and is what was found.
    pub(super) base: Option<BaseEntry>,
}

impl Core {
    pub(super) fn is_valid(&self, epoch: u32) -> bool {
        epoch > self.state.committed_epoch
    }
}

impl StagingTree {
    /// The row of an object in the database, void or not.
    pub(super) fn stored(&self, number: u64) -> Result<Option<Arc<CachedRow>>, StagingError> {
        if let Some(row) = self.rows.get(&number) {
            return Ok(Some(row));
        }
        let Some(row) = self.store.object(number)? else { return Ok(None) };
        let row = Arc::new(CachedRow::from(row));
        self.rows.insert(number, Arc::clone(&row));
        Ok(Some(row))
    }

    /// Reads an object.
    pub(super) fn load(&self, core: &Core, number: u64) -> Result<Loaded, StagingError> {
        let stored = self.stored(number)?;
        if let Some(row) = stored.as_ref().filter(|row| core.is_valid(row.epoch))
            && let Some(state) = row.state.clone()
        {
            return Ok(Loaded { number, linked: row.linked, state, stored, is_valid: true });
        }
        if let Some(row) = self.nodes.unnamed(number) {
            let state = row.object.map(Arc::new).ok_or(StagingError::Stale { number })?;
            return Ok(Loaded { number, linked: row.linked, state, stored, is_valid: false });
        }
        if stored.as_ref().is_some_and(|row| core.is_valid(row.epoch)) {
            return Err(StagingError::Stale { number });
        }
        let (linked, state) = self.base_object(core, number)?.ok_or(StagingError::Stale { number })?;
        Ok(Loaded { number, linked, state: Arc::new(state), stored, is_valid: false })
    }

    /// Reads what a name was found to lead to, without reading the base again.
    pub(super) fn load_found(&self, core: &Core, found: FoundName) -> Result<Loaded, StagingError> {
        let Some(entry) = found.base else { return self.load(core, found.number) };
        let number = found.number;
        let is_object = entry.linked.is_some() || entry.kind == FileKind::Directory;
        // Only what has a record of its own can have a row without one for the name.
        let stored = if is_object { self.stored(number)? } else { None };
        if stored.as_ref().is_some_and(|row| core.is_valid(row.epoch)) {
            return self.load(core, number);
        }
        let state = ObjectState::of_base(entry.inode, None);
        Ok(Loaded { number, linked: entry.linked, state: Arc::new(state), stored, is_valid: false })
    }

    fn base_object(
        &self,
        core: &Core,
        number: u64,
    ) -> Result<Option<(Option<u64>, ObjectState)>, StagingError> {
        if base::is_directory(number) || number < crate::format::record::FIRST_DIRECTORY_OBJECT {
            let linked = (!base::is_directory(number)).then_some(number);
            let found = core.base.object(number)?.filter(|(found, _)| *found == number);
            return Ok(found.map(|(_, inode)| (linked, ObjectState::of_base(inode, None))));
        }
        let place = match self.nodes.place(number, &self.store) {
            Some(place) if self.is_at(core, number, &place)? => Some(place),
            _ => self.search(core, number)?,
        };
        let Some(place) = place else { return Ok(None) };
        let linked = match &place {
            FrozenPlace::Linked(object) => Some(*object),
            FrozenPlace::Entry(_) => None,
        };
        let Some((found, mut state)) = core.base.at(&place)? else { return Ok(None) };
        // A file that had one name may have several in a later base.
        if found != number && !self.is_pinned(&place, number)? {
            return Ok(None);
        }
        if let (FrozenPlace::Entry(home), None) = (&place, linked) {
            state.home = Some(home.clone());
        }
        Ok(Some((linked, state)))
    }

    fn is_at(&self, core: &Core, number: u64, place: &FrozenPlace) -> Result<bool, StagingError> {
        let Some((found, state)) = core.base.at(place)? else { return Ok(false) };
        let is_linked = state.home.is_none() && matches!(place, FrozenPlace::Entry(_));
        Ok(!is_linked && (found == number || self.is_pinned(place, number)?))
    }

    fn is_pinned(&self, place: &FrozenPlace, number: u64) -> Result<bool, StagingError> {
        let FrozenPlace::Entry(home) = place else { return Ok(false) };
        let row = self.store.entry(home.directory, &home.name)?;
        Ok(row
            .is_some_and(|row| row.epoch == PINNED && row.target.is_some_and(|(_, pinned)| pinned == number)))
    }

    /// Finds a name.
    pub(super) fn find(
        &self,
        core: &Core,
        directory: u64,
        name: &[u8],
    ) -> Result<Option<FoundName>, StagingError> {
        check_name(name)?;
        if core.is_changed
            && let Some(row) = self.store.entry(directory, name)?
            && core.is_valid(row.epoch)
        {
            return match row.target {
                None => Ok(None),
                Some(_) if row.epoch == PINNED => self.find_pinned(core, directory, name, row),
                Some((kind, number)) => Ok(Some(FoundName { number, kind, base: None })),
            };
        }
        let Some(entry) = core.base.lookup(directory, name)? else { return Ok(None) };
        let number = entry.number;
        Ok(Some(FoundName { number, kind: entry.kind, base: Some(entry) }))
    }

    // An untouched entry whose own number another object has.
    fn find_pinned(
        &self,
        core: &Core,
        directory: u64,
        name: &[u8],
        row: EntryRow,
    ) -> Result<Option<FoundName>, StagingError> {
        let Some(entry) = core.base.lookup(directory, name)? else { return Ok(None) };
        let number = row.target.map_or(entry.number, |(_, number)| number);
        Ok(Some(FoundName { number, kind: entry.kind, base: Some(entry) }))
    }

    /// Tells whether the number of an untouched entry already stands for another object: two names have the same hash,
    /// or a commit took a file under a new name and left what it had been under the old one.
    pub(super) fn is_taken(&self, core: &Core, number: u64, home: &Home) -> Result<bool, StagingError> {
        if let Some(FrozenPlace::Entry(other)) = self.nodes.place(number, &self.store)
            && other != *home
        {
            return Ok(true);
        }
        Ok(core.is_changed && self.stored(number)?.is_some_and(|row| core.is_valid(row.epoch)))
    }

    /// Tells whether the base has a name, so that removing it must be noted.
    pub(super) fn base_has(&self, base: &Base, directory: u64, name: &[u8]) -> Result<bool, StagingError> {
        Ok(base.lookup(directory, name)?.is_some())
    }
}

/// Refuses what cannot be a name.
pub(super) fn check_name(name: &[u8]) -> Result<(), StagingError> {
    if name.len() > crate::path::NAME_LEN_MAX {
        return Err(StagingError::NameTooLong { len: name.len() });
    }
    if !crate::path::is_valid_name(name) {
        return Err(StagingError::Invalid { what: "a name that no directory can have" });
    }
    Ok(())
}

/// Changes that are written together: in the database, then in memory.
#[derive(Debug)]
pub(super) struct Edit<'t> {
    pub(super) tree: &'t StagingTree,
    pub(super) core: &'t mut Core,
    pub(super) batch: StagingBatch,
    rows: Vec<(u64, Option<Arc<CachedRow>>)>,
    places: Vec<(u64, FrozenPlace)>,
    garbage: Vec<u64>,
}

impl<'t> Edit<'t> {
    pub(super) fn new(tree: &'t StagingTree, core: &'t mut Core) -> Self {
        let (batch, rows) = (StagingBatch::default(), Vec::new());
        Self { tree, core, batch, rows, places: Vec::new(), garbage: Vec::new() }
    }

    /// Reads an object as it is with the changes so far.
    pub(super) fn load(&self, number: u64) -> Result<Loaded, StagingError> {
        match self.rows.iter().rev().find(|(changed, _)| *changed == number) {
            None => self.tree.load(self.core, number),
            Some((_, row)) => {
                let state = row.as_ref().and_then(|row| row.state.clone());
                let state = state.ok_or(StagingError::Stale { number })?;
                let linked = row.as_ref().and_then(|row| row.linked);
                Ok(Loaded { number, linked, state, stored: row.clone(), is_valid: true })
            }
        }
    }

    /// Sets an object that was loaded before, or is new.
    pub(super) fn put(
        &mut self,
        number: u64,
        before: Option<&Loaded>,
        linked: Option<u64>,
        state: ObjectState,
    ) -> Result<(), StagingError> {
        let is_unnamed = state.link_count == 0;
        let epoch = if is_unnamed { PINNED } else { self.core.state.epoch };
        self.note_frozen_place(number, before)?;
        if let Some(home) = &state.home
            && !is_unnamed
        {
            let is_noted = before.is_some_and(|before| {
                before.is_valid
                    && before.stored.as_ref().is_some_and(|row| row.epoch == epoch)
                    && before.state.home.as_ref() == Some(home)
            });
            if !is_noted {
                self.put_entry(home.directory, &home.name, state.kind(), number);
            }
            self.places.push((number, FrozenPlace::Entry(home.clone())));
        }
        if let Some(object) = linked {
            self.places.push((number, FrozenPlace::Linked(object)));
        }
        // A row that a commit made void may still have layers.
        let void = match before {
            Some(before) if before.stored.is_none() => self.tree.stored(number)?,
            _ => None,
        };
        let stored = before.and_then(|before| before.stored.clone()).or(void);
        self.note_layers(number, stored.as_deref(), &state);
        let row = ObjectRow { epoch, linked, object: Some(state) };
        self.batch.put_object(number, &row);
        if is_unnamed {
            self.batch.put_number(NumberSet::Unnamed, number);
        }
        self.rows.push((number, Some(Arc::new(row.into()))));
        Ok(())
    }

    // The first change of a file since the freeze: its place tells the commit's end where its record is.
    fn note_frozen_place(&mut self, number: u64, before: Option<&Loaded>) -> Result<(), StagingError> {
        let frozen = self.tree.frozen_epoch();
        let Some(before) = before.filter(|before| frozen > 0 && before.is_valid) else { return Ok(()) };
        let Some(row) = before.stored.as_ref().filter(|row| row.epoch <= frozen) else { return Ok(()) };
        if before.state.content().is_none_or(|content| content.layers.is_empty()) {
            return Ok(());
        }
        let place = match (row.linked, &before.state.home) {
            (Some(object), _) => FrozenPlace::Linked(object),
            (None, Some(home)) => FrozenPlace::Entry(home.clone()),
            (None, None) => return Ok(()),
        };
        self.batch.put_since(number, &place);
        Ok(())
    }

    // Layers that come are noted, those that go are of no use any more.
    fn note_layers(&mut self, number: u64, before: Option<&CachedRow>, state: &ObjectState) {
        let new = state.content().map_or(&[][..], |content| &content.layers);
        let old = before.and_then(|row| row.state.as_ref());
        let old = old.and_then(|state| state.content()).map_or(&[][..], |content| &content.layers);
        for layer in old.iter().filter(|old| new.iter().all(|layer| layer.file != old.file)) {
            self.garbage.push(layer.file);
            if layer.file != number {
                self.batch.delete_layer_owner(layer.file);
            }
        }
        for layer in new.iter().filter(|new| new.file != number && old.iter().all(|l| l.file != new.file)) {
            self.batch.put_layer_owner(layer.file, number);
        }
    }

    /// Lets a name lead to an object.
    pub(super) fn put_entry(&mut self, directory: u64, name: &[u8], kind: FileKind, number: u64) {
        let row = EntryRow { epoch: self.core.state.epoch, target: Some((kind, number)) };
        self.batch.put_entry(directory, name, &row);
    }

    /// Lets a name lead to nothing.
    pub(super) fn remove_entry(&mut self, directory: u64, name: &[u8]) -> Result<(), StagingError> {
        self.tree.removed.note(&self.tree.store, &mut self.batch, directory, name)?;
        if self.tree.frozen_epoch() > 0 || self.tree.base_has(&self.core.base, directory, name)? {
            let row = EntryRow { epoch: self.core.state.epoch, target: None };
            self.batch.put_entry(directory, name, &row);
        } else {
            self.batch.delete_entry(directory, name);
        }
        Ok(())
    }

    /// Removes an object for good.
    pub(super) fn remove_object(&mut self, object: &Loaded) -> Result<(), StagingError> {
        let number = object.number;
        let at = if object.state.kind() == FileKind::Directory { Some(number) } else { object.linked };
        let is_needed = match at {
            None => false,
            Some(at) => self.tree.frozen_epoch() > 0 || self.core.base.object(at)?.is_some(),
        };
        self.erase_object(object);
        if is_needed {
            let row = ObjectRow { epoch: self.core.state.epoch, linked: object.linked, object: None };
            self.batch.put_object(number, &row);
            self.rows.push((number, Some(Arc::new(row.into()))));
        }
        Ok(())
    }

    /// Removes the row of an object and its backing files: what the base has is seen again.
    pub(super) fn erase_object(&mut self, object: &Loaded) {
        let Some(stored) = &object.stored else { return };
        let content = stored.state.as_ref().and_then(|state| state.content());
        for layer in content.map_or(&[][..], |content| &content.layers) {
            self.garbage.push(layer.file);
            if layer.file != object.number {
                self.batch.delete_layer_owner(layer.file);
            }
        }
        self.batch.delete_object(object.number);
        self.rows.push((object.number, None));
    }

    /// Notes that a directory's entries changed.
    pub(super) fn touch_directory(&mut self, directory: u64, now: Time) -> Result<(), StagingError> {
        let loaded = self.load(directory)?;
        let mut state = ObjectState::clone(&loaded.state);
        if !matches!(state.detail, RowDetail::Directory { .. }) {
            return Err(StagingError::NotDirectory);
        }
        (state.mtime, state.ctime) = (now, now);
        self.put(directory, Some(&loaded), None, state)
    }

    /// Writes it all.
    pub(super) fn apply(self) -> Result<(), StagingError> {
        self.tree.store.write(self.batch)?;
        self.core.is_changed = true;
        self.core.is_changed_since = true;
        self.tree.count_change();
        for (number, row) in self.rows {
            match row {
                Some(row) => self.tree.rows.insert(number, row),
                None => drop(self.tree.rows.remove(&number)),
            }
        }
        for (number, place) in self.places {
            self.tree.nodes.moved(number, place, &self.tree.store);
        }
        self.tree.discard_files(self.garbage);
        Ok(())
    }
}
