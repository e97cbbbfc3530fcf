//! Rows of staging and their encoding.
//!
//! A key begins with a letter; integers in keys are big-endian, so that keys sort by number.
//!
//! ```text
//! e  directory 8, name         what a name leads to: epoch (varint), then 0 (nothing), or kind code and
//!                              number (varint)
//! o  number 8                  an object: epoch, kind code (0 gone), linked object id + 1 or 0, then but
//!                              for one that is gone: permissions, uid, gid, mtime, ctime, atime (seconds
//!                              signed, nanoseconds), link count, 0 or 1 with directory and name, attribute
//!                              kind (0 none, 1 list, 2 as a record of the base), what only this kind has
//! l  backing file 8            object whose layer the file is, if its number is not the file's: varint
//! s  number 8                  where the object stood at the freeze that is running
//! k  number 8                  object whose changes the commit that is running leaves out
//! u  number 8                  object without a name
//! d  number 8                  file that may be open for direct writes
//! r  directory 8, cookie 8     name that was removed lately: sequence (varint), name
//! p  number 8                  where an object was seen last that the kernel holds; for one process only
//! m                            state of the tree ([`super::state`])
//! ```
//!
//! A regular file: 0 or 1 with the record of the base (length-prefixed), stamp (0, or 1 and a time), count
//! of layers, then of each file id, epoch, bytes visible below, count of zeroed ranges and these.

use crate::codec::{DecodeError, Reader, put_prefixed, put_varint, put_varint_i64};
use crate::format::record::{Detail, FileKind, Inode, Record, Time, XattrList, Xattrs};
use crate::path;

/// Epoch of a row that no commit makes void.
pub const PINNED: u32 = u32::MAX;
/// Most layers of a file.
pub const LAYER_COUNT_MAX: usize = 8;
/// Most zeroed ranges of a layer.
pub const ZEROED_COUNT_MAX: usize = 1024;
// Encoded attributes are 8 MiB at most, and little else of a record has a length.
const RECORD_LEN_MAX: usize = 9 << 20;

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRow {
    /// Epoch in which it was written last.
    pub epoch: u32,
    /// Kind and number of the object; nothing if the name was removed.
    pub target: Option<(FileKind, u64)>,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Home {
    /// Number of the directory.
    pub directory: u64,
    /// The name.
    pub name: Box<[u8]>,
}

impl Home {
    /// Takes directory and name.
    #[must_use]
    pub fn new(directory: u64, name: &[u8]) -> Self {
        Self { directory, name: name.into() }
    }
}

/// An object that was touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// Epoch in which it was written last.
    pub epoch: u32,
    /// Object id of a file with several names.
    pub linked: Option<u64>,
    /// The object; nothing if a directory or file with several names of the base is gone.
    pub object: Option<ObjectState>,
}

/// Everything about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// Permission, set-id and sticky bits.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content, unless the backing file knows better ([`ContentRow::stamp`]).
    pub mtime: Time,
    /// Last change of attributes, unless the backing file's is later.
    pub ctime: Time,
    /// Last access.
    pub atime: Time,
    /// Names of the object; 1 for a directory.
    pub link_count: u32,
    /// Its name if it has only one, and no object id.
    pub home: Option<Home>,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// What only this kind has.
    pub detail: RowDetail,
}

/// What only one kind of object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowDetail {
    /// Directory.
    Directory {
        /// Number of the directory above.
        parent: u64,
    },
    /// Regular file.
    Regular(ContentRow),
    /// Symbolic link and its target.
    Symlink(Vec<u8>),
    /// Character device, major and minor number.
    CharacterDevice(u32, u32),
    /// Block device, major and minor number.
    BlockDevice(u32, u32),
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

/// Content of a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentRow {
    /// The record of the base whose content lies below all layers.
    pub base: Option<Box<Inode>>,
    /// Time of the uppermost backing file's last change when `mtime` was set: while it is still that, `mtime`
    /// holds.
    pub stamp: Option<Time>,
    /// Layers, the lowest first; the length of the uppermost backing file is that of the file.
    pub layers: Vec<LayerRow>,
}

