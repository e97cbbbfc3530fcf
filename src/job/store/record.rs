//! Makes records of what is to be stored.

use crate::format::record::{Content, Detail, FileKind, Inode, XattrList, Xattrs};
use crate::id::Fingerprint;
use crate::live::Attributes;

/// An object as it is to be recorded: all but where its bytes are.
#[derive(Debug, Clone)]
pub(in crate::job) struct Described {
    /// The record; of a regular file without content and signature, of all without extended attributes.
    pub(in crate::job) inode: Inode,
    /// Its extended attributes: inline, whatever their length, if they are still to be stored.
    pub(in crate::job) xattrs: Xattrs,
}

impl Described {
    /// A regular file of a live tree.
    pub(in crate::job) fn live_file(attributes: &Attributes, xattrs: XattrList) -> Self {
        let (size, content) = (attributes.size, Content::Inline(Vec::new()));
        let detail = Detail::Regular { size, signature: None, content };
        Self { inode: inode(attributes, Xattrs::NONE, false, detail), xattrs: Xattrs::Inline(xattrs) }
    }

    /// Length of the file in bytes.
    pub(in crate::job) fn size(&self) -> u64 {
        self.inode.size()
    }

    /// Cuts the file short.
    pub(in crate::job) fn set_size(&mut self, len: u64) {
        if let Detail::Regular { size, .. } = &mut self.inode.detail {
            *size = len;
        }
    }

    /// The record of the regular file with this content.
    pub(in crate::job) fn with_content(
        mut self,
        xattrs: Xattrs,
        signature: Option<Fingerprint>,
        content: Content,
        inconsistent: bool,
    ) -> Inode {
        if let Detail::Regular { signature: to, content: at, .. } = &mut self.inode.detail {
            (*to, *at) = (signature, content);
        }
        self.inode.xattrs = xattrs;
        self.inode.inconsistent |= inconsistent;
        self.inode
    }
}

/// The record of an object with these attributes.
pub(in crate::job) fn inode(
    attributes: &Attributes,
    xattrs: Xattrs,
    inconsistent: bool,
    detail: Detail,
) -> Inode {
    Inode {
        permissions: attributes.permissions,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        atime: attributes.atime,
        source_inode: attributes.source_inode,
        link_count: 1,
        is_staging_number: false,
        inconsistent,
        xattrs,
        detail,
    }
}

/// What only an object of this kind has; `None` for kinds that need more than attributes.
pub(in crate::job) fn special(attributes: &Attributes) -> Option<Detail> {
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
pub(in crate::job) fn is_unchanged(before: &Inode, now: &Attributes, ignore_inode: bool) -> bool {
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
pub(in crate::job) fn is_same(before: &Inode, now: &Inode) -> bool {
    let mut now = now.clone();
    (now.atime, now.link_count) = (before.atime, before.link_count);
    now == *before
}

/// Tells whether two records differ in more than what every touch of an object in staging changes: the time
/// of the last change of attributes, that of the last access, and the number.
pub(in crate::job) fn is_alike(before: &Inode, now: &Inode) -> bool {
    let mut now = now.clone();
    (now.atime, now.ctime) = (before.atime, before.ctime);
    (now.source_inode, now.is_staging_number) = (before.source_inode, before.is_staging_number);
    now == *before
}
