//! Cases about a drive.

use reelfs::scsi::cdb::spc::{ModeRequest, PageControl};
use reelfs::scsi::cdb::ssc::{Destination, SpaceUnit};
use reelfs::scsi::inquiry::DeviceType;
use reelfs::scsi::mam::{Attribute, attribute_id};
use reelfs::scsi::mode::{DataCompression, MediumPartition, ModeForm};
use reelfs::scsi::reservation::{ReservationKind, ReserveAction};
use reelfs::scsi::ssc::{BlockRead, Located, Spaced};
use reelfs::scsi::{CommandError, Data, LogicalUnit, Meaning, opcode};

use super::{Feature, Rig, blank_drive, pattern, ready_drive};

const BLOCK_LEN: usize = 524_288;

fn write(drive: &mut LogicalUnit, block: &[u8]) {
    drive.write_block(block).expect("a block written");
}

fn filemark(drive: &mut LogicalUnit) {
    drive.write_filemarks(1, false).expect("a filemark written");
}

fn read(drive: &mut LogicalUnit, len: usize) -> (BlockRead, Vec<u8>) {
    let mut buffer = vec![0; len];
    let outcome = drive.read_block(&mut buffer).expect("a read");
    if let BlockRead::Block { len_bytes } = outcome {
        buffer.truncate(len_bytes);
    }
    (outcome, buffer)
}

fn expect_block(drive: &mut LogicalUnit, block: &[u8]) {
    let (outcome, found) = read(drive, block.len());
    assert_eq!(outcome, BlockRead::Block { len_bytes: block.len() });
    assert!(found == block, "a block of {} bytes came back otherwise", block.len());
}

pub(crate) fn a_drive_says_what_it_is(rig: &dyn Rig) {
    let mut drive = rig.open_drive();
    let inquiry = drive.inquiry().expect("INQUIRY");
    assert_eq!(inquiry.device_type, DeviceType::SequentialAccess);
    assert!(inquiry.connected && !inquiry.vendor.is_empty() && !inquiry.product.is_empty(), "{inquiry:?}");
    let pages = drive.supported_vital_product_data().expect("page 00h");
    assert!([0x00, 0x80, 0x83].iter().all(|page| pages.contains(page)), "{pages:02x?}");
    assert!(!drive.serial_number().expect("page 80h").is_empty());
    let designators = drive.designators().expect("page 83h");
    assert!(designators.iter().any(|designator| designator.association == 0), "{designators:?}");
    drive.clear_unit_attentions().expect("a drive");
    let limits = drive.read_block_limits().expect("block limits");
    assert!(limits.max_bytes as usize >= BLOCK_LEN && limits.min_bytes >= 1, "{limits:?}");
    let lacking = drive.vital_product_data(0xee).expect_err("no such page");
    assert_eq!(lacking.meaning(), Some(Meaning::UnsupportedField), "{lacking}");
}

pub(crate) fn a_new_nexus_is_told_of_the_reset_once(rig: &dyn Rig) {
    if !rig.has(Feature::ResetAttention) {
        return;
    }
    let mut drive = rig.open_drive();
    let error = drive.test_unit_ready().expect_err("a unit attention");
    assert_eq!(error.meaning(), Some(Meaning::Reset), "{error}");
    let told = drive.clear_unit_attentions().expect("a drive");
    assert!(told.iter().all(|sense| sense.meaning() != Meaning::Reset), "{told:?}");
}

pub(crate) fn blocks_of_any_length_come_back(rig: &dyn Rig) {
    let mut drive = blank_drive(rig);
    let lengths =
        [1, 2, 3, 4, 80, 511, 512, 513, 4096, 10_240, 65_535, 65_536, 64_512, 262_144, BLOCK_LEN, 1 << 20];
    let lengths =
        lengths.map(|len: usize| len.max(drive.read_block_limits().expect("limits").min_bytes.into()));
    for (index, len) in lengths.iter().enumerate() {
        write(&mut drive, &pattern(index as u64, *len));
    }
    filemark(&mut drive);
    drive.rewind(false).expect("a rewind");
    for (index, len) in lengths.iter().enumerate() {
        expect_block(&mut drive, &pattern(index as u64, *len));
    }
    assert_eq!(read(&mut drive, 4096).0, BlockRead::Filemark);
}

