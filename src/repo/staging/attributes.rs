//! What is told of an object, and what can be set.

use crate::format::record::{FileKind, Time};

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
