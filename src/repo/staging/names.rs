//! Names: looking them up, making and removing them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attributes::{Caller, Entry};
use super::base;
use super::content::FileState;
use super::databases::is_database_name;
use super::error::StagingError;
use super::handle::{FileHandle, PreparedFile};
use super::objects::{Edit, FoundName, Loaded, check_name};
use super::privileges;
use super::tree::{Core, StagingTree};
use super::xattrs::{self, Inherited};
use crate::format::record::{FileKind, ROOT_OBJECT};
use crate::index::staging::{
    ContentRow, EntryRow, FrozenPlace, Home, LayerRow, NumberSet, ObjectState, PINNED, RowDetail,
};
use crate::path::SYMLINK_LEN_MAX;

const LINK_COUNT_MAX: u32 = 65_000;

impl StagingTree {
    /// Finds a name, and counts a look-up of what it leads to.
    ///
    /// # Errors
    /// [`StagingError::NotFound`] if there is none.
    pub fn lookup(&self, directory: u64, name: &[u8]) -> Result<Entry, StagingError> {
        let core = self.core();
        let found = self.find(&core, directory, name)?;
        let Some(found) = found else {
            return self.check_directory(&core, directory).and(Err(StagingError::NotFound));
        };
        if let Some(base) = &found.base
            && base.linked.is_none()
            && base.kind != FileKind::Directory
            && found.number == base.number
            && self.is_taken(&core, found.number, &Home::new(directory, name))?
        {
            drop(core);
            return self.lookup_taken(directory, name);
        }
        self.entry_of(&core, directory, name, found)
    }

    fn entry_of(
        &self,
        core: &Core,
        directory: u64,
        name: &[u8],
        found: FoundName,
    ) -> Result<Entry, StagingError> {
        let object = self.load_found(core, found)?;
        let entry = Entry { attributes: self.attributes_of(&object)? };
        self.nodes.looked_up(object.number, place_of(&object, directory, name), &self.store);
        Ok(entry)
    }

    // Another object has the number of this untouched entry: it gets one of its own, which a row remembers.
    fn lookup_taken(&self, directory: u64, name: &[u8]) -> Result<Entry, StagingError> {
        let mut core = self.core_mut();
        let Some(mut found) = self.find(&core, directory, name)? else { return Err(StagingError::NotFound) };
        if self.is_taken(&core, found.number, &Home::new(directory, name))? {
            let number = self.new_number(&mut core)?;
            let row = EntryRow { epoch: PINNED, target: Some((found.kind, number)) };
            let mut edit = Edit::new(self, &mut core);
            edit.batch.put_entry(directory, name, &row);
            edit.apply()?;
            found.number = number;
        }
        self.entry_of(&core, directory, name, found)
    }

    pub(super) fn check_directory(&self, core: &Core, directory: u64) -> Result<(), StagingError> {
        if !base::is_directory(directory) {
            return Err(StagingError::NotDirectory);
        }
        if self.load(core, directory)?.state.link_count == 0 {
            return Err(StagingError::NotFound);
        }
        Ok(())
    }

    /// Gives back look-ups of an object.
    pub fn forget(&self, number: u64, count: u64) {
        let is_gone = self.nodes.forget(number, count, &self.store);
        let is_awaited =
            || self.has_unnamed_row(number) || self.is_taken_over() || self.direct.is_unseen(number);
        if is_gone && is_awaited() {
            self.files.release_later(number);
        }
    }

