//! Frame: the unit of storage and compression in a BDF.
//!
//! Header, 72 bytes, then the chunk table, the base table and the payload:
//!
//! ```text
//! offset len  field
//!      0   4  magic: "RFRM"; a scan after damage looks for it
//!      4   1  kind: 1 plain, 2 delta (compressed with the base chunks as prefix)
//!      5   1  codec: 0 stored as it is, 1 zstd
//!      6   2  reserved
//!      8   4  length of the payload as stored
//!     12   4  length of the payload when decompressed: the sum of the chunk lengths
//!     16   4  chunk count, 1 to 65535
//!     20   4  base count: 0 for plain, 1 to 16 for delta
//!     24   8  offset of this header: protects against misdirected and replayed writes
//!     32   4  key id    }
//!     36  12  nonce     } room for encryption, zero
//!     48  16  tag       }
//!     64   4  CRC-32 of the payload as stored
//!     68   4  CRC-32 of the file id, bytes 0..68 and both tables
//! ```
//!
//! Chunk table, 36 bytes each, in payload order: length 4, at least 1, BLAKE3-256 fingerprint 32.
//! Base table, 64 bytes each: fingerprint 32, file id 16, frame offset 8, start in that frame's
//! payload 4, length 4. The prefix is all base chunks one after the other. A base chunk is always in
//! a plain frame, so that reading never needs more than one step.

use super::{ENCRYPTION_LEN, FormatError, check_crc, check_magic, check_not_encrypted};
use crate::checksum::crc32;
use crate::codec::{DecodeError, Reader, len_u32};
use crate::id::{FileId, Fingerprint};

/// First bytes of a frame.
pub const MAGIC: &[u8; 4] = b"RFRM";
const STRUCTURE: &str = "frame";

/// Length of the fixed part of the header in bytes.
pub const HEADER_LEN: usize = 72;
/// Length of a row of the chunk table in bytes.
pub const CHUNK_LEN: usize = 4 + 32;
/// Length of a row of the base table in bytes.
pub const BASE_LEN: usize = 32 + 16 + 8 + 4 + 4;

/// Longest payload when decompressed, in bytes.
pub const PLAIN_LEN_MAX: u32 = 16 << 20;
/// Longest payload as stored, in bytes: some room for what does not shrink.
pub const STORED_LEN_MAX: u32 = PLAIN_LEN_MAX + (PLAIN_LEN_MAX >> 7);
/// Most chunks in one frame.
pub const CHUNK_COUNT_MAX: u32 = 65_535;
/// Most base chunks of one delta frame.
pub const BASE_COUNT_MAX: u32 = 16;
/// Longest prefix of a delta frame, in bytes.
pub const PREFIX_LEN_MAX: u64 = 16 << 20;

/// How the payload is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// A chunk's place in the chunk table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkInfo {
    /// Length in bytes.
    pub len: u32,
    /// Fingerprint of its bytes.
    pub fingerprint: Fingerprint,
}

/// Where a chunk is: a hint, the fingerprint is the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// The BDF.
    pub file: FileId,
    /// Offset of the frame's header in it.
    pub frame: u64,
    /// Start of the chunk in the frame's decompressed payload.
    pub start: u32,
}

/// A chunk by identity and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkPointer {
    /// Fingerprint of the whole chunk.
    pub fingerprint: Fingerprint,
    /// Length of the whole chunk in bytes.
    pub len: u32,
    /// Where it was when the pointer was written.
    pub location: Location,
}

/// Everything of a frame but its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHeader {
    /// Coding of the payload.
    pub codec: Codec,
    /// Length of the payload as stored, in bytes.
    pub stored_len: u32,
    /// Length of the payload decompressed, in bytes.
    pub plain_len: u32,
    /// CRC-32 of the payload as stored.
    pub payload_crc: u32,
    /// The chunks in payload order.
    pub chunks: Vec<ChunkInfo>,
    /// The chunks that form the prefix; empty in a plain frame.
    pub bases: Vec<ChunkPointer>,
}

/// The fixed part of a frame header: enough to know how much more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLengths {
    /// Length of both tables in bytes.
    pub tables_len: usize,
    /// Length of the payload as stored, in bytes.
    pub stored_len: usize,
}

impl FrameLengths {
    /// Length of header, tables and payload in bytes.
    #[must_use]
    pub fn total(self) -> usize {
        HEADER_LEN + self.tables_len + self.stored_len
    }

