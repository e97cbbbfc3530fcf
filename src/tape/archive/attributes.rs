//! What stands in the memory of the cartridge (MAM): a cache of what is on the tape, and a name for people.
//!
//! Identifiers and lengths: SPC-4, table 389 and following ("host type attributes").

use super::FORMAT_VERSION;
use super::description::VolumeDescription;
use crate::id::FileId;

const APPLICATION: &[u8; 7] = b"REELFS\0";
const COHERENCY_VERSION: u8 = 1;

/// Attribute for the memory: identifier, format, value.
pub type HostAttribute = (u16, AttributeFormat, Vec<u8>);

/// Format of an attribute's value (SPC-4, 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeFormat {
    /// 00b.
    Binary,
    /// 01b.
    Ascii,
    /// 10b: in the character set of attribute 0805h.
    Text,
}

/// Volume coherency information, 080Ch: where the newest index is, as of a state of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coherency {
    /// Volume change reference (0009h) at the time: another value means that something was written since.
    pub change_reference: Vec<u8>,
    /// Number of the newest index.
    pub index_number: u64,
    /// First block of its part.
    pub index_loi: u64,
    /// The cartridge.
    pub volume: FileId,
}

impl Coherency {
    /// Identifier of the attribute.
    pub const ID: u16 = 0x080c;

    /// Encodes the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let reference: Vec<u8> = self.change_reference.iter().copied().take(255).collect();
        let information =
            [&APPLICATION[..], self.volume.to_string().as_bytes(), &[0, COHERENCY_VERSION]].concat();
        let mut bytes = vec![u8::try_from(reference.len()).unwrap_or(u8::MAX)];
        bytes.extend_from_slice(&reference);
        bytes.extend_from_slice(&self.index_number.to_be_bytes());
        bytes.extend_from_slice(&self.index_loi.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(information.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&information);
        bytes
    }

    /// Decodes a value; `None` if it is another program's, or none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (reference_len, rest) = bytes.split_first()?;
        let (change_reference, rest) = rest.split_at_checked(usize::from(*reference_len))?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (loi, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let information = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        let id = information.strip_prefix(APPLICATION)?;
        let (id, end) = id.split_at_checked(32)?;
        if end != [0, COHERENCY_VERSION] {
            return None;
        }
        Some(Self {
            change_reference: change_reference.to_vec(),
            index_number: u64::from_be_bytes(*number),
            index_loi: u64::from_be_bytes(*loi),
            volume: std::str::from_utf8(id).ok()?.parse().ok()?,
        })
    }
}

/// Attributes that tell any program what the cartridge is.
#[must_use]
pub fn host_attributes(volume: &VolumeDescription, program_version: &str) -> Vec<HostAttribute> {
    let ascii = |id, text: &str, len: usize| {
        let mut value: Vec<u8> = text.bytes().filter(u8::is_ascii).take(len).collect();
        value.resize(len, b' ');
        (id, AttributeFormat::Ascii, value)
    };
    let text = |id, text: &str| {
        let mut value: Vec<u8> = text.bytes().take(160).collect();
        value.resize(160, 0);
        (id, AttributeFormat::Text, value)
    };
    vec![
        ascii(0x0800, "REELFS", 8),
        ascii(0x0801, "reelfs", 32),
        ascii(0x0802, program_version, 8),
        // 81h: UTF-8.
        (0x0805, AttributeFormat::Binary, vec![0x81]),
        text(0x0803, &volume.label),
        ascii(0x0806, &volume.barcode, 32),
        text(0x0808, &volume.pool),
        ascii(0x080b, &FORMAT_VERSION.to_string(), 16),
    ]
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn where_the_newest_index_is_comes_back_and_others_values_do_not() {
        let coherency = Coherency {
            change_reference: vec![0, 0, 0, 9],
            index_number: 3,
            index_loi: 70_000,
            volume: FileId([5; 16]),
        };
        let bytes = coherency.encode();
        assert_eq!(Coherency::decode(&bytes), Some(coherency));
        for len in 0..bytes.len() {
            assert_eq!(Coherency::decode(&bytes[..len]), None);
        }
        let ltfs = [&[8][..], &[0; 24], &[0, 43], b"LTFS\0", &[b'0'; 36], &[0, 1]].concat();
        assert_eq!(Coherency::decode(&ltfs), None);
    }
}
