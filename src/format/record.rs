//! Records of the two kinds of tree: directory entries and objects, and extents.
//!
//! **Directory tree.** Key: object id of the directory, 8 bytes big-endian, then the name. Value:
//! a *link* or an *inode*. A directory, and anything else with several names, is an *object*: the entry
//! is a link to the object id, and the inode stands at the key of that id with an empty name. Every other
//! entry holds its inode itself. The root directory is object 1, what has several names are objects
//! 2 to 2^39 - 1, all other directories 2^39 to 2^40 - 1.
//!
//! ```text
//! link:   0, kind (as in an inode), object id (varint)
//! inode:  1, kind, flags, then varints: permission bits (07777), uid, gid,
//!         mtime seconds (zigzag) and nanoseconds, ctime seconds - mtime seconds (zigzag) and
//!         nanoseconds, atime likewise, inode number at the source;
//!         kind 1 directory:      object id of its parent (its own in the root)
//!         kind 2 regular file:   link count, size, flag 1: signature (32 bytes),
//!                                flag 2: allocated bytes, then root page of an extent tree; or else
//!                                extent count (at most 4) and the extents, offset first
//!         kind 3 symbolic link:  target, prefixed with its length
//!         kinds 4, 5 character and block device: major and minor number
//!         kinds 6, 7 FIFO, socket: nothing more
//!         flag 64: link count, at least 2
//!         flag 4: extended attributes: count, then name and value of each, prefixed with lengths
//!         flag 8: extended attributes kept in a BDF: length, extent count and the extents; the bytes
//!                 there are as for flag 4
//! flags:  16 the file changed while it was read
//!         32 the inode number at the source is the object's number in staging
//!         all others are zero; 1 and 2 only with kind 2, 64 only with kinds 3 to 7
//! extent: length, bytes skipped at the start of the chunk, chunk length (varints), fingerprint (32),
//!         file id of the BDF (16), frame offset, start in the frame's payload (varints)
//! ```
//!
//! **Extent tree.** Key: offset in the file, 8 bytes big-endian. Value: an extent. What no extent
//! covers is a hole.

use crate::codec::{DecodeError, Reader, put_prefixed, put_varint, put_varint_i64};
use crate::format::FormatError;
use crate::format::dtf::Totals;
use crate::format::extent::{put_extents, read_extents};
use crate::format::page::PageRef;
use crate::format::xattr::read_xattr_list;
use crate::id::Fingerprint;
use crate::path;

pub use crate::format::extent::Extent;
pub use crate::format::key::{entry_key, split_key};
pub use crate::format::kind::FileKind;
pub use crate::format::xattr::{INLINE_XATTR_LEN_MAX, XATTR_LEN_MAX, XattrList, Xattrs};

const STRUCTURE: &str = "directory record";

/// Object id of the root directory.
pub const ROOT_OBJECT: u64 = 1;
/// First object id of what is no directory and has several names.
pub const FIRST_LINKED_OBJECT: u64 = 2;
/// First object id of a directory below the root. Directories sort after all else, so that new ones are
/// written at the end of the tree, page after page.
pub const FIRST_DIRECTORY_OBJECT: u64 = 1 << 39;
/// Object ids are below this: an id has 40 bits of an inode number.
pub const OBJECT_MAX: u64 = 1 << 40;
/// Most extents in a directory record; longer lists are extent trees.
pub const INLINE_EXTENT_COUNT_MAX: usize = 4;
const FLAG_SIGNATURE: u8 = 1;
const FLAG_EXTENT_TREE: u8 = 2;
const FLAG_XATTRS: u8 = 4;
const FLAG_STORED_XATTRS: u8 = 8;
const FLAG_INCONSISTENT: u8 = 16;
const FLAG_STAGING_NUMBER: u8 = 32;
const FLAG_LINK_COUNT: u8 = 64;
const FLAGS_KNOWN: u8 = 127;

/// A point in time, also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time {
    /// Seconds since 1970, rounded down.
    pub seconds: i64,
    /// Nanoseconds after that, below 1 000 000 000.
    pub nanoseconds: u32,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Extents in ascending order of offsets, at most [`INLINE_EXTENT_COUNT_MAX`].
    Inline(Vec<Extent>),
    /// An extent tree.
    Tree {
        /// Its root page.
        root: PageRef,
        /// Bytes that are not in holes.
        allocated: u64,
    },
}

