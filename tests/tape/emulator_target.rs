//! The iSCSI target in front of an emulated library (RFC 7143).

use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfs::clock::Clock;
use reelfs::emulator::{EmulatedLibrary, Fault, FaultKind, Generation, LibraryShape, TimeMode};
use reelfs::scsi::iscsi::chap::Credentials;
use reelfs::scsi::iscsi::pdu::{
    LogoutRequest, NO_TAG, NopOut, Response, TaskManagementRequest, TextRequest, lun_field,
};
use reelfs::scsi::iscsi::{Initiator, LoginError, Settings};
use reelfs::scsi::{Data, Status, Transport};

use crate::emulator_support::Bench;
use crate::emulator_wire::{NAME, Served, Wire, load, serve, small, write_cdb};

fn send(unit: &mut Initiator, cdb: &[u8], data: Data<'_>) -> (Status, Vec<u8>, usize) {
    let outcome = unit.execute(cdb, data, Duration::from_secs(20)).unwrap();
    (outcome.status, outcome.sense, outcome.transferred_bytes)
}

fn settle(unit: &mut Initiator) {
    for _ in 0..10 {
        if send(unit, &[0; 6], Data::None).0 == Status::Good {
            return;
        }
    }
}

#[test]
fn blocks_of_all_lengths_go_through_with_and_without_digests() {
    let served = small();
    load(&served);
    let lens = [1, 511, 8192, 65_536, 65_537, 262_144, 524_288, 1_048_576, 1_500_001, 8 << 20];
    let blocks: Vec<Vec<u8>> = lens.iter().map(|len| (0..=250).cycle().take(*len).collect()).collect();
    for digests in [false, true] {
        let mut drive = served.connect(1, u8::from(digests), digests);
        settle(&mut drive);
        assert_eq!(send(&mut drive, &[0x01, 0, 0, 0, 0, 0], Data::None).0, Status::Good);
        for block in &blocks {
            let (status, sense, moved) = send(&mut drive, &write_cdb(block.len()), Data::Out(block));
            assert_eq!((status, moved), (Status::Good, block.len()), "{sense:02x?}");
        }
        send(&mut drive, &[0x01, 0, 0, 0, 0, 0], Data::None);
        for block in &blocks {
            let mut buffer = vec![0; block.len()];
            let mut cdb = write_cdb(block.len());
            cdb[0] = 0x08;
            let (status, _, moved) = send(&mut drive, &cdb, Data::In(&mut buffer));
            assert_eq!((status, moved), (Status::Good, block.len()));
            assert!(buffer == *block);
        }
    }
    // A short block: the data comes with the sense data, the residual is right.
    let mut drive = served.connect(1, 7, true);
    settle(&mut drive);
    send(&mut drive, &[0x01, 0, 0, 0, 0, 0], Data::None);
    let mut buffer = vec![0; 100];
    let (status, sense, moved) = send(&mut drive, &[0x08, 0, 0, 0, 100, 0], Data::In(&mut buffer));
    assert_eq!((status, moved), (Status::CheckCondition, 1));
    assert_eq!((sense[0], sense[2], sense[6]), (0xf0, 0x20, 99));
}

#[test]
fn several_sessions_use_the_library_at_once() {
    let served = small();
    load(&served);
    let mut changer = served.connect(0, 1, true);
    let mut drive = served.connect(1, 2, false);
    let mut other = served.connect(1, 3, false);
    // Each nexus is told of the power on for itself; the medium has changed only for those there.
    let (_, sense, _) = send(&mut drive, &[0; 6], Data::None);
    assert_eq!((sense[2], sense[12]), (6, 0x29));
    let (_, sense, _) = send(&mut other, &[0; 6], Data::None);
    assert_eq!((sense[2], sense[12]), (6, 0x29));
    settle(&mut drive);
    settle(&mut other);
    settle(&mut changer);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                let mut buffer = vec![0; 4096];
                let cdb = [0xb8, 0x12, 4, 0, 0, 20, 0, 0, 16, 0, 0, 0];
                assert_eq!(send(&mut changer, &cdb, Data::In(&mut buffer)).0, Status::Good);
                assert_eq!(&buffer[8..10], [2, 0x80]);
            }
        });
        scope.spawn(|| {
            for _ in 0..50 {
                assert_eq!(send(&mut drive, &write_cdb(100_000), Data::Out(&[1; 100_000])).0, Status::Good);
            }
        });
        for _ in 0..50 {
            assert_eq!(send(&mut other, &write_cdb(300_000), Data::Out(&[2; 300_000])).0, Status::Good);
        }
    });
    let mut drive = served.bench.unit(1);
    drive.settle();
    assert_eq!(drive.position().2, 100);
    // The library itself and a session are different initiators.
    assert_eq!(served.target.connection_count(), 3);
    drop(changer);
    let until = Instant::now() + Duration::from_secs(10);
    while served.target.connection_count() > 2 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(served.target.connection_count(), 2, "a logout ends the connection");
}