/// A layer: a sparse backing file whose data lies over what is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// Id of the backing file.
    pub file: u64,
    /// Epoch in which it was made.
    pub epoch: u32,
    /// Bytes of what is below that are visible where this layer has a hole.
    pub below_len: u64,
    /// Ranges (offset, length), in order and apart, where holes of this layer are zeros all the same.
    pub zeroed: Vec<(u64, u64)>,
}

impl EntryRow {
    /// Encodes the value of the row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16);
        put_varint(&mut bytes, self.epoch.into());
        match self.target {
            None => bytes.push(0),
            Some((kind, number)) => {
                bytes.push(kind.code());
                put_varint(&mut bytes, number);
            }
        }
        bytes
    }

    /// Decodes the value of a row.
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let epoch = reader.varint_u32("epoch")?;
        let target = match read_kind(&mut reader)? {
            None => None,
            Some(kind) => Some((kind, reader.varint("number")?)),
        };
        reader.finish("entry row")?;
        Ok(Self { epoch, target })
    }
}

impl ObjectState {
    /// Kind of the object.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        match &self.detail {
            RowDetail::Directory { .. } => FileKind::Directory,
            RowDetail::Regular(_) => FileKind::Regular,
            RowDetail::Symlink(_) => FileKind::Symlink,
            RowDetail::CharacterDevice(..) => FileKind::CharacterDevice,
            RowDetail::BlockDevice(..) => FileKind::BlockDevice,
            RowDetail::Fifo => FileKind::Fifo,
            RowDetail::Socket => FileKind::Socket,
        }
    }

    /// An object of the base as it would be if it were touched; `home` for one with a single name.
    #[must_use]
    pub fn of_base(inode: Inode, home: Option<Home>) -> Self {
        let Inode { permissions, uid, gid, mtime, ctime, atime, link_count, .. } = inode;
        let (xattrs, detail) = match &inode.detail {
            Detail::Regular { .. } => {
                let xattrs = inode.xattrs.clone();
                let base = Some(Box::new(inode));
                (xattrs, RowDetail::Regular(ContentRow { base, ..ContentRow::default() }))
            }
            Detail::Directory { parent } => (inode.xattrs, RowDetail::Directory { parent: *parent }),
            Detail::Symlink { target } => (inode.xattrs.clone(), RowDetail::Symlink(target.clone())),
            Detail::CharacterDevice { major, minor } => {
                (inode.xattrs, RowDetail::CharacterDevice(*major, *minor))
            }
            Detail::BlockDevice { major, minor } => (inode.xattrs, RowDetail::BlockDevice(*major, *minor)),
            Detail::Fifo => (inode.xattrs, RowDetail::Fifo),
            Detail::Socket => (inode.xattrs, RowDetail::Socket),
        };
        Self { permissions, uid, gid, mtime, ctime, atime, link_count, home, xattrs, detail }
    }

    /// Content of a regular file.
    #[must_use]
    pub fn content(&self) -> Option<&ContentRow> {
        match &self.detail {
            RowDetail::Regular(content) => Some(content),
            _ => None,
        }
    }

    /// Content of a regular file, to be changed.
    pub fn content_mut(&mut self) -> Option<&mut ContentRow> {
        match &mut self.detail {
            RowDetail::Regular(content) => Some(content),
            _ => None,
        }
    }
}

impl ContentRow {
    /// Length in bytes while there is no layer.
    #[must_use]
    pub fn base_size(&self) -> u64 {
        self.base.as_ref().map_or(0, |inode| inode.size())
    }
}

