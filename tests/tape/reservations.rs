//! Drives that several may reach, over iSCSI: one session at a time, and what becomes of those that are gone (tape.md, 0.3).

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use reelfs::clock::ManualClock;
use reelfs::emulator::{Fault, FaultKind, IscsiTarget, TargetSettings};
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::library::TapeLibrary;
use reelfs::job::tape::reservations::ProcessKeys;
use reelfs::progress::Progress;
use reelfs::scsi::LogicalUnit;
use reelfs::scsi::reservation::{ReservationKind, ReserveAction};
use reelfs::tape::drive::{Drive, DriveError, DriveOptions, ReservationKeys};
use reelfs::tape::reader::IndexState;

use crate::lab::{self, Lab, archive, check_objects, index, objects};
use crate::random::Random;

const CAPACITY: u64 = 256 << 20;
const LUN: u16 = 1;
const EXCLUSIVE: ReservationKind = ReservationKind::ExclusiveAccess;

/// A library with a labelled cartridge in its first drive, served to whoever comes.
struct Shared {
    lab: Lab,
    target: IscsiTarget,
}

impl Shared {
    fn new() -> Self {
        let lab = Lab::new(1, CAPACITY);
        drop(lab.labelled());
        let settings = TargetSettings {
            name: "iqn.2026-11.test.reelfs:library".to_owned(),
            initiator: None,
            target: None,
            random: Arc::new(|| [0x5e; 16]),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = IscsiTarget::start(lab.library.clone(), settings, listener).unwrap();
        Self { lab, target }
    }

    fn open(&self, seed: u64, preempts: bool) -> TapeLibrary {
        let address = LibraryAddress::Iscsi(format!("iscsi://{}", self.target.address()));
        let numbers = std::sync::Mutex::new(Random::seeded(seed));
        let random = move || {
            let bytes = numbers.lock().unwrap().bytes(32);
            bytes.try_into().unwrap()
        };
        let inputs = LibraryInputs { clock: Arc::new(ManualClock::default()), random: Arc::new(random) };
        TapeLibrary::open(&address, &inputs, DriveOptions { preempts, ..DriveOptions::default() }).unwrap()
    }

    // An initiator that has reserved the first drive with this key.
    fn held_by(&self, key: u64) -> LogicalUnit {
        let transport = self.lab.library.transport_as(LUN, "iqn.2026-11.invalid:holder").unwrap();
        let mut unit = LogicalUnit::new(Box::new(transport));
        unit.clear_unit_attentions().unwrap();
        unit.persistent_reserve(ReserveAction::RegisterAndIgnoreExistingKey, EXCLUSIVE, 0, key).unwrap();
        unit.persistent_reserve(ReserveAction::Reserve, EXCLUSIVE, key, 0).unwrap();
        unit
    }
}

fn refused(opened: Result<Drive, TapeJobError>) -> String {
    match opened {
        Err(error @ TapeJobError::Drive(DriveError::Reserved { .. })) => {
            assert!(error.is_busy() && error.is_reserved());
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

// Number of a process that is over.
fn gone() -> u64 {
    let mut child = Command::new("true").spawn().unwrap();
    let process = u64::from(child.id());
    child.wait().unwrap();
    process
}

#[test]
fn a_drive_that_a_session_has_is_for_no_other_until_it_ends() {
    let shared = Shared::new();
    let (one, other) = (shared.open(1, false), shared.open(2, false));
    let drive = one.open_drive(0).unwrap();
    let said = refused(other.open_drive(0));
    let process = format!("process {} of reelfs on this machine", std::process::id());
    assert!(said.contains(&process) && said.contains("initiator iqn."), "{said}");
    // The other drive is free, and the changer too.
    drop(other.open_drive(1).unwrap());
    drop(drive);
    let mut drive = other.open_drive(0).unwrap();
    drive.wait_ready(&Progress::new()).unwrap();
    archive(&mut drive, 1, &objects(61, 5));
    refused(one.open_drive(0));
    drop(drive);
    drop(one.open_drive(0).unwrap());
    let mut unit = LogicalUnit::new(Box::new(shared.lab.library.transport(LUN).unwrap()));
    unit.clear_unit_attentions().unwrap();
    assert_eq!(unit.reservation_keys().unwrap(), [] as [u64; 0], "nothing is left behind");
}

#[test]
fn a_drive_of_a_process_that_was_killed_is_taken_over() {
    let shared = Shared::new();
    let keys = ProcessKeys::new();
    let mut holder = shared.held_by(keys.key_of(gone(), 7, 0));
    let mut drive = shared.open(1, false).open_drive(0).unwrap();
    drive.wait_ready(&Progress::new()).unwrap();
    // Should it be there after all, it writes nothing any more.
    let _told = holder.clear_unit_attentions();
    assert!(holder.rewind(false).unwrap_err().is_reservation_conflict());
    archive(&mut drive, 1, &objects(62, 5));
    assert_eq!(index(&mut drive).state, IndexState::Closed);
}

#[test]
fn a_process_of_the_same_number_that_began_at_another_time_is_another_one() {
    let keys = ProcessKeys::new();
    let own = u64::from(std::process::id());
    let mine = keys.begin();
    assert!(!keys.is_over(mine));
    let start = mine >> 6 & 0xff;
    assert!(keys.is_over(keys.key_of(own, start ^ 1, 0)), "the number is used again");
    keys.end(mine);
    assert!(keys.is_over(mine), "a session of this process that has ended");
    // The process that started this one lasts; its start is not known here, and one of 256 agrees.
    let parent = u64::from(std::os::unix::process::parent_id());
    assert_eq!((0..256).filter(|start| !keys.is_over(keys.key_of(parent, *start, 0))).count(), 1);
    // Of another machine, or of another program, nobody can tell.
    let elsewhere = keys.key_of(gone(), 0, 0) ^ 1 << 40;
    for key in [elsewhere, 7, u64::MAX] {
        assert!(!keys.is_over(key), "{key:016x}");
    }
}

#[test]
fn a_drive_of_another_machine_or_program_is_taken_over_only_when_a_person_says_so() {
    let keys = ProcessKeys::new();
    let elsewhere = keys.key_of(4711, 0, 0) ^ 1 << 40;
    let cases = [(elsewhere, "process 4711 of reelfs on another machine"), (7, "another program")];
    for (key, text) in cases {
        let shared = Shared::new();
        let mut holder = shared.held_by(key);
        let said = refused(shared.open(1, false).open_drive(0));
        assert!(said.contains(text) && said.contains(&format!("key {key:016x}")), "{said}");
        holder.rewind(false).unwrap();
        let mut drive = shared.open(2, true).open_drive(0).unwrap();
        drive.wait_ready(&Progress::new()).unwrap();
        let _told = holder.clear_unit_attentions();
        assert!(holder.rewind(false).unwrap_err().is_reservation_conflict());
        archive(&mut drive, 1, &objects(63, 3));
    }
}

#[test]
fn a_session_that_a_person_took_the_drive_from_writes_no_more() {
    let shared = Shared::new();
    let mut drive = shared.open(1, false).open_drive(0).unwrap();
    drive.wait_ready(&Progress::new()).unwrap();
    let end = drive.locate_end().unwrap().loi;
    drive.write_block(&[1; 1000]).unwrap();
    let mut other = shared.open(2, true).open_drive(0).unwrap();
    other.wait_ready(&Progress::new()).unwrap();
    let error = drive.write_block(&[2; 1000]).unwrap_err();
    assert!(matches!(error, DriveError::Reserved { .. }), "{error:?}");
    assert_eq!(other.locate_end().unwrap().loi, end + 1);
    // Nor does it take the drive back when it ends.
    drop(drive);
    other.locate(0).unwrap();
}

#[test]
fn a_connection_that_is_lost_while_writing_is_made_again_and_its_reservation_is_no_obstacle() {
    let shared = Shared::new();
    for after in [0, 2, 4] {
        let mut drive = shared.open(after, false).open_drive(0).unwrap();
        drive.wait_ready(&Progress::new()).unwrap();
        let lost = FaultKind::ConnectionLost { executed: after == 2 };
        let library = &shared.lab.library;
        library.add_fault(Fault::new(LUN, lost).at(0x0a).after(after)).unwrap();
        let written = objects(64 + after, 8);
        let closed = archive(&mut drive, 1, &written);
        assert_eq!(closed.state, IndexState::Closed, "{after}");
        library.remove_faults(None).unwrap();
        // It can be taken out: nothing of the lost session holds it.
        drive.unload().unwrap();
        drive.load().unwrap();
        drive.wait_ready(&Progress::new()).unwrap();
    }
    assert_eq!(shared.lab.library.counters(0).unwrap().fault_count, 3);
    drop(shared.target);
    let mut drive = shared.lab.ready();
    let all: Vec<_> = [0, 2, 4].into_iter().flat_map(|after| objects(64 + after, 8)).collect();
    let found = index(&mut drive);
    check_objects(&mut drive, &found, &all);
}

#[test]
fn a_drive_without_reservations_is_used_all_the_same() {
    const UNKNOWN: lab::Fault =
        lab::Fault::Sense(&[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0]);
    let lab = Lab::new(1, CAPACITY);
    drop(lab.labelled());
    let (transport, script) = lab.faulty(UNKNOWN, Some(0x5f), 0);
    let options =
        DriveOptions { reservations: Some(Arc::new(ProcessKeys::new())), ..DriveOptions::default() };
    let mut drive = Drive::open(transport, lab.time.clone(), options).unwrap();
    assert_eq!(script.lock().unwrap().struck, 1);
    drive.wait_ready(&Progress::new()).unwrap();
    archive(&mut drive, 1, &objects(65, 3));
}
