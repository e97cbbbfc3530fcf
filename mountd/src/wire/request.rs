//! One message of the kernel, decoded. Nothing of it is trusted: lengths and names are checked.

use crate::wire::fields::{Fields, Short};
use crate::wire::opcode as op;

const HEADER_LEN: usize = 40;

/// What is said of every request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    /// What is asked.
    pub(crate) opcode: u32,
    /// Number of the request, for the answer.
    pub(crate) unique: u64,
    /// The object it is about.
    pub(crate) number: u64,
    /// User who asks.
    pub(crate) uid: u32,
    /// Group who asks.
    pub(crate) gid: u32,
}

impl Header {
    /// Number of the request when it was sent first.
    pub(crate) fn sent_first(&self) -> u64 {
        self.unique & !op::UNIQUE_RESENT
    }

    /// A server that died may have done it already, and only not answered.
    pub(crate) fn is_resent(&self) -> bool {
        self.unique & op::UNIQUE_RESENT != 0
    }
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetTime {
    /// The present time.
    Now,
    /// Seconds since 1970 and nanoseconds.
    At(i64, u32),
}

/// Attributes to set; what is absent stays.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SetAttributes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<SetTime>,
    pub(crate) mtime: Option<SetTime>,
    pub(crate) kills_set_id: bool,
}