impl ObjectRow {
    /// Encodes the value of the row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        put_varint(&mut bytes, self.epoch.into());
        bytes.push(self.object.as_ref().map_or(0, |state| state.kind().code()));
        put_varint(&mut bytes, self.linked.map_or(0, |id| id + 1));
        if let Some(state) = &self.object {
            put_state(&mut bytes, state);
        }
        bytes
    }

    /// Decodes the value of a row.
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let epoch = reader.varint_u32("epoch")?;
        let kind = read_kind(&mut reader)?;
        let linked = reader.varint("object id")?.checked_sub(1);
        let object = kind.map(|kind| read_state(&mut reader, kind)).transpose()?;
        reader.finish("object row")?;
        Ok(Self { epoch, linked, object })
    }

    /// Bytes that it takes in memory, for a cache.
    #[must_use]
    pub fn memory_len(&self) -> u64 {
        let Some(state) = &self.object else { return 64 };
        let xattrs = match &state.xattrs {
            Xattrs::Inline(list) => list.iter().map(|(name, value)| name.len() + value.len() + 64).sum(),
            Xattrs::Stored { extents, .. } => extents.len() * 96,
        };
        let detail = match &state.detail {
            RowDetail::Symlink(target) => target.len(),
            RowDetail::Regular(content) => {
                let zeroed: usize = content.layers.iter().map(|layer| 64 + 16 * layer.zeroed.len()).sum();
                zeroed + content.base.as_ref().map_or(0, |_| 640)
            }
            _ => 0,
        };
        (320 + xattrs + detail + state.home.as_ref().map_or(0, |home| home.name.len())) as u64
    }
}

fn put_state(bytes: &mut Vec<u8>, state: &ObjectState) {
    put_varint(bytes, state.permissions.into());
    put_varint(bytes, state.uid.into());
    put_varint(bytes, state.gid.into());
    for time in [state.mtime, state.ctime, state.atime] {
        put_time(bytes, time);
    }
    put_varint(bytes, state.link_count.into());
    match &state.home {
        None => bytes.push(0),
        Some(home) => {
            bytes.push(1);
            put_varint(bytes, home.directory);
            put_prefixed(bytes, &home.name);
        }
    }
    put_xattrs(bytes, &state.xattrs);
    match &state.detail {
        RowDetail::Directory { parent } => put_varint(bytes, *parent),
        RowDetail::Regular(content) => put_content(bytes, content),
        RowDetail::Symlink(target) => put_prefixed(bytes, target),
        RowDetail::CharacterDevice(major, minor) | RowDetail::BlockDevice(major, minor) => {
            put_varint(bytes, (*major).into());
            put_varint(bytes, (*minor).into());
        }
        RowDetail::Fifo | RowDetail::Socket => {}
    }
}

fn put_xattrs(bytes: &mut Vec<u8>, xattrs: &Xattrs) {
    match xattrs {
        Xattrs::Inline(list) if list.is_empty() => bytes.push(0),
        Xattrs::Inline(list) => {
            bytes.push(1);
            put_prefixed(bytes, &Xattrs::encode_list(list));
        }
        Xattrs::Stored { .. } => {
            bytes.push(2);
            let carrier = Inode {
                permissions: 0,
                uid: 0,
                gid: 0,
                mtime: Time::default(),
                ctime: Time::default(),
                atime: Time::default(),
                source_inode: 0,
                is_staging_number: false,
                link_count: 1,
                inconsistent: false,
                xattrs: xattrs.clone(),
                detail: Detail::Fifo,
            };
            put_prefixed(bytes, &carrier.encode());
        }
    }
}

fn put_content(bytes: &mut Vec<u8>, content: &ContentRow) {
    match &content.base {
        None => bytes.push(0),
        Some(inode) => {
            bytes.push(1);
            put_prefixed(bytes, &inode.encode());
        }
    }
    match content.stamp {
        None => bytes.push(0),
        Some(stamp) => {
            bytes.push(1);
            put_time(bytes, stamp);
        }
    }
    put_varint(bytes, content.layers.len() as u64);
    for layer in &content.layers {
        put_varint(bytes, layer.file);
        put_varint(bytes, layer.epoch.into());
        put_varint(bytes, layer.below_len);
        put_varint(bytes, layer.zeroed.len() as u64);
        for (offset, len) in &layer.zeroed {
            put_varint(bytes, *offset);
            put_varint(bytes, *len);
        }
    }
}

