//! What stands in the memory of the cartridge (MAM): a cache of what is on the tape, and a name for people.
//!
//! Identifiers and lengths: SPC-4, table 389 and following ("host type attributes").

use super::FORMAT_VERSION;
use super::description::VolumeDescription;
use crate::id::FileId;
use crate::scsi::mam::{Attribute, VolumeCoherency, attribute_id};

const APPLICATION: &[u8; 7] = b"REELFS\0";
const COHERENCY_VERSION: u8 = 1;

/// Volume coherency information, 080Ch: where the newest index is, as of a state of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coherency {
    /// Volume change reference (0009h) at the time: another value means that something was written since.
    pub change_reference: u64,
    /// Number of the newest index.
    pub index_number: u64,
    /// First block of its part.
    pub index_loi: u64,
    /// The cartridge.
    pub volume: FileId,
}

impl Coherency {
    /// Encodes the attribute.
    #[must_use]
    pub fn encode(&self) -> Attribute {
        let application =
            [&APPLICATION[..], self.volume.to_string().as_bytes(), &[0, COHERENCY_VERSION]].concat();
        let value = VolumeCoherency {
            volume_change_reference: self.change_reference,
            count: self.index_number,
            set_identifier: self.index_loi,
            application,
        };
        Attribute::binary(attribute_id::VOLUME_COHERENCY, &value.encode())
    }

    /// Decodes the attribute's value; `None` if it is another program's, or none.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let coherency = VolumeCoherency::parse(value).ok()?;
        let id = coherency.application.strip_prefix(APPLICATION)?;
        let (id, end) = id.split_at_checked(32)?;
        if end != [0, COHERENCY_VERSION] {
            return None;
        }
        Some(Self {
            change_reference: coherency.volume_change_reference,
            index_number: coherency.count,
            index_loi: coherency.set_identifier,
            volume: std::str::from_utf8(id).ok()?.parse().ok()?,
        })
    }
}

/// Attributes that tell any program what the cartridge is.
#[must_use]
pub fn host_attributes(volume: &VolumeDescription, program_version: &str) -> Vec<Attribute> {
    vec![
        Attribute::ascii(attribute_id::APPLICATION_VENDOR, "REELFS", 8),
        Attribute::ascii(attribute_id::APPLICATION_NAME, "reelfs", 32),
        Attribute::ascii(attribute_id::APPLICATION_VERSION, program_version, 8),
        // 81h: UTF-8.
        Attribute::binary(attribute_id::TEXT_LOCALIZATION_IDENTIFIER, &[0x81]),
        Attribute::text(attribute_id::USER_MEDIUM_TEXT_LABEL, &volume.label, 160),
        Attribute::ascii(attribute_id::BARCODE, &volume.barcode, 32),
        Attribute::text(attribute_id::MEDIA_POOL, &volume.pool, 160),
        Attribute::ascii(attribute_id::APPLICATION_FORMAT_VERSION, &FORMAT_VERSION.to_string(), 16),
    ]
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn where_the_newest_index_is_comes_back_and_others_values_do_not() {
        let coherency =
            Coherency { change_reference: 9, index_number: 3, index_loi: 70_000, volume: FileId([5; 16]) };
        let bytes = coherency.encode().value;
        assert_eq!(Coherency::decode(&bytes), Some(coherency));
        for len in 0..bytes.len() {
            assert_eq!(Coherency::decode(&bytes[..len]), None);
        }
        let ltfs = [&[8][..], &[0; 24], &[0, 43], b"LTFS\0", &[b'0'; 36], &[0, 1]].concat();
        assert_eq!(Coherency::decode(&ltfs), None);
    }
}
