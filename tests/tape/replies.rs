//! Replies from the tables of the standards, decoded.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use reelfs::scsi::inquiry::{
    DeviceType, Inquiry, parse_designators, parse_manufacturer_serial_number, parse_serial_number,
    parse_worm_capable,
};
use reelfs::scsi::log_page::{
    DeviceActivity, DeviceStatistics, DeviceStatus, LogPage, PartitionFigure, TapeAlert, TapeCapacity,
    VolumeStatistics,
};
use reelfs::scsi::mam::{AttributeFormat, VolumeCoherency, encode_attributes, parse_attributes};
use reelfs::scsi::mode::{
    DataCompression, DeviceConfiguration, DeviceConfigurationExtension, ElementAddressAssignment,
    LogicalBlockProtection, MediumPartition, ModeForm, ModeParameters, ProtectionMethod,
};
use reelfs::scsi::reservation::{
    ReservationKind, encode_reserve_parameters, parse_full_status, parse_keys, parse_reservation,
};
use reelfs::scsi::ssc::{BlockLimits, BufferedPosition, Position, ShortPosition, parse_densities};
use reelfs::scsi::{ElementKind, ElementReport, ElementStatus, parse_luns, parse_supported_commands};

static REPLIES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| super::golden::lines("replies.txt"));

fn reply(name: &str) -> &'static [u8] {
    REPLIES.get(name).unwrap_or_else(|| panic!("replies.txt has no `{name}`"))
}

fn elements(name: &str) -> Vec<ElementStatus> {
    let report = ElementReport::parse(reply(name)).expect(name);
    assert_eq!(report.available_bytes, reply(name).len(), "{name}: the length that the report gives");
    assert_eq!(report.elements.len(), usize::from(report.reported_count), "{name}");
    report.elements
}

fn page(name: &str) -> LogPage {
    let page = LogPage::parse(reply(name)).expect(name);
    assert_eq!(page.available_bytes, reply(name).len(), "{name}: the length that the page gives");
    page
}

#[test]
fn inquiry_data_says_what_a_device_is() {
    let drive = Inquiry::parse(reply("standard inquiry of a drive")).expect("INQUIRY data");
    assert_eq!((drive.device_type, drive.connected, drive.version), (DeviceType::SequentialAccess, true, 6));
    assert_eq!((drive.vendor.as_str(), drive.product.as_str()), ("IBM", "ULTRIUM-HH8"));
    assert_eq!(drive.revision, "N9M1");
    let changer = Inquiry::parse(reply("standard inquiry of a changer, cut off")).expect("INQUIRY data");
    assert_eq!((changer.device_type, changer.vendor.as_str()), (DeviceType::MediumChanger, "IBM"));
    assert_eq!((changer.product.as_str(), changer.revision.as_str()), ("", ""));
    assert!(!Inquiry::parse(reply("standard inquiry of no device")).expect("INQUIRY data").connected);
}

#[test]
fn vital_product_data_names_a_device() {
    assert_eq!(parse_serial_number(reply("serial number page")).expect("page 80h"), "10WT012345");
    let names = parse_designators(reply("device identification page")).expect("page 83h");
    let seen: Vec<_> = names.iter().map(|name| (name.code_set, name.association, name.kind)).collect();
    assert_eq!(seen, [(2, 0, 1), (1, 0, 3), (1, 1, 4)]);
    assert_eq!(names[0].value, b"IBM     ULTRIUM-HH8     10WT012345");
    assert_eq!(names[1].value, [0x50, 0x05, 0x07, 0x63, 0x12, 0x0a, 0xbc, 0xde]);
    assert!(parse_worm_capable(reply("sequential-access capabilities page, WORM")).expect("page B0h"));
    let serial = parse_manufacturer_serial_number(reply("manufacturer-assigned serial number page"));
    assert_eq!(serial.expect("page B1h"), "00V7123456");
    parse_serial_number(reply("device identification page")).expect_err("another page");
}

