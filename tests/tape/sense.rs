//! Sense data, in both formats, whole and cut short.

use reelfs::scsi::{FieldPointer, Meaning, Sense, SenseKey};

/// Fixed format (SPC-4): VALID and 70h, FM/EOM/ILI and key, INFORMATION, additional length 10,
/// code and qualifier.
const SHORT_BLOCK: [u8; 18] = [0xf0, 0, 0x20, 0x00, 0x00, 0x01, 0x00, 10, 0, 0, 0, 0, 0x00, 0x00, 0, 0, 0, 0];

#[test]
fn fixed_sense_of_a_short_block_gives_what_is_missing() {
    let sense = Sense::parse(&SHORT_BLOCK).expect("sense");
    assert_eq!(sense.key, SenseKey::NoSense);
    assert!(sense.incorrect_length && !sense.filemark && !sense.end_of_medium && !sense.deferred);
    assert_eq!(sense.information, Some(256));
    assert_eq!(sense.meaning(), Meaning::IncorrectLength);
}

#[test]
fn the_information_of_a_long_block_is_negative_in_both_formats() {
    let mut fixed = SHORT_BLOCK;
    fixed[3..7].copy_from_slice(&(-524_288_i32).to_be_bytes());
    assert_eq!(Sense::parse(&fixed).expect("sense").information, Some(-524_288));

    // Descriptor format (SPC-4): 72h, key, code, qualifier, additional length; information
    // descriptor; stream descriptor (SSC-4) with ILI.
    let mut descriptors = vec![0x72, 0x00, 0x00, 0x00, 0, 0, 0, 16, 0x00, 0x0a, 0x80, 0x00];
    descriptors.extend_from_slice(&(-524_288_i64).to_be_bytes());
    descriptors.extend_from_slice(&[0x04, 0x02, 0x00, 0x20]);
    let sense = Sense::parse(&descriptors).expect("sense");
    assert_eq!(sense.information, Some(-524_288));
    assert!(sense.incorrect_length);
    assert_eq!(sense.meaning(), Meaning::IncorrectLength);
}

#[test]
fn a_field_pointer_tells_where_a_cdb_is_wrong() {
    // SPC-4: SKSV, C/D, BPV and bit 3 of byte 7 of the CDB.
    let bytes = [0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0x00, 0, 0xcb, 0x00, 0x07];
    let sense = Sense::parse(&bytes).expect("sense");
    assert_eq!(sense.field, Some(FieldPointer { in_cdb: true, byte: 7, bit: Some(3) }));
    assert_eq!(sense.meaning(), Meaning::UnsupportedField);
}
