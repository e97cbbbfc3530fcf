//! What is told of an object, and what can be set.

use super::error::StagingError;
use super::objects::{Edit, Loaded};
use super::privileges;
use super::tree::StagingTree;
use super::xattrs;
use crate::format::record::{Detail, FileKind, Inode, Time, Xattrs};
use crate::index::staging::{ContentRow, ObjectState, RowDetail};

/// What `stat` tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the object, 52 bits.
    pub number: u64,
    /// Kind.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of the object; 1 for a directory, 0 for what is open and has no name any more.
    pub link_count: u32,
    /// Length in bytes; 4096 for a directory.
    pub size: u64,
    /// Bytes that take space: not in holes.
    pub allocated: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of attributes.
    pub ctime: Time,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

/// A name's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its attributes; the number is among them.
    pub attributes: Attributes,
}

impl Entry {
    /// Number of the object.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.attributes.number
    }
}

/// Who changes something, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Owner of what is made.
    pub uid: u32,
    /// Group of what is made, unless the directory hands on its own (set-group-id).
    pub gid: u32,
    /// Permission bits not to be given to what is made; a default ACL of the directory takes its place. 0
    /// if the kernel has applied it already.
    pub umask: u16,
    /// The present time; by the clock that the system stamps files with (`CLOCK_REALTIME_COARSE`).
    pub now: Time,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The caller's present time.
    Now,
    /// This time.
    At(Time),
}

/// What to set; nothing of what is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttributes {
    /// Permission, set-id and sticky bits.
    pub permissions: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Last change of attributes, if it is not the caller's present time.
    pub ctime: Option<Time>,
    /// Take set-id bits and capabilities away, because of a change of owner or content.
    pub kill_privileges: bool,
}

// Some programs allocate by the size of a directory; 0 has misled them.
const DIRECTORY_LEN: u64 = 4096;

/// Attributes as the row has them: those of a file with layers are still to be had from its backing file.
fn of_row(number: u64, state: &ObjectState) -> Attributes {
    let (size, allocated, device) = match &state.detail {
        RowDetail::Directory { .. } => (DIRECTORY_LEN, 0, (0, 0)),
        RowDetail::Regular(ContentRow { base: Some(inode), .. }) => (inode.size(), allocated(inode), (0, 0)),
        RowDetail::Symlink(target) => (target.len() as u64, 0, (0, 0)),
        RowDetail::CharacterDevice(major, minor) | RowDetail::BlockDevice(major, minor) => {
            (0, 0, (*major, *minor))
        }
        RowDetail::Regular(_) | RowDetail::Fifo | RowDetail::Socket => (0, 0, (0, 0)),
    };
    let ObjectState { permissions, uid, gid, link_count, atime, mtime, ctime, .. } = *state;
    let kind = state.kind();
    Attributes {
        number,
        kind,
        permissions,
        uid,
        gid,
        link_count,
        size,
        allocated,
        atime,
        mtime,
        ctime,
        device,
    }
}

/// Attributes of an object that was just made.
pub(super) fn of_new(number: u64, state: &ObjectState) -> Attributes {
    of_row(number, state)
}

fn allocated(inode: &Inode) -> u64 {
    match &inode.detail {
        Detail::Regular { content, .. } => content.allocated(),
        _ => 0,
    }
}

/// A time as the system told it.
pub(super) fn time((seconds, nanoseconds): (i64, u32)) -> Time {
    Time { seconds, nanoseconds }
}

impl StagingTree {
    /// What `stat` tells of an object.
    ///
    /// # Errors
    /// [`StagingError::Stale`] if there is none with this number.
    pub fn attributes(&self, number: u64) -> Result<Attributes, StagingError> {
        let core = self.core();
        let object = self.load(&core, number)?;
        if object.is_removed_file() {
            return Err(StagingError::Stale { number });
        }
        self.attributes_of(&object)
    }

