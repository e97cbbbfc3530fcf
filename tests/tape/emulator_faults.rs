//! Every fault of a script, as `reference/tape.md`, section 7, has seen them happen.

use reelfs::emulator::{Fault, FaultKind, TornTail};
use reelfs::scsi::{Data, TransportError};

use crate::emulator_support::{Bench, DRIVE, GOOD, SLOT, Unit, move_medium};

/// A drive with three blocks of 100 bytes, synchronized, and one fault.
fn struck(fault: Fault) -> (Bench, Unit) {
    let bench = Bench::small(8 << 20);
    let mut drive = bench.loaded(0);
    for number in 0..3 {
        drive.write(&[number; 100]);
    }
    drive.filemarks(0);
    bench.library.add_fault(fault).unwrap();
    (bench, drive)
}

fn on_drive(kind: FaultKind) -> Fault {
    Fault::new(1, kind)
}

#[test]
fn a_residual_can_be_wrong_while_the_sense_data_is_right() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::WrongResidual { bytes: -60 }));
    drive.rewind();
    let reply = drive.read(300);
    assert_eq!((reply.outcome.transferred_bytes, reply.information()), (40, Some(200)));
    assert_eq!(drive.read(100).outcome.transferred_bytes, 100, "once");
}

#[test]
fn somebody_else_can_move_the_tape_before_a_write() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::PositionMoved { object: 1 }));
    assert_eq!(drive.position().2, 3);
    assert_eq!(drive.write(&[9; 100]).sense(), GOOD);
    assert_eq!(drive.position().2, 2, "the block went over another one");
    drive.rewind();
    assert_eq!((drive.read(100).data, drive.read(100).data), (vec![0; 100], vec![9; 100]));
    assert_eq!(drive.read(100).sense(), (8, 0, 5));
}

#[test]
fn a_deferred_error_is_told_to_the_next_command_and_means_an_earlier_one() {
    let kind = FaultKind::DeferredError { key: 3, asc: 0x0c, ascq: 0 };
    let (_bench, mut drive) = struck(on_drive(kind).after(1));
    for number in 3..5 {
        assert_eq!(drive.write(&[number; 100]).sense(), GOOD, "block {number}");
    }
    let told = drive.send(&[0x10, 0, 0, 0, 1, 0]);
    assert_eq!((told.outcome.sense[0], told.sense()), (0x71, (3, 0x0c, 0)), "71h: deferred");
    // The filemark was not written, and the block that was said to be good is gone.
    assert_eq!(drive.position().2, 4);
    drive.filemarks(1);
    assert_eq!(drive.locate(3).sense(), GOOD);
    assert_eq!(drive.read(100).data, [3; 100]);
    assert_eq!(drive.read(100).sense(), (0, 0, 1));
    assert_eq!(drive.read(100).sense(), (8, 0, 5));
}

#[test]
fn early_warning_can_come_too_late() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::EarlyWarning { bytes: 600_000 }));
    let block = vec![1; 512 << 10];
    let senses: Vec<_> = (0..17).map(|_| drive.write(&block).sense()).collect();
    let warned = senses.iter().position(|sense| *sense == (0, 0, 2)).unwrap();
    let full = senses.iter().position(|sense| *sense == (0x0d, 0, 2)).unwrap();
    assert_eq!(full - warned, 1, "room for one block only: {senses:?}");
}

#[test]
fn one_block_can_be_unreadable() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::MediumError { object: Some(1) }).times(0));
    drive.rewind();
    assert_eq!(drive.read(100).sense(), GOOD);
    for _ in 0..3 {
        assert_eq!(drive.read(100).sense(), (3, 0x11, 0));
    }
    assert_eq!(drive.locate(2).sense(), GOOD);
    assert_eq!(drive.read(100).data, [2; 100]);
    let alerts = drive.get(&[0x4d, 0, 0x6e, 0, 0, 0, 5, 0, 9, 0], 9);
    assert_eq!(alerts[8], 1, "TapeAlert 5, read failure");
}

