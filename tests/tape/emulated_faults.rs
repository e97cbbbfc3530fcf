//! Faults that the emulated drive plays with all their consequences: lost buffers, torn records, moved tapes
//! (tape.md, section 7; reliability.md, F29 to F33).

use reelfs::emulator::{EmulatedLibrary, Fault, FaultKind};
use reelfs::progress::Progress;
use reelfs::scsi::{Transport, TransportError};
use reelfs::tape::TapeError;
use reelfs::tape::drive::{Connect, DriveError};
use reelfs::tape::reader::{IndexState, VolumeIndex, VolumeReader};
use reelfs::tape::writer::{Ended, Place, VolumeWriter};

use crate::lab::{Lab, archive, check_objects, description, index, noise, object, objects, session, small};

const CAPACITY: u64 = 256 << 20;
const LUN: u16 = 1;
const WRITE: u8 = 0x0a;
const FILEMARKS: u8 = 0x10;
const READ_POSITION: u8 = 0x34;

fn fault(kind: FaultKind, operation_code: u8, after: u64) -> Fault {
    Fault::new(LUN, kind).at(operation_code).after(after)
}

// Connects again to the same drive.
#[derive(Debug)]
struct Again(EmulatedLibrary);

impl Connect for Again {
    fn connect(&mut self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(Box::new(self.0.transport(LUN).expect("a drive")))
    }
}

// A session with a fault; returns how it ended.
fn write_with(lab: &Lab, faults: &[Fault], seed: u64) -> Result<(Ended, Place, VolumeIndex), TapeError> {
    let mut drive = lab.ready();
    let library = EmulatedLibrary::open(&lab.directory.path().join("library"), lab.time.clone());
    drive.set_connect(Box::new(Again(library.expect("a library"))));
    let progress = Progress::new();
    let mut options = small();
    options.commit_bytes = 3 << 20;
    let mut writer = VolumeWriter::append(&mut drive, description(1).volume, session(), options, &progress)?;
    for fault in faults {
        lab.library.add_fault(fault.clone()).expect("a script");
    }
    let (ended, place) = writer.write(&objects(seed, 12), Place::default(), &progress)?;
    let closed = writer.finish(false, &progress)?;
    drop(drive);
    assert!(lab.library.counters(0).expect("counters").fault_count > 0, "{faults:?} did not strike");
    lab.library.remove_faults(None).expect("a script");
    Ok((ended, place, closed))
}

#[test]
fn what_a_reset_or_a_lost_connection_took_is_written_again() {
    let base = Lab::new(1, CAPACITY);
    drop(base.labelled());
    let kinds = [
        FaultKind::Reset,
        FaultKind::ConnectionLost { executed: false },
        FaultKind::ConnectionLost { executed: true },
        FaultKind::Timeout { executed: true },
        FaultKind::NoMemory { executed: true },
    ];
    for kind in kinds {
        for (operation, after) in [(WRITE, 0), (WRITE, 5), (WRITE, 14), (FILEMARKS, 1), (FILEMARKS, 4)] {
            let case = format!("{kind:?} at {operation:02x}h {after}");
            let lab = base.copy();
            let (ended, _, closed) = write_with(&lab, &[fault(kind.clone(), operation, after)], 31)
                .unwrap_or_else(|error| panic!("{case}: {error:?}"));
            assert!(matches!(ended, Ended::Done), "{case}: {ended:?}");
            assert_eq!(closed.state, IndexState::Closed, "{case}");
            let mut drive = lab.ready();
            let found = index(&mut drive);
            assert!(found.segments == closed.segments, "{case}");
            check_objects(&mut drive, &found, &objects(31, 12));
        }
    }
}

#[test]
fn a_filemark_too_many_and_a_moved_tape_are_noticed_at_the_next_check() {
    let base = Lab::new(1, CAPACITY);
    drop(base.labelled());
    let cases = [
        fault(FaultKind::ExtraFilemark, FILEMARKS, 0),
        fault(FaultKind::ExtraFilemark, FILEMARKS, 3),
        fault(FaultKind::PositionMoved { object: 0 }, READ_POSITION, 0),
        fault(FaultKind::PositionMoved { object: 2 }, READ_POSITION, 1),
    ];
    for fault in cases {
        let lab = base.copy();
        let case = format!("{fault:?}");
        let (ended, _, closed) =
            write_with(&lab, &[fault], 32).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert!(matches!(ended, Ended::Done), "{case}: {ended:?}");
        let mut drive = lab.ready();
        let found = index(&mut drive);
        assert!(found.segments == closed.segments, "{case}");
        check_objects(&mut drive, &found, &objects(32, 12));
    }
}