/// What is asked. Names are bytes without NUL, and may yet be too long or hold `/`.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    Lookup { name: &'a [u8] },
    Forget { count: u64 },
    BatchForget { nodes: Vec<(u64, u64)> },
    GetAttributes,
    SetAttributes(SetAttributes),
    ReadLink,
    MakeSymlink { name: &'a [u8], target: &'a [u8] },
    MakeNode { name: &'a [u8], mode: u32, device: u32, umask: u32 },
    MakeDirectory { name: &'a [u8], mode: u32, umask: u32 },
    Unlink { name: &'a [u8] },
    RemoveDirectory { name: &'a [u8] },
    Rename { name: &'a [u8], new_parent: u64, new_name: &'a [u8], flags: u32 },
    Link { number: u64, new_name: &'a [u8] },
    Open { flags: u32, kills_set_id: bool },
    Create { name: &'a [u8], mode: u32, umask: u32, flags: u32, is_unnamed: bool },
    Read { handle: u64, offset: u64, len: u32 },
    Write { handle: u64, offset: u64, bytes: &'a [u8], how: Writing },
    StatFs,
    Release { handle: u64 },
    Sync { is_data_only: bool },
    SyncDirectory,
    SyncAll,
    SetXattr { name: &'a [u8], value: &'a [u8], flags: u32, kills_set_gid: bool },
    GetXattr { name: &'a [u8], len_max: u32 },
    ListXattrs { len_max: u32 },
    RemoveXattr { name: &'a [u8] },
    OpenDirectory,
    List { handle: u64, offset: u64, len_max: u32, is_plus: bool },
    ReleaseDirectory { handle: u64 },
    Allocate { handle: u64, offset: u64, len: u64, mode: u32 },
    Seek { handle: u64, offset: u64, whence: u32 },
    CopyRange { handle: u64, offset: u64, to_number: u64, to_handle: u64, to_offset: u64, len: u64 },
    Init { minor: u32, read_ahead_len: u32, flags: u64 },
    Destroy,
    Interrupt,
    Ioctl,
    Unknown,
}

/// What is said of a write besides what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Writing {
    /// Set-id bits and capabilities go.
    pub(crate) kills_set_id: bool,
    /// It was written through a mapping, some time ago.
    pub(crate) is_mapped: bool,
}

/// Decodes a message; the number of the request, if it could be read, when it is not understood.
pub(crate) fn decode(message: &[u8]) -> Result<(Header, Operation<'_>), Option<u64>> {
    let mut fields = Fields::new(message);
    let header = header(&mut fields).map_err(|Short| None)?;
    let operation = operation(&header, fields).map_err(|Short| Some(header.unique))?;
    Ok((header, operation))
}

fn header(fields: &mut Fields<'_>) -> Result<Header, Short> {
    let message = *fields;
    let len = fields.u32()?;
    let opcode = fields.u32()?;
    let unique = fields.u64()?;
    let number = fields.u64()?;
    let uid = fields.u32()?;
    let gid = fields.u32()?;
    let _process = fields.u32()?;
    // Extensions follow after the name; none are asked for.
    let _extension_len = fields.u16()?;
    fields.skip(2)?;
    let len = usize::try_from(len).map_err(|_| Short)?;
    let mut message = message;
    let mut rest = Fields::new(message.bytes(len)?);
    rest.skip(HEADER_LEN)?;
    *fields = rest;
    Ok(Header { opcode, unique, number, uid, gid })
}

fn operation<'a>(header: &Header, mut f: Fields<'a>) -> Result<Operation<'a>, Short> {
    Ok(match header.opcode {
        op::LOOKUP => Operation::Lookup { name: f.name()? },
        op::FORGET => Operation::Forget { count: f.u64()? },
        op::BATCH_FORGET => Operation::BatchForget { nodes: nodes(f)? },
        op::GETATTR => Operation::GetAttributes,
        op::SETATTR => Operation::SetAttributes(set_attributes(f)?),
        op::READLINK => Operation::ReadLink,
        op::OPEN => {
            let flags = f.u32()?;
            Operation::Open { flags, kills_set_id: f.u32()? & op::OPEN_KILL_SET_ID != 0 }
        }
        op::STATFS => Operation::StatFs,
        op::RELEASE => Operation::Release { handle: f.u64()? },
        op::FSYNC => {
            f.skip(8)?;
            Operation::Sync { is_data_only: f.u32()? & op::FSYNC_DATA != 0 }
        }
        op::OPENDIR => Operation::OpenDirectory,
        op::RELEASEDIR => Operation::ReleaseDirectory { handle: f.u64()? },
        op::FSYNCDIR => Operation::SyncDirectory,
        op::SYNCFS => Operation::SyncAll,
        op::READDIR | op::READDIRPLUS => {
            let (handle, offset, len_max) = (f.u64()?, f.u64()?, f.u32()?);
            Operation::List { handle, offset, len_max, is_plus: header.opcode == op::READDIRPLUS }
        }
        op::SETXATTR | op::GETXATTR | op::LISTXATTR | op::REMOVEXATTR => xattr(header.opcode, f)?,
        op::READ | op::WRITE | op::FALLOCATE | op::LSEEK | op::COPY_FILE_RANGE => content(header.opcode, f)?,
        op::INIT => init(f)?,
        op::DESTROY => Operation::Destroy,
        op::INTERRUPT => Operation::Interrupt,
        op::IOCTL => Operation::Ioctl,
        _ => naming(header.opcode, f)?,
    })
}

fn nodes(mut f: Fields<'_>) -> Result<Vec<(u64, u64)>, Short> {
    let count = f.u32()?;
    f.skip(4)?;
    // Grows with what is there, not with what is claimed.
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push((f.u64()?, f.u64()?));
    }
    Ok(nodes)
}

fn set_attributes(mut f: Fields<'_>) -> Result<SetAttributes, Short> {
    let valid = f.u32()?;
    // Padding, handle.
    f.skip(12)?;
    let size = f.u64()?;
    f.skip(8)?;
    let (atime, mtime) = (f.i64()?, f.i64()?);
    f.skip(8)?;
    let (atime_nanoseconds, mtime_nanoseconds) = (f.u32()?, f.u32()?);
    f.skip(4)?;
    let mode = f.u32()?;
    f.skip(4)?;
    let (uid, gid) = (f.u32()?, f.u32()?);
    let is_set = |flag: u32| valid & flag != 0;
    let time = |flag, now, at| is_set(flag).then_some(if is_set(now) { SetTime::Now } else { at });
    Ok(SetAttributes {
        mode: is_set(op::SET_MODE).then_some(mode),
        uid: is_set(op::SET_UID).then_some(uid),
        gid: is_set(op::SET_GID).then_some(gid),
        size: is_set(op::SET_SIZE).then_some(size),
        atime: time(op::SET_ATIME, op::SET_ATIME_NOW, SetTime::At(atime, atime_nanoseconds)),
        mtime: time(op::SET_MTIME, op::SET_MTIME_NOW, SetTime::At(mtime, mtime_nanoseconds)),
        kills_set_id: is_set(op::SET_KILL_SET_ID),
    })
}

fn naming<'a>(opcode: u32, mut f: Fields<'a>) -> Result<Operation<'a>, Short> {
    Ok(match opcode {
        op::SYMLINK => Operation::MakeSymlink { name: f.name()?, target: f.name()? },
        op::MKNOD => {
            let (mode, device, umask) = (f.u32()?, f.u32()?, f.u32()?);
            f.skip(4)?;
            Operation::MakeNode { name: f.name()?, mode, device, umask }
        }
        op::MKDIR => {
            let (mode, umask) = (f.u32()?, f.u32()?);
            Operation::MakeDirectory { name: f.name()?, mode, umask }
        }
        op::UNLINK => Operation::Unlink { name: f.name()? },
        op::RMDIR => Operation::RemoveDirectory { name: f.name()? },
        op::RENAME | op::RENAME2 => {
            let new_parent = f.u64()?;
            let flags = if opcode == op::RENAME2 { f.u32()? } else { 0 };
            f.skip(if opcode == op::RENAME2 { 4 } else { 0 })?;
            Operation::Rename { name: f.name()?, new_parent, new_name: f.name()?, flags }
        }
        op::LINK => Operation::Link { number: f.u64()?, new_name: f.name()? },
        op::CREATE | op::TMPFILE => {
            let (flags, mode, umask) = (f.u32()?, f.u32()?, f.u32()?);
            f.skip(4)?;
            Operation::Create { name: f.name()?, mode, umask, flags, is_unnamed: opcode == op::TMPFILE }
        }
        _ => Operation::Unknown,
    })
}

fn xattr<'a>(opcode: u32, mut f: Fields<'a>) -> Result<Operation<'a>, Short> {
    if opcode == op::REMOVEXATTR {
        return Ok(Operation::RemoveXattr { name: f.name()? });
    }
    let len = f.u32()?;
    let flags = f.u32()?;
    Ok(match opcode {
        op::SETXATTR => {
            let kills_set_gid = f.u32()? & op::XATTR_KILL_SET_GID != 0;
            f.skip(4)?;
            let name = f.name()?;
            let value = f.bytes(usize::try_from(len).map_err(|_| Short)?)?;
            Operation::SetXattr { name, value, flags, kills_set_gid }
        }
        op::GETXATTR => Operation::GetXattr { name: f.name()?, len_max: len },
        _ => Operation::ListXattrs { len_max: len },
    })
}