#[test]
fn a_block_that_is_spoilt_stays_so() {
    let bench = Bench::small(8 << 20);
    let mut drive = bench.loaded(0);
    for number in 0..3 {
        drive.write(&[number; 100]);
    }
    assert!(bench.library.spoil_block("RL0001L8", 0, 1).is_err(), "a drive has it");
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    bench.unit(0).good(&move_medium(DRIVE, SLOT));
    bench.library.spoil_block("RL0001L8", 0, 1).unwrap();
    assert!(bench.library.spoil_block("RL0001L8", 0, 3).is_err(), "no such block");
    let mut drive = bench.loaded(0);
    assert_eq!(drive.read(100).data, [0; 100]);
    assert_eq!(drive.read(100).sense(), (3, 0x11, 0));
    assert_eq!(drive.position().2, 2, "behind it");
    assert_eq!(drive.read(100).data, [2; 100]);
    // VERIFY finds it without moving data.
    drive.rewind();
    assert_eq!(drive.send(&[0x13, 0x20, 0, 0, 0, 0]).sense(), (3, 0x11, 0));
}

#[test]
fn writes_can_fail_and_hardware_can() {
    let (bench, mut drive) = struck(on_drive(FaultKind::MediumError { object: None }).at(0x0a));
    assert_eq!(drive.write(&[1; 10]).sense(), (3, 0x0c, 0));
    let kind = FaultKind::Sense { key: 4, asc: 0x44, ascq: 0, executed: false };
    bench.library.add_fault(on_drive(kind).at(0x10)).unwrap();
    assert_eq!(drive.send(&[0x10, 0, 0, 0, 1, 0]).sense(), (4, 0x44, 0));
    assert_eq!(drive.position().2, 3, "nothing was written");
    // Sense data that nobody knows.
    let kind = FaultKind::Sense { key: 5, asc: 0x4a, ascq: 0, executed: true };
    bench.library.add_fault(on_drive(kind).at(0x10)).unwrap();
    assert_eq!(drive.send(&[0x10, 0, 0, 0, 1, 0]).sense(), (5, 0x4a, 0));
    assert_eq!(drive.position().2, 4, "this one did its work");
}

#[test]
fn unit_attentions_can_come_from_nowhere_or_be_taken_by_others() {
    let (bench, mut drive) = struck(on_drive(FaultKind::Attention { asc: 0x2a, ascq: 0x10 }));
    assert_eq!(drive.write(&[1; 10]).sense(), (6, 0x2a, 0x10));
    assert_eq!(drive.position().2, 3, "the command did nothing");
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    bench.library.add_fault(on_drive(FaultKind::AttentionsStolen)).unwrap();
    drive.good(&[0x1b, 0, 0, 0, 1, 0]);
    bench.library.add_fault(on_drive(FaultKind::AttentionsStolen)).unwrap();
    assert_eq!(drive.send(&[0; 6]).sense(), (2, 0x04, 0x01), "no 28/00");
    assert_eq!(drive.send(&[0; 6]).sense(), GOOD);
}

#[test]
fn an_answer_can_be_lost_before_or_after_the_work() {
    for (kind, object) in [
        (FaultKind::Timeout { executed: false }, 3),
        (FaultKind::Timeout { executed: true }, 4),
        (FaultKind::NoMemory { executed: false }, 3),
        (FaultKind::NoMemory { executed: true }, 4),
        (FaultKind::ConnectionLost { executed: true }, 4),
    ] {
        let (_bench, mut drive) = struck(on_drive(kind.clone()).at(0x0a));
        let error = drive.try_send(&[0x0a, 0, 0, 0, 10, 0], Data::Out(&[1; 10])).unwrap_err();
        let is_right = match (&kind, &error) {
            (FaultKind::Timeout { .. }, TransportError::Timeout { timeout, .. }) => timeout.as_secs() == 60,
            (FaultKind::NoMemory { .. }, TransportError::NoMemory { .. }) => true,
            (FaultKind::ConnectionLost { .. }, TransportError::ConnectionLost { .. }) => true,
            _ => false,
        };
        assert!(is_right, "{kind:?}: {error:?}");
        assert_eq!(drive.position().2, object, "{kind:?}");
    }
}