#[test]
fn after_a_deferred_error_or_a_power_loss_the_commits_stand_and_the_next_session_goes_on() {
    let base = Lab::new(1, CAPACITY);
    drop(base.labelled());
    let deferred = FaultKind::DeferredError { key: 3, asc: 0x0c, ascq: 0 };
    for kind in [deferred, FaultKind::PowerLoss] {
        for after in [0, 5, 8, 14] {
            let case = format!("{kind:?} after {after}");
            let lab = base.copy();
            let (ended, place, closed) = write_with(&lab, &[fault(kind.clone(), WRITE, after)], 33)
                .unwrap_or_else(|error| panic!("{case}: {error:?}"));
            // What strikes the closing index leaves everything committed.
            assert!(matches!(ended, Ended::Lost(_)) || place.object == 12, "{case}: {ended:?}");
            assert_eq!(closed.state, IndexState::Torn, "{case}");
            let objects = objects(33, 12);
            let before = &objects[..usize::try_from(place.object).expect("few")];
            let whole = |index: &VolumeIndex, name: &str| {
                index.segments.iter().any(|entry| *entry.name == *name && entry.is_last())
            };
            let mut drive = lab.ready();
            let found = index(&mut drive);
            for object in before {
                assert!(whole(&found, &object.name), "{case}: {} was said to be committed", object.name);
            }
            let later = vec![object("full/web1/later.bdf", noise(9, 900_000))];
            archive(&mut drive, 1, &later);
            let found = index(&mut drive);
            assert_eq!(found.state, IndexState::Closed, "{case}");
            assert!(whole(&found, "full/web1/later.bdf"));
            let mut reader = VolumeReader::open(&mut drive).expect("ours");
            let totals = reader.verify(&found, &Progress::new(), &mut |damage| panic!("{case}: {damage:?}"));
            assert_eq!(totals.expect("read").segments, found.segments.len() as u64);
        }
    }
}

#[test]
fn an_early_warning_that_comes_too_early_closes_the_cartridge() {
    let capacity = 14 << 20;
    let lab = Lab::new(1, capacity);
    drop(lab.labelled());
    let early = fault(FaultKind::EarlyWarning { bytes: capacity / 2 }, WRITE, 3);
    let (ended, place, closed) = write_with(&lab, &[early], 34).expect("no error of the host");
    assert!(matches!(ended, Ended::Full), "{ended:?}");
    assert_eq!(closed.state, IndexState::Closed);
    assert!(place.object < 12);
    let mut drive = lab.ready();
    let found = index(&mut drive);
    assert!(found.segments == closed.segments);
    let mut reader = VolumeReader::open(&mut drive).expect("ours");
    let totals = reader.verify(&found, &Progress::new(), &mut |damage| panic!("{damage:?}"));
    assert_eq!(totals.expect("read").segments, found.segments.len() as u64);
}

#[test]
fn wrong_residuals_bad_guards_and_passing_read_errors_change_nothing() {
    let base = Lab::new(1, CAPACITY);
    let mut drive = base.labelled();
    archive(&mut drive, 1, &objects(35, 12));
    drop(drive);
    let kinds = [
        (FaultKind::WrongResidual { bytes: 4 }, 0),
        (FaultKind::WrongResidual { bytes: -512 }, 0),
        (FaultKind::GuardMismatch, 1),
        (FaultKind::MediumError { object: None }, 1),
        (FaultKind::Attention { asc: 0x2a, ascq: 0x01 }, 1),
        (FaultKind::Reset, 1),
        (FaultKind::Timeout { executed: true }, 1),
        (FaultKind::NoMemory { executed: false }, 1),
    ];
    for (kind, times) in kinds {
        for after in [0, 3, 9] {
            let lab = base.copy();
            let mut drive = lab.ready();
            lab.library.add_fault(fault(kind.clone(), 0x08, after).times(times)).expect("a script");
            let found = index(&mut drive);
            assert_eq!(found.state, IndexState::Closed, "{kind:?} after {after}");
            check_objects(&mut drive, &found, &objects(35, 12));
        }
    }
}

#[test]
fn a_cartridge_that_is_gone_is_an_error_and_nothing_else() {
    let lab = Lab::new(1, CAPACITY);
    drop(lab.labelled());
    let gone = fault(FaultKind::UnloadedByOthers, WRITE, 4);
    let result = write_with(&lab, &[gone], 36);
    let is_expected = matches!(
        &result,
        Err(TapeError::Drive(
            DriveError::Empty { .. } | DriveError::MediumChanged { .. } | DriveError::Unusable { .. }
        ))
    );
    assert!(is_expected, "{result:?}");
}
