//! Attributes of what is shown, and the mapping of owners.

use nix::unistd::{getegid, geteuid};
use reelfs::format::record::{Detail, FileKind, Inode, Time, XattrList};

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

    /// Attributes of a directory that the mount itself makes; it belongs to who mounts.
    #[must_use]
    pub fn directory(number: u64, permissions: u16, time: Time) -> Self {
        Self {
            number,
            kind: FileKind::Directory,
            permissions,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
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
    /// Permission bits taken away from everything, from access lists too.
    pub umask: u16,
}

const ACCESS_LIST: &[u8] = b"system.posix_acl_access";
// struct posix_acl_xattr_header and _entry of linux/posix_acl_xattr.h, little-endian: the version; tag,
// permissions, id.
const ACCESS_LIST_HEADER_LEN: usize = 4;
const ACCESS_LIST_ENTRY_LEN: usize = 8;
const ACL_USER_OBJ: u16 = 0x01;
const ACL_OTHER: u16 = 0x20;

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

    /// Applies the mapping to extended attributes: where a file has an access list, the kernel goes by it and
    /// not by the permission bits.
    #[must_use]
    pub fn apply_to_xattrs(&self, mut list: XattrList) -> XattrList {
        if self.umask != 0 {
            let access_lists = list.iter_mut().filter(|(name, _)| name == ACCESS_LIST);
            access_lists.for_each(|(_, value)| self.mask_access_list(value));
        }
        list
    }

    // Entries of users and groups are in the class of the group, as the mask is.
    fn mask_access_list(&self, value: &mut [u8]) {
        let entries = value.get_mut(ACCESS_LIST_HEADER_LEN..).unwrap_or_default();
        for entry in entries.as_chunks_mut::<ACCESS_LIST_ENTRY_LEN>().0 {
            let [tag_0, tag_1, permissions, ..] = entry;
            let taken = match u16::from_le_bytes([*tag_0, *tag_1]) {
                ACL_USER_OBJ => self.umask >> 6,
                ACL_OTHER => self.umask,
                _ => self.umask >> 3,
            };
            *permissions &= !taken.to_le_bytes()[0] | !0o7;
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_umask_holds_in_an_access_list_too() {
        // u::rwx, u:1:rwx, g::r-x, m::rwx, o::r--
        let entries: [(u16, u16, u32); 5] =
            [(1, 7, u32::MAX), (2, 7, 1), (4, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 4, u32::MAX)];
        let encode = |permissions: [u16; 5]| {
            let mut value = vec![2, 0, 0, 0];
            for ((tag, _, id), permissions) in entries.iter().zip(permissions) {
                value.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
                value.extend(id.to_le_bytes());
            }
            value
        };
        let stored = vec![
            (ACCESS_LIST.to_vec(), encode(entries.map(|entry| entry.1))),
            (b"user.a".to_vec(), encode(entries.map(|entry| entry.1))),
        ];
        let shown = OwnerMap { umask: 0o127, ..OwnerMap::default() }.apply_to_xattrs(stored.clone());
        assert_eq!(shown, [(ACCESS_LIST.to_vec(), encode([6, 5, 5, 5, 0])), stored[1].clone()]);
        assert_eq!(OwnerMap { uid: Some(5), ..OwnerMap::default() }.apply_to_xattrs(stored.clone()), stored);
    }

    #[test]
    fn an_access_list_of_any_length_is_no_harm() {
        for len in 0..30 {
            let list = vec![(ACCESS_LIST.to_vec(), vec![0xff; len])];
            let shown = OwnerMap { umask: 0o777, ..OwnerMap::default() }.apply_to_xattrs(list);
            assert_eq!(shown[0].1.len(), len);
        }
    }
}