pub(crate) fn a_filemark_is_no_data(rig: &dyn Rig) {
    let mut drive = blank_drive(rig);
    let blocks = [pattern(1, 1000), pattern(2, 2000)];
    write(&mut drive, &blocks[0]);
    drive.write_filemarks(2, true).expect("two filemarks");
    write(&mut drive, &blocks[1]);
    drive.write_filemarks(0, false).expect("a flush");
    drive.rewind(false).expect("a rewind");
    expect_block(&mut drive, &blocks[0]);
    assert_eq!(read(&mut drive, BLOCK_LEN).0, BlockRead::Filemark);
    assert_eq!(read(&mut drive, 1).0, BlockRead::Filemark);
    expect_block(&mut drive, &blocks[1]);
}

pub(crate) fn a_short_block_gives_its_length_and_its_data(rig: &dyn Rig) {
    if !rig.has(Feature::ShortBlocks) {
        return;
    }
    let mut drive = blank_drive(rig);
    for len in [80, 200_000, BLOCK_LEN - 1] {
        write(&mut drive, &pattern(len as u64, len));
    }
    drive.rewind(false).expect("a rewind");
    for len in [80, 200_000, BLOCK_LEN - 1] {
        let (outcome, found) = read(&mut drive, BLOCK_LEN);
        assert_eq!(outcome, BlockRead::Block { len_bytes: len });
        assert!(found == pattern(len as u64, len), "a block of {len} bytes came back otherwise");
    }
}

pub(crate) fn a_long_block_gives_its_length_and_can_be_read_again(rig: &dyn Rig) {
    let mut drive = blank_drive(rig);
    let block = pattern(7, 300_000);
    write(&mut drive, &block);
    filemark(&mut drive);
    drive.rewind(false).expect("a rewind");
    assert_eq!(read(&mut drive, 512).0, BlockRead::LongBlock { len_bytes: 300_000 });
    assert_eq!(drive.space(SpaceUnit::Blocks, -1).expect("a block back"), Spaced::Done);
    expect_block(&mut drive, &block);
}

pub(crate) fn the_end_of_data_is_told_each_time(rig: &dyn Rig) {
    let mut drive = blank_drive(rig);
    write(&mut drive, &pattern(1, 512));
    for _ in 0..3 {
        assert_eq!(read(&mut drive, 512).0, BlockRead::EndOfData);
    }
    if rig.has(Feature::EndOfDataCode) {
        let mut buffer = [0; 512];
        let cdb = reelfs::scsi::cdb::ssc::read_6(false, false, 512);
        let error = drive.execute(&cdb, Data::In(&mut buffer)).expect_err("the end of data");
        assert_eq!(error.sense().expect("sense").codes(), (8, 0x00, 0x05));
    }
    drive.rewind(false).expect("a rewind");
    expect_block(&mut drive, &pattern(1, 512));
}

pub(crate) fn a_write_is_the_end_of_what_was_behind_it(rig: &dyn Rig) {
    let mut drive = blank_drive(rig);
    for index in 0..5 {
        write(&mut drive, &pattern(index, 1024));
    }
    drive.rewind(false).expect("a rewind");
    drive.space(SpaceUnit::Blocks, 2).expect("two blocks on");
    write(&mut drive, &pattern(99, 1024));
    assert_eq!(read(&mut drive, 1024).0, BlockRead::EndOfData);
    drive.rewind(false).expect("a rewind");
    for index in [0, 1, 99] {
        expect_block(&mut drive, &pattern(index, 1024));
    }
    assert_eq!(read(&mut drive, 1024).0, BlockRead::EndOfData);
}

