//! On-disk formats, as pure functions between bytes and values.
//!
//! All integers are little-endian unless a layout says otherwise. Offsets are bytes from the start
//! of the file. A reserved field is written as zero and ignored by readers of this version.

pub mod bdf;
pub mod config;
pub mod dtf;
mod extent;
pub mod frame;
mod key;
mod kind;
pub mod page;
pub mod record;
pub mod seal;
pub mod splice;
pub mod staging_policy;
mod xattr;

use thiserror::Error;

use crate::codec::DecodeError;
use crate::id::FileId;

/// Version of the BDF and DTF formats that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Why bytes are not what the format says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The first bytes are not those of the structure.
    #[error("{structure} does not begin with its magic number, found {found:02x?}")]
    Magic {
        /// What was expected there.
        structure: &'static str,
        /// The bytes found.
        found: Vec<u8>,
    },
    /// The structure is of a version that this program does not know.
    #[error("{structure} has format version {found}, this program reads version {expected}")]
    Version {
        /// What carries the version.
        structure: &'static str,
        /// Version found.
        found: u16,
        /// Version that can be read.
        expected: u16,
    },
    /// The checksum does not match.
    #[error("{structure} has CRC-32 {computed:08x}, its header says {stored:08x}")]
    Checksum {
        /// What is damaged.
        structure: &'static str,
        /// CRC-32 in the file.
        stored: u32,
        /// CRC-32 of the bytes read.
        computed: u32,
    },
    /// The structure belongs to another place or file: a misdirected or replayed write.
    #[error("{structure} says that it is at byte {stored}, it was read at byte {actual}")]
    Misplaced {
        /// What is misplaced.
        structure: &'static str,
        /// Offset in the structure.
        stored: u64,
        /// Offset at which it was read.
        actual: u64,
    },
    /// The file's identity is not the expected one.
    #[error("{structure} has the id {actual}, expected {expected}")]
    Identity {
        /// What carries the identity.
        structure: &'static str,
        /// Expected.
        expected: FileId,
        /// Found.
        actual: FileId,
    },
    /// A field has a value that the format does not know or allow.
    #[error("{structure}: {field} is {value}, which this version of the format does not know")]
    Unknown {
        /// What holds the field.
        structure: &'static str,
        /// Name of the field.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// Records are not in the order that the format demands.
    #[error("{structure}: record {index} is out of order")]
    Order {
        /// What holds the records.
        structure: &'static str,
        /// Index of the record.
        index: usize,
    },
    /// The bytes could not be decoded.
    #[error("{structure} is malformed")]
    Malformed {
        /// What is malformed.
        structure: &'static str,
        /// Where and how.
        source: DecodeError,
    },
}

impl FormatError {
    /// Wraps a decoding error with the name of the structure.
    pub(crate) fn malformed(structure: &'static str) -> impl FnOnce(DecodeError) -> Self {
        move |source| Self::Malformed { structure, source }
    }
}

/// Checks a magic number.
pub(crate) fn check_magic(structure: &'static str, found: &[u8], expected: &[u8]) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    Err(FormatError::Magic { structure, found: found.to_vec() })
}

/// Checks a CRC-32.
pub(crate) fn check_crc(structure: &'static str, stored: u32, computed: u32) -> Result<(), FormatError> {
    if stored == computed {
        return Ok(());
    }
    Err(FormatError::Checksum { structure, stored, computed })
}

/// Checks a format version.
pub(crate) fn check_version(structure: &'static str, found: u16) -> Result<(), FormatError> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    Err(FormatError::Version { structure, found, expected: FORMAT_VERSION })
}

/// Room for encryption, which every frame and page has from the first version: all zero today.
///
/// Layout: key id 4, nonce 12, tag 16; 32 bytes.
pub(crate) const ENCRYPTION_LEN: usize = 4 + 12 + 16;

/// Reads the room for encryption: a key id other than 0 means that the payload is encrypted.
pub(crate) fn check_not_encrypted(
    structure: &'static str,
    room: &[u8; ENCRYPTION_LEN],
) -> Result<(), FormatError> {
    let [a, b, c, d, ..] = *room;
    match u32::from_le_bytes([a, b, c, d]) {
        0 => Ok(()),
        key => Err(FormatError::Unknown { structure, field: "key id", value: key.into() }),
    }
}
