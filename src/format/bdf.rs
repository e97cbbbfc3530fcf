//! Backup data file (BDF): header, frames ([`super::frame`]), footer, seal ([`super::seal`]).
//!
//! Header, 128 bytes:
//!
//! ```text
//! offset len  field
//!      0   8  magic: "REELBDF\0"
//!      8   2  format version
//!     10   2  length of the header: 128
//!     12   1  area: 1 full, 2 delta, 3 merge
//!     13   3  reserved
//!     16  16  file id, random; also the file's name in hexadecimal
//!     32  16  id of the repository
//!     48   8  time of writing, seconds since 1970, signed
//!     56   4  ordinal of the generation that it was written for
//!     60  64  client name, padded with NUL
//!    124   4  CRC-32 of bytes 0..124
//! ```
//!
//! Footer: magic `"RFOOTBDF"`, frame count (4 bytes), then for each frame its offset (8 bytes), its
//! length with header and tables (4) and its chunk count (4). Its CRC-32 is in the seal.

use super::{FORMAT_VERSION, FormatError, check_crc, check_magic, check_version};
use crate::checksum::crc32;
use crate::codec::{DecodeError, Reader, len_u32};
use crate::id::{ClientName, FileId, Ordinal};

/// First bytes of a BDF.
pub const MAGIC: &[u8; 8] = b"REELBDF\0";
/// First bytes of the footer.
pub const FOOTER_MAGIC: &[u8; 8] = b"RFOOTBDF";
const STRUCTURE: &str = "BDF header";
const FOOTER: &str = "BDF footer";

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 128;
/// Most frames in one BDF, so that a footer is not longer than
/// [`FOOTER_LEN_MAX`](super::seal::FOOTER_LEN_MAX).
pub const FRAME_COUNT_MAX: usize = (1 << 20) - 1;
/// Length of the footer before its rows, in bytes.
pub const FOOTER_HEAD_LEN: usize = 12;

/// Where a BDF stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// The client's baseline.
    Full,
    /// What one generation added.
    Delta,
    /// Work space of merging.
    Merge,
}

impl Area {
    /// All areas, in the order in which readers look into them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Delta, Self::Merge];

    /// Name of the area's directory.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Delta => "delta",
            Self::Merge => "merge",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Full => 1,
            Self::Delta => 2,
            Self::Merge => 3,
        }
    }
}

/// The header of a BDF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BdfHeader {
    /// Identity of the file.
    pub file: FileId,
    /// Repository that it was written in.
    pub repository: FileId,
    /// Area that it was written for.
    pub area: Area,
    /// Client that it was written for.
    pub client: ClientName,
    /// Generation that it was written for.
    pub ordinal: Ordinal,
    /// Time of writing, seconds since 1970.
    pub written_seconds: i64,
}

impl BdfHeader {
    /// Encodes the first 128 bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&128_u16.to_le_bytes());
        bytes.push(self.area.code());
        bytes.extend_from_slice(&[0; 3]);
        bytes.extend_from_slice(&self.file.0);
        bytes.extend_from_slice(&self.repository.0);
        bytes.extend_from_slice(&self.written_seconds.to_le_bytes());
        bytes.extend_from_slice(&self.ordinal.get().to_le_bytes());
        bytes.extend_from_slice(self.client.as_str().as_bytes());
        bytes.resize(HEADER_LEN - 4, 0);
        let crc = crc32(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes the first 128 bytes of a file.
    ///
    /// # Errors
    /// [`FormatError`] if they are not a header of a known version.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FormatError> {
        let malformed = FormatError::malformed;
        let mut reader = Reader::new(bytes);
        check_magic(STRUCTURE, reader.bytes("magic", 8).map_err(malformed(STRUCTURE))?, MAGIC)?;
        let mut fields = || -> Result<_, DecodeError> {
            let version = reader.u16("version")?;
            reader.u16("header length")?;
            let area = reader.u8("area")?;
            reader.bytes("reserved", 3)?;
            let file = FileId(reader.array("file id")?);
            let repository = FileId(reader.array("repository id")?);
            let written_seconds = reader.u64("time")?.cast_signed();
            let ordinal = reader.u32("ordinal")?;
            let client = reader.bytes("client", ClientName::LEN_MAX)?;
            let crc = reader.u32("CRC")?;
            Ok((version, area, file, repository, written_seconds, ordinal, client, crc))
        };
        let (version, area, file, repository, written_seconds, ordinal, client, crc) =
            fields().map_err(malformed(STRUCTURE))?;
        check_crc(STRUCTURE, crc, crc32(&[bytes.get(..HEADER_LEN - 4).unwrap_or_default()]))?;
        check_version(STRUCTURE, version)?;
        let unknown = |field, value| FormatError::Unknown { structure: STRUCTURE, field, value };
        let area = Area::ALL
            .into_iter()
            .find(|known| known.code() == area)
            .ok_or_else(|| unknown("area", area.into()))?;
        let ordinal = Ordinal::new(ordinal).ok_or_else(|| unknown("ordinal", ordinal.into()))?;
        let client = decode_client(client).ok_or_else(|| unknown("client name", 0))?;
        Ok(Self { file, repository, area, client, ordinal, written_seconds })
    }
}

/// Reads a client name padded with NUL.
pub(crate) fn decode_client(padded: &[u8]) -> Option<ClientName> {
    let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
    let (name, padding) = padded.split_at_checked(end)?;
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Where a frame is, as the footer lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSpan {
    /// Offset of the frame's header.
    pub offset: u64,
    /// Length of header, tables and payload in bytes.
    pub len: u32,
    /// Count of chunks.
    pub chunk_count: u32,
}

/// Encodes the footer.
#[must_use]
pub fn encode_footer(frames: &[FrameSpan]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FOOTER_HEAD_LEN + frames.len() * 16);
    bytes.extend_from_slice(FOOTER_MAGIC);
    bytes.extend_from_slice(&len_u32(frames.len()).to_le_bytes());
    for frame in frames {
        bytes.extend_from_slice(&frame.offset.to_le_bytes());
        bytes.extend_from_slice(&frame.len.to_le_bytes());
        bytes.extend_from_slice(&frame.chunk_count.to_le_bytes());
    }
    bytes
}

/// Decodes the footer, whose CRC-32 the seal holds.
///
/// # Errors
/// [`FormatError`] if the checksum or a field is wrong.
pub fn decode_footer(bytes: &[u8], crc: u32) -> Result<Vec<FrameSpan>, FormatError> {
    let malformed = FormatError::malformed;
    check_crc(FOOTER, crc, crc32(&[bytes]))?;
    let mut reader = Reader::new(bytes);
    check_magic(FOOTER, reader.bytes("magic", 8).map_err(malformed(FOOTER))?, FOOTER_MAGIC)?;
    let mut spans = || -> Result<_, DecodeError> {
        let count = reader.u32("frame count")?;
        let mut frames = Vec::with_capacity(reader.remaining() / 16);
        for _ in 0..count {
            let offset = reader.u64("frame offset")?;
            let len = reader.u32("frame length")?;
            let chunk_count = reader.u32("chunk count")?;
            frames.push(FrameSpan { offset, len, chunk_count });
        }
        reader.finish("footer")?;
        Ok(frames)
    };
    spans().map_err(malformed(FOOTER))
}