#[test]
fn a_reset_loses_the_buffer_and_the_position() {
    let (bench, mut drive) = struck(on_drive(FaultKind::Reset).at(0x0a).after(2));
    let mut other = bench.unit_as(1, "other");
    other.settle();
    drive.write(&[3; 100]);
    drive.write(&[4; 100]);
    assert_eq!(drive.write(&[5; 100]).sense(), (6, 0x29, 0));
    assert_eq!(other.send(&[0; 6]).sense(), (6, 0x29, 0));
    assert_eq!(drive.position(), (0x80, 0, 0, 0));
    assert_eq!(drive.space(3, 0).sense(), GOOD);
    assert_eq!(drive.position().2, 3, "what was synchronized is there, and no more");
}

#[test]
fn a_power_failure_tears_the_last_record() {
    let (bench, mut drive) = struck(on_drive(FaultKind::PowerLoss).after(1));
    drive.write(&[3; 100]);
    assert_eq!(drive.write(&[4; 100]).sense(), (6, 0x29, 0));
    assert_eq!(drive.space(3, 0).sense(), (8, 0x14, 0x03), "END-OF-DATA NOT FOUND");
    assert_eq!(drive.position().2, 3);
    // Page 17h, parameter 0203h: FFFFFFFFh.
    let used = drive.get(&[0x4d, 0, 0x57, 0, 0, 0x02, 0x03, 0, 16, 0], 16);
    assert_eq!(used[12..], [0xff; 4]);
    drive.rewind();
    for number in 0..3 {
        assert_eq!(drive.read(100).data, [number; 100]);
    }
    assert_eq!(drive.read(100).sense(), (8, 0x14, 0x03));
    // After an unload too, and in a drive that says it otherwise.
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    bench.unit(0).good(&move_medium(DRIVE, SLOT));
    bench.library.set_torn_tail("RL0001L8", TornTail::ReadError).unwrap();
    let mut drive = bench.loaded(0);
    assert_eq!(drive.locate(3).sense(), (3, 0x11, 0));
    // A short ERASE at the end of what is whole mends it.
    assert_eq!(drive.position().2, 3);
    drive.good(&[0x19, 0, 0, 0, 0, 0]);
    assert_eq!(drive.read(100).sense(), (8, 0, 5));
    assert_eq!(drive.space(3, 0).sense(), GOOD);
}

#[test]
fn an_end_of_data_mark_can_be_missing() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::EndOfDataMissing));
    assert_eq!(drive.space(3, 0).sense(), (8, 0x14, 0x03));
    assert_eq!(drive.locate(2).sense(), GOOD);
    assert_eq!(drive.read(100).data, [2; 100]);
    assert_eq!(drive.write(&[3; 100]).sense(), GOOD, "writing makes a new one");
    assert_eq!(drive.read(100).sense(), (8, 0, 5));
}

#[test]
fn a_drive_can_take_long_to_be_ready() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::NotReady { count: 5 }));
    let senses: Vec<_> = (0..6).map(|_| drive.send(&[0; 6]).sense()).collect();
    assert_eq!(senses[..5], [(2, 0x04, 0x01); 5]);
    assert_eq!(senses[5], GOOD);
}

#[test]
fn loads_and_unloads_can_fail() {
    let (bench, mut drive) = struck(on_drive(FaultKind::UnloadFails));
    assert_eq!(drive.send(&[0x1b, 0, 0, 0, 0, 0]).sense(), (4, 0x53, 0));
    assert_eq!(drive.send(&[0; 6]).sense(), GOOD, "the cartridge is where it was");
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    bench.library.add_fault(on_drive(FaultKind::LoadFails)).unwrap();
    drive.good(&[0x1b, 0, 0, 0, 1, 0]);
    assert_eq!(drive.settle(), (4, 0x53, 0), "MEDIA LOAD OR EJECT FAILED");
    assert_eq!(drive.settle(), (4, 0x53, 0), "until it is unloaded");
    drive.good(&[0x1b, 0, 0, 0, 0, 0]);
    drive.good(&[0x1b, 0, 0, 0, 1, 0]);
    assert_eq!(drive.settle(), GOOD);
}

#[test]
fn somebody_else_can_unload_the_cartridge() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::UnloadedByOthers).at(0x0a));
    drive.good(&[0x1e, 0, 0, 0, 1, 0]);
    assert_eq!(drive.write(&[1; 10]).sense(), (2, 0x3a, 0));
}

