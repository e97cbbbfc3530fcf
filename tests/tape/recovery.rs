//! Sessions that are reset, told of other things, or cut off at any command (tape.md, 2.3): what is on tape stays, and
//! the session goes on as it was.

use reelfs::emulator::{EmulatedLibrary, Fault, FaultKind};
use reelfs::progress::Progress;
use reelfs::scsi::cdb::ssc::LoadFlags;
use reelfs::scsi::mode::DeviceConfigurationExtension;
use reelfs::scsi::{LogicalUnit, Transport, TransportError};
use reelfs::tape::Object;
use reelfs::tape::drive::{Connect, Drive};
use reelfs::tape::reader::{IndexState, VolumeIndex, VolumeReader, read_run};
use reelfs::tape::writer::{Overwrite, Place, VolumeWriter, label};

use crate::lab::{Lab, archive, check_objects, description, index, objects, session, small};

const CAPACITY: u64 = 256 << 20;
const LUN: u16 = 1;
const READ: u8 = 0x08;
const WRITE: u8 = 0x0a;
const READ_POSITION: u8 = 0x34;
const WRITE_ATTRIBUTE: u8 = 0x8d;
/// TIMESTAMP CHANGED: tells nothing about tape or settings.
const HARMLESS: FaultKind = FaultKind::Attention { asc: 0x2a, ascq: 0x10 };

fn strike(lab: &Lab, kind: FaultKind, operation_code: u8, after: u64) {
    lab.library.add_fault(Fault::new(LUN, kind).at(operation_code).after(after)).expect("a script");
}

// Connects again to the same drive.
#[derive(Debug)]
struct Again(EmulatedLibrary);

impl Connect for Again {
    fn connect(&mut self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(self.0.transport(LUN).expect("a drive")))
    }
}

fn ready(lab: &Lab) -> Drive {
    let mut drive = lab.ready();
    drive.set_connect(Box::new(Again(lab.library.clone())));
    drive
}

// An archive on the first cartridge.
fn archived(seed: u64) -> (Lab, VolumeIndex) {
    let lab = Lab::new(1, CAPACITY);
    let mut drive = lab.labelled();
    let closed = archive(&mut drive, 1, &objects(seed, 12));
    drop(drive);
    (lab, closed)
}

#[test]
fn what_strikes_while_a_tape_is_read_takes_nothing_of_it() {
    let (base, _) = archived(41);
    let image = std::fs::read(base.image("RL0001L8")).expect("an image");
    let deferred = FaultKind::DeferredError { key: 3, asc: 0x0c, ascq: 0 };
    for kind in [FaultKind::Reset, FaultKind::PowerLoss, deferred] {
        let lab = base.copy();
        let mut drive = lab.ready();
        strike(&lab, kind.clone(), READ, 9);
        drive.locate(0).expect("the beginning");
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..20 {
            // The deferred error is told here; the others are passed.
            let _told = drive.read_block(&mut buffer);
        }
        assert_eq!(lab.library.counters(0).expect("counters").fault_count, 1, "{kind:?}");
        drop(drive);
        assert!(std::fs::read(lab.image("RL0001L8")).expect("an image") == image, "{kind:?} cut the tape");
        let mut drive = lab.ready();
        let found = index(&mut drive);
        check_objects(&mut drive, &found, &objects(41, 12));
    }
}

// Writes to the end; another session then finds what was said to be written.
fn write_and_look(lab: &Lab, mut drive: Drive, objects: &Vec<Object>, case: &str) -> Drive {
    let progress = Progress::new();
    let volume = description(1).volume;
    let mut writer = VolumeWriter::append(&mut drive, volume, session(), small(), &progress)
        .unwrap_or_else(|error| panic!("{case}: {error:?}"));
    let written = writer.write(objects, Place::default(), &progress);
    assert!(written.is_ok(), "{case}: {written:?}");
    let closed = writer.finish(false, &progress).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    drop(drive);
    let mut drive = lab.ready();
    let found = index(&mut drive);
    assert!(found.state == IndexState::Closed && found.segments == closed.segments, "{case}");
    drive
}

