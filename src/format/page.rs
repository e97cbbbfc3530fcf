//! Page: a node of a copy-on-write B+-tree in a DTF.
//!
//! A page is written once and then only pointed to, from its own DTF or a later one. It begins at a
//! multiple of 64 bytes. Header, 64 bytes, then the payload:
//!
//! ```text
//! offset len  field
//!      0   4  magic: "RPGE"
//!      4   1  level: 0 leaf, else one more than its children, at most 15
//!      5   1  codec of the payload: 0 as it is, 1 zstd
//!      6   1  tree: 1 directory tree, 2 extents of one file
//!      7   1  1 if the page has a base, else 0
//!      8   4  length of the payload as stored, at most 65 535
//!     12   4  length of the payload decompressed, at most 65 535
//!     16   4  record count, 1 to 1023
//!     20   8  offset of this header in the file: protects against misdirected writes
//!     28   4  key id    }
//!     32  12  nonce     } room for encryption, zero
//!     44  16  tag       }
//!     60   4  CRC-32 of the DTF's file id, bytes 0..60 and the stored payload
//! ```
//!
//! A page with a base is a leaf of codec 1, and its stored payload begins with the [`PageRef`] of the base,
//! a leaf of the same kind of tree that has no base itself. The rest is compressed with the decompressed payload of the
//! base as prefix. So a page of which little changed takes little, and reading is one step deeper at most.
//!
//! Payload: for each record the start of the record in the payload (2 bytes), then the records in
//! strictly ascending order of keys: key length (varint), key, value length (varint), value.
//!
//! In an interior page a record's key is at most the first key of the child, and greater than all
//! keys of the child before; its value is the child's [`PageRef`]: ordinal of the DTF, offset / 64,
//! length of the stored payload, three varints.

use super::{ENCRYPTION_LEN, FormatError, check_crc, check_magic, check_not_encrypted};
use crate::checksum::crc32;
use crate::codec::{DecodeError, Reader, len_u32, put_prefixed, put_varint};
use crate::format::frame::Codec;
use crate::id::{FileId, Ordinal};

/// First bytes of a page.
pub const MAGIC: &[u8; 4] = b"RPGE";
const STRUCTURE: &str = "page";

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 64;
/// Pages begin at multiples of this many bytes.
pub const ALIGNMENT: u64 = 64;
/// Longest payload when decompressed, in bytes.
pub const PLAIN_LEN_MAX: usize = 65_535;
/// Most records in one page: a slot has 10 bits of an inode number.
pub const RECORD_COUNT_MAX: usize = 1023;
/// Highest level.
pub const LEVEL_MAX: u8 = 15;
/// Pages begin below this offset: offset / 64 has 30 bits of an inode number.
pub const OFFSET_MAX: u64 = (1 << 30) * ALIGNMENT;

/// What a tree of pages holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeKind {
    /// The entries of a generation.
    Directory,
    /// The extents of one file.
    Extents,
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageRef {
    /// The DTF.
    pub ordinal: Ordinal,
    /// Offset of the header in it.
    pub offset: u64,
    /// Length of the payload as stored, in bytes.
    pub stored_len: u32,
}

impl PageRef {
    /// Appends the reference to the value of a record.
    pub fn put(&self, target: &mut Vec<u8>) {
        put_varint(target, self.ordinal.get().into());
        put_varint(target, self.offset / ALIGNMENT);
        put_varint(target, self.stored_len.into());
    }

    /// Reads a reference.
    ///
    /// # Errors
    /// [`DecodeError`] if a part is missing or out of range.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let range = |what, value| DecodeError::Range { what, offset, value };
        let number = reader.varint_u32("page DTF")?;
        let ordinal = Ordinal::new(number).ok_or_else(|| range("page DTF", number.into()))?;
        let units = reader.varint("page offset")?;
        if units >= OFFSET_MAX / ALIGNMENT {
            return Err(range("page offset", units));
        }
        let stored_len = reader.varint_u32("page length")?;
        if stored_len as usize > PLAIN_LEN_MAX {
            return Err(range("page length", stored_len.into()));
        }
        Ok(Self { ordinal, offset: units * ALIGNMENT, stored_len })
    }
}

