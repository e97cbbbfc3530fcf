//! Removing names, and objects with their last one.

use super::attributes::Caller;
use super::error::StagingError;
use super::names::set_home;
use super::objects::{Edit, Loaded};
use super::tree::StagingTree;
use crate::format::record::{FileKind, Time};
use crate::index::staging::{ContentRow, ObjectRow, ObjectState, PINNED};

impl StagingTree {
    /// Removes a name of anything but a directory; returns the number of what had it.
    ///
    /// # Errors
    /// [`StagingError::NotFound`], [`StagingError::IsDirectory`].
    pub fn unlink(&self, directory: u64, name: &[u8], caller: Caller) -> Result<u64, StagingError> {
        self.release_dropped()?;
        let mut core = self.core_mut();
        let found = self.find(&core, directory, name)?.ok_or(StagingError::NotFound)?;
        if found.kind == FileKind::Directory {
            return Err(StagingError::IsDirectory);
        }
        let number = found.number;
        let mut object = self.load_found(&core, found)?;
        set_home(&mut object, directory, name);
        let mut edit = Edit::new(self, &mut core);
        edit.drop_name(&object, directory, name, caller.now)?;
        edit.remove_entry(directory, name)?;
        edit.touch_directory(directory, caller.now)?;
        edit.apply()?;
        Ok(number)
    }

    /// Removes an empty directory; returns its number.
    ///
    /// # Errors
    /// [`StagingError::NotFound`], [`StagingError::NotDirectory`], [`StagingError::NotEmpty`].
    pub fn remove_directory(&self, directory: u64, name: &[u8], caller: Caller) -> Result<u64, StagingError> {
        self.release_dropped()?;
        let mut core = self.core_mut();
        let found = self.find(&core, directory, name)?.ok_or(StagingError::NotFound)?;
        if found.kind != FileKind::Directory {
            return Err(StagingError::NotDirectory);
        }
        let number = found.number;
        if !self.is_empty_directory(&core, number)? {
            return Err(StagingError::NotEmpty);
        }
        let object = self.load_found(&core, found)?;
        let mut state = ObjectState::clone(&object.state);
        state.ctime = caller.now;
        let mut edit = Edit::new(self, &mut core);
        edit.remove_held(&object, state)?;
        edit.remove_entry(directory, name)?;
        edit.touch_directory(directory, caller.now)?;
        edit.apply()?;
        Ok(number)
    }
}

impl Edit<'_> {
    /// Takes a name away from an object, which goes with its last one unless somebody holds it.
    pub(super) fn drop_name(
        &mut self,
        object: &Loaded,
        directory: u64,
        name: &[u8],
        now: Time,
    ) -> Result<(), StagingError> {
        let number = object.number;
        let mut state = ObjectState::clone(&object.state);
        state.link_count = state.link_count.saturating_sub(1);
        state.ctime = now;
        if state.link_count > 0 {
            if state.home.as_ref().is_some_and(|home| home.directory == directory && *home.name == *name) {
                state.home = None;
            }
            return self.put(number, Some(object), object.linked, state);
        }
        state.home = None;
        let is_open = self.tree.files.is_open(number) || self.tree.is_taken_over();
        if is_open && state.kind() == FileKind::Regular {
            return self.put(number, Some(object), object.linked, state);
        }
        self.remove_held(object, state)
    }

    /// Removes an object; those who hold its number can still ask for its attributes.
    pub(super) fn remove_held(
        &mut self,
        object: &Loaded,
        mut state: ObjectState,
    ) -> Result<(), StagingError> {
        self.remove_object(object)?;
        state.link_count = 0;
        if let Some(content) = state.content_mut() {
            // Its backing files go: nobody has it open.
            *content = ContentRow::default();
        }
        let row = ObjectRow { epoch: PINNED, linked: object.linked, object: Some(state) };
        self.tree.nodes.keep_unnamed(object.number, row);
        Ok(())
    }
}
