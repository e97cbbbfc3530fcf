//! Inode numbers of the connection, and what is said of objects.
//!
//! An inode number is the client's slot in the upper 12 bits and the object's number in its tree below. The
//! root of the connection, which lists the clients, is 1.

use std::time::Duration;

use reelfs::format::record::{FileKind, Time};
use reelfs::repo::staging::{self, NUMBER_MAX};

use crate::wire::answer;

/// Inode number of the directory of the clients.
pub(crate) const ROOT: u64 = 1;
/// All changes come through this connection: what the kernel was told holds until it changes it.
pub(crate) const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

const NUMBER_BITS: u32 = NUMBER_MAX.trailing_zeros();

/// An object of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The client.
    pub(crate) slot: u16,
    /// The object in its tree.
    pub(crate) number: u64,
}

impl Place {
    /// The object with an inode number; none for the root.
    pub(crate) fn of(node: u64) -> Option<Self> {
        let slot = u16::try_from(node >> NUMBER_BITS).ok().filter(|slot| *slot != 0)?;
        Some(Self { slot, number: node % NUMBER_MAX })
    }

    /// Inode number of the object.
    pub(crate) fn node(self) -> u64 {
        u64::from(self.slot) << NUMBER_BITS | self.number
    }
}

fn file_type(kind: FileKind) -> u32 {
    match kind {
        FileKind::Directory => libc::S_IFDIR,
        FileKind::Regular => libc::S_IFREG,
        FileKind::Symlink => libc::S_IFLNK,
        FileKind::CharacterDevice => libc::S_IFCHR,
        FileKind::BlockDevice => libc::S_IFBLK,
        FileKind::Fifo => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
    }
}

/// The kind that a mode says, if it is one that mknod(2) makes.
pub(crate) fn node_kind(mode: u32) -> Option<FileKind> {
    Some(match mode & libc::S_IFMT {
        libc::S_IFREG | 0 => FileKind::Regular,
        libc::S_IFCHR => FileKind::CharacterDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        _ => return None,
    })
}

/// Permission, set-id and sticky bits of a mode.
pub(crate) fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or_default()
}

// The kernel's encoding of 12 bits major and 20 bits minor.
fn encode_device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

/// Major and minor number of a device.
pub(crate) fn decode_device(device: u32) -> (u32, u32) {
    ((device >> 8) & 0xfff, (device & 0xff) | (device >> 12) & 0xf_ff00)
}

fn split(time: Time) -> (i64, u32) {
    (time.seconds, time.nanoseconds)
}

/// Attributes as the kernel takes them.
pub(crate) fn shown(slot: u16, attributes: &staging::Attributes) -> answer::Attributes {
    answer::Attributes {
        number: Place { slot, number: attributes.number }.node(),
        size: attributes.size,
        block_count: attributes.allocated.div_ceil(512),
        atime: split(attributes.atime),
        mtime: split(attributes.mtime),
        ctime: split(attributes.ctime),
        mode: file_type(attributes.kind) | u32::from(attributes.permissions),
        link_count: attributes.link_count,
        uid: attributes.uid,
        gid: attributes.gid,
        device: encode_device(attributes.device),
    }
}

/// Enough for a listing without attributes.
pub(crate) fn bare(node: u64, kind: FileKind) -> answer::Attributes {
    answer::Attributes {
        number: node,
        size: 0,
        block_count: 0,
        atime: (0, 0),
        mtime: (0, 0),
        ctime: (0, 0),
        mode: file_type(kind),
        link_count: 1,
        uid: 0,
        gid: 0,
        device: 0,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_inode_number_is_a_slot_and_a_number() {
        for place in [Place { slot: 1, number: 1 }, Place { slot: 4095, number: NUMBER_MAX - 1 }] {
            assert_eq!(Place::of(place.node()), Some(place));
        }
        assert_eq!(Place::of(ROOT), None);
    }

    #[test]
    fn devices_are_encoded_as_the_kernel_does() {
        for device in [(1, 3), (8, 300), (4095, (1 << 20) - 1)] {
            assert_eq!(decode_device(encode_device(device)), device);
        }
        assert_eq!(encode_device((8, 1)), 0x801);
    }
}