impl Content {
    /// Bytes that are not in holes.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        match self {
            Self::Inline(extents) => extents.iter().map(|extent| extent.len).sum(),
            Self::Tree { allocated, .. } => *allocated,
        }
    }
}

/// What only one kind of object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// Directory.
    Directory {
        /// Object id of the directory above; the root's is its own.
        parent: u64,
    },
    /// Regular file.
    Regular {
        /// Length in bytes, holes included.
        size: u64,
        /// BLAKE3-256 of the whole content, if known.
        signature: Option<Fingerprint>,
        /// Where the bytes are.
        content: Content,
    },
    /// Symbolic link.
    Symlink {
        /// Its target, 1 to 4096 bytes without NUL.
        target: Vec<u8>,
    },
    /// Character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

/// Everything about one file-system object but its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Permission, set-id and sticky bits: 07777 at most.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of attributes, at the source.
    pub ctime: Time,
    /// Last access, at the source.
    pub atime: Time,
    /// Inode number at the source: with size and times it tells an unchanged file.
    pub source_inode: u64,
    /// `source_inode` is the number that the object has in staging, for its life ([`crate::repo::staging`]).
    pub is_staging_number: bool,
    /// Names that the object has in this generation, at least 1; of a directory 1.
    pub link_count: u32,
    /// The file changed while it was read, twice: its content may be of no one moment.
    pub inconsistent: bool,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// What only this kind has.
    pub detail: Detail,
}

impl Inode {
    /// Kind of the object.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        match self.detail {
            Detail::Directory { .. } => FileKind::Directory,
            Detail::Regular { .. } => FileKind::Regular,
            Detail::Symlink { .. } => FileKind::Symlink,
            Detail::CharacterDevice { .. } => FileKind::CharacterDevice,
            Detail::BlockDevice { .. } => FileKind::BlockDevice,
            Detail::Fifo => FileKind::Fifo,
            Detail::Socket => FileKind::Socket,
        }
    }

    /// Size as `stat` shows it: of a file its length, of a symbolic link that of its target.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.detail {
            Detail::Regular { size, .. } => *size,
            Detail::Symlink { target } => target.len() as u64,
            _ => 0,
        }
    }

    /// Encodes the value of a record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        let mut flags = 0;
        if let Detail::Regular { signature, content, .. } = &self.detail {
            flags |= if signature.is_some() { FLAG_SIGNATURE } else { 0 };
            flags |= if matches!(content, Content::Tree { .. }) { FLAG_EXTENT_TREE } else { 0 };
        }
        flags |= match &self.xattrs {
            Xattrs::Inline(list) if list.is_empty() => 0,
            Xattrs::Inline(_) => FLAG_XATTRS,
            Xattrs::Stored { .. } => FLAG_STORED_XATTRS,
        };
        flags |= if self.inconsistent { FLAG_INCONSISTENT } else { 0 };
        flags |= if self.is_staging_number { FLAG_STAGING_NUMBER } else { 0 };
        let counts_links = self.link_count > 1 && FLAG_LINK_COUNT & flags_of(self.kind()) != 0;
        flags |= if counts_links { FLAG_LINK_COUNT } else { 0 };
        bytes.extend_from_slice(&[1, self.kind().code(), flags]);
        put_varint(&mut bytes, self.permissions.into());
        put_varint(&mut bytes, self.uid.into());
        put_varint(&mut bytes, self.gid.into());
        put_varint_i64(&mut bytes, self.mtime.seconds);
        put_varint(&mut bytes, self.mtime.nanoseconds.into());
        for time in [self.ctime, self.atime] {
            put_varint_i64(&mut bytes, time.seconds.wrapping_sub(self.mtime.seconds));
            put_varint(&mut bytes, time.nanoseconds.into());
        }
        put_varint(&mut bytes, self.source_inode);
        if let Detail::Regular { .. } = &self.detail {
            put_varint(&mut bytes, self.link_count.into());
        }
        put_detail(&mut bytes, &self.detail);
        if counts_links {
            put_varint(&mut bytes, self.link_count.into());
        }
        match &self.xattrs {
            Xattrs::Inline(list) if list.is_empty() => {}
            Xattrs::Inline(list) => bytes.extend_from_slice(&Xattrs::encode_list(list)),
            Xattrs::Stored { len, extents } => {
                put_varint(&mut bytes, *len);
                put_extents(&mut bytes, extents);
            }
        }
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.offset();
        let [kind, flags] = reader.array("kind, flags")?;
        let range = |what, value: u64| DecodeError::Range { what, offset: at, value };
        let kind =
            FileKind::ALL.into_iter().find(|known| known.code() == kind).ok_or(range("kind", kind.into()))?;
        if flags & !flags_of(kind) != 0 {
            return Err(range("flags", flags.into()));
        }
        let mode = reader.varint("permissions")?;
        let permissions =
            u16::try_from(mode).ok().filter(|mode| *mode <= 0o7777).ok_or(range("permissions", mode))?;
        let uid = reader.varint_u32("uid")?;
        let gid = reader.varint_u32("gid")?;
        let mtime = Time { seconds: reader.varint_i64("mtime")?, nanoseconds: read_nanoseconds(reader)? };
        let mut relative = || -> Result<Time, DecodeError> {
            let seconds = reader.varint_i64("time")?.wrapping_add(mtime.seconds);
            Ok(Time { seconds, nanoseconds: read_nanoseconds(reader)? })
        };
        let (ctime, atime) = (relative()?, relative()?);
        let source_inode = reader.varint("source inode")?;
        let mut link_count = if kind == FileKind::Regular { read_link_count(reader, 1)? } else { 1 };
        let detail = read_detail(reader, kind, flags)?;
        if flags & FLAG_LINK_COUNT != 0 {
            link_count = read_link_count(reader, 2)?;
        }
        let xattrs = match flags & (FLAG_XATTRS | FLAG_STORED_XATTRS) {
            0 => Xattrs::NONE,
            FLAG_XATTRS => Xattrs::Inline(read_xattr_list(reader)?),
            FLAG_STORED_XATTRS => {
                let len = reader.varint("attribute length")?;
                if len > XATTR_LEN_MAX {
                    return Err(range("attribute length", len));
                }
                Xattrs::Stored { len, extents: read_extents(reader, 256)? }
            }
            both => return Err(range("flags", both.into())),
        };
        let inconsistent = flags & FLAG_INCONSISTENT != 0;
        let is_staging_number = flags & FLAG_STAGING_NUMBER != 0;
        Ok(Self {
            permissions,
            uid,
            gid,
            mtime,
            ctime,
            atime,
            source_inode,
            is_staging_number,
            link_count,
            inconsistent,
            xattrs,
            detail,
        })
    }
}