pub(crate) fn space_counts_filemarks_and_stops_where_it_must(rig: &dyn Rig) {
    let mut drive = blank_drive(rig);
    // Objects: 0 1 F2 3 4 5 F6 F7
    for count in [2, 3] {
        for index in 0..count {
            write(&mut drive, &pattern(count * 10 + index, 600));
        }
        filemark(&mut drive);
    }
    filemark(&mut drive);
    drive.rewind(false).expect("a rewind");
    assert_eq!(drive.space(SpaceUnit::Filemarks, 1).expect("a filemark on"), Spaced::Done);
    expect_block(&mut drive, &pattern(30, 600));
    if rig.has(Feature::SpaceStops) {
        assert_eq!(drive.space(SpaceUnit::Filemarks, -1).expect("a filemark back"), Spaced::Done);
        assert_eq!(read(&mut drive, 600).0, BlockRead::Filemark);
        let stopped = drive.space(SpaceUnit::Blocks, 10).expect("blocks on");
        assert_eq!(stopped, Spaced::Filemark { remaining: Some(7) });
        assert_eq!(read(&mut drive, 600).0, BlockRead::Filemark);
        let ended = drive.space(SpaceUnit::Blocks, 1).expect("blocks on");
        assert_eq!(ended, Spaced::EndOfData { remaining: Some(1) });
        let ended = drive.space(SpaceUnit::Filemarks, 5).expect("filemarks on");
        assert_eq!(ended, Spaced::EndOfData { remaining: Some(5) });
        let begun = drive.space(SpaceUnit::Filemarks, -9).expect("filemarks back");
        assert_eq!(begun, Spaced::BeginningOfPartition { remaining: Some(6) });
    }
    assert!(matches!(drive.space(SpaceUnit::EndOfData, 0).expect("to the end"), Spaced::Done));
    assert_eq!(read(&mut drive, 600).0, BlockRead::EndOfData);
}

pub(crate) fn locate_goes_to_objects_files_and_the_end_of_data(rig: &dyn Rig) {
    if !rig.has(Feature::Position) {
        return;
    }
    let mut drive = blank_drive(rig);
    let begun = drive.read_position().expect("a position");
    assert!(begun.beginning_of_partition && begun.object == Some(0) && begun.partition == 0, "{begun:?}");
    for index in 0..20 {
        write(&mut drive, &pattern(index, 700));
        if index % 5 == 4 {
            filemark(&mut drive);
        }
    }
    // Objects 0..=23: a filemark behind each five blocks.
    let ended = drive.read_position().expect("a position");
    assert_eq!((ended.object, ended.file), (Some(24), Some(4)));
    let buffered = drive.read_buffered_position().expect("the buffer");
    assert_eq!((buffered.object, buffered.object_on_medium), (Some(24), Some(24)), "after a commit");
    for object in [13_u64, 0, 22, 1] {
        assert_eq!(drive.locate(None, Destination::Object(object)).expect("LOCATE(16)"), Located::Done);
        let position = drive.read_position().expect("a position");
        assert_eq!((position.object, position.file), (Some(object), Some(object / 6)));
        let short = drive.read_position_short().expect("a position");
        assert_eq!(short.object, u32::try_from(object).ok());
        expect_block(&mut drive, &pattern(object - object / 6, 700));
    }
    assert_eq!(drive.locate(None, Destination::File(2)).expect("LOCATE(16)"), Located::Done);
    expect_block(&mut drive, &pattern(10, 700));
    assert_eq!(drive.locate_10(None, 7).expect("LOCATE(10)"), Located::Done);
    expect_block(&mut drive, &pattern(6, 700));
    assert_eq!(drive.locate(None, Destination::EndOfData).expect("LOCATE(16)"), Located::Done);
    assert_eq!(drive.read_position().expect("a position").object, Some(24));
    assert_eq!(drive.locate(None, Destination::Object(100)).expect("LOCATE(16)"), Located::EndOfData);
    assert_eq!(drive.read_position().expect("a position").object, Some(24));
}

