//! What is known of one object of a foreign cartridge, and its bytes in the table.

use crate::format::record::{FileKind, Time, XattrList};

/// Content of a file on tape, in order: bytes `offset` to `offset + len` of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular {
        /// Length in bytes.
        size: u64,
        /// Offset of its content in the tape file.
        content: u64,
        /// Where the content belongs; between the pieces are holes.
        pieces: Vec<Piece>,
    },
    /// A symbolic link.
    Symlink {
        /// Target.
        target: Vec<u8>,
    },
    /// A character or block device.
    Device {
        /// Whether it is a block device.
        is_block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A FIFO.
    Fifo,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignNode {
    /// Number of the tape file.
    pub file: u64,
    /// The directory that it was first seen in; its own number at the top.
    pub parent: u32,
    /// Permission, set-id and sticky bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content; of access and attributes archives tell less often.
    pub mtime: Time,
    /// What it is.
    pub kind: NodeKind,
    /// Extended attributes.
    pub xattrs: XattrList,
}

impl ForeignNode {
    /// A directory that no entry tells of.
    #[must_use]
    pub(super) fn implied(file: u64, parent: u32, mtime: Time) -> Self {
        let (permissions, uid, gid, xattrs) = (0o755, 0, 0, XattrList::new());
        Self { file, parent, permissions, uid, gid, mtime, kind: NodeKind::Directory, xattrs }
    }

    /// Kind, as a file system names it.
    #[must_use]
    pub fn file_kind(&self) -> FileKind {
        match &self.kind {
            NodeKind::Directory => FileKind::Directory,
            NodeKind::Regular { .. } => FileKind::Regular,
            NodeKind::Symlink { .. } => FileKind::Symlink,
            NodeKind::Device { is_block: false, .. } => FileKind::CharacterDevice,
            NodeKind::Device { is_block: true, .. } => FileKind::BlockDevice,
            NodeKind::Fifo => FileKind::Fifo,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.file.to_le_bytes());
        bytes.extend(self.parent.to_le_bytes());
        bytes.extend(self.permissions.to_le_bytes());
        bytes.extend(self.uid.to_le_bytes());
        bytes.extend(self.gid.to_le_bytes());
        bytes.extend(self.mtime.seconds.to_le_bytes());
        bytes.extend(self.mtime.nanoseconds.to_le_bytes());
        match &self.kind {
            NodeKind::Directory => bytes.push(1),
            NodeKind::Regular { size, content, pieces } => {
                bytes.push(2);
                bytes.extend(size.to_le_bytes());
                bytes.extend(content.to_le_bytes());
                put_count(&mut bytes, pieces.len());
                for piece in pieces {
                    bytes.extend(piece.offset.to_le_bytes());
                    bytes.extend(piece.len.to_le_bytes());
                }
            }
            NodeKind::Symlink { target } => {
                bytes.push(3);
                put_bytes(&mut bytes, target);
            }
            NodeKind::Device { is_block, major, minor } => {
                bytes.push(if *is_block { 5 } else { 4 });
                bytes.extend(major.to_le_bytes());
                bytes.extend(minor.to_le_bytes());
            }
            NodeKind::Fifo => bytes.push(6),
        }
        put_count(&mut bytes, self.xattrs.len());
        for (name, value) in &self.xattrs {
            put_bytes(&mut bytes, name);
            put_bytes(&mut bytes, value);
        }
        bytes
    }

    /// `None` if the bytes are no node.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (file, parent) = (fields.u64()?, fields.u32()?);
        let permissions = fields.u16()? & 0o7777;
        let (uid, gid) = (fields.u32()?, fields.u32()?);
        let seconds = i64::from_le_bytes(fields.array()?);
        let nanoseconds = fields.u32().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
        let kind = match fields.array::<1>()? {
            [1] => NodeKind::Directory,
            [2] => {
                let (size, content) = (fields.u64()?, fields.u64()?);
                let mut pieces = Vec::new();
                let mut end = 0;
                for _ in 0..fields.u32()? {
                    let piece = Piece { offset: fields.u64()?, len: fields.u64()? };
                    if piece.offset < end || piece.offset.checked_add(piece.len)? > size {
                        return None;
                    }
                    end = piece.offset + piece.len;
                    pieces.push(piece);
                }
                NodeKind::Regular { size, content, pieces }
            }
            [3] => NodeKind::Symlink { target: fields.bytes()?.to_vec() },
            [kind @ (4 | 5)] => {
                NodeKind::Device { is_block: kind == 5, major: fields.u32()?, minor: fields.u32()? }
            }
            [6] => NodeKind::Fifo,
            _ => return None,
        };
        let mut xattrs = XattrList::new();
        for _ in 0..fields.u32()? {
            xattrs.push((fields.bytes()?.to_vec(), fields.bytes()?.to_vec()));
        }
        let mtime = Time { seconds, nanoseconds };
        fields.0.is_empty().then_some(Self { file, parent, permissions, uid, gid, mtime, kind, xattrs })
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(target: &mut Vec<u8>, bytes: &[u8]) {
    put_count(target, bytes.len());
    target.extend_from_slice(bytes);
}

/// Takes fields off the beginning.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn nodes_come_back_and_cut_or_changed_ones_are_refused_or_other_nodes() {
        let kinds = [
            NodeKind::Directory,
            NodeKind::Regular {
                size: 9000,
                content: 1536,
                pieces: vec![Piece { offset: 0, len: 512 }, Piece { offset: 4096, len: 100 }],
            },
            NodeKind::Symlink { target: b"../x".to_vec() },
            NodeKind::Device { is_block: true, major: 8, minor: 1 },
            NodeKind::Fifo,
        ];
        for kind in kinds {
            let node = ForeignNode {
                permissions: 0o4755,
                uid: 1000,
                gid: 100,
                mtime: Time { seconds: -1, nanoseconds: 5 },
                kind,
                xattrs: vec![(b"user.a".to_vec(), b"\0b".to_vec())],
                ..ForeignNode::implied(3, 7, Time::default())
            };
            let bytes = node.encode();
            assert_eq!(ForeignNode::decode(&bytes), Some(node));
            for len in 0..bytes.len() {
                assert_eq!(ForeignNode::decode(&bytes[..len]), None);
                let mut changed = bytes.clone();
                changed[len] ^= 0xff;
                let _other = ForeignNode::decode(&changed);
            }
        }
    }
}