// The flags that an object of this kind may have.
fn flags_of(kind: FileKind) -> u8 {
    match kind {
        FileKind::Directory => FLAGS_KNOWN & !(FLAG_SIGNATURE | FLAG_EXTENT_TREE | FLAG_LINK_COUNT),
        FileKind::Regular => FLAGS_KNOWN & !FLAG_LINK_COUNT,
        _ => FLAGS_KNOWN & !(FLAG_SIGNATURE | FLAG_EXTENT_TREE),
    }
}

fn read_link_count(reader: &mut Reader<'_>, least: u32) -> Result<u32, DecodeError> {
    let offset = reader.offset();
    let value = reader.varint_u32("link count")?;
    if value >= least {
        return Ok(value);
    }
    Err(DecodeError::Range { what: "link count", offset, value: value.into() })
}

fn read_nanoseconds(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let offset = reader.offset();
    let value = reader.varint_u32("nanoseconds")?;
    if value < 1_000_000_000 {
        return Ok(value);
    }
    Err(DecodeError::Range { what: "nanoseconds", offset, value: value.into() })
}

fn put_detail(bytes: &mut Vec<u8>, detail: &Detail) {
    match detail {
        Detail::Directory { parent } => put_varint(bytes, *parent),
        Detail::Regular { size, signature, content } => {
            put_varint(bytes, *size);
            if let Some(signature) = signature {
                bytes.extend_from_slice(&signature.0);
            }
            match content {
                Content::Inline(extents) => put_extents(bytes, extents),
                Content::Tree { root, allocated } => {
                    put_varint(bytes, *allocated);
                    root.put(bytes);
                }
            }
        }
        Detail::Symlink { target } => put_prefixed(bytes, target),
        Detail::CharacterDevice { major, minor } | Detail::BlockDevice { major, minor } => {
            put_varint(bytes, (*major).into());
            put_varint(bytes, (*minor).into());
        }
        Detail::Fifo | Detail::Socket => {}
    }
}