pub(crate) fn an_erasure_is_an_end_of_data(rig: &dyn Rig) {
    if !rig.has(Feature::Erase) {
        return;
    }
    let mut drive = blank_drive(rig);
    for index in 0..4 {
        write(&mut drive, &pattern(index, 900));
    }
    drive.rewind(false).expect("a rewind");
    drive.space(SpaceUnit::Blocks, 2).expect("two blocks on");
    drive.erase(false, false).expect("an erasure");
    assert_eq!(read(&mut drive, 900).0, BlockRead::EndOfData);
    drive.rewind(false).expect("a rewind");
    expect_block(&mut drive, &pattern(0, 900));
    expect_block(&mut drive, &pattern(1, 900));
    assert_eq!(read(&mut drive, 900).0, BlockRead::EndOfData);
}

pub(crate) fn modes_can_be_read_changed_and_read_again(rig: &dyn Rig) {
    if !rig.has(Feature::Modes) {
        return;
    }
    let mut drive = ready_drive(rig);
    let request = ModeRequest {
        page: 0x0f,
        subpage: 0,
        control: PageControl::Current,
        without_block_descriptors: false,
    };
    let forms: &[ModeForm] =
        if rig.has(Feature::ModeTen) { &[ModeForm::Six, ModeForm::Ten] } else { &[ModeForm::Six] };
    for form in forms {
        let mut parameters = drive.mode_sense(*form, &request).expect("MODE SENSE");
        assert!(!parameters.is_write_protected());
        let descriptor = parameters.block_descriptor.expect("a block descriptor");
        assert_eq!(descriptor.block_len_bytes, 0, "variable blocks");
        for compress in [false, true] {
            let page = parameters.page_mut(0x0f, 0).expect("page 0Fh");
            if !DataCompression::parse(page).expect("page 0Fh").capable {
                return;
            }
            DataCompression::set_compress(page, compress);
            drive.mode_select(*form, &parameters).expect("MODE SELECT");
            parameters = drive.mode_sense(*form, &request).expect("MODE SENSE");
            let page = parameters.page(0x0f, 0).expect("page 0Fh");
            assert_eq!(DataCompression::parse(page).expect("page 0Fh").compress, compress);
        }
    }
}

pub(crate) fn log_pages_have_their_codes(rig: &dyn Rig) {
    let mut drive = ready_drive(rig);
    if !rig.has(Feature::LogPages) {
        assert_eq!(drive.log_page(0x2e, 0).expect("an answer"), None);
        return;
    }
    let supported = drive.log_page(0x00, 0).expect("LOG SENSE");
    assert!(supported.is_some(), "page 00h is mandatory");
    let alerts = drive.log_page(0x2e, 0).expect("LOG SENSE").expect("page 2Eh");
    assert_eq!(alerts.parameters.len(), 64);
    assert!(alerts.parameters.iter().all(|flag| flag.value == [0]), "{alerts:?}");
    let volume = drive.log_page(0x17, 0).expect("LOG SENSE").expect("page 17h");
    assert!(volume.parameter(0x0203).is_some(), "{volume:?}");
    assert_eq!(drive.log_page(0x3e, 0).expect("an answer"), None);
}

pub(crate) fn attributes_keep_what_is_written(rig: &dyn Rig) {
    let mut drive = ready_drive(rig);
    if !rig.has(Feature::Attributes) {
        assert_eq!(drive.attribute(0, attribute_id::MEDIUM_SERIAL_NUMBER).expect("an answer"), None);
        return;
    }
    let serial = drive.attribute(0, attribute_id::MEDIUM_SERIAL_NUMBER).expect("READ ATTRIBUTE");
    assert!(serial.is_some_and(|serial| serial.read_only && !serial.shown().is_empty()));
    let written = [
        Attribute::ascii(attribute_id::APPLICATION_VENDOR, "reelfs", 8),
        Attribute::text(attribute_id::USER_MEDIUM_TEXT_LABEL, "a label", 160),
    ];
    drive.write_attributes(0, &written).expect("WRITE ATTRIBUTE");
    for attribute in &written {
        let found = drive.attribute(0, attribute.id).expect("READ ATTRIBUTE").expect("the attribute");
        assert_eq!(&found, attribute);
    }
    let removed = Attribute::binary(attribute_id::USER_MEDIUM_TEXT_LABEL, &[]);
    let removed = Attribute { format: written[1].format, ..removed };
    drive.write_attributes(0, &[removed]).expect("WRITE ATTRIBUTE");
    assert_eq!(drive.attribute(0, attribute_id::USER_MEDIUM_TEXT_LABEL).expect("an answer"), None);
    let forbidden = Attribute::ascii(attribute_id::MEDIUM_SERIAL_NUMBER, "ANOTHER", 32);
    drive.write_attributes(0, &[forbidden]).expect_err("what the medium is cannot be written");
}