#[test]
fn an_attention_without_meaning_at_any_command_changes_nothing() {
    const COMMANDS: [u8; 13] = [0x00, 0x05, 0x08, 0x0a, 0x10, 0x1e, 0x34, 0x4d, 0x55, 0x5a, 0x8c, 0x8d, 0x92];
    let base = Lab::new(1, CAPACITY);
    base.load(0);
    let progress = Progress::new();
    let mut struck = 0;
    for code in COMMANDS {
        for after in [0, 1, 2, 3, 5, 8] {
            let lab = base.copy();
            let case = format!("at {code:02x}h {after}");
            strike(&lab, HARMLESS, code, after);
            let mut drive = ready(&lab);
            label(&mut drive, &description(1), &Overwrite::Nothing, &session(), &progress)
                .unwrap_or_else(|error| panic!("{case}: {error:?}"));
            let mut drive = write_and_look(&lab, drive, &objects(42, 4), &case);
            let found = index(&mut drive);
            check_objects(&mut drive, &found, &objects(42, 4));
            struck += lab.library.counters(0).expect("counters").fault_count;
        }
    }
    assert!(struck > 60, "only {struck} of 78 struck");
}

#[test]
fn a_reset_at_any_command_of_a_reader_is_passed() {
    const COMMANDS: [u8; 9] = [0x00, 0x08, 0x12, 0x1e, 0x34, 0x55, 0x5a, 0x8c, 0x92];
    let (base, closed) = archived(43);
    let progress = Progress::new();
    let mut struck = 0;
    for code in COMMANDS.into_iter().chain([0x11]) {
        for after in [0, 1, 2, 4, 9] {
            let lab = base.copy();
            let case = format!("at {code:02x}h {after}");
            strike(&lab, FaultKind::Reset, code, after);
            let mut drive = lab.ready();
            let mut reader =
                VolumeReader::open(&mut drive).unwrap_or_else(|error| panic!("{case}: {error:?}"));
            let found = reader.index(&progress).unwrap_or_else(|error| panic!("{case}: {error:?}"));
            assert!(found.segments == closed.segments, "{case}");
            let totals = reader.verify(&found, &progress, &mut |damage| panic!("{case}: {damage:?}"));
            let totals = totals.unwrap_or_else(|error| panic!("{case}: {error:?}"));
            assert_eq!(totals.segments, closed.segments.len() as u64, "{case}");
            struck += lab.library.counters(0).expect("counters").fault_count;
        }
    }
    assert!(struck > 30, "only {struck} of 50 struck");
}

#[test]
fn a_reset_where_the_position_is_asked_costs_a_run_of_blocks_nothing() {
    let (lab, closed) = archived(44);
    let mut drive = lab.ready();
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    let long = closed.segments.iter().rfind(|entry| entry.len == 1 << 20).expect("one of a MiB");
    let mut expected = vec![0; 1 << 20];
    reader.read_blocks(long.address.loi, &mut expected).expect("read");
    reader.read_blocks(2, &mut [0; 1024]).expect_err("a block is longer");
    strike(&lab, FaultKind::Reset, READ_POSITION, 0);
    let mut bytes = vec![0; expected.len()];
    let read = read_run(&mut drive, long.address.loi, 524_288, &mut bytes);
    assert!(read.is_ok() && bytes == expected, "{read:?}");
    assert_eq!(lab.library.counters(0).expect("counters").fault_count, 1);
}

#[test]
fn a_reset_while_writing_leaves_the_cartridge_locked_in_and_the_early_warning_set() {
    let lab = Lab::new(1, CAPACITY);
    drop(lab.labelled());
    let mut drive = ready(&lab);
    let progress = Progress::new();
    let other = lab.library.transport_as(LUN, "another program").expect("a drive");
    let mut other = LogicalUnit::new(Box::new(other));
    let mut warning_mb = || {
        other.clear_unit_attentions().expect("answers");
        let page = other.mode_page(DeviceConfigurationExtension::CODE).expect("a page").expect("a page").1;
        let (code, subpage) = DeviceConfigurationExtension::CODE;
        let page = page.page(code, subpage).expect("a page");
        DeviceConfigurationExtension::parse(page).expect("its fields").programmable_early_warning_mb
    };
    let mut writer =
        VolumeWriter::append(&mut drive, description(1).volume, session(), small(), &progress).expect("ours");
    let before = warning_mb();
    assert!(before > 0, "a writer sets it");
    strike(&lab, FaultKind::Reset, WRITE, 5);
    writer.write(&objects(45, 12), Place::default(), &progress).expect("written");
    assert_eq!(lab.library.counters(0).expect("counters").fault_count, 1);
    assert_eq!(warning_mb(), before);
    other.clear_unit_attentions().expect("answers");
    let refused = other.load_unload(LoadFlags::default()).expect_err("the cartridge is locked in");
    assert_eq!(refused.sense().expect("sense data").codes(), (5, 0x53, 0x02));
    writer.finish(false, &progress).expect("closed");
}