fn read_detail(reader: &mut Reader<'_>, kind: FileKind, flags: u8) -> Result<Detail, DecodeError> {
    let offset = reader.offset();
    let range = |what, value: u64| DecodeError::Range { what, offset, value };
    Ok(match kind {
        FileKind::Directory => Detail::Directory { parent: read_object(reader, ROOT_OBJECT)? },
        FileKind::Regular => {
            let size = reader.varint("size")?;
            if size > i64::MAX.cast_unsigned() {
                return Err(range("size", size));
            }
            let signature = match flags & FLAG_SIGNATURE {
                0 => None,
                _ => Some(Fingerprint(reader.array("signature")?)),
            };
            let content = if flags & FLAG_EXTENT_TREE == 0 {
                Content::Inline(read_extents(reader, INLINE_EXTENT_COUNT_MAX)?)
            } else {
                let allocated = reader.varint("allocated bytes")?;
                Content::Tree { root: PageRef::read(reader)?, allocated: allocated.min(size) }
            };
            let end = match &content {
                Content::Inline(extents) => extents.last().map_or(0, |last| last.offset + last.len),
                Content::Tree { .. } => 0,
            };
            if end > size {
                return Err(range("extent end", end));
            }
            Detail::Regular { size, signature, content }
        }
        FileKind::Symlink => {
            let target = reader.prefixed("target", path::SYMLINK_LEN_MAX)?;
            if target.is_empty() || target.contains(&0) {
                return Err(range("target", target.len() as u64));
            }
            Detail::Symlink { target: target.to_vec() }
        }
        FileKind::CharacterDevice => {
            Detail::CharacterDevice { major: reader.varint_u32("major")?, minor: reader.varint_u32("minor")? }
        }
        FileKind::BlockDevice => {
            Detail::BlockDevice { major: reader.varint_u32("major")?, minor: reader.varint_u32("minor")? }
        }
        FileKind::Fifo => Detail::Fifo,
        FileKind::Socket => Detail::Socket,
    })
}

fn read_object(reader: &mut Reader<'_>, least: u64) -> Result<u64, DecodeError> {
    let offset = reader.offset();
    let value = reader.varint("object id")?;
    if (least..OBJECT_MAX).contains(&value) {
        return Ok(value);
    }
    Err(DecodeError::Range { what: "object id", offset, value })
}

/// The value of a record in the directory tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The entry is a name of an object.
    Link {
        /// Kind of the object.
        kind: FileKind,
        /// The object's id.
        object: u64,
    },
    /// The entry or object itself.
    Inode(Inode),
}

impl Record {
    /// Encodes the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Link { kind, object } => {
                let mut bytes = vec![0, kind.code()];
                put_varint(&mut bytes, *object);
                bytes
            }
            Self::Inode(inode) => inode.encode(),
        }
    }

    /// Decodes a value.
    ///
    /// # Errors
    /// [`FormatError`] if it is malformed.
    pub fn decode(value: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(value);
        let mut decode = || -> Result<Self, DecodeError> {
            let record = match reader.u8("record type")? {
                0 => {
                    let code = reader.u8("link kind")?;
                    let kind = FileKind::ALL
                        .into_iter()
                        .find(|known| known.code() == code)
                        .ok_or(DecodeError::Range { what: "link kind", offset: 1, value: code.into() })?;
                    // The root directory is nobody's entry.
                    Self::Link { kind, object: read_object(&mut reader, FIRST_LINKED_OBJECT)? }
                }
                1 => Self::Inode(Inode::read(&mut reader)?),
                other => {
                    return Err(DecodeError::Range { what: "record type", offset: 0, value: other.into() });
                }
            };
            reader.finish("record")?;
            Ok(record)
        };
        decode().map_err(FormatError::malformed(STRUCTURE))
    }

    /// What the record at this key adds to a generation's totals.
    #[must_use]
    pub fn totals(&self, name: &[u8]) -> Totals {
        let mut totals = Totals::default();
        match self {
            // A directory is counted by its inode, all else by its names.
            Self::Link { kind: FileKind::Directory, .. } => {}
            Self::Link { kind, .. } => *totals.names_of(*kind) = 1,
            Self::Inode(inode) => {
                match inode.kind() {
                    FileKind::Directory => totals.directory_count = 1,
                    _ if name.is_empty() => totals.linked_count = 1,
                    kind => *totals.names_of(kind) = 1,
                }
                if let Detail::Regular { size, .. } = &inode.detail {
                    totals.content_bytes = *size;
                }
                totals.xattr_count = u64::from(!inode.xattrs.is_empty());
                totals.inconsistent_count = u64::from(inode.inconsistent);
            }
        }
        totals
    }
}
