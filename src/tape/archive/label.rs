//! The first block of a cartridge: an 80-byte volume label, as ISO 1001 and LTFS have it.
//!
//! ```text
//! 0 "VOL1" 4 | 4 volume identifier 6 | 10 accessibility 1 | 11 reserved 13
//! 24 implementation identifier 13 | 37 owner identifier 14 | 51 reserved 28 | 79 label standard 1
//! ```

use super::{ArchiveError, shown};

/// Length of the label, and of the block that holds it alone, in bytes.
pub const LABEL_LEN: usize = 80;

const IMPLEMENTATION: &[u8; 13] = b"REELFS       ";
/// Longest barcode in bytes: the field of a changer, less what no label printer makes.
const BARCODE_LEN_MAX: usize = 32;

/// Tells whether a text can be a barcode or stand for one: 1 to 32 of `A-Z`, `0-9`, `_` and `-`, of which
/// the first is a letter or digit.
#[must_use]
pub fn is_valid_barcode(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    text.len() <= BARCODE_LEN_MAX
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(is_valid)
}

/// The volume label of a cartridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeLabel {
    /// First six characters of the barcode, without spaces at the end.
    pub serial: String,
}

impl VolumeLabel {
    /// The label for a cartridge of this barcode.
    #[must_use]
    pub fn new(barcode: &str) -> Self {
        Self { serial: barcode.chars().take(6).collect() }
    }

    /// Encodes the block.
    #[must_use]
    pub fn encode(&self) -> [u8; LABEL_LEN] {
        let text = format!("VOL1{:6.6} {:13}", self.serial, "");
        let fields = text.bytes().chain(IMPLEMENTATION.iter().copied());
        let mut label = [b' '; LABEL_LEN];
        for (target, byte) in label.iter_mut().zip(fields) {
            *target = byte;
        }
        if let Some(last) = label.last_mut() {
            *last = b'4';
        }
        label
    }

    /// Decodes the first block of a cartridge; `None` if it is not a label of ours.
    ///
    /// # Errors
    /// [`ArchiveError`] if it is, and the serial is no part of a barcode.
    pub fn decode(block: &[u8]) -> Result<Option<Self>, ArchiveError> {
        let is_ours = block.len() == LABEL_LEN
            && block.starts_with(b"VOL1")
            && block.get(24..37) == Some(IMPLEMENTATION.as_slice());
        if !is_ours {
            return Ok(None);
        }
        let field = block.get(4..10).unwrap_or_default();
        let serial = std::str::from_utf8(field).unwrap_or_default().trim_end_matches(' ');
        if !is_valid_barcode(serial) {
            return Err(ArchiveError::Field {
                structure: "volume label",
                offset: 4,
                field: "volume identifier",
                expected: "letters and digits of a barcode",
                found: shown(field),
            });
        }
        Ok(Some(Self { serial: serial.to_owned() }))
    }
}