#[test]
fn block_limits_are_masked() {
    let limits = BlockLimits::parse(reply("block limits")).expect("block limits");
    assert_eq!((limits.granularity, limits.max_bytes, limits.min_bytes), (0, 8_388_608, 1));
    let limits = BlockLimits::parse(reply("block limits with granularity and reserved bits"));
    let limits = limits.expect("block limits");
    assert_eq!((limits.granularity, limits.max_bytes, limits.min_bytes), (2, 8_388_604, 4));
}

#[test]
fn positions_are_known_or_said_to_be_unknown() {
    let short = |name| ShortPosition::parse(reply(name)).expect(name);
    let begun = short("position short");
    assert!(begun.beginning_of_partition && begun.object == Some(0) && !begun.end_of_partition);
    let ended = short("position short, end of partition, buffered");
    assert_eq!((ended.partition, ended.object, ended.object_on_medium), (1, Some(100_000), Some(99_840)));
    assert!(ended.end_of_partition);
    assert_eq!(short("position short, unknown").object, None);
    assert_eq!(short("position short, overflow").object, None);

    let long = |name| Position::parse(reply(name)).expect(name);
    let known = long("position long");
    assert_eq!((known.partition, known.object, known.file), (1, Some(0x1_0000_0005), Some(7)));
    assert!(known.beyond_programmable_early_warning && !known.beginning_of_partition);
    let no_file = long("position long, file unknown");
    assert_eq!((no_file.object, no_file.file), (Some(99), None));
    assert_eq!(long("position long, object unknown").object, None);

    let buffered = BufferedPosition::parse(reply("position extended")).expect("extended");
    assert_eq!((buffered.partition, buffered.buffered_objects), (1, Some(5)));
    assert_eq!((buffered.object, buffered.object_on_medium), (Some(261), Some(256)));
    assert_eq!(buffered.buffered_bytes, Some(0x28_0000));
}

#[test]
fn mode_pages_are_read_and_changed_in_place() {
    let mut six =
        ModeParameters::parse(ModeForm::Six, reply("mode parameters 6, compression")).expect("mode");
    assert_eq!((six.medium_type, six.buffered_mode(), six.is_write_protected()), (0x78, 1, false));
    assert_eq!(six.block_descriptor.expect("a descriptor").density_code, 0x5e);
    let compression = six.page_mut(0x0f, 0).expect("page 0Fh");
    let parsed = DataCompression::parse(compression).expect("page 0Fh");
    assert!(parsed.compress && parsed.capable && parsed.decompress);
    DataCompression::set_compress(compression, false);
    let sent = six.encode(ModeForm::Six);
    // MODE SELECT wants zero where MODE SENSE has its length and the medium type (SPC-4, 6.11; SSC-4, 8.5).
    let mut expected = reply("mode parameters 6, compression").to_vec();
    (expected[0], expected[1], expected[14]) = (0, 0, 0x40);
    assert_eq!(sent, expected);

    let name = "mode parameters 10, two pages, write protected";
    let mut ten = ModeParameters::parse(ModeForm::Ten, reply(name)).expect("mode");
    assert!(ten.is_write_protected());
    assert_eq!(ten.block_descriptor.expect("a descriptor").block_len_bytes, 524_288);
    let configuration = DeviceConfiguration::parse(ten.page(0x10, 0).expect("page 10h")).expect("page 10h");
    assert_eq!((configuration.active_partition, configuration.write_delay_100ms), (1, 100));
    assert!(configuration.report_early_warning && configuration.synchronize_at_early_warning);
    let extension = ten.page_mut(0x10, 1).expect("page 10h-01h");
    let parsed = DeviceConfigurationExtension::parse(extension).expect("page 10h-01h");
    assert!(parsed.append_only && parsed.programmable_early_warning_mb == 1000);
    DeviceConfigurationExtension::set_append_only(extension, false);
    DeviceConfigurationExtension::set_programmable_early_warning(extension, 0x1234);
    assert_eq!(extension.bytes[4..8], [0x00, 0x00, 0x12, 0x34]);
}

