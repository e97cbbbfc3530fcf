//! Makes records of what the walk found.

use crate::format::record::{Content, Detail, FileKind, Inode, Xattrs};
use crate::id::Fingerprint;
use crate::live::Attributes;

/// The record of an object with these attributes.
pub(super) fn inode(attributes: &Attributes, xattrs: Xattrs, inconsistent: bool, detail: Detail) -> Inode {
    Inode {
        permissions: attributes.permissions,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        atime: attributes.atime,
        source_inode: attributes.source_inode,
        link_count: 1,
        inconsistent,
        xattrs,
        detail,
    }
}

/// What only a regular file has.
pub(super) fn regular(size: u64, signature: Option<Fingerprint>, content: Content) -> Detail {
    Detail::Regular { size, signature, content }
}

/// What only an object of this kind has; `None` for kinds that need more than attributes.
pub(super) fn special(attributes: &Attributes) -> Option<Detail> {
    let (major, minor) = (attributes.special.major, attributes.special.minor);
    match attributes.kind {
        FileKind::CharacterDevice => Some(Detail::CharacterDevice { major, minor }),
        FileKind::BlockDevice => Some(Detail::BlockDevice { major, minor }),
        FileKind::Fifo => Some(Detail::Fifo),
        FileKind::Socket => Some(Detail::Socket),
        FileKind::Directory | FileKind::Regular | FileKind::Symlink => None,
    }
}

/// Tells whether an object is as it was in the generation before, as far as attributes can tell.
pub(super) fn is_unchanged(before: &Inode, now: &Attributes, ignore_inode: bool) -> bool {
    before.kind() == now.kind
        && !before.inconsistent
        && (before.permissions, before.uid, before.gid) == (now.permissions, now.uid, now.gid)
        && (before.mtime, before.ctime) == (now.mtime, now.ctime)
        && (ignore_inode || before.source_inode == now.source_inode)
        && (now.kind == FileKind::Directory || before.size() == now.size)
}

/// Tells whether two records differ in more than the time of the last access and the link count.
///
/// A record that differs in no more is not written again: reading a file would cost a page.
pub(super) fn is_same(before: &Inode, now: &Inode) -> bool {
    let mut now = now.clone();
    (now.atime, now.link_count) = (before.atime, before.link_count);
    now == *before
}
