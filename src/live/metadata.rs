//! Giving a restored object its owner, attributes, permissions and times.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::scan::attributes_at;
use super::xattr::{self, XattrPlace, proc_path};
use crate::format::record::{FileKind, Inode, Time};
use crate::path;

const SET_UID: u16 = 0o4000;
const SET_GID: u16 = 0o2000;

/// What an object is given beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Permission, set-id and sticky bits; symbolic links have none.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Time,
    /// Last access.
    pub atime: Time,
    /// All extended attributes, ACLs and file capabilities among them; others are removed.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Metadata<'a> {
    /// Takes over what a record says; `xattrs` are those of the record, wherever they are kept.
    #[must_use]
    pub fn new(inode: &Inode, xattrs: &'a [(Vec<u8>, Vec<u8>)]) -> Self {
        Self {
            permissions: inode.permissions,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            atime: inode.atime,
            xattrs,
        }
    }
}

/// Something that could not be restored at an object that otherwise was.
#[derive(Debug, thiserror::Error)]
#[error("cannot restore {what} of {path}")]
pub struct Shortfall {
    /// The path as people know it.
    pub path: String,
    /// What is missing: `owner`, `permissions`, `times`, `device`, or an attribute by its name.
    pub what: String,
    /// The refusal.
    pub source: io::Error,
}

impl Shortfall {
    pub(super) fn new(path: &[u8], what: &str, source: impl Into<io::Error>) -> Self {
        Self { path: path::display(path), what: what.to_owned(), source: source.into() }
    }
}

/// An object that is open, and through whose descriptor everything is done to it.
#[derive(Debug)]
pub(super) struct Object<'a> {
    descriptor: BorrowedFd<'a>,
    kind: FileKind,
    path: &'a [u8],
}

impl<'a> Object<'a> {
    /// Takes a regular file or directory that is open for reading or writing, or any other kind that is
    /// open as a place (`O_PATH`).
    pub(super) fn new(object: &'a impl AsFd, kind: FileKind, path: &'a [u8]) -> Self {
        Self { descriptor: object.as_fd(), kind, path }
    }

    /// Applies everything that the system allows and returns what it refused.
    pub(super) fn apply(&self, metadata: &Metadata<'_>) -> Vec<Shortfall> {
        let mut shortfalls = Vec::new();
        let mut refused = |what: &str, errno: Errno| shortfalls.push(Shortfall::new(self.path, what, errno));
        // In this order: a change of owner drops capabilities and set-id bits, an ACL changes
        // permissions, and everything changes times.
        let permissions = self.set_owner(metadata, &mut refused);
        xattr::write(&self.xattr_place(), metadata.xattrs, |name, errno| {
            refused(&format!("extended attribute {}", path::display(name)), errno);
        });
        if self.kind != FileKind::Symlink
            && let Err(errno) = self.set_permissions(permissions)
        {
            refused("permissions", errno);
        }
        if let Err(errno) = self.set_times(metadata) {
            refused("times", errno);
        }
        shortfalls
    }

    /// Sets owner and group as far as allowed and returns the permissions that may be set then.
    fn set_owner(&self, metadata: &Metadata<'_>, refused: &mut impl FnMut(&str, Errno)) -> u16 {
        let Err(errno) = self.change_owner(Some(metadata.uid), metadata.gid) else {
            return metadata.permissions;
        };
        refused("owner", errno);
        // A user may still give a file to another of their groups; the shortfall is told already.
        let _group_only = self.change_owner(None, metadata.gid);
        // A program must not run as somebody who it was not meant to run as.
        let actual = attributes_at(self.descriptor, self.path, b"").ok();
        let mut unsafe_bits = 0;
        if actual.is_none_or(|actual| actual.uid != metadata.uid) {
            unsafe_bits |= SET_UID;
        }
        if self.kind != FileKind::Directory && actual.is_none_or(|actual| actual.gid != metadata.gid) {
            unsafe_bits |= SET_GID;
        }
        if metadata.permissions & unsafe_bits != 0 {
            refused("set-id bits", errno);
        }
        metadata.permissions & !unsafe_bits
    }

    fn change_owner(&self, uid: Option<u32>, gid: u32) -> Result<(), Errno> {
        // To the system call, -1 means that nothing is to change.
        if uid == Some(u32::MAX) || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let uid = uid.map(Uid::from_raw);
        rustix::fs::chownat(self.descriptor, c"", uid, Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
    }

    fn is_open(&self) -> bool {
        matches!(self.kind, FileKind::Regular | FileKind::Directory)
    }

    fn xattr_place(&self) -> XattrPlace<'a> {
        if self.is_open() {
            XattrPlace::Open(self.descriptor)
        } else {
            XattrPlace::Place(proc_path(self.descriptor))
        }
    }

    fn set_permissions(&self, permissions: u16) -> Result<(), Errno> {
        let mode = Mode::from_bits_truncate(u32::from(permissions & 0o7777));
        if self.is_open() {
            rustix::fs::fchmod(self.descriptor, mode)
        } else {
            rustix::fs::chmod(proc_path(self.descriptor), mode)
        }
    }

    fn set_times(&self, metadata: &Metadata<'_>) -> Result<(), Errno> {
        // Nanoseconds beyond this mean "now" or "unchanged" to the system call.
        let time =
            |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.min(999_999_999).into() };
        let times = Timestamps { last_access: time(metadata.atime), last_modification: time(metadata.mtime) };
        rustix::fs::utimensat(self.descriptor, c"", &times, AtFlags::EMPTY_PATH)
    }
}