fn put_time(bytes: &mut Vec<u8>, time: Time) {
    put_varint_i64(bytes, time.seconds);
    put_varint(bytes, time.nanoseconds.into());
}

fn read_time(reader: &mut Reader<'_>) -> Result<Time, DecodeError> {
    let seconds = reader.varint_i64("seconds")?;
    let offset = reader.offset();
    let nanoseconds = reader.varint_u32("nanoseconds")?;
    if nanoseconds >= 1_000_000_000 {
        return Err(DecodeError::Range { what: "nanoseconds", offset, value: nanoseconds.into() });
    }
    Ok(Time { seconds, nanoseconds })
}

fn read_kind(reader: &mut Reader<'_>) -> Result<Option<FileKind>, DecodeError> {
    let offset = reader.offset();
    let code = reader.u8("kind")?;
    let kind = FileKind::ALL.into_iter().find(|kind| kind.code() == code);
    if kind.is_none() && code != 0 {
        return Err(DecodeError::Range { what: "kind", offset, value: code.into() });
    }
    Ok(kind)
}

fn read_flag(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    let offset = reader.offset();
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Range { what, offset, value: other.into() }),
    }
}

fn read_state(reader: &mut Reader<'_>, kind: FileKind) -> Result<ObjectState, DecodeError> {
    let offset = reader.offset();
    let mode = reader.varint("permissions")?;
    let permissions = u16::try_from(mode).ok().filter(|mode| *mode <= 0o7777);
    let permissions = permissions.ok_or(DecodeError::Range { what: "permissions", offset, value: mode })?;
    let (uid, gid) = (reader.varint_u32("uid")?, reader.varint_u32("gid")?);
    let (mtime, ctime, atime) = (read_time(reader)?, read_time(reader)?, read_time(reader)?);
    let link_count = reader.varint_u32("link count")?;
    let home = match read_flag(reader, "home")? {
        false => None,
        true => {
            let directory = reader.varint("directory")?;
            Some(Home::new(directory, reader.prefixed("name", path::NAME_LEN_MAX)?))
        }
    };
    let xattrs = read_xattrs(reader)?;
    let detail = match kind {
        FileKind::Directory => RowDetail::Directory { parent: reader.varint("parent")? },
        FileKind::Regular => RowDetail::Regular(read_content(reader)?),
        FileKind::Symlink => RowDetail::Symlink(reader.prefixed("target", path::SYMLINK_LEN_MAX)?.to_vec()),
        FileKind::CharacterDevice => {
            RowDetail::CharacterDevice(reader.varint_u32("major")?, reader.varint_u32("minor")?)
        }
        FileKind::BlockDevice => {
            RowDetail::BlockDevice(reader.varint_u32("major")?, reader.varint_u32("minor")?)
        }
        FileKind::Fifo => RowDetail::Fifo,
        FileKind::Socket => RowDetail::Socket,
    };
    Ok(ObjectState { permissions, uid, gid, mtime, ctime, atime, link_count, home, xattrs, detail })
}

fn read_record(reader: &mut Reader<'_>) -> Result<Inode, DecodeError> {
    let offset = reader.offset();
    let bytes = reader.prefixed("record of the base", RECORD_LEN_MAX)?;
    match Record::decode(bytes) {
        Ok(Record::Inode(inode)) => Ok(inode),
        _ => Err(DecodeError::Range { what: "record of the base", offset, value: bytes.len() as u64 }),
    }
}

