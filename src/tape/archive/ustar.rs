//! The 512-byte header of a tar archive (POSIX.1-2017, pax, table "ustar Header Block").
//!
//! ```text
//! 0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 chksum 8
//! 156 typeflag 1 | 157 linkname 100 | 257 magic 6 | 263 version 2 | 265 uname 32 | 297 gname 32
//! 329 devmajor 8 | 337 devminor 8 | 345 prefix 155 | 500 unused 12
//! ```
//!
//! What other programs write is read too: GNU base-256 numbers, headers of before POSIX.

use super::{ArchiveError, RECORD_LEN, shown};

const MAGIC: &[u8] = b"ustar\0";
const MAGIC_GNU: &[u8] = b"ustar ";
const VERSION: &[u8] = b"00";
const STRUCTURE: &str = "tar header";
/// Longest name that the name field holds.
pub(super) const NAME_FIELD_LEN: usize = 100;
/// Largest size that twelve octal digits and their end hold.
const SIZE_MAX: u64 = (1 << 33) - 1;

/// Fields of a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Name with its prefix.
    pub name: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of content that follow.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime_seconds: i64,
    /// Type flag: `0` file, `5` directory, `x` and `g` pax records, and others.
    pub type_flag: u8,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Whether it has the magic number of POSIX or GNU tar; older ones have none.
    pub has_magic: bool,
}

impl Header {
    /// Encodes the header; a name, size or time that has no room is cut to what has: its pax record
    /// says the truth.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut bytes = Vec::with_capacity(RECORD_LEN);
        put_text(&mut bytes, &self.name, NAME_FIELD_LEN);
        put_octal(&mut bytes, u64::from(self.mode & 0o7777), 8);
        put_octal(&mut bytes, self.uid.min(0o7_777_777), 8);
        put_octal(&mut bytes, self.gid.min(0o7_777_777), 8);
        put_octal(&mut bytes, self.size.min(SIZE_MAX), 12);
        put_octal(&mut bytes, u64::try_from(self.mtime_seconds).unwrap_or(0).min(SIZE_MAX), 12);
        bytes.extend_from_slice(b"        ");
        bytes.push(self.type_flag);
        put_text(&mut bytes, &self.link, 100);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(VERSION);
        put_text(&mut bytes, b"root", 32);
        put_text(&mut bytes, b"root", 32);
        put_octal(&mut bytes, 0, 8);
        put_octal(&mut bytes, 0, 8);
        let mut header = [0; RECORD_LEN];
        for (target, byte) in header.iter_mut().zip(&bytes) {
            *target = *byte;
        }
        let sum = format!("{:06o}\0 ", checksums(&header).0);
        for (target, byte) in header.iter_mut().skip(148).zip(sum.bytes()) {
            *target = byte;
        }
        header
    }
}