/// The header of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Level: 0 is a leaf.
    pub level: u8,
    /// Coding of the payload.
    pub codec: Codec,
    /// What the tree holds.
    pub tree: TreeKind,
    /// Length of the payload as stored, in bytes.
    pub stored_len: u32,
    /// Length of the payload decompressed, in bytes.
    pub plain_len: u32,
    /// Count of records.
    pub record_count: u32,
    /// The page whose payload is the prefix of this one's.
    pub base: Option<PageRef>,
}

impl PageHeader {
    /// Encodes the header of a page at `offset` of the DTF `file` with this stored payload, which begins
    /// with the reference of the base if there is one.
    ///
    /// # Panics
    /// If level or offset are out of range; the tree writer sees to that.
    #[must_use]
    pub fn encode(&self, file: FileId, offset: u64, stored: &[u8]) -> Vec<u8> {
        assert!(self.level <= LEVEL_MAX && offset < OFFSET_MAX && offset.is_multiple_of(ALIGNMENT));
        let mut bytes = Vec::with_capacity(HEADER_LEN + stored.len());
        bytes.extend_from_slice(MAGIC);
        let codec = match self.codec {
            Codec::Raw => 0,
            Codec::Zstd => 1,
        };
        let tree = match self.tree {
            TreeKind::Directory => 1,
            TreeKind::Extents => 2,
        };
        bytes.extend_from_slice(&[self.level, codec, tree, u8::from(self.base.is_some())]);
        for value in [self.stored_len, self.plain_len, self.record_count] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&[0; ENCRYPTION_LEN]);
        let crc = crc32(&[&file.0, &bytes, stored]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(bytes.len(), HEADER_LEN, "the layout has 64 bytes");
        bytes
    }

    /// Reads the length of the stored payload from a header that is not yet verified.
    ///
    /// # Errors
    /// [`FormatError`] if the magic number is missing or the length is out of range.
    pub fn peek_stored_len(bytes: &[u8; HEADER_LEN]) -> Result<u32, FormatError> {
        let malformed = FormatError::malformed;
        let mut reader = Reader::new(bytes);
        check_magic(STRUCTURE, reader.bytes("magic", 4).map_err(malformed(STRUCTURE))?, MAGIC)?;
        reader.u32("level, codec, tree").map_err(malformed(STRUCTURE))?;
        let stored_len = reader.u32("stored length").map_err(malformed(STRUCTURE))?;
        if stored_len as usize > PLAIN_LEN_MAX {
            let value = stored_len.into();
            return Err(FormatError::Unknown { structure: STRUCTURE, field: "stored length", value });
        }
        Ok(stored_len)
    }