    pub(super) fn attributes_of(&self, object: &Loaded) -> Result<Attributes, StagingError> {
        let mut attributes = of_row(object.number, &object.state);
        let Some((content, top)) =
            object.state.content().and_then(|content| Some((content, content.layers.last()?)))
        else {
            return Ok(attributes);
        };
        let status = match self.layer_status(object.number, top.file)? {
            Some(status) => status,
            // Lost with the machine's power before it was synced.
            None => return Ok(Attributes { size: top.below_len, ..attributes }),
        };
        attributes.size = status.len;
        let below = if top.below_len > 0 { attributes.allocated } else { 0 };
        attributes.allocated = status
            .allocated
            .saturating_add(below)
            .min(status.len.next_multiple_of(512).max(status.allocated));
        if content.stamp != Some(time(status.mtime)) {
            attributes.mtime = time(status.mtime);
        }
        attributes.ctime = attributes.ctime.max(time(status.ctime));
        if self.is_written_since(object, &status)? {
            attributes.permissions = privileges::without(attributes.permissions);
        }
        Ok(attributes)
    }

    /// Sets attributes and length.
    ///
    /// # Errors
    /// [`StagingError::Stale`] if there is no such object, [`StagingError::Invalid`] for the length of what
    /// is no regular file.
    pub fn set_attributes(
        &self,
        number: u64,
        set: &SetAttributes,
        caller: Caller,
    ) -> Result<Attributes, StagingError> {
        if let Some(size) = set.size {
            let kills = SetAttributes { kill_privileges: set.kill_privileges, ..SetAttributes::default() };
            self.settle_privileges(number, caller)?;
            self.set_length(number, size, caller)?;
            if set.kill_privileges {
                self.set_row(number, &kills, caller)?;
            }
            self.watch_privileges(number, caller)?;
        }
        let rest = SetAttributes { size: None, kill_privileges: false, ..*set };
        if set.size.is_some() && rest == SetAttributes::default() {
            return self.attributes(number);
        }
        self.set_row(number, &SetAttributes { size: None, ..*set }, caller)
    }

    fn set_row(&self, number: u64, set: &SetAttributes, caller: Caller) -> Result<Attributes, StagingError> {
        self.release_dropped()?;
        let mut core = self.core_mut();
        let object = self.load(&core, number)?;
        let mut state = ObjectState::clone(&object.state);
        if self.is_written_now(&object)? {
            self.kill_privileges(&mut state)?;
        }
        if let Some(permissions) = set.permissions {
            state.permissions = permissions & 0o7777;
            if let Some(xattrs) = xattrs::with_mode(&self.list_xattrs(&state)?, state.permissions) {
                state.xattrs = Xattrs::Inline(xattrs);
            }
        }
        state.uid = set.uid.unwrap_or(state.uid);
        state.gid = set.gid.unwrap_or(state.gid);
        let at = |time: SetTime| match time {
            SetTime::Now => caller.now,
            SetTime::At(time) => time,
        };
        state.atime = set.atime.map_or(state.atime, at);
        if let Some(mtime) = set.mtime {
            let stamp = self.stamp(&object)?;
            state.mtime = at(mtime);
            if let Some(content) = state.content_mut() {
                content.stamp = stamp;
            }
            self.files.set_stamp(number, stamp);
        }
        if set.kill_privileges && set.permissions.is_none() {
            self.kill_privileges(&mut state)?;
        }
        if set.mtime.is_none() && self.may_be_written_directly(number) && self.has_privileges(&state)? {
            self.restamp(&object, &mut state)?;
        }
        state.ctime = set.ctime.unwrap_or(caller.now);
        let mut edit = Edit::new(self, &mut core);
        edit.put(number, Some(&object), object.linked, state)?;
        edit.apply()?;
        self.attributes_of(&self.load(&core, number)?)
    }

    // Time of the uppermost backing file's last change.
    pub(super) fn stamp(&self, object: &Loaded) -> Result<Option<Time>, StagingError> {
        let Some(top) = object.state.content().and_then(|content| content.layers.last()) else {
            return Ok(None);
        };
        Ok(self.layer_status(object.number, top.file)?.map(|status| time(status.mtime)))
    }
}