#[test]
fn a_secret_is_asked_for_and_the_target_proves_itself() {
    let user = Credentials { user: "web1".into(), secret: "a secret of 16 b".into() };
    let own = Credentials { user: "library".into(), secret: "another of 16 by".into() };
    let served = serve(Bench::small(1 << 20), Some(user.clone()), Some(own.clone()));
    let connect = |who: &str, target: Option<Credentials>| {
        let settings = Settings { target_credentials: target, ..Settings::new([9; 32]) };
        Initiator::connect(&served.address(who, 1), &settings)
    };
    for (who, target) in [("web1%a secret of 16 b@", None), ("web1%a secret of 16 b@", Some(own.clone()))] {
        let mut drive = connect(who, target).unwrap();
        assert_eq!(send(&mut drive, &[0x12, 0, 0, 0, 36, 0], Data::In(&mut [0; 36])).0, Status::Good);
    }
    for who in ["", "web1%a secret of 16 c@", "web2%a secret of 16 b@"] {
        match connect(who, None) {
            Err(LoginError::Refused { class: 2, detail: 1, .. }) => {}
            other => panic!("{who}: {other:?}"),
        }
    }
    let wrong = Credentials { secret: "a wrong one of 1".into(), ..own };
    assert!(connect("web1%a secret of 16 b@", Some(wrong)).is_err());
    assert!(!format!("{:?}", served.target).contains("secret of 16"));
}

#[test]
fn targets_are_found_and_others_are_not() {
    let served = small();
    let mut wire = Wire::new(&served);
    let name = ("InitiatorName", "iqn.2026-11.invalid:wire");
    let (response, keys) = wire
        .login(1, &[name, ("SessionType", "Discovery"), ("HeaderDigest", "CRC32C,None"), ("X-a", "1")])
        .unwrap();
    assert!(matches!(response, Response::Login(login) if login.status_class == 0));
    assert_eq!((keys.get("HeaderDigest"), keys.get("X-a")), (Some("CRC32C"), Some("NotUnderstood")));
    wire.digests.header = true;
    let text = TextRequest {
        immediate: false,
        is_final: true,
        continues: false,
        lun: 0,
        task_tag: 6,
        transfer_tag: NO_TAG,
        command_sn: 1,
        expected_status_sn: 0,
    };
    wire.send(&text.header(), b"SendTargets=All\0");
    let (response, data) = wire.receive().unwrap();
    assert!(matches!(response, Response::Text(text) if text.is_final && text.transfer_tag == NO_TAG));
    let expected = format!("TargetName={NAME}\0TargetAddress={},1\0", served.target.address());
    assert_eq!(String::from_utf8(data).unwrap(), expected);
    let logout = LogoutRequest {
        immediate: false,
        reason: 0,
        task_tag: 7,
        connection_id: 0,
        command_sn: 2,
        expected_status_sn: 0,
    };
    wire.send(&logout.header(), &[]);
    assert!(matches!(wire.receive(), Some((Response::Logout(_), _))));
    assert!(wire.is_closed());
    // Names, parameters and values that cannot be, with their status (RFC 7143, section 11.13.5).
    for (keys, status) in [
        (vec![name, ("TargetName", "iqn.2026-11.invalid:other")], (2, 3)),
        (vec![name], (2, 7)),
        (vec![("TargetName", NAME)], (2, 7)),
        (vec![name, ("TargetName", NAME), ("SessionType", "Odd")], (2, 9)),
        (vec![name, ("TargetName", NAME), ("MaxBurstLength", "12")], (2, 0)),
        (vec![name, ("TargetName", NAME), ("HeaderDigest", "MD5")], (2, 0)),
    ] {
        let mut wire = Wire::new(&served);
        match wire.login(1, &keys).unwrap().0 {
            Response::Login(login) => {
                assert_eq!((login.status_class, login.status_detail), status, "{keys:?}")
            }
            other => panic!("{other:?}"),
        }
        assert!(wire.is_closed());
    }
}