    /// Splits and verifies the bytes of a page read at `offset` of the DTF `file`: header, and stored
    /// payload without the reference of the base.
    ///
    /// # Errors
    /// [`FormatError`] if anything is not as it was written there.
    pub fn decode(bytes: &[u8], file: FileId, offset: u64) -> Result<(Self, &[u8]), FormatError> {
        let malformed = FormatError::malformed;
        let mut reader = Reader::new(bytes);
        check_magic(STRUCTURE, reader.bytes("magic", 4).map_err(malformed(STRUCTURE))?, MAGIC)?;
        let mut fields = || -> Result<_, DecodeError> {
            let codes = reader.array::<4>("level, codec, tree")?;
            let lengths =
                [reader.u32("stored length")?, reader.u32("plain length")?, reader.u32("record count")?];
            let stored_offset = reader.u64("offset")?;
            let room = reader.array::<ENCRYPTION_LEN>("encryption")?;
            let crc = reader.u32("CRC")?;
            let payload = reader.bytes("payload", lengths[0] as usize)?;
            Ok((codes, lengths, stored_offset, room, crc, payload))
        };
        let (
            [level, codec, tree, has_base],
            [stored_len, plain_len, record_count],
            stored_offset,
            room,
            crc,
            payload,
        ) = fields().map_err(malformed(STRUCTURE))?;
        let covered = bytes.get(..HEADER_LEN - 4).unwrap_or_default();
        check_crc(STRUCTURE, crc, crc32(&[&file.0, covered, payload]))?;
        if stored_offset != offset {
            return Err(FormatError::Misplaced {
                structure: STRUCTURE,
                stored: stored_offset,
                actual: offset,
            });
        }
        check_not_encrypted(STRUCTURE, &room)?;
        let unknown = |field, value: u64| FormatError::Unknown { structure: STRUCTURE, field, value };
        let codec = match codec {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            other => return Err(unknown("codec", other.into())),
        };
        let tree = match tree {
            1 => TreeKind::Directory,
            2 => TreeKind::Extents,
            other => return Err(unknown("tree", other.into())),
        };
        if level > LEVEL_MAX {
            return Err(unknown("level", level.into()));
        }
        if plain_len as usize > PLAIN_LEN_MAX || (codec == Codec::Raw && plain_len != stored_len) {
            return Err(unknown("plain length", plain_len.into()));
        }
        if stored_len as usize > PLAIN_LEN_MAX {
            return Err(unknown("stored length", stored_len.into()));
        }
        if record_count == 0 || record_count as usize > RECORD_COUNT_MAX {
            return Err(unknown("record count", record_count.into()));
        }
        let (base, payload) = match has_base {
            0 => (None, payload),
            1 if codec == Codec::Zstd && level == 0 => {
                let mut reader = Reader::new(payload);
                let base = PageRef::read(&mut reader).map_err(malformed(STRUCTURE))?;
                (Some(base), payload.get(reader.offset()..).unwrap_or_default())
            }
            other => return Err(unknown("base", other.into())),
        };
        Ok((Self { level, codec, tree, stored_len, plain_len, record_count, base }, payload))
    }
}

/// Builds the payload of a page from records in ascending order of keys.
///
/// # Panics
/// If the records do not fit a page; the tree writer sees to that.
#[must_use]
pub fn encode_payload<'a>(records: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let count = records.len();
    assert!((1..=RECORD_COUNT_MAX).contains(&count), "a page has 1 to {RECORD_COUNT_MAX} records");
    let mut payload = vec![0; count * 2];
    let mut slots = Vec::with_capacity(count * 2);
    for (key, value) in records {
        let start = u16::try_from(payload.len()).expect("a page is at most 65535 bytes long");
        slots.extend_from_slice(&start.to_le_bytes());
        put_prefixed(&mut payload, key);
        put_prefixed(&mut payload, value);
    }
    assert!(payload.len() <= PLAIN_LEN_MAX, "a page is at most {PLAIN_LEN_MAX} bytes long");
    for (target, byte) in payload.iter_mut().zip(slots) {
        *target = byte;
    }
    payload
}

/// A decoded page: records in ascending order of keys.
#[derive(Debug)]
pub struct Page {
    level: u8,
    tree: TreeKind,
    base: Option<PageRef>,
    payload: Vec<u8>,
    // Start and length of key and value in the payload, checked when the page was decoded.
    records: Vec<RecordSpan>,
}

#[derive(Debug, Clone, Copy)]
struct RecordSpan {
    key_start: u16,
    key_end: u16,
    value_start: u16,
    value_end: u16,
}

