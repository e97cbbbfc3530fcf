//! Which drive element of a changer is which tape drive.

use super::identity::DeviceIdentity;
use crate::scsi::inquiry::Designator;

/// Tells whether what a changer calls a drive (READ ELEMENT STATUS with DVCID) is this drive.
///
/// Changers give the drive's serial number alone, or after vendor and product as page 83h has it, or one of the
/// names of page 83h.
#[must_use]
pub fn is_same_device(reported: &Designator, drive: &DeviceIdentity) -> bool {
    let value = trimmed(&reported.value);
    if value.is_empty() {
        return false;
    }
    // A name of a port is shared by all units behind it.
    let named = |own: &Designator| own.association != 1 && trimmed(&own.value) == value;
    if drive.designators.iter().any(named) {
        return true;
    }
    let Some(serial) = drive.serial.as_deref().map(|serial| trimmed(serial.as_bytes())) else { return false };
    if serial.is_empty() {
        return false;
    }
    // SPC-4, 7.8.6.4: vendor 8, product 16, then the serial number. A serial number that merely ends in another
    // one must not match: what stands before must be fill.
    let after_names = value.get(24..).map(trimmed) == Some(serial);
    let after_vendor = value.get(8..).map(trimmed) == Some(serial);
    value == serial || after_names || after_vendor
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let is_fill = |byte: &u8| matches!(byte, b' ' | 0);
    let first = bytes.iter().position(|byte| !is_fill(byte)).unwrap_or(bytes.len());
    let last = bytes.iter().rposition(|byte| !is_fill(byte)).map_or(first, |last| last + 1);
    bytes.get(first..last.max(first)).unwrap_or_default()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::scsi::inquiry::{DeviceType, Inquiry};

    fn designator(kind: u8, value: &[u8]) -> Designator {
        Designator { code_set: 2, association: 0, kind, value: value.to_vec() }
    }

    fn drive(serial: &str, designators: Vec<Designator>) -> DeviceIdentity {
        let inquiry = Inquiry {
            device_type: DeviceType::SequentialAccess,
            connected: true,
            version: 6,
            vendor: "IBM".to_owned(),
            product: "ULT3580-TD8".to_owned(),
            revision: String::new(),
        };
        DeviceIdentity { inquiry, serial: Some(serial.to_owned()), designators }
    }

    #[test]
    fn a_drive_is_known_by_its_serial_number_however_the_changer_writes_it() {
        let known = drive("1068000073", vec![designator(3, b"\x50\x05\x07\x63\x0f\x12\x34\x56")]);
        for value in [
            &b"1068000073"[..],
            b"1068000073      ",
            b"IBM     ULT3580-TD8     1068000073",
            b"IBM     1068000073",
            b"\x50\x05\x07\x63\x0f\x12\x34\x56",
        ] {
            assert!(is_same_device(&designator(1, value), &known), "{value:?}");
        }
        for value in
            [&b""[..], b"    ", b"068000073", b"11068000073", b"1068000074", b"IBM     ULT3580-TD8     "]
        {
            assert!(!is_same_device(&designator(1, value), &known), "{value:?}");
        }
    }

    #[test]
    fn a_drive_without_a_serial_number_matches_nothing() {
        let unknown = DeviceIdentity { serial: None, ..drive("", Vec::new()) };
        assert!(!is_same_device(&designator(1, b"123"), &unknown));
        assert!(!is_same_device(&designator(1, b"IBM     ULT3580-TD8     "), &drive("", Vec::new())));
    }
}
