//! Renaming: a name moves, its object stays.

use super::attributes::Caller;
use super::error::StagingError;
use super::names::{check_movable, set_home};
use super::objects::{Edit, Loaded};
use super::terms::RenameMode;
use super::tree::{Core, StagingTree};
use crate::format::record::{FileKind, ROOT_OBJECT};
use crate::index::staging::{Home, ObjectState, RowDetail};

impl StagingTree {
    /// Moves a name; returns the number of the object that lost its name for it, if there was one.
    ///
    /// # Errors
    /// [`StagingError::NotFound`], [`StagingError::Exists`], [`StagingError::NotEmpty`],
    /// [`StagingError::IsDirectory`], [`StagingError::NotDirectory`] as `rename(2)` has them, and
    /// [`StagingError::Invalid`] for a directory that would be below itself.
    pub fn rename(
        &self,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        mode: RenameMode,
        caller: Caller,
    ) -> Result<Option<u64>, StagingError> {
        self.release_dropped()?;
        let mut core = self.core_mut();
        let moved = self.named(&core, from)?.ok_or(StagingError::NotFound)?;
        check_movable(moved.number, to.1)?;
        let target = self.named(&core, to)?;
        if target.is_none() {
            self.check_directory(&core, to.0)?;
        }
        self.check_not_below(&core, &moved, from.0, to.0)?;
        match (mode, &target) {
            (RenameMode::NoReplace, Some(_)) => return Err(StagingError::Exists),
            (RenameMode::Exchange, None) => return Err(StagingError::NotFound),
            (_, Some(target)) if target.number == moved.number => return Ok(None),
            (RenameMode::Exchange, Some(target)) => {
                self.check_not_below(&core, target, to.0, from.0)?;
                return self.exchange(&mut core, (from, &moved), (to, target), caller).map(|()| None);
            }
            (_, Some(target)) => self.check_replaceable(&core, &moved, target)?,
            (_, None) => {}
        }
        let mut edit = Edit::new(self, &mut core);
        if let Some(target) = &target {
            if target.state.kind() == FileKind::Directory {
                edit.remove_held(target, ObjectState::clone(&target.state))?;
            } else {
                edit.drop_name(target, to.0, to.1, caller.now)?;
            }
        }
        edit.remove_entry(from.0, from.1)?;
        edit.move_name(&moved, from, to, caller)?;
        edit.touch_directory(from.0, caller.now)?;
        if to.0 != from.0 {
            edit.touch_directory(to.0, caller.now)?;
        }
        edit.apply()?;
        Ok(target.map(|target| target.number))
    }

    fn exchange(
        &self,
        core: &mut Core,
        (from, moved): ((u64, &[u8]), &Loaded),
        (to, target): ((u64, &[u8]), &Loaded),
        caller: Caller,
    ) -> Result<(), StagingError> {
        let mut edit = Edit::new(self, core);
        edit.move_name(moved, from, to, caller)?;
        edit.move_name(target, to, from, caller)?;
        edit.touch_directory(from.0, caller.now)?;
        if to.0 != from.0 {
            edit.touch_directory(to.0, caller.now)?;
        }
        edit.apply()
    }

    fn named(&self, core: &Core, (directory, name): (u64, &[u8])) -> Result<Option<Loaded>, StagingError> {
        let Some(found) = self.find(core, directory, name)? else { return Ok(None) };
        let mut object = self.load_found(core, found)?;
        set_home(&mut object, directory, name);
        Ok(Some(object))
    }

    fn check_replaceable(&self, core: &Core, moved: &Loaded, target: &Loaded) -> Result<(), StagingError> {
        let is_directory = |object: &Loaded| object.state.kind() == FileKind::Directory;
        match (is_directory(moved), is_directory(target)) {
            (true, false) => Err(StagingError::NotDirectory),
            (false, true) => Err(StagingError::IsDirectory),
            (true, true) if !self.is_empty_directory(core, target.number)? => Err(StagingError::NotEmpty),
            _ => Ok(()),
        }
    }

    // A directory must not come to stand below itself.
    fn check_not_below(&self, core: &Core, moved: &Loaded, from: u64, to: u64) -> Result<(), StagingError> {
        // Deeper than any path of this many components nothing can be reached.
        const DEPTH_MAX: usize = 1 << 20;
        if moved.state.kind() != FileKind::Directory || from == to && moved.number != to {
            return Ok(());
        }
        let mut directory = to;
        for _ in 0..DEPTH_MAX {
            if directory == moved.number {
                return Err(StagingError::Invalid { what: "a directory below itself" });
            }
            if directory == ROOT_OBJECT {
                return Ok(());
            }
            directory = match self.load(core, directory)?.state.detail {
                RowDetail::Directory { parent } => parent,
                _ => return Err(StagingError::NotDirectory),
            };
        }
        Err(StagingError::Invalid { what: "a directory that is too deep" })
    }
}

impl Edit<'_> {
    // Lets the object have the name `to` in place of `from`, whose entry is the caller's to remove.
    fn move_name(
        &mut self,
        object: &Loaded,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        caller: Caller,
    ) -> Result<(), StagingError> {
        let mut state = ObjectState::clone(&object.state);
        let kind = state.kind();
        state.ctime = caller.now;
        let is_homeless = state.home.is_none() || is_home(&state, from);
        match &mut state.detail {
            RowDetail::Directory { parent } => *parent = to.0,
            _ if object.linked.is_none() && is_homeless => state.home = Some(Home::new(to.0, to.1)),
            _ => {}
        }
        self.put_entry(to.0, to.1, kind, object.number);
        self.put(object.number, Some(object), object.linked, state)
    }
}

fn is_home(state: &ObjectState, (directory, name): (u64, &[u8])) -> bool {
    state.home.as_ref().is_some_and(|home| home.directory == directory && *home.name == *name)
}