/// Decodes a header; `None` is a record of zeros, of which two end an archive.
///
/// # Errors
/// [`ArchiveError`] if its checksum or a number is wrong; `offset` is for messages.
pub fn decode_header(record: &[u8; RECORD_LEN], offset: u64) -> Result<Option<Header>, ArchiveError> {
    if record.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let field = |at: usize, len: usize| record.get(at..at + len).unwrap_or_default();
    let number = |name: &'static str, at: usize, len: usize| {
        decode_number(field(at, len)).ok_or_else(|| ArchiveError::Field {
            structure: STRUCTURE,
            offset,
            field: name,
            expected: "an octal number",
            found: shown(field(at, len)),
        })
    };
    let stored = number("checksum", 148, 8)?;
    let (unsigned, signed) = checksums(record);
    if stored != i128::from(unsigned) && stored != i128::from(signed) {
        let stored = u64::try_from(stored).unwrap_or(u64::MAX);
        return Err(ArchiveError::Checksum { offset, stored, computed: unsigned });
    }
    let magic = field(257, 6);
    let is_posix = magic == MAGIC;
    let mut name = text(field(0, NAME_FIELD_LEN)).to_vec();
    let prefix = text(field(345, 155));
    if is_posix && !prefix.is_empty() {
        name = [prefix, b"/", &name].concat();
    }
    let size = number("size", 124, 12)?;
    let out_of_range = |field_name, expected, value: i128| ArchiveError::Field {
        structure: STRUCTURE,
        offset,
        field: field_name,
        expected,
        found: value.to_string(),
    };
    let in_range = |value: i128| u64::try_from(value).unwrap_or(0);
    Ok(Some(Header {
        name,
        mode: u32::try_from(number("mode", 100, 8)? & 0o7777).unwrap_or(0),
        uid: in_range(number("uid", 108, 8)?),
        gid: in_range(number("gid", 116, 8)?),
        size: u64::try_from(size)
            .ok()
            .filter(|size| *size <= u64::MAX >> 1)
            .ok_or_else(|| out_of_range("size", "0 to 2^63 - 1", size))?,
        mtime_seconds: i64::try_from(number("mtime", 136, 12)?).unwrap_or(i64::MAX),
        type_flag: record.get(156).copied().unwrap_or(0),
        link: text(field(157, 100)).to_vec(),
        device: (device_number(field(329, 8)), device_number(field(337, 8))),
        has_magic: is_posix || magic == MAGIC_GNU,
    }))
}

// The sum of all bytes, the checksum field taken as spaces; old programs summed signed bytes.
fn checksums(record: &[u8; RECORD_LEN]) -> (u64, i64) {
    let mut unsigned = 0_u64;
    let mut signed = 0_i64;
    for (at, byte) in record.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    (unsigned, signed)
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8], len: usize) {
    let end = bytes.len() + len;
    bytes.extend(text.iter().take(len));
    bytes.resize(end, 0);
}

fn put_octal(bytes: &mut Vec<u8>, value: u64, len: usize) {
    let digits = len - 1;
    bytes.extend_from_slice(format!("{value:0digits$o}\0").as_bytes());
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

// Before POSIX there was none; what is no number is taken as 0 then.
fn device_number(field: &[u8]) -> u32 {
    decode_number(field).and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

// Octal digits between spaces and NULs; or, as GNU tar writes what has no room, a set top bit and a
// big-endian number in two's complement.
pub(super) fn decode_number(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let sign_extended = i128::from((first << 1).cast_signed() >> 1);
        return Some(rest.iter().fold(sign_extended, |value, byte| (value << 8) | i128::from(*byte)));
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, padding) = digits.split_at_checked(end)?;
    if !padding.iter().all(is_blank) {
        return None;
    }
    digits.iter().try_fold(0_i128, |value, byte| match byte {
        b'0'..=b'7' => Some(value * 8 + i128::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header = Header {
            name: b"full/web1/a.bdf".to_vec(),
            mode: 0o644,
            size: SIZE_MAX,
            mtime_seconds: 1_795_233_600,
            type_flag: b'0',
            has_magic: true,
            ..Header::default()
        };
        assert_eq!(decode_header(&header.encode(), 0), Ok(Some(header)));
        assert_eq!(decode_header(&[0; RECORD_LEN], 0), Ok(None));
    }

    #[test]
    fn numbers_that_gnu_tar_writes_in_base_256_are_read() {
        assert_eq!(decode_number(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Some(1 << 32));
        assert_eq!(decode_number(&[0xff; 12]), Some(-1));
        assert_eq!(decode_number(b"  644 \0"), Some(0o644));
        assert_eq!(decode_number(b"\0\0\0\0"), Some(0));
        assert_eq!(decode_number(b"64x\0"), None);
    }

    #[test]
    fn one_changed_bit_is_noticed() {
        let header = Header { name: b"x".to_vec(), type_flag: b'0', ..Header::default() }.encode();
        for at in (0..RECORD_LEN).filter(|at| !(148..156).contains(at)) {
            let mut changed = header;
            changed[at] ^= 1;
            assert!(matches!(decode_header(&changed, 0), Err(ArchiveError::Checksum { .. })), "byte {at}");
        }
    }
}