#[test]
fn a_move_can_fail_or_only_say_that_it_is_done() {
    let bench = Bench::small(1 << 20);
    let mut changer = bench.unit(0);
    changer.settle();
    let kind = FaultKind::Sense { key: 4, asc: 0x04, ascq: 0x03, executed: false };
    bench.library.add_fault(Fault::new(0, kind).at(0xa5).times(2)).unwrap();
    for _ in 0..2 {
        assert_eq!(changer.send(&move_medium(SLOT, DRIVE)).sense(), (4, 0x04, 0x03));
    }
    bench.library.add_fault(Fault::new(0, FaultKind::MoveIgnored)).unwrap();
    changer.good(&move_medium(SLOT, DRIVE));
    let mut drive = bench.unit(1);
    assert_eq!(drive.settle(), (2, 0x3a, 0), "there is nothing in the drive");
    changer.good(&move_medium(SLOT, DRIVE));
    assert_eq!(drive.settle(), GOOD);
}

#[test]
fn a_memory_can_be_unreadable() {
    let bench = Bench::small(1 << 20);
    bench.library.set_memory_readable("RL0001L8", false).unwrap();
    let mut drive = bench.loaded(0);
    let reply = drive.send_in(&[0x8c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0], 512);
    assert_eq!(reply.sense(), (3, 0x11, 0x12), "AUXILIARY MEMORY READ ERROR");
    assert_eq!(drive.write(&[1; 10]).sense(), GOOD);
}

#[test]
fn a_checksum_can_be_wrong_on_the_way() {
    let (bench, mut drive) = struck(on_drive(FaultKind::GuardMismatch));
    let mut page = vec![0, 0, 0x10, 0, 0x4a, 0xf0, 0, 28, 2, 4, 0xc0];
    page.resize(36, 0);
    drive.put(&[0x15, 0x10, 0, 0, 36, 0], &page);
    drive.rewind();
    let crc = reelfs::checksum::crc32c(&[&[0; 100]]).to_le_bytes();
    assert_ne!(drive.read(104).data[100..], crc);
    drive.rewind();
    assert_eq!(drive.read(104).data[100..], crc, "read again it is right");
    bench.library.add_fault(on_drive(FaultKind::GuardMismatch).at(0x0a)).unwrap();
    assert_eq!(drive.write(&[[0; 100].as_slice(), &crc].concat()).sense(), (4, 0x10, 0x01));
}

#[test]
fn a_filemark_too_many_can_be_written() {
    let (_bench, mut drive) = struck(on_drive(FaultKind::ExtraFilemark));
    drive.filemarks(1);
    assert_eq!(drive.position(), (0, 0, 5, 2));
}

#[test]
fn a_script_is_a_file_and_its_faults_are_counted_and_removed() {
    let bench = Bench::small(1 << 20);
    let mut drive = bench.loaded(0);
    let script = r#"{"faults":[{"lun":1,"kind":"sense","key":4,"asc":68,"ascq":0,"operation_code":1}]}"#;
    std::fs::write(bench.dir.path().join("faults.json"), script).unwrap();
    assert_eq!(drive.send(&[0x01, 0, 0, 0, 0, 0]).sense(), (4, 0x44, 0));
    assert_eq!(drive.send(&[0x01, 0, 0, 0, 0, 0]).sense(), GOOD, "once");
    assert_eq!(bench.library.counters(0).unwrap().fault_count, 1);
    let id = bench.library.add_fault(on_drive(FaultKind::Timeout { executed: false }).times(0)).unwrap();
    assert!(drive.try_send(&[0; 6], Data::None).is_err());
    assert_eq!(bench.library.remove_faults(Some(id)).unwrap(), 1);
    assert_eq!(drive.send(&[0; 6]).sense(), GOOD);
    assert_eq!(bench.library.remove_faults(None).unwrap(), 1);
    assert!(bench.library.faults().unwrap().is_empty());
    // A script that is none is no script, and nothing worse.
    std::fs::write(bench.dir.path().join("faults.json"), "{\"faults\":[{\"kind\":\"flood\"}]}").unwrap();
    assert_eq!(drive.send(&[0; 6]).sense(), GOOD);
}