#[test]
fn pages_of_protection_partitions_and_elements_are_read() {
    let protection =
        ModeParameters::parse(ModeForm::Ten, reply("control data protection page")).expect("mode");
    let mut page = protection.page(0x0a, 0xf0).expect("page 0Ah-F0h").clone();
    let parsed = LogicalBlockProtection::parse(&page).expect("page 0Ah-F0h");
    assert_eq!((parsed.method, parsed.information_len_bytes), (ProtectionMethod::Crc32c, 4));
    assert!(parsed.on_read && parsed.on_write);
    let off = LogicalBlockProtection {
        method: ProtectionMethod::None,
        information_len_bytes: 0,
        on_write: false,
        on_read: false,
    };
    off.apply(&mut page);
    assert_eq!(page.bytes[..7], [0x4a, 0xf0, 0x00, 0x1c, 0x00, 0x00, 0x00]);

    let partitions = ModeParameters::parse(ModeForm::Six, reply("medium partition page")).expect("mode");
    let mut page = partitions.page(0x11, 0).expect("page 11h").clone();
    let parsed = MediumPartition::parse(&page).expect("page 11h");
    assert_eq!((parsed.additional_max, parsed.additional, parsed.size_exponent), (3, 1, Some(9)));
    assert_eq!(parsed.sizes, [37, 11_354]);
    MediumPartition::set_two_partitions(&mut page, 1, 0xffff);
    assert_eq!(page.bytes, [0x11, 0x0a, 3, 1, 0x3c, 3, 9, 0, 0, 1, 0xff, 0xff]);

    let elements = ModeParameters::parse(ModeForm::Six, reply("element address assignment page"));
    let elements = elements.expect("mode");
    let page = elements.page(0x1d, 0).expect("page 1Dh");
    let parsed = ElementAddressAssignment::parse(page).expect("page 1Dh");
    assert_eq!((parsed.transports.first, parsed.transports.count), (1, 1));
    assert_eq!((parsed.storage.first, parsed.storage.count), (1024, 40));
    assert_eq!((parsed.import_export.first, parsed.import_export.count), (16, 5));
    assert_eq!((parsed.data_transfer.first, parsed.data_transfer.count), (256, 2));
}

#[test]
fn log_pages_give_their_figures() {
    let alerts = TapeAlert::parse(&page("tape alert page, flags 3 and 20"));
    assert_eq!(
        alerts.iter().map(|alert| alert.name).collect::<Vec<_>>(),
        ["hard error", "cleaning required"]
    );
    assert_eq!(alerts[1].number, TapeAlert::CLEAN_NOW);
    let volume = VolumeStatistics::parse(&page("volume statistics page"));
    assert!(volume.is_valid);
    assert_eq!((volume.thread_count, volume.lifetime_written_mb), (Some(42), Some(1 << 32)));
    assert_eq!(volume.barcode.as_deref(), Some("RL0001L8"));
    assert_eq!(volume.capacity_mb, [PartitionFigure { partition: 0, value: Some(12_000_000) }]);
    let missing = PartitionFigure { partition: 1, value: None };
    assert_eq!(volume.used_mb, [PartitionFigure { partition: 0, value: Some(0x1234) }, missing]);
    assert_eq!(volume.remaining_mb, []);
    let capacity = TapeCapacity::parse(&page("tape capacity page"));
    assert_eq!((capacity.remaining_mib, capacity.maximum_mib), (Some(1_423_872), Some(1_441_792)));
    let status = DeviceStatus::parse(&page("device status page, calibrating")).expect("page 11h");
    assert_eq!(status.activity, DeviceActivity::Calibrating);
    assert!(status.write_protected && status.cleaning_requested && status.has_alerts);
    assert!(status.medium_present && !status.medium_mounted && !status.cleaning_required);
    let statistics = DeviceStatistics::parse(&page("device statistics page"));
    assert_eq!((statistics.lifetime_loads, statistics.tape_metres), (Some(256), Some(65_536)));
}