fn read_xattrs(reader: &mut Reader<'_>) -> Result<Xattrs, DecodeError> {
    let offset = reader.offset();
    match reader.u8("attribute kind")? {
        0 => Ok(Xattrs::NONE),
        1 => {
            let bytes = reader.prefixed("attributes", RECORD_LEN_MAX)?;
            let list: Result<XattrList, _> = Xattrs::decode_list(bytes);
            let what = "attributes";
            let malformed = |_| DecodeError::Range { what, offset, value: bytes.len() as u64 };
            Ok(Xattrs::Inline(list.map_err(malformed)?))
        }
        2 => Ok(read_record(reader)?.xattrs),
        other => Err(DecodeError::Range { what: "attribute kind", offset, value: other.into() }),
    }
}

fn read_content(reader: &mut Reader<'_>) -> Result<ContentRow, DecodeError> {
    let base = if read_flag(reader, "base")? { Some(Box::new(read_record(reader)?)) } else { None };
    let stamp = if read_flag(reader, "stamp")? { Some(read_time(reader)?) } else { None };
    let count = read_count(reader, "layer count", LAYER_COUNT_MAX)?;
    let mut layers = Vec::with_capacity(count);
    for _ in 0..count {
        let file = reader.varint("backing file")?;
        let epoch = reader.varint_u32("layer epoch")?;
        let below_len = reader.varint("visible length")?;
        let count = read_count(reader, "zeroed count", ZEROED_COUNT_MAX)?;
        let mut zeroed = Vec::with_capacity(count);
        for _ in 0..count {
            zeroed.push((reader.varint("zeroed offset")?, reader.varint("zeroed length")?));
        }
        layers.push(LayerRow { file, epoch, below_len, zeroed });
    }
    Ok(ContentRow { base, stamp, layers })
}

fn read_count(reader: &mut Reader<'_>, what: &'static str, max: usize) -> Result<usize, DecodeError> {
    let offset = reader.offset();
    let value = reader.varint(what)?;
    usize::try_from(value).ok().filter(|count| *count <= max).ok_or(DecodeError::Range {
        what,
        offset,
        value,
    })
}

#[cfg(test)]
mod test {
    use super::*;

    fn state(detail: RowDetail) -> ObjectState {
        ObjectState {
            permissions: 0o4755,
            uid: u32::MAX,
            gid: 7,
            mtime: Time { seconds: -1, nanoseconds: 999_999_999 },
            ctime: Time { seconds: i64::MAX, nanoseconds: 1 },
            atime: Time { seconds: i64::MIN, nanoseconds: 0 },
            link_count: 2,
            home: Some(Home::new(1 << 39, b"na\xffme")),
            xattrs: Xattrs::Inline(vec![(b"user.a".to_vec(), vec![0; 300])]),
            detail,
        }
    }

    #[test]
    fn rows_come_back_as_they_were_written_and_damage_is_no_panic() {
        let layer = LayerRow { file: 1 << 40, epoch: 3, below_len: 12_345, zeroed: vec![(4096, 8192)] };
        let content = ContentRow { base: None, stamp: Some(Time::default()), layers: vec![layer] };
        let details = [
            RowDetail::Directory { parent: 1 },
            RowDetail::Regular(content),
            RowDetail::Symlink(b"../x".to_vec()),
            RowDetail::CharacterDevice(1, u32::MAX),
            RowDetail::BlockDevice(8, 1),
            RowDetail::Fifo,
            RowDetail::Socket,
        ];
        let mut rows: Vec<ObjectRow> = details
            .into_iter()
            .map(|detail| ObjectRow { epoch: PINNED, linked: Some(2), object: Some(state(detail)) })
            .collect();
        rows.push(ObjectRow { epoch: 9, linked: None, object: None });
        for row in rows {
            let bytes = row.encode();
            assert_eq!(ObjectRow::decode(&bytes).as_ref(), Ok(&row));
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0xff;
                let _outcome = ObjectRow::decode(&damaged);
                assert!(ObjectRow::decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
        for target in [None, Some((FileKind::Socket, (1 << 52) - 1))] {
            let row = EntryRow { epoch: 5, target };
            assert_eq!(EntryRow::decode(&row.encode()), Ok(row));
        }
    }
}