    /// Number of the directory above; the root's own for the root.
    ///
    /// # Errors
    /// [`StagingError::Stale`] if there is no such directory.
    pub fn parent(&self, directory: u64) -> Result<u64, StagingError> {
        match self.load(&self.core(), directory)?.state.detail {
            RowDetail::Directory { parent } => Ok(parent),
            _ => Err(StagingError::NotDirectory),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`StagingError::Exists`] if the name is taken.
    pub fn make_directory(
        &self,
        directory: u64,
        name: &[u8],
        permissions: u16,
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        let detail = RowDetail::Directory { parent: directory };
        self.make(directory, Some(name), detail, permissions, caller, None).map(|(entry, _)| entry)
    }

    /// Creates a regular file and opens it for reading and writing; it must not exist. `prepared` saves
    /// the time that making a backing file takes.
    ///
    /// # Errors
    /// [`StagingError::Exists`] if the name is taken.
    pub fn create_file(
        &self,
        directory: u64,
        name: &[u8],
        permissions: u16,
        caller: Caller,
        prepared: Option<PreparedFile>,
    ) -> Result<(Entry, FileHandle), StagingError> {
        let prepared = prepared.map_or_else(|| self.prepare_file(), Ok)?;
        self.create_with(directory, Some(name), permissions, caller, prepared)
    }

    /// Creates a regular file without a name (`O_TMPFILE`), which `link` can give one.
    ///
    /// # Errors
    /// [`StagingError`] if there is no space.
    pub fn create_unnamed(
        &self,
        directory: u64,
        permissions: u16,
        caller: Caller,
    ) -> Result<(Entry, FileHandle), StagingError> {
        let prepared = self.prepare_file()?;
        self.create_with(directory, None, permissions, caller, prepared)
    }

    fn create_with(
        &self,
        directory: u64,
        name: Option<&[u8]>,
        permissions: u16,
        caller: Caller,
        mut prepared: PreparedFile,
    ) -> Result<(Entry, FileHandle), StagingError> {
        let detail = RowDetail::Regular(ContentRow::default());
        let (entry, content) = self.make(directory, name, detail, permissions, caller, Some(&prepared))?;
        let content = content.unwrap_or_default();
        let file = Arc::clone(prepared.use_up());
        let opened = self.files.insert(entry.number(), FileState::created(content, file));
        let is_database = name.is_some_and(is_database_name);
        opened.is_database.store(is_database, Ordering::Relaxed);
        opened.is_noted.store(true, Ordering::Release);
        let handle = self.handle(opened, true);
        if privileges::without(entry.attributes.permissions) != entry.attributes.permissions {
            handle.watch();
        }
        Ok((entry, handle))
    }

    /// Makes a regular file (not opened), device, FIFO or socket.
    ///
    /// # Errors
    /// [`StagingError::Exists`] if the name is taken, [`StagingError::Invalid`] for another kind.
    pub fn make_node(
        &self,
        directory: u64,
        name: &[u8],
        kind: FileKind,
        device: (u32, u32),
        permissions: u16,
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        let detail = match kind {
            FileKind::Regular => RowDetail::Regular(ContentRow::default()),
            FileKind::CharacterDevice => RowDetail::CharacterDevice(device.0, device.1),
            FileKind::BlockDevice => RowDetail::BlockDevice(device.0, device.1),
            FileKind::Fifo => RowDetail::Fifo,
            FileKind::Socket => RowDetail::Socket,
            FileKind::Directory | FileKind::Symlink => {
                return Err(StagingError::Invalid { what: "a node of this kind" });
            }
        };
        self.make(directory, Some(name), detail, permissions, caller, None).map(|(entry, _)| entry)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`StagingError::Exists`] if the name is taken, [`StagingError::NameTooLong`] if the target is.
    pub fn make_symlink(
        &self,
        directory: u64,
        name: &[u8],
        target: &[u8],
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        if target.len() > SYMLINK_LEN_MAX {
            return Err(StagingError::NameTooLong { len: target.len() });
        }
        if target.is_empty() || target.contains(&0) {
            return Err(StagingError::Invalid { what: "a target that is empty or has a NUL" });
        }
        let detail = RowDetail::Symlink(target.to_vec());
        self.make(directory, Some(name), detail, 0o777, caller, None).map(|(entry, _)| entry)
    }

    fn make(
        &self,
        directory: u64,
        name: Option<&[u8]>,
        detail: RowDetail,
        permissions: u16,
        caller: Caller,
        prepared: Option<&PreparedFile>,
    ) -> Result<(Entry, Option<ContentRow>), StagingError> {
        self.release_dropped()?;
        self.space.check_row(self)?;
        let mut core = self.core_mut();
        let parent = self.load(&core, directory)?;
        if parent.state.link_count == 0 {
            return Err(StagingError::NotFound);
        }
        if let Some(name) = name
            && self.find(&core, directory, name)?.is_some()
        {
            return Err(StagingError::Exists);
        }
        let is_directory = matches!(detail, RowDetail::Directory { .. });
        let number = match prepared {
            Some(prepared) => prepared.number(),
            None if is_directory => self.new_directory(&mut core)?,
            None => self.new_number(&mut core)?,
        };
        let kind = kind_of(&detail);
        let inherited = xattrs::inherit(&self.list_xattrs(&parent.state)?, kind, permissions, caller.umask);
        let mut state = new_object(&parent, inherited, detail, caller)?;
        state.link_count = u32::from(name.is_some());
        state.home = name.filter(|_| !is_directory).map(|name| Home::new(directory, name));
        if let (Some(prepared), RowDetail::Regular(content)) = (prepared, &mut state.detail) {
            content.stamp = Some(prepared.stamp());
            let epoch = core.state.epoch;
            content.layers.push(LayerRow { file: number, epoch, below_len: 0, zeroed: Vec::new() });
        }
        let content = state.content().cloned();
        let attributes = super::attributes::of_new(number, &state);
        let mut edit = Edit::new(self, &mut core);
        edit.put(number, None, None, state)?;
        if prepared.is_some() {
            edit.batch.put_number(NumberSet::Direct, number);
        }
        let mut place = None;
        if let Some(name) = name {
            if is_directory {
                edit.put_entry(directory, name, kind, number);
            } else {
                place = Some(FrozenPlace::Entry(Home::new(directory, name)));
            }
            edit.touch_directory(directory, caller.now)?;
        }
        edit.apply()?;
        self.nodes.looked_up(number, place, &self.store);
        Ok((Entry { attributes }, content))
    }

    /// Gives an object, but no directory, another name.
    ///
    /// # Errors
    /// [`StagingError::Exists`] if the name is taken, [`StagingError::NotPermitted`] for a directory,
    /// [`StagingError::TooManyLinks`] if it has 65 000.
    pub fn link(
        &self,
        number: u64,
        directory: u64,
        name: &[u8],
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        self.space.check_row(self)?;
        let mut core = self.core_mut();
        self.check_directory(&core, directory)?;
        if self.find(&core, directory, name)?.is_some() {
            return Err(StagingError::Exists);
        }
        let object = self.load(&core, number)?;
        let mut state = ObjectState::clone(&object.state);
        let kind = state.kind();
        if kind == FileKind::Directory {
            return Err(StagingError::NotPermitted { what: "another name for a directory" });
        }
        if state.link_count >= LINK_COUNT_MAX {
            return Err(StagingError::TooManyLinks);
        }
        let mut linked = object.linked;
        let was_unnamed = state.link_count == 0;
        if was_unnamed && !object.is_valid {
            return Err(StagingError::NotFound);
        }
        let first_home = state.home.clone();
        if was_unnamed && linked.is_none() {
            state.home = Some(Home::new(directory, name));
        } else if linked.is_none() {
            linked = Some(self.new_linked(&mut core)?);
        }
        if linked.is_some() {
            state.home = None;
        }
        state.link_count += 1;
        state.ctime = caller.now;
        let mut edit = Edit::new(self, &mut core);
        edit.put(number, Some(&object), linked, state)?;
        if was_unnamed {
            edit.batch.delete_number(NumberSet::Unnamed, number);
        } else if let (Some(home), true) = (first_home, linked.is_some()) {
            edit.put_entry(home.directory, &home.name, kind, number);
        }
        edit.put_entry(directory, name, kind, number);
        edit.touch_directory(directory, caller.now)?;
        edit.apply()?;
        let object = self.load(&core, number)?;
        let attributes = self.attributes_of(&object)?;
        self.nodes.looked_up(number, place_of(&object, directory, name), &self.store);
        Ok(Entry { attributes })
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`StagingError::Invalid`] if it is none.
    pub fn read_link(&self, number: u64) -> Result<Vec<u8>, StagingError> {
        match &self.load(&self.core(), number)?.state.detail {
            RowDetail::Symlink(target) => Ok(target.clone()),
            _ => Err(StagingError::Invalid { what: "the target of what is no symbolic link" }),
        }
    }
}

/// Where an object is in the base if it is there, when its number does not tell.
pub(super) fn place_of(object: &Loaded, directory: u64, name: &[u8]) -> Option<FrozenPlace> {
    match object.linked {
        _ if base::is_directory(object.number) => None,
        Some(linked) if linked == object.number => None,
        Some(linked) => Some(FrozenPlace::Linked(linked)),
        None => Some(FrozenPlace::Entry(Home::new(directory, name))),
    }
}

/// Gives an untouched object of the base its name.
pub(super) fn set_home(object: &mut Loaded, directory: u64, name: &[u8]) {
    if !object.is_valid
        && object.linked.is_none()
        && object.state.home.is_none()
        && object.state.kind() != FileKind::Directory
    {
        Arc::make_mut(&mut object.state).home = Some(Home::new(directory, name));
    }
}

fn kind_of(detail: &RowDetail) -> FileKind {
    match detail {
        RowDetail::Directory { .. } => FileKind::Directory,
        RowDetail::Regular(_) => FileKind::Regular,
        RowDetail::Symlink(_) => FileKind::Symlink,
        RowDetail::CharacterDevice(..) => FileKind::CharacterDevice,
        RowDetail::BlockDevice(..) => FileKind::BlockDevice,
        RowDetail::Fifo => FileKind::Fifo,
        RowDetail::Socket => FileKind::Socket,
    }
}

fn new_object(
    parent: &Loaded,
    inherited: Inherited,
    detail: RowDetail,
    caller: Caller,
) -> Result<ObjectState, StagingError> {
    const SET_GROUP_ID: u16 = 0o2000;
    if !matches!(parent.state.detail, RowDetail::Directory { .. }) {
        return Err(StagingError::NotDirectory);
    }
    let hands_on = parent.state.permissions & SET_GROUP_ID != 0;
    let mut permissions = inherited.permissions & 0o7777;
    if hands_on && matches!(detail, RowDetail::Directory { .. }) {
        permissions |= SET_GROUP_ID;
    }
    Ok(ObjectState {
        permissions,
        uid: caller.uid,
        gid: if hands_on { parent.state.gid } else { caller.gid },
        mtime: caller.now,
        ctime: caller.now,
        atime: caller.now,
        link_count: 1,
        home: None,
        xattrs: inherited.xattrs,
        detail,
    })
}

/// Refuses to move or remove what cannot be.
pub(super) fn check_movable(number: u64, name: &[u8]) -> Result<(), StagingError> {
    check_name(name)?;
    if number == ROOT_OBJECT {
        return Err(StagingError::Busy { what: "the root directory" });
    }
    Ok(())
}