#[test]
fn attributes_come_back_as_they_stand_in_the_memory() {
    let attributes = parse_attributes(reply("attributes")).expect("attributes");
    let ids: Vec<_> = attributes.iter().map(|attribute| attribute.id).collect();
    assert_eq!(ids, [0x0401, 0x0803, 0x0003, 0x0805], "the last one is cut off");
    assert_eq!((attributes[0].shown().as_str(), attributes[0].read_only), ("S1234567", true));
    assert_eq!(attributes[0].format, AttributeFormat::Ascii);
    assert_eq!((attributes[1].shown().as_str(), attributes[1].format), ("tape", AttributeFormat::Text));
    assert_eq!(attributes[2].unsigned(), Some(17));
    let whole = encode_attributes(&attributes);
    let bytes = reply("attributes");
    assert_eq!(whole[4..], bytes[4..bytes.len() - 5], "what was read is what would be written");

    let bytes = reply("volume coherency of LTFS");
    assert_eq!(bytes.len(), 70, "as LTFS writes it");
    let coherency = VolumeCoherency::parse(bytes).expect("volume coherency");
    assert_eq!((coherency.volume_change_reference, coherency.count, coherency.set_identifier), (7, 3, 5));
    assert!(coherency.application.starts_with(b"LTFS\0"));
    assert_eq!(coherency.encode(), bytes);
}

#[test]
fn elements_tell_what_they_hold() {
    let slots = elements("element status of two slots");
    assert_eq!(slots[0].barcode.as_deref(), Some(b"RL0001L8".as_slice()));
    assert_eq!((slots[0].address, slots[0].full, slots[0].source), (1024, true, Some(256)));
    assert_eq!(slots[0].medium_type, 1);
    assert!(!slots[1].full && slots[1].accessible && slots[1].barcode.is_none() && slots[1].source.is_none());
    let drives = elements("element status of a drive with identifier");
    assert_eq!((drives[0].kind, drives[0].source), (ElementKind::DataTransfer, Some(1024)));
    let device = drives[0].device.as_ref().expect("an identifier");
    assert_eq!((device.code_set, device.kind), (2, 1));
    assert_eq!(device.value, b"IBM     ULTRIUM-HH8     10WT");
    let ghost = elements("element status of a ghost slot");
    assert_eq!(ghost[0].exception, Some((0x83, 0x02)));
    let mail = elements("element status of a mail slot");
    assert!(mail[0].import_enabled && mail[0].export_enabled && mail[0].placed_by_operator && mail[0].full);
}

#[test]
fn each_descriptor_of_operation_codes_says_whether_timeouts_follow() {
    let commands = parse_supported_commands(reply("supported operation codes")).expect("operation codes");
    let seen: Vec<_> = commands
        .iter()
        .map(|command| (command.operation_code, command.service_action, command.recommended_timeout_s))
        .collect();
    assert_eq!(seen, [(0x08, None, 2340), (0x12, None, 0), (0xa3, Some(0x0c), 60)]);
}

#[test]
fn reservations_name_their_holders() {
    let keys = parse_keys(reply("registered keys")).expect("keys");
    assert_eq!(keys, [0x0102_0304_0506_0708, 0x1112_1314_1516_1718]);
    let held = parse_reservation(reply("reservation")).expect("a reservation").expect("held");
    assert_eq!((held.key, held.kind), (keys[0], ReservationKind::ExclusiveAccess));
    assert_eq!(parse_reservation(reply("no reservation")).expect("an answer"), None);
    let holders = parse_full_status(reply("full status with an iSCSI name")).expect("full status");
    assert_eq!((holders[0].key, holders[0].target_port), (keys[0], 1));
    assert_eq!(holders[0].holds, Some(ReservationKind::ExclusiveAccess));
    assert_eq!(holders[0].initiator(), "iqn.1993-08.org:a");
    // SPC-4: key, service action key, obsolete, flags.
    let mut list = [0; 24];
    list[7] = 1;
    list[15] = 2;
    assert_eq!(encode_reserve_parameters(1, 2), list);
}

#[test]
fn densities_and_logical_units_are_listed() {
    let densities = parse_densities(reply("densities")).expect("densities");
    assert_eq!((densities[0].primary_code, densities[0].capacity_mb), (0x5e, 12_000_000));
    assert!(densities[0].writable && densities[0].default);
    assert_eq!((densities[0].name.as_str(), densities[0].tracks), ("U-832", 6656));
    assert_eq!(densities[0].description, "Ultrium 8/32T");
    assert_eq!(parse_luns(reply("logical units")).expect("logical units"), [0, 1, 300]);
}
