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

use Meaning as M;

/// Key, code, qualifier (SPC-4, annex of additional sense codes), and what they mean.
const MEANINGS: &[(u8, u8, u8, Meaning)] = &[
    (0x0, 0x00, 0x00, M::Nothing),
    (0x0, 0x00, 0x01, M::Filemark),
    (0x0, 0x00, 0x02, M::EarlyWarning),
    (0x1, 0x00, 0x02, M::EarlyWarning),
    (0x0, 0x00, 0x04, M::BeginningOfPartition),
    (0x0, 0x00, 0x05, M::EndOfData),
    (0x0, 0x00, 0x07, M::ProgrammableEarlyWarning),
    (0x0, 0x00, 0x17, M::CleaningRequested),
    (0x1, 0x00, 0x17, M::CleaningRequested),
    (0x1, 0x17, 0x01, M::Recovered),
    (0x2, 0x04, 0x00, M::BecomingReady),
    (0x2, 0x04, 0x01, M::BecomingReady),
    (0x2, 0x04, 0x02, M::LoadRequired),
    (0x2, 0x04, 0x03, M::InterventionRequired),
    (0x4, 0x04, 0x03, M::InterventionRequired),
    (0x2, 0x04, 0x07, M::BecomingReady),
    (0x2, 0x04, 0x13, M::BecomingReady),
    (0x2, 0x30, 0x03, M::CleaningCartridge),
    (0x2, 0x30, 0x00, M::IncompatibleMedium),
    (0x2, 0x3a, 0x00, M::NoMedium),
    (0x2, 0x3a, 0x04, M::NoMedium),
    (0x3, 0x0c, 0x00, M::WriteError),
    (0x3, 0x11, 0x00, M::ReadError),
    (0x3, 0x14, 0x03, M::EndOfDataNotFound),
    (0x3, 0x31, 0x00, M::MediumError),
    (0x3, 0x52, 0x00, M::MediumError),
    (0x4, 0x10, 0x01, M::ProtectionMismatch),
    (0x4, 0x44, 0x00, M::HardwareError),
    (0x5, 0x20, 0x00, M::UnsupportedCommand),
    (0x5, 0x21, 0x01, M::InvalidElement),
    (0x5, 0x24, 0x00, M::UnsupportedField),
    (0x5, 0x26, 0x00, M::UnsupportedField),
    (0x5, 0x2c, 0x00, M::WrongState),
    (0x5, 0x3b, 0x0d, M::DestinationFull),
    (0x5, 0x3b, 0x0e, M::SourceEmpty),
    (0x5, 0x4a, 0x00, M::IllegalRequest),
    (0x5, 0x53, 0x02, M::RemovalPrevented),
    (0x6, 0x28, 0x00, M::MediumChanged),
    (0x6, 0x28, 0x01, M::ImportExportAccessed),
    (0x6, 0x29, 0x00, M::Reset),
    (0x6, 0x29, 0x07, M::Reset),
    (0x6, 0x2a, 0x01, M::ParametersChanged),
    (0x6, 0x2a, 0x03, M::ReservationLost),
    (0x6, 0x2a, 0x05, M::ReservationLost),
    (0x6, 0x2a, 0x10, M::OtherUnitAttention),
    (0x6, 0x3f, 0x01, M::OtherUnitAttention),
    (0x6, 0x5a, 0x01, M::OperatorRequest),
    (0x7, 0x27, 0x00, M::WriteProtected),
    (0x7, 0x30, 0x0c, M::WormViolation),
    (0x7, 0x74, 0x01, M::Encrypted),
    (0x8, 0x00, 0x05, M::EndOfData),
    (0x8, 0x00, 0x00, M::EndOfData),
    (0x8, 0x14, 0x01, M::EndOfData),
    (0x8, 0x14, 0x03, M::EndOfDataNotFound),
    (0xb, 0x47, 0x00, M::Aborted),
    (0xd, 0x00, 0x02, M::VolumeOverflow),
    (0x9, 0x80, 0x00, M::Unknown),
];

#[test]
fn each_sense_means_one_thing() {
    for &(key, code, qualifier, expected) in MEANINGS {
        let mut fixed = [0; 18];
        (fixed[0], fixed[2], fixed[7], fixed[12], fixed[13]) = (0x70, key, 10, code, qualifier);
        let sense = Sense::parse(&fixed).expect("sense");
        assert_eq!(sense.meaning(), expected, "{sense}");
        let descriptors = Sense::parse(&[0x72, key, code, qualifier, 0, 0, 0, 0]).expect("sense");
        assert_eq!(descriptors.meaning(), expected, "{descriptors}");
        // Deferred, an error belongs to an earlier command, whatever it says.
        fixed[0] = 0x71;
        let deferred = Sense::parse(&fixed).expect("sense").meaning();
        assert_eq!(deferred, if key > 1 { M::Deferred } else { expected }, "{sense}");
    }
}

#[test]
fn bits_count_where_codes_say_nothing() {
    let fixed = |flags| [0x70, 0, flags, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let meaning = |flags| Sense::parse(&fixed(flags)).expect("sense").meaning();
    assert_eq!(meaning(0x40), Meaning::EarlyWarning);
    assert_eq!(meaning(0x80), Meaning::Filemark);
    assert_eq!(meaning(0x20), Meaning::IncorrectLength);
}

#[test]
fn progress_is_told_in_both_formats() {
    let fixed = [0x70, 0, 0x00, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x00, 0x16, 0, 0x80, 0x40, 0x00];
    assert_eq!(Sense::parse(&fixed).expect("sense").progress, Some(0x4000));
    let descriptors = [0x72, 0x02, 0x04, 0x07, 0, 0, 0, 8, 0x02, 0x06, 0, 0, 0x80, 0x12, 0x34, 0];
    assert_eq!(Sense::parse(&descriptors).expect("sense").progress, Some(0x1234));
}