pub(crate) fn a_reservation_keeps_others_out(rig: &dyn Rig) {
    if !rig.has(Feature::Reservations) || !rig.has(Feature::SecondNexus) {
        return;
    }
    const KEY: u64 = 0x7265_656c_6673_0001;
    const OTHER: u64 = 0x7265_656c_6673_0002;
    let mut drive = ready_drive(rig);
    let mut other = rig.open_drive();
    other.clear_unit_attentions().expect("another nexus");
    let kind = ReservationKind::ExclusiveAccess;
    drive.persistent_reserve(ReserveAction::RegisterAndIgnoreExistingKey, kind, 0, KEY).expect("registered");
    drive.persistent_reserve(ReserveAction::Reserve, kind, KEY, 0).expect("reserved");
    let held = drive.reservation().expect("READ RESERVATION").expect("a reservation");
    assert_eq!((held.key, held.kind), (KEY, kind));
    let refused = other.write_filemarks(1, false).expect_err("a reservation conflict");
    assert!(refused.is_reservation_conflict(), "{refused}");
    // Who holds it can be asked by anybody.
    assert_eq!(other.reservation_keys().expect("READ KEYS"), [KEY]);
    let holder = other.registrants().expect("READ FULL STATUS");
    assert!(holder.iter().any(|registrant| registrant.key == KEY && registrant.holds == Some(kind)));
    other
        .persistent_reserve(ReserveAction::RegisterAndIgnoreExistingKey, kind, 0, OTHER)
        .expect("registered");
    other.persistent_reserve(ReserveAction::PreemptAndAbort, kind, OTHER, KEY).expect("taken over");
    let told = drive.test_unit_ready().expect_err("told of the loss");
    assert!(told.is_reservation_conflict() || told.meaning() == Some(Meaning::ReservationLost), "{told}");
    other.persistent_reserve(ReserveAction::Clear, kind, OTHER, 0).expect("cleared");
    drive.clear_unit_attentions().expect("a drive");
    assert_eq!(drive.reservation().expect("READ RESERVATION"), None);
    assert_eq!(drive.reservation_keys().expect("READ KEYS"), [] as [u64; 0]);
}

pub(crate) fn timeouts_are_only_raised(rig: &dyn Rig) {
    let mut drive = ready_drive(rig);
    let cdb = reelfs::scsi::cdb::ssc::read_6(false, false, 1);
    let before = drive.timeouts().of(&cdb);
    if !rig.has(Feature::Timeouts) {
        return;
    }
    assert!(drive.learn_timeouts().expect("REPORT SUPPORTED OPERATION CODES"));
    assert!(drive.timeouts().of(&cdb) >= before);
    let commands = drive.supported_commands().expect("REPORT SUPPORTED OPERATION CODES");
    let known = |code| commands.iter().find(|command| command.operation_code == code);
    assert_eq!(known(opcode::READ_6).expect("READ(6)").cdb_len_bytes, 6);
    assert_eq!(known(opcode::INQUIRY).expect("INQUIRY").cdb_len_bytes, 6);
}

pub(crate) fn densities_are_told_of_drive_and_cartridge(rig: &dyn Rig) {
    if !rig.has(Feature::Densities) {
        return;
    }
    let mut drive = ready_drive(rig);
    let of_drive = drive.report_density_support(false).expect("REPORT DENSITY SUPPORT");
    let of_medium = drive.report_density_support(true).expect("REPORT DENSITY SUPPORT");
    assert!(of_medium.len() == 1 && of_medium[0].writable, "{of_medium:?}");
    let code = of_medium[0].primary_code;
    assert!(of_drive.iter().any(|density| density.primary_code == code), "{of_drive:?}");
}

