//! What must hold for any bytes that a device, or the other end of iSCSI, sends.
//!
//! As in `checks.rs`: each function takes bytes and panics if a decoder does, or if what it says is too much,
//! cannot be shown, or is not what would be written and read again. The fuzz targets call them with what the
//! fuzzer finds; `tests/tape/hostile.rs` with golden replies, damaged in every place.

use reelfs::scsi::inquiry::{
    Inquiry, parse_designators, parse_manufacturer_serial_number, parse_serial_number, parse_worm_capable,
};
use reelfs::scsi::iscsi::Address;
use reelfs::scsi::iscsi::frame::{Digests, Frame, HEADER_LEN};
use reelfs::scsi::iscsi::pdu::{Request, Response};
use reelfs::scsi::iscsi::text::{Keys, decode_binary, encode_binary};
use reelfs::scsi::log_page::{
    DeviceStatistics, DeviceStatus, LogPage, TapeAlert, TapeCapacity, VolumeStatistics,
};
use reelfs::scsi::mam::{VolumeCoherency, encode_attributes, parse_attributes};
use reelfs::scsi::mode::{
    DataCompression, DeviceConfiguration, DeviceConfigurationExtension, ElementAddressAssignment,
    LogicalBlockProtection, MediumPartition, ModeForm, ModePage, ModeParameters,
};
use reelfs::scsi::reservation::{parse_full_status, parse_keys, parse_reservation};
use reelfs::scsi::ssc::{BlockLimits, BufferedPosition, Position, ShortPosition, parse_densities};
use reelfs::scsi::{ElementReport, Sense, parse_luns, parse_supported_commands};