#[test]
fn what_strikes_while_the_cartridges_memory_is_written_leaves_an_archive_that_is_whole() {
    let base = Lab::new(1, CAPACITY);
    drop(base.labelled());
    let hard = FaultKind::Sense { key: 4, asc: 0x44, ascq: 0, executed: false };
    for kind in [FaultKind::Reset, FaultKind::ConnectionLost { executed: false }, hard] {
        for after in [0, 3, 8] {
            let lab = base.copy();
            let case = format!("{kind:?} {after}");
            let mut drive = ready(&lab);
            strike(&lab, kind.clone(), WRITE_ATTRIBUTE, after);
            let closed = archive(&mut drive, 1, &objects(46, 6));
            assert_eq!(lab.library.counters(0).expect("counters").fault_count, 1, "{case}");
            assert_eq!(closed.state, IndexState::Closed, "{case}");
            // The session is as it was: the next archive goes on with it.
            let found = index(&mut drive);
            assert!(found.segments == closed.segments, "{case}");
            archive(&mut drive, 1, &objects(47, 3));
        }
    }
}

#[test]
fn a_cartridge_of_ours_that_is_labelled_anew_is_labelled_in_spite_of_a_reset() {
    let (base, _) = archived(48);
    let progress = Progress::new();
    for (code, after) in [(WRITE, 0), (WRITE, 1), (0x10, 0), (0x10, 1), (0x92, 3), (READ_POSITION, 6)] {
        let lab = base.copy();
        let case = format!("at {code:02x}h {after}");
        let mut drive = ready(&lab);
        strike(&lab, FaultKind::Reset, code, after);
        let overwrite = Overwrite::Named("RL0001L8".to_owned());
        label(&mut drive, &description(2), &overwrite, &session(), &progress)
            .unwrap_or_else(|error| panic!("{case}: {error:?}"));
        drop(drive);
        let mut drive = lab.ready();
        assert_eq!(*VolumeReader::open(&mut drive).expect("ours").description(), description(2), "{case}");
    }
}

#[test]
fn a_drive_that_becomes_ready_again_in_the_middle_of_an_archive_is_waited_for() {
    let base = Lab::new(1, CAPACITY);
    drop(base.labelled());
    for (code, after) in [(WRITE, 0), (WRITE, 5), (0x10, 1), (0x10, 3)] {
        let lab = base.copy();
        let case = format!("at {code:02x}h {after}");
        let mut drive = ready(&lab);
        strike(&lab, FaultKind::NotReady { count: 7 }, code, after);
        let closed = archive(&mut drive, 1, &objects(49, 12));
        assert_eq!(lab.library.counters(0).expect("counters").fault_count, 1, "{case}");
        drop(drive);
        let mut drive = lab.ready();
        let found = index(&mut drive);
        assert!(found.segments == closed.segments, "{case}");
        check_objects(&mut drive, &found, &objects(49, 12));
    }
}

#[test]
fn parts_behind_a_spot_that_cannot_be_passed_are_found() {
    const SPACE: u8 = 0x11;
    let (base, closed) = archived(50);
    let progress = Progress::new();
    for after in 0..4 {
        let lab = base.copy();
        let mut drive = lab.ready();
        let mut reader = VolumeReader::open(&mut drive).expect("ours");
        strike(&lab, FaultKind::MediumError { object: None }, SPACE, after);
        let scanned = reader.scan(&progress).expect("scanned");
        assert_eq!(lab.library.counters(0).expect("counters").fault_count, 1, "after {after}");
        assert!(scanned.segments == closed.segments, "after {after}: {} segments", scanned.segments.len());
    }
}

#[test]
fn a_reset_before_anything_is_written_begins_the_session_again() {
    const COMMANDS: [u8; 7] = [0x11, 0x1e, 0x34, 0x4d, 0x55, 0x5a, 0x92];
    let (base, _) = archived(51);
    for code in COMMANDS {
        for after in [0, 1, 3] {
            let lab = base.copy();
            let case = format!("at {code:02x}h {after}");
            let drive = ready(&lab);
            strike(&lab, FaultKind::Reset, code, after);
            write_and_look(&lab, drive, &objects(52, 3), &case);
        }
    }
}