    /// Reads the lengths from the fixed part of a header that is not yet verified.
    ///
    /// # Errors
    /// [`FormatError`] if the magic number is missing or a length is out of range.
    pub fn peek(bytes: &[u8; HEADER_LEN]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let malformed = FormatError::malformed;
        check_magic(STRUCTURE, reader.bytes("magic", 4).map_err(malformed(STRUCTURE))?, MAGIC)?;
        let mut fields = || -> Result<_, DecodeError> {
            reader.u32("kind, codec")?;
            Ok([
                reader.u32("stored length")?,
                reader.u32("plain length")?,
                reader.u32("chunks")?,
                reader.u32("bases")?,
            ])
        };
        let [stored, plain, chunks, bases] = fields().map_err(malformed(STRUCTURE))?;
        let limit = |field, value: u32, max: u32| {
            if value <= max {
                return Ok(value as usize);
            }
            Err(FormatError::Unknown { structure: STRUCTURE, field, value: value.into() })
        };
        limit("plain length", plain, PLAIN_LEN_MAX)?;
        let stored_len = limit("stored length", stored, STORED_LEN_MAX)?;
        let tables_len = limit("chunk count", chunks, CHUNK_COUNT_MAX)? * CHUNK_LEN
            + limit("base count", bases, BASE_COUNT_MAX)? * BASE_LEN;
        Ok(Self { tables_len, stored_len })
    }
}