#[test]
fn a_write_comes_in_every_way_that_the_standard_allows() {
    let served = small();
    load(&served);
    let mut wire = Wire::normal(&served, 1);
    for tag in 1..4 {
        wire.command(1, tag, &[0; 6], None);
        wire.receive().unwrap();
    }
    // 10 000 bytes immediate, 30 000 unsolicited in two PDUs, the rest asked for: the first burst is 65 536.
    let block: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    wire.command(1, 9, &write_cdb(100_000), Some((100_000, &block[..10_000], false)));
    wire.data(9, NO_TAG, 0, 10_000, &block[10_000..25_000], false);
    wire.data(9, NO_TAG, 1, 25_000, &block[25_000..40_000], true);
    let Some((Response::ReadyToTransfer(ready), _)) = wire.receive() else { panic!("no R2T") };
    assert_eq!((ready.offset, ready.len_bytes, ready.ready_sn), (40_000, 60_000, 0));
    wire.data(9, ready.transfer_tag, 0, 40_000, &block[40_000..70_000], false);
    wire.data(9, ready.transfer_tag, 1, 70_000, &block[70_000..], true);
    let Some((Response::Scsi(done), _)) = wire.receive() else { panic!("no status") };
    assert_eq!((done.status, done.task_tag, done.expected_data_sn), (Status::Good, 9, 1));
    let mut drive = served.bench.unit(1);
    drive.settle();
    drive.rewind();
    assert_eq!(drive.read(100_000).data, block);
}

#[test]
fn commands_behind_one_that_waits_for_data_wait_too() {
    let served = small();
    load(&served);
    let mut wire = Wire::normal(&served, 1);
    for tag in 1..4 {
        wire.command(1, tag, &[0; 6], None);
        wire.receive().unwrap();
    }
    wire.command(1, 10, &write_cdb(5000), Some((5000, &[], true)));
    wire.command(1, 11, &[0x10, 0, 0, 0, 1, 0], None);
    let Some((Response::ReadyToTransfer(ready), _)) = wire.receive() else { panic!("no R2T") };
    // Another unit does not wait.
    wire.command(2, 12, &[0x12, 0, 0, 0, 0, 0], None);
    assert!(matches!(wire.receive(), Some((Response::Scsi(done), _)) if done.task_tag == 12));
    wire.data(10, ready.transfer_tag, 0, 0, &[4; 5000], true);
    for tag in [10, 11] {
        assert!(matches!(wire.receive(), Some((Response::Scsi(done), _)) if done.task_tag == tag));
    }
    let mut drive = served.bench.unit(1);
    drive.settle();
    assert_eq!(drive.position(), (0, 0, 2, 1));
}

/// A clock by which a sleep takes a while.
#[derive(Debug)]
struct SlowClock(Instant);

impl Clock for SlowClock {
    fn now(&self) -> Duration {
        self.0.elapsed() * 100
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration / 100);
    }
}

#[test]
fn pings_are_answered_while_a_drive_is_at_work_and_aborts_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let shape = LibraryShape { time: TimeMode::Real, ..LibraryShape::new(Generation::Lto8) };
    EmulatedLibrary::create(dir.path(), &shape.with_cartridges(1, Generation::Lto8, Some(64 << 20))).unwrap();
    let library = EmulatedLibrary::open(dir.path(), Arc::new(SlowClock(Instant::now()))).unwrap();
    let clock = Arc::default();
    let served = serve(Bench { dir, clock, library }, None, None);
    load(&served);
    std::thread::sleep(Duration::from_millis(200));
    let mut wire = Wire::normal(&served, 1);
    for tag in 1..6 {
        wire.command(1, tag, &[0; 6], None);
        wire.receive().unwrap();
    }
    // UNLOAD takes 24 s, which are 240 ms here.
    wire.command(1, 20, &[0x1b, 0, 0, 0, 0, 0], None);
    let ping = NopOut {
        immediate: true,
        lun: 0,
        task_tag: 21,
        transfer_tag: NO_TAG,
        command_sn: wire.command_sn,
        expected_status_sn: 0,
    };
    wire.send(&ping.header(), b"are you there");
    let (answer, data) = wire.receive().unwrap();
    assert!(
        matches!(answer, Response::NopIn(nop) if nop.task_tag == 21),
        "before the unload is done: {answer:?}"
    );
    assert_eq!(data, b"are you there");
    let abort = TaskManagementRequest {
        immediate: true,
        function: 1,
        lun: lun_field(1),
        task_tag: 22,
        referenced_tag: 20,
        command_sn: wire.command_sn,
        expected_status_sn: 0,
        referenced_command_sn: 0,
    };
    wire.send(&abort.header(), &[]);
    let answer = wire.receive().unwrap().0;
    assert!(
        matches!(answer, Response::TaskManagement(done) if (done.task_tag, done.response) == (22, 0)),
        "the answer of the aborted command is not sent: {answer:?}"
    );
    // A reset of the logical unit is told to its initiators.
    wire.send(&TaskManagementRequest { function: 5, task_tag: 23, ..abort }.header(), &[]);
    assert!(matches!(wire.receive().unwrap().0, Response::TaskManagement(done) if done.response == 0));
    wire.command(1, 24, &[0; 6], None);
    let (_, sense) = wire.receive().unwrap();
    assert_eq!((sense[4], sense[14], sense[15]), (6, 0x29, 0x03), "BUS DEVICE RESET FUNCTION OCCURRED");
    // No such unit, no such function.
    for (function, lun, response) in [(5, 99, 2), (3, 1, 5)] {
        let request = TaskManagementRequest { function, lun: lun_field(lun), ..abort };
        wire.send(&request.header(), &[]);
        assert!(
            matches!(wire.receive().unwrap().0, Response::TaskManagement(done) if done.response == response)
        );
    }
}