impl Page {
    /// Checks and takes a decompressed payload.
    ///
    /// # Errors
    /// [`FormatError`] if a record is malformed or not in order.
    pub fn new(header: &PageHeader, payload: Vec<u8>) -> Result<Self, FormatError> {
        let malformed = FormatError::malformed;
        if payload.len() != header.plain_len as usize {
            let value = payload.len() as u64;
            return Err(FormatError::Unknown { structure: STRUCTURE, field: "plain length", value });
        }
        let mut slots = Reader::new(&payload);
        let mut records = Vec::with_capacity(header.record_count as usize);
        for index in 0..header.record_count as usize {
            let start = slots.u16("slot").map_err(malformed(STRUCTURE))?;
            let span = record_span(&payload, start).map_err(malformed(STRUCTURE))?;
            let in_order = match records.last() {
                Some(before) => key_of(&payload, before) < key_of(&payload, &span),
                None => true,
            };
            if !in_order {
                return Err(FormatError::Order { structure: STRUCTURE, index });
            }
            records.push(span);
        }
        Ok(Self { level: header.level, tree: header.tree, base: header.base, payload, records })
    }

    /// Level: 0 is a leaf.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }

    /// What the tree holds.
    #[must_use]
    pub fn tree(&self) -> TreeKind {
        self.tree
    }

    /// The page that this one was compressed against, if any.
    #[must_use]
    pub fn base(&self) -> Option<PageRef> {
        self.base
    }

    /// The decompressed payload, for a page that has this one as its base.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Count of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Never true of a page that was decoded: it has a record at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory that the page takes.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        size_of::<Self>() + self.payload.capacity() + self.records.capacity() * size_of::<RecordSpan>()
    }

    /// Key and value of the record at `index`.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let span = self.records.get(index)?;
        let value = self.payload.get(usize::from(span.value_start)..usize::from(span.value_end))?;
        Some((key_of(&self.payload, span), value))
    }

    /// All records from `index` on.
    pub fn records_from(&self, index: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
        (index..self.len()).filter_map(|index| self.record(index))
    }

    /// Index of the record with this key, or of the first one after it.
    ///
    /// # Errors
    /// The index at which the key would stand, as in [`slice::binary_search`].
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.records.binary_search_by(|span| key_of(&self.payload, span).cmp(key))
    }

    /// In an interior page, index of the child that may hold `key`: the last with a key not above.
    #[must_use]
    pub fn child_index(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// In an interior page, the child at `index`.
    ///
    /// # Errors
    /// [`FormatError`] if there is none or its reference is malformed.
    pub fn child(&self, index: usize) -> Result<PageRef, FormatError> {
        let (_, value) = self.record(index).ok_or(FormatError::Order { structure: STRUCTURE, index })?;
        let mut reader = Reader::new(value);
        let decode = || -> Result<PageRef, DecodeError> {
            let child = PageRef::read(&mut reader)?;
            reader.finish("page reference")?;
            Ok(child)
        };
        let mut decode = decode;
        decode().map_err(FormatError::malformed(STRUCTURE))
    }
}

fn key_of<'a>(payload: &'a [u8], span: &RecordSpan) -> &'a [u8] {
    payload.get(usize::from(span.key_start)..usize::from(span.key_end)).unwrap_or_default()
}

fn record_span(payload: &[u8], start: u16) -> Result<RecordSpan, DecodeError> {
    let mut reader = Reader::new(payload);
    reader.bytes("record", start.into())?;
    let key_len = reader.prefixed("key", PLAIN_LEN_MAX)?.len();
    let key_end = reader.offset();
    let value_len = reader.prefixed("value", PLAIN_LEN_MAX)?.len();
    let value_end = reader.offset();
    // Offsets are below 65 536 because the payload is.
    let narrow = |offset: usize| {
        u16::try_from(offset).map_err(|_| DecodeError::Range {
            what: "record",
            offset,
            value: u64::from(len_u32(offset)),
        })
    };
    Ok(RecordSpan {
        key_start: narrow(key_end - key_len)?,
        key_end: narrow(key_end)?,
        value_start: narrow(value_end - value_len)?,
        value_end: narrow(value_end)?,
    })
}
