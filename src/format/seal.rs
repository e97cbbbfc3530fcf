//! The seal: the last 64 bytes of every BDF and DTF. A file without one was never finished.
//!
//! ```text
//! offset len  field
//!      0   8  magic: "REELSEAL"
//!      8   2  format version
//!     10   6  reserved
//!     16   8  offset of the footer
//!     24   8  length of the footer in bytes
//!     32   8  length of the file in bytes: protects against truncation and concatenation
//!     40  16  file id: protects against a seal of another file
//!     56   4  CRC-32 of the footer
//!     60   4  CRC-32 of bytes 0..60
//! ```

use super::{FormatError, check_crc, check_magic, check_version};
use crate::checksum::crc32;
use crate::codec::Reader;
use crate::id::FileId;

/// First bytes of the seal.
pub const MAGIC: &[u8; 8] = b"REELSEAL";
const STRUCTURE: &str = "seal";

/// Length of the seal in bytes.
pub const SEAL_LEN: usize = 64;

/// Longest footer that a reader accepts, in bytes.
pub const FOOTER_LEN_MAX: u64 = 16 << 20;

/// What the seal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Offset of the footer.
    pub footer_offset: u64,
    /// Length of the footer in bytes.
    pub footer_len: u64,
    /// Identity of the file.
    pub file: FileId,
    /// CRC-32 of the footer.
    pub footer_crc: u32,
}

impl Seal {
    /// Encodes the seal that follows the footer.
    ///
    /// # Panics
    /// If the layout above and this function differ.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEAL_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&super::FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&self.footer_offset.to_le_bytes());
        bytes.extend_from_slice(&self.footer_len.to_le_bytes());
        let file_len = self.footer_offset + self.footer_len + SEAL_LEN as u64;
        bytes.extend_from_slice(&file_len.to_le_bytes());
        bytes.extend_from_slice(&self.file.0);
        bytes.extend_from_slice(&self.footer_crc.to_le_bytes());
        let crc = crc32(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(bytes.len(), SEAL_LEN, "the layout has 64 bytes");
        bytes
    }

    /// Decodes the last 64 bytes of a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`FormatError`] if the bytes are not a seal for a file of this length.
    pub fn decode(bytes: &[u8; SEAL_LEN], file_len: u64) -> Result<Self, FormatError> {
        let malformed = FormatError::malformed;
        let mut reader = Reader::new(bytes);
        check_magic(STRUCTURE, reader.bytes("magic", 8).map_err(malformed(STRUCTURE))?, MAGIC)?;
        let version = reader.u16("version").map_err(malformed(STRUCTURE))?;
        let mut rest = || -> Result<_, crate::codec::DecodeError> {
            reader.bytes("reserved", 6)?;
            let footer_offset = reader.u64("footer offset")?;
            let footer_len = reader.u64("footer length")?;
            let stored_len = reader.u64("file length")?;
            let file = FileId(reader.array("file id")?);
            let footer_crc = reader.u32("footer CRC")?;
            let crc = reader.u32("CRC")?;
            Ok((Self { footer_offset, footer_len, file, footer_crc }, stored_len, crc))
        };
        let (seal, stored_len, crc) = rest().map_err(malformed(STRUCTURE))?;
        check_crc(STRUCTURE, crc, crc32(&[bytes.get(..SEAL_LEN - 4).unwrap_or_default()]))?;
        check_version(STRUCTURE, version)?;
        let end =
            seal.footer_offset.checked_add(seal.footer_len).and_then(|end| end.checked_add(SEAL_LEN as u64));
        if stored_len != file_len || end != Some(file_len) || seal.footer_len > FOOTER_LEN_MAX {
            return Err(FormatError::Misplaced {
                structure: STRUCTURE,
                stored: stored_len.saturating_sub(SEAL_LEN as u64),
                actual: file_len.saturating_sub(SEAL_LEN as u64),
            });
        }
        Ok(seal)
    }
}