#[test]
fn a_new_session_of_the_same_initiator_takes_the_place_of_the_old_one() {
    let served = small();
    let mut old = Wire::normal(&served, 7);
    old.command(1, 1, &[0; 6], None);
    old.receive().unwrap();
    let mut new = Wire::normal(&served, 7);
    assert!(old.is_closed());
    new.command(1, 1, &[0; 6], None);
    let (_, sense) = new.receive().unwrap();
    assert_eq!((sense[4], sense[14], sense[15]), (6, 0x29, 0x07), "I_T NEXUS LOSS OCCURRED");
    let mut other = Wire::normal(&served, 8);
    other.command(9, 1, &[0; 6], None);
    let (_, sense) = other.receive().unwrap();
    assert_eq!((sense[4], sense[14], sense[15]), (5, 0x25, 0), "LOGICAL UNIT NOT SUPPORTED");
}

#[test]
fn a_session_whose_connection_is_gone_holds_no_cartridge_back() {
    let served = small();
    load(&served);
    let mut drive = served.connect(1, 1, true);
    settle(&mut drive);
    assert_eq!(send(&mut drive, &[0x1e, 0, 0, 0, 1, 0], Data::None).0, Status::Good);
    let mut other = served.connect(1, 2, true);
    settle(&mut other);
    let unload = [0x1b, 0, 0, 0, 0, 0];
    let (status, sense, _) = send(&mut other, &unload, Data::None);
    assert_eq!((status, sense[2], sense[12]), (Status::CheckCondition, 5, 0x53), "it is locked in");
    let lost = FaultKind::ConnectionLost { executed: false };
    served.bench.library.add_fault(Fault::new(1, lost).at(0x0a)).unwrap();
    assert!(drive.execute(&write_cdb(1), Data::Out(&[1]), Duration::from_secs(20)).is_err());
    let end = Instant::now() + Duration::from_secs(60);
    while send(&mut other, &unload, Data::None).0 != Status::Good {
        assert!(Instant::now() < end, "the dead session holds it");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_sessions_of_an_earlier_target_held_back_is_free_at_the_next_start() {
    let bench = Bench::small(64 << 20);
    let served = serve(bench, None, None);
    load(&served);
    // As a target that was killed leaves it: nobody has ended the session.
    let mut left = served.bench.library.transport_as(1, "iqn.2026-11.invalid:gone,i,0x800000000001").unwrap();
    let mut run = |cdb: &[u8]| left.execute(cdb, Data::None, Duration::from_secs(20)).unwrap().status;
    while run(&[0; 6]) != Status::Good {}
    assert_eq!(run(&[0x1e, 0, 0, 0, 1, 0]), Status::Good);
    let Served { bench, target } = served;
    drop(target);
    let served = serve(bench, None, None);
    let mut drive = served.connect(1, 2, true);
    settle(&mut drive);
    assert_eq!(send(&mut drive, &[0x1b, 0, 0, 0, 0, 0], Data::None).0, Status::Good);
}
