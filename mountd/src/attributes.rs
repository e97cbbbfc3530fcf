//! Attributes of what is shown, and the mapping of owners.

use reelfs::format::record::{Detail, FileKind, Inode, Time};

/// What `stat` tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub number: u64,
    /// Kind.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Units of 512 bytes that are not in holes.
    pub block_count: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of attributes.
    pub ctime: Time,
    /// Names of the object. A directory has 1, as on btrfs: programs then do not conclude from it how many
    /// directories are below.
    pub link_count: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

// Some programs allocate by the size of a directory; 0 has misled them.
const DIRECTORY_LEN: u64 = 4096;

impl Attributes {
    /// Attributes of a stored object.
    #[must_use]
    pub fn of(inode: &Inode, number: u64) -> Self {
        let (size, block_count, device) = match &inode.detail {
            Detail::Directory { .. } => (DIRECTORY_LEN, 0, (0, 0)),
            Detail::Regular { size, content, .. } => (*size, content.allocated().div_ceil(512), (0, 0)),
            Detail::Symlink { target } => (target.len() as u64, 0, (0, 0)),
            Detail::CharacterDevice { major, minor } | Detail::BlockDevice { major, minor } => {
                (0, 0, (*major, *minor))
            }
            Detail::Fifo | Detail::Socket => (0, 0, (0, 0)),
        };
        Self {
            number,
            kind: inode.kind(),
            permissions: inode.permissions,
            uid: inode.uid,
            gid: inode.gid,
            size,
            block_count,
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            link_count: inode.link_count,
            device,
        }
    }

    /// Attributes of a directory that the mount itself makes.
    #[must_use]
    pub fn directory(number: u64, permissions: u16, time: Time) -> Self {
        Self {
            number,
            kind: FileKind::Directory,
            permissions,
            uid: 0,
            gid: 0,
            size: DIRECTORY_LEN,
            block_count: 0,
            atime: time,
            mtime: time,
            ctime: time,
            link_count: 1,
            device: (0, 0),
        }
    }
}

/// Whom everything is shown to belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct OwnerMap {
    /// Owner of everything, in place of the stored one.
    pub uid: Option<u32>,
    /// Group of everything, in place of the stored one.
    pub gid: Option<u32>,
    /// Permission bits taken away from everything.
    pub umask: u16,
}

impl OwnerMap {
    /// Applies the mapping.
    #[must_use]
    pub fn apply(&self, mut attributes: Attributes) -> Attributes {
        attributes.uid = self.uid.unwrap_or(attributes.uid);
        attributes.gid = self.gid.unwrap_or(attributes.gid);
        if attributes.kind != FileKind::Symlink {
            attributes.permissions &= !self.umask;
        }
        attributes
    }
}