pub(crate) fn unknown_commands_and_fields_are_told_apart(rig: &dyn Rig) {
    let mut drive = ready_drive(rig);
    let meaning = |result: Result<_, CommandError>| result.map(|_| ()).expect_err("refused").meaning();
    assert_eq!(meaning(drive.execute(&[0xdf; 10], Data::None)), Some(Meaning::UnsupportedCommand));
    if !rig.has(Feature::Modes) {
        return;
    }
    let request = ModeRequest {
        page: 0x2a,
        subpage: 0,
        control: PageControl::Current,
        without_block_descriptors: true,
    };
    let refused = drive.mode_sense(ModeForm::Six, &request).expect_err("no such page");
    assert_eq!(refused.meaning(), Some(Meaning::UnsupportedField), "{refused}");
    drive.test_unit_ready().expect("a drive that is ready");
}

pub(crate) fn two_partitions_are_two_tapes(rig: &dyn Rig) {
    if !rig.has(Feature::Partitions) {
        return;
    }
    let mut drive = blank_drive(rig);
    let changed = drive.change_mode_page(MediumPartition::CODE, |page| {
        MediumPartition::set_two_partitions(page, 1, u16::MAX);
    });
    assert!(changed.expect("MODE SELECT of page 11h"));
    drive.format_medium(1, false).expect("FORMAT MEDIUM");
    for partition in [0, 1] {
        drive.locate(Some(partition), Destination::Object(0)).expect("LOCATE(16)");
        write(&mut drive, &pattern(partition.into(), 800));
        filemark(&mut drive);
    }
    for partition in [0, 1] {
        drive.locate(Some(partition), Destination::Object(0)).expect("LOCATE(16)");
        assert_eq!(drive.read_position().expect("a position").partition, u32::from(partition));
        expect_block(&mut drive, &pattern(partition.into(), 800));
        assert_eq!(read(&mut drive, 800).0, BlockRead::Filemark);
        assert_eq!(read(&mut drive, 800).0, BlockRead::EndOfData);
    }
    drive.locate(Some(0), Destination::Object(0)).expect("LOCATE(16)");
    let changed = drive.change_mode_page(MediumPartition::CODE, MediumPartition::set_one_partition);
    assert!(changed.expect("MODE SELECT of page 11h"));
    drive.format_medium(1, false).expect("FORMAT MEDIUM");
    assert_eq!(read(&mut drive, 800).0, BlockRead::EndOfData);
    let gone = drive.locate(Some(1), Destination::Object(0)).expect_err("the partition is gone");
    assert!(gone.meaning().is_some(), "{gone}");
}

pub(crate) fn a_full_medium_warns_before_it_overflows(rig: &dyn Rig) {
    if !rig.has(Feature::SmallMedium) {
        return;
    }
    let mut drive = blank_drive(rig);
    let mut block = pattern(5, BLOCK_LEN);
    let (mut written, mut warned_at) = (0_u64, None);
    let overflow = loop {
        block[..8].copy_from_slice(&written.to_le_bytes());
        match drive.write_block(&block) {
            Ok(report) => {
                written += 1;
                if report.early_warning && warned_at.is_none() {
                    warned_at = Some(written);
                }
            }
            Err(error) => break error,
        }
        assert!(written < 4096, "no end after 2 GiB");
    };
    assert_eq!(overflow.meaning(), Some(Meaning::VolumeOverflow), "{overflow}");
    let warned_at = warned_at.expect("a warning before the end");
    assert!(warned_at < written, "{warned_at} of {written} blocks");
    drive.rewind(false).expect("a rewind");
    let mut buffer = vec![0; BLOCK_LEN];
    for index in 0..written {
        assert_eq!(drive.read_block(&mut buffer).expect("a read"), BlockRead::Block { len_bytes: BLOCK_LEN });
        assert_eq!(buffer[..8], index.to_le_bytes());
    }
}

pub(crate) fn sense_data_can_be_asked_for(rig: &dyn Rig) {
    let mut drive = ready_drive(rig);
    let sense = drive.request_sense().expect("REQUEST SENSE");
    assert!(sense.meaning().is_done(), "{sense}");
}