/// A decoder's name, and what must hold for it.
pub(crate) type Check = (&'static str, fn(&[u8]));

/// All checks; each has a fuzz target of its name.
pub(crate) const ALL: &[Check] = &[
    ("attributes", attributes),
    ("device_replies", device_replies),
    ("element_status", element_status),
    ("iscsi_frame", iscsi_frame),
    ("iscsi_text", iscsi_text),
    ("log_pages", log_pages),
    ("mode_pages", mode_pages),
    ("sense", sense),
];

fn is_shown_in_one_line(text: &str) -> bool {
    text.chars().all(|c| !c.is_control())
}

/// Sense data, both formats.
pub(crate) fn sense(data: &[u8]) {
    if let Some(sense) = Sense::parse(data) {
        assert!((0x70..=0x73).contains(&(data[0] & 0x7f)));
        let shown = sense.to_string();
        assert!(is_shown_in_one_line(&shown) && shown.len() < 400, "{shown}");
        let meaning = sense.meaning();
        assert!(!(meaning.is_done() && meaning.is_unit_attention()));
        assert!(!(meaning.is_done() && sense.codes().0 > 1), "{sense}");
    }
}

/// READ ELEMENT STATUS.
pub(crate) fn element_status(data: &[u8]) {
    if let Ok(report) = ElementReport::parse(data) {
        // A descriptor says at least its address and flags.
        assert!(report.elements.len() * 4 <= data.len());
        for element in report.elements {
            assert!(is_shown_in_one_line(&element.barcode_text().unwrap_or_default()));
            assert!(element.barcode.is_none_or(|barcode| (1..=32).contains(&barcode.len())));
        }
    }
}

/// READ ATTRIBUTE.
pub(crate) fn attributes(data: &[u8]) {
    if let Ok(list) = parse_attributes(data) {
        let written = encode_attributes(&list);
        assert!(written.len() <= data.len());
        assert_eq!(parse_attributes(&written).as_ref(), Ok(&list));
        for attribute in &list {
            assert!(is_shown_in_one_line(&attribute.shown()));
            assert_eq!(attribute.unsigned().is_some(), (1..=8).contains(&attribute.value.len()));
        }
    }
    if let Ok(coherency) = VolumeCoherency::parse(data) {
        assert_eq!(VolumeCoherency::parse(&coherency.encode()), Ok(coherency));
    }
}

/// LOG SENSE, with the pages that are understood.
pub(crate) fn log_pages(data: &[u8]) {
    if let Ok(page) = LogPage::parse(data) {
        let held: usize = page.parameters.iter().map(|parameter| 4 + parameter.value.len()).sum();
        assert!(held + 4 <= data.len());
        assert!(TapeAlert::parse(&page).len() <= 64);
        let volume = VolumeStatistics::parse(&page);
        assert!(is_shown_in_one_line(&volume.barcode.unwrap_or_default()));
        assert!(volume.used_mb.len() <= data.len());
        let _others =
            (TapeCapacity::parse(&page), DeviceStatus::parse(&page), DeviceStatistics::parse(&page));
    }
}

/// MODE SENSE, with the pages that are understood, changed and sent back.
pub(crate) fn mode_pages(data: &[u8]) {
    for form in [ModeForm::Six, ModeForm::Ten] {
        let Ok(mut parameters) = ModeParameters::parse(form, data) else {
            continue;
        };
        let held: usize = parameters.pages.iter().map(|page| page.bytes.len()).sum();
        assert!(held <= data.len());
        for page in &mut parameters.pages {
            change(page);
        }
        let list = parameters.encode(form);
        assert!(list.len() <= data.len() + 16 + 64 * parameters.pages.len());
    }
}

fn change(page: &mut ModePage) {
    let _understood = (
        DataCompression::parse(page),
        DeviceConfiguration::parse(page),
        DeviceConfigurationExtension::parse(page),
        ElementAddressAssignment::parse(page),
        MediumPartition::parse(page),
    );
    DataCompression::set_compress(page, false);
    DeviceConfigurationExtension::set_append_only(page, true);
    DeviceConfigurationExtension::set_programmable_early_warning(page, 1000);
    if let Ok(protection) = LogicalBlockProtection::parse(page) {
        let before = page.clone();
        protection.apply(page);
        assert_eq!(*page, before, "what was read is what would be set");
    }
    MediumPartition::set_two_partitions(page, 1, u16::MAX);
    MediumPartition::set_one_partition(page);
}

/// All other replies: INQUIRY, positions, densities, reservations, operation codes, logical units.
pub(crate) fn device_replies(data: &[u8]) {
    if let Ok(inquiry) = Inquiry::parse(data) {
        assert!(is_shown_in_one_line(&format!("{}{}{}", inquiry.vendor, inquiry.product, inquiry.revision)));
    }
    for serial in [parse_serial_number(data), parse_manufacturer_serial_number(data)].into_iter().flatten() {
        assert!(is_shown_in_one_line(&serial));
    }
    let _worm = parse_worm_capable(data);
    let designators = parse_designators(data).unwrap_or_default();
    assert!(designators.iter().map(|name| 4 + name.value.len()).sum::<usize>() <= data.len());
    let _positions = (Position::parse(data), ShortPosition::parse(data), BufferedPosition::parse(data));
    let _limits = BlockLimits::parse(data);
    assert!(parse_densities(data).unwrap_or_default().len() * 52 <= data.len());
    assert!(parse_keys(data).unwrap_or_default().len() * 8 <= data.len());
    let _held = parse_reservation(data);
    for registrant in parse_full_status(data).unwrap_or_default() {
        assert!(is_shown_in_one_line(&registrant.initiator()));
    }
    assert!(parse_supported_commands(data).unwrap_or_default().len() * 8 <= data.len());
    assert!(parse_luns(data).unwrap_or_default().len() * 8 <= data.len());
}

/// Frames of iSCSI and the headers of their PDUs; both ends.
pub(crate) fn iscsi_frame(data: &[u8]) {
    for digests in [Digests::default(), Digests { header: true, data: true }] {
        let (mut frame, mut rest) = (Frame::default(), data);
        while frame.read(&mut rest, digests, 4096).is_ok() {
            assert!(frame.data.len() <= 4096 && frame.additional.len() <= 255 * 4);
        }
    }
    let Some(header) = data.first_chunk::<HEADER_LEN>() else {
        return;
    };
    if let Ok(request) = Request::parse(header) {
        let again = match request {
            Request::NopOut(pdu) => pdu.header(),
            Request::Command(pdu) => pdu.header(),
            Request::TaskManagement(pdu) => pdu.header(),
            Request::Login(pdu) => pdu.header(),
            Request::Text(pdu) => pdu.header(),
            Request::DataOut(pdu) => pdu.header(),
            Request::Logout(pdu) => pdu.header(),
            Request::Other(_) => return,
        };
        // A login is immediate whatever its bit says; nothing else is lost.
        assert_eq!(Request::parse(&again), Ok(request));
    }
    if let Ok(response) = Response::parse(header) {
        let again = match response {
            Response::NopIn(pdu) => pdu.header(),
            Response::Scsi(pdu) => pdu.header(),
            Response::TaskManagement(pdu) => pdu.header(),
            Response::Login(pdu) => pdu.header(),
            Response::Text(pdu) => pdu.header(),
            Response::DataIn(pdu) => pdu.header(),
            Response::Logout(pdu) => pdu.header(),
            Response::ReadyToTransfer(pdu) => pdu.header(),
            Response::Async(pdu) => pdu.header(),
            Response::Reject(pdu) => pdu.header(),
            Response::Other(_) => return,
        };
        assert_eq!(Response::parse(&again), Ok(response));
    }
}

/// Text of a login, and addresses.
pub(crate) fn iscsi_text(data: &[u8]) {
    if let Ok(keys) = Keys::parse(data) {
        assert_eq!(Keys::parse(&keys.encode()).as_ref(), Ok(&keys));
        for (key, value) in keys.iter() {
            let _values = (keys.number(key), keys.boolean(key));
            if let Some(bytes) = decode_binary(value) {
                assert!(bytes.len() <= value.len());
                assert!(bytes.is_empty() || decode_binary(&encode_binary(&bytes)) == Some(bytes));
            }
        }
    }
    if let Ok(address) = std::str::from_utf8(data).unwrap_or_default().parse::<Address>() {
        let shown = address.to_string().parse::<Address>().expect("what is shown is an address");
        assert_eq!(
            (&shown.portal.host, shown.portal.port, &shown.target),
            (&address.portal.host, address.portal.port, &address.target)
        );
    }
}