impl FrameHeader {
    /// Encodes header and tables of the frame at `offset` of the BDF `file`.
    ///
    /// # Panics
    /// If the layout above and this function differ.
    #[must_use]
    pub fn encode(&self, file: FileId, offset: u64) -> Vec<u8> {
        let kind = if self.bases.is_empty() { 1 } else { 2 };
        let codec = match self.codec {
            Codec::Raw => 0,
            Codec::Zstd => 1,
        };
        let mut bytes =
            Vec::with_capacity(HEADER_LEN + self.chunks.len() * CHUNK_LEN + self.bases.len() * BASE_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[kind, codec, 0, 0]);
        for value in [self.stored_len, self.plain_len, len_u32(self.chunks.len()), len_u32(self.bases.len())]
        {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&[0; ENCRYPTION_LEN]);
        bytes.extend_from_slice(&self.payload_crc.to_le_bytes());
        let mut tables = Vec::with_capacity(self.chunks.len() * CHUNK_LEN + self.bases.len() * BASE_LEN);
        for chunk in &self.chunks {
            tables.extend_from_slice(&chunk.len.to_le_bytes());
            tables.extend_from_slice(&chunk.fingerprint.0);
        }
        for base in &self.bases {
            tables.extend_from_slice(&base.fingerprint.0);
            tables.extend_from_slice(&base.location.file.0);
            tables.extend_from_slice(&base.location.frame.to_le_bytes());
            tables.extend_from_slice(&base.location.start.to_le_bytes());
            tables.extend_from_slice(&base.len.to_le_bytes());
        }
        let crc = crc32(&[&file.0, &bytes, &tables]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(bytes.len(), HEADER_LEN, "the fixed part has 72 bytes");
        bytes.extend_from_slice(&tables);
        bytes
    }

    /// Decodes header and tables, read at `offset` of the BDF `file`.
    ///
    /// # Errors
    /// [`FormatError`] if anything is not as it was written there.
    pub fn decode(bytes: &[u8], file: FileId, offset: u64) -> Result<Self, FormatError> {
        let malformed = FormatError::malformed;
        let mut reader = Reader::new(bytes);
        let mut fixed = [0; HEADER_LEN];
        fixed.copy_from_slice(reader.bytes("header", HEADER_LEN).map_err(malformed(STRUCTURE))?);
        let lengths = FrameLengths::peek(&fixed)?;
        let tables = reader.bytes("tables", lengths.tables_len).map_err(malformed(STRUCTURE))?;
        let mut crc = Reader::new(&fixed);
        crc.bytes("header", HEADER_LEN - 4).map_err(malformed(STRUCTURE))?;
        let crc = crc.u32("CRC").map_err(malformed(STRUCTURE))?;
        let covered = fixed.get(..HEADER_LEN - 4).unwrap_or_default();
        check_crc(STRUCTURE, crc, crc32(&[&file.0, covered, tables]))?;
        let header = decode_fixed(&fixed, tables, offset)?;
        let unknown = |field, value: u64| FormatError::Unknown { structure: STRUCTURE, field, value };
        let sum: u64 = header.chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        let raw_mismatch = header.codec == Codec::Raw && header.stored_len != header.plain_len;
        // An empty chunk would hide the one that begins at the same byte.
        if header.chunks.iter().any(|chunk| chunk.len == 0) {
            return Err(unknown("chunk length", 0));
        }
        if sum != u64::from(header.plain_len) || header.chunks.is_empty() || raw_mismatch {
            return Err(unknown("plain length", header.plain_len.into()));
        }
        let prefix_len: u64 = header.bases.iter().map(|base| u64::from(base.len)).sum();
        if prefix_len > PREFIX_LEN_MAX {
            return Err(unknown("prefix length", prefix_len));
        }
        Ok(header)
    }

    /// Length of both tables in bytes.
    #[must_use]
    pub fn tables_len(&self) -> u64 {
        (self.chunks.len() * CHUNK_LEN + self.bases.len() * BASE_LEN) as u64
    }

    /// Finds the chunk that begins at `start` of the decompressed payload.
    #[must_use]
    pub fn chunk_at(&self, start: u32) -> Option<ChunkInfo> {
        let mut position = 0_u64;
        for chunk in &self.chunks {
            if position == u64::from(start) {
                return Some(*chunk);
            }
            position += u64::from(chunk.len);
        }
        None
    }
}

// The fixed part, whose checksum was checked.
fn decode_fixed(fixed: &[u8; HEADER_LEN], tables: &[u8], offset: u64) -> Result<FrameHeader, FormatError> {
    let malformed = FormatError::malformed;
    let mut reader = Reader::new(fixed);
    let mut fields = || -> Result<_, DecodeError> {
        reader.u32("magic")?;
        let codes = reader.array::<2>("kind, codec")?;
        reader.u16("reserved")?;
        let lengths =
            [reader.u32("stored")?, reader.u32("plain")?, reader.u32("chunks")?, reader.u32("bases")?];
        let stored_offset = reader.u64("offset")?;
        let room = reader.array::<ENCRYPTION_LEN>("encryption")?;
        Ok((codes, lengths, stored_offset, room, reader.u32("payload CRC")?))
    };
    let ([kind, codec], [stored_len, plain_len, chunk_count, base_count], stored_offset, room, payload_crc) =
        fields().map_err(malformed(STRUCTURE))?;
    if stored_offset != offset {
        return Err(FormatError::Misplaced { structure: STRUCTURE, stored: stored_offset, actual: offset });
    }
    check_not_encrypted(STRUCTURE, &room)?;
    let unknown = |field, value: u64| FormatError::Unknown { structure: STRUCTURE, field, value };
    if !matches!((kind, base_count), (1, 0) | (2, 1..)) {
        return Err(unknown("kind", kind.into()));
    }
    let codec = match codec {
        0 => Codec::Raw,
        1 => Codec::Zstd,
        other => return Err(unknown("codec", other.into())),
    };
    let (chunks, bases) = decode_tables(tables, chunk_count, base_count).map_err(malformed(STRUCTURE))?;
    Ok(FrameHeader { codec, stored_len, plain_len, payload_crc, chunks, bases })
}

fn decode_tables(
    tables: &[u8],
    chunk_count: u32,
    base_count: u32,
) -> Result<(Vec<ChunkInfo>, Vec<ChunkPointer>), DecodeError> {
    let mut reader = Reader::new(tables);
    let mut chunks = Vec::with_capacity(chunk_count as usize);
    for _ in 0..chunk_count {
        let len = reader.u32("chunk length")?;
        chunks.push(ChunkInfo { len, fingerprint: Fingerprint(reader.array("fingerprint")?) });
    }
    let mut bases = Vec::with_capacity(base_count as usize);
    for _ in 0..base_count {
        let fingerprint = Fingerprint(reader.array("base fingerprint")?);
        let file = FileId(reader.array("base file")?);
        let frame = reader.u64("base frame")?;
        let start = reader.u32("base start")?;
        let len = reader.u32("base length")?;
        bases.push(ChunkPointer { fingerprint, len, location: Location { file, frame, start } });
    }
    Ok((chunks, bases))
}