fn content<'a>(opcode: u32, mut f: Fields<'a>) -> Result<Operation<'a>, Short> {
    let (handle, offset) = (f.u64()?, f.u64()?);
    Ok(match opcode {
        op::READ => Operation::Read { handle, offset, len: f.u32()? },
        op::WRITE => {
            let (len, flags) = (f.u32()?, f.u32()?);
            // Lock owner, flags of the file, padding.
            f.skip(16)?;
            let bytes = f.bytes(usize::try_from(len).map_err(|_| Short)?)?;
            let how = Writing {
                kills_set_id: flags & op::WRITE_KILL_SET_ID != 0,
                is_mapped: flags & op::WRITE_CACHE != 0,
            };
            Operation::Write { handle, offset, bytes, how }
        }
        op::FALLOCATE => Operation::Allocate { handle, offset, len: f.u64()?, mode: f.u32()? },
        op::LSEEK => Operation::Seek { handle, offset, whence: f.u32()? },
        _ => Operation::CopyRange {
            handle,
            offset,
            to_number: f.u64()?,
            to_handle: f.u64()?,
            to_offset: f.u64()?,
            len: f.u64()?,
        },
    })
}

fn init<'a>(mut f: Fields<'a>) -> Result<Operation<'a>, Short> {
    let _major = f.u32()?;
    let (minor, read_ahead_len, low) = (f.u32()?, f.u32()?, f.u32()?);
    let high = f.u32().unwrap_or_default();
    Ok(Operation::Init { minor, read_ahead_len, flags: u64::from(low) | u64::from(high) << 32 })
}

#[cfg(test)]
mod test {
    use super::*;

    fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(u32::try_from(HEADER_LEN + body.len()).unwrap().to_ne_bytes());
        message.extend(opcode.to_ne_bytes());
        message.extend((7_u64 | op::UNIQUE_RESENT).to_ne_bytes());
        message.extend(9_u64.to_ne_bytes());
        for word in [1000_u32, 100, 4321, 0] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(body);
        message
    }

    #[test]
    fn a_name_and_who_asks_are_decoded() {
        let message = message(op::LOOKUP, b"caf\xe9\0");
        let (header, operation) = decode(&message).unwrap();
        assert_eq!((header.number, header.uid, header.gid, header.is_resent()), (9, 1000, 100, true));
        assert!(matches!(operation, Operation::Lookup { name: b"caf\xe9" }));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused_or_shorter_but_never_a_panic() {
        for opcode in 0..=u32::try_from(op::OPCODE_COUNT).unwrap() {
            let whole = message(opcode, &[0; 120]);
            for len in 0..whole.len() {
                let mut cut = whole[..len].to_vec();
                if let Some(claimed) = cut.get_mut(..4) {
                    claimed.copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
                }
                crate::wire::checks::fuse_request(&cut);
                if len < HEADER_LEN {
                    assert!(decode(&cut).is_err());
                }
            }
        }
    }

    #[test]
    fn what_fuzzing_has_found_before_holds_now() {
        let findings = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/fuzz/fuse_request");
        for entry in std::fs::read_dir(findings).into_iter().flatten() {
            crate::wire::checks::fuse_request(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn any_number_in_any_field_is_no_harm() {
        for opcode in 0..=u32::try_from(op::OPCODE_COUNT).unwrap() {
            let whole = message(opcode, &[1; 120]);
            for (at, value) in (0..whole.len() - 8).flat_map(|at| [0, 1, 1 << 31, u64::MAX].map(|n| (at, n)))
            {
                let mut changed = whole.clone();
                changed[at..at + 8].copy_from_slice(&value.to_ne_bytes());
                crate::wire::checks::fuse_request(&changed);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_message_is_refused() {
        let mut write = Vec::new();
        for word in [1_u64, 0] {
            write.extend(word.to_ne_bytes());
        }
        write.extend(u32::MAX.to_ne_bytes());
        write.extend([0; 40]);
        assert_eq!(decode(&message(op::WRITE, &write)).unwrap_err(), Some(7 | op::UNIQUE_RESENT));
        let mut forget = u32::MAX.to_ne_bytes().to_vec();
        forget.extend([0; 36]);
        assert!(decode(&message(op::BATCH_FORGET, &forget)).is_err());
    }
}
