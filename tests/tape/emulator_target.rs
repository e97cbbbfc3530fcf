//! The iSCSI target in front of an emulated library (RFC 7143).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfs::emulator::{
    Clock, EmulatedLibrary, Generation, IscsiTarget, LibraryShape, TargetSettings, TimeMode,
};
use reelfs::scsi::iscsi::chap::Credentials;
use reelfs::scsi::iscsi::frame::{self, Digests, Frame};
use reelfs::scsi::iscsi::pdu::{
    Command, DataOut, LoginRequest, LogoutRequest, NO_TAG, NopOut, Response, Stage, TaskManagementRequest,
    TextRequest, lun_field,
};
use reelfs::scsi::iscsi::text::Keys;
use reelfs::scsi::iscsi::{Address, Initiator, LoginError, Settings};
use reelfs::scsi::{Data, Status, Transport};

use crate::emulator_support::{Bench, move_medium};

const NAME: &str = "iqn.2026-11.invalid.test:library";

struct Served {
    bench: Bench,
    target: IscsiTarget,
}

fn serve(bench: Bench, initiator: Option<Credentials>, target: Option<Credentials>) -> Served {
    let settings = TargetSettings { name: NAME.into(), initiator, target, random: Arc::new(|| [0x5a; 16]) };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = IscsiTarget::start(bench.library.clone(), settings, listener).unwrap();
    Served { bench, target }
}

fn small() -> Served {
    serve(Bench::small(64 << 20), None, None)
}

impl Served {
    fn address(&self, user: &str, lun: u16) -> Address {
        format!("iscsi://{user}{}/{NAME}/{lun}", self.target.address()).parse().unwrap()
    }

    fn connect(&self, lun: u16, number: u8, digests: bool) -> Initiator {
        let settings =
            Settings { header_digest: digests, data_digest: digests, ..Settings::new([number; 32]) };
        Initiator::connect(&self.address("", lun), &settings).unwrap()
    }
}

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

fn load(served: &Served) {
    let mut changer = served.bench.unit(0);
    changer.settle();
    changer.good(&move_medium(1024, 256));
}

fn write_cdb(len: usize) -> [u8; 6] {
    let [_, a, b, c] = u32::try_from(len).unwrap().to_be_bytes();
    [0x0a, 0, a, b, c, 0]
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

/// PDUs by hand.
struct Wire {
    stream: TcpStream,
    command_sn: u32,
    digests: Digests,
}

impl Wire {
    fn new(served: &Served) -> Self {
        let stream = TcpStream::connect(served.target.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, command_sn: 1, digests: Digests::default() }
    }

    fn send(&mut self, header: &frame::Header, data: &[u8]) {
        // A target that has hung up is found out by the next read.
        frame::write(&mut self.stream, header, data, self.digests).unwrap_or_default();
    }

    fn receive(&mut self) -> Option<(Response, Vec<u8>)> {
        let mut frame = Frame::default();
        frame.read(&mut self.stream, self.digests, 1 << 20).ok()?;
        Some((Response::parse(&frame.header).unwrap(), frame.data))
    }

    fn login(&mut self, isid: u8, keys: &[(&str, &str)]) -> Option<(Response, Keys)> {
        let mut text = Keys::new();
        for (key, value) in keys {
            text.push(key, *value);
        }
        let request = LoginRequest {
            transit: true,
            continues: false,
            current: Stage::Operational,
            next: Stage::FullFeature,
            isid: [0x80, 0, 0, 0, 0, isid],
            tsih: 0,
            task_tag: 5,
            connection_id: 0,
            command_sn: self.command_sn,
            expected_status_sn: 0,
        };
        self.send(&request.header(), &text.encode());
        let (response, data) = self.receive()?;
        Some((response, Keys::parse(&data).unwrap()))
    }

    fn normal(served: &Served, isid: u8) -> Self {
        let mut wire = Self::new(served);
        let keys =
            [("InitiatorName", "iqn.2026-11.invalid:wire"), ("TargetName", NAME), ("InitialR2T", "No")];
        let (response, _) = wire.login(isid, &keys).unwrap();
        assert!(matches!(response, Response::Login(login) if login.status_class == 0 && login.tsih != 0));
        wire
    }

    fn command(&mut self, lun: u16, tag: u32, cdb: &[u8], out: Option<(u32, &[u8], bool)>) {
        let mut bytes = [0; 16];
        bytes[..cdb.len()].copy_from_slice(cdb);
        let (len, data, is_final) = out.unwrap_or((0, &[], true));
        let pdu = Command {
            immediate: false,
            is_final,
            reads: false,
            writes: out.is_some(),
            attribute: 1,
            lun: lun_field(lun),
            task_tag: tag,
            expected_len_bytes: len,
            command_sn: self.command_sn,
            expected_status_sn: 0,
            cdb: bytes,
        };
        self.command_sn += 1;
        self.send(&pdu.header(), data);
    }

    fn data(&mut self, tag: u32, transfer_tag: u32, sn: u32, offset: u32, data: &[u8], is_final: bool) {
        let pdu = DataOut {
            is_final,
            lun: 0,
            task_tag: tag,
            transfer_tag,
            expected_status_sn: 0,
            data_sn: sn,
            offset,
        };
        self.send(&pdu.header(), data);
    }

    fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }
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
fn hostile_initiators_are_shown_the_door_and_others_are_served() {
    let served = small();
    load(&served);
    let mut random = 0x1234_5678_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u8
    };
    // Noise, before and after a login.
    for round in 0..60 {
        let mut wire = if round % 2 == 0 { Wire::new(&served) } else { Wire::normal(&served, 30) };
        let mut noise: Vec<u8> = (0..4096).map(|_| next()).collect();
        if round % 3 == 0 {
            // A known operation code with a short segment.
            noise[0] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10][usize::from(next()) % 8];
            noise[4..8].copy_from_slice(&[0, 0, 0, next()]);
        }
        wire.stream.write_all(&noise).unwrap_or_default();
        wire.stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
        let mut rest = Vec::new();
        wire.stream.read_to_end(&mut rest).unwrap_or_default();
    }
    // Lengths that nobody agreed on, data in the wrong place, commands out of order.
    let cases: [fn(&mut Wire); 6] = [
        |wire| wire.command(1, 1, &write_cdb(1000), Some((1000, &[0; 1001], true))),
        |wire| {
            wire.command(1, 1, &write_cdb(50_000), Some((50_000, &[], false)));
            wire.data(1, NO_TAG, 0, 7, &[0; 10], false);
        },
        |wire| {
            wire.command(1, 1, &write_cdb(50_000), Some((50_000, &[], false)));
            wire.data(1, NO_TAG, 0, 0, &vec![0; 66_000], true);
        },
        |wire| {
            wire.command_sn += 5;
            wire.command(1, 1, &[0; 6], None);
        },
        |wire| {
            for tag in 0..200 {
                wire.command(1, tag, &write_cdb(5000), Some((5000, &[], true)));
            }
        },
        |wire| {
            let mut header = [0; 48];
            header[5..8].copy_from_slice(&[0xff, 0xff, 0xff]);
            wire.stream.write_all(&header).unwrap_or_default();
        },
    ];
    for (number, case) in cases.iter().enumerate() {
        let mut wire = Wire::normal(&served, 40);
        case(&mut wire);
        let closed = (0..400).any(|_| wire.is_closed());
        assert!(closed, "case {number}");
    }
    // A transfer that is too long is refused, not allocated; so is a unit that is not there.
    let mut wire = Wire::normal(&served, 41);
    wire.command(1, 1, &write_cdb(1000), Some((u32::MAX, &[], true)));
    let (response, sense) = wire.receive().unwrap();
    assert!(matches!(response, Response::Scsi(done) if done.status == Status::CheckCondition));
    assert_eq!((sense[4], sense[14]), (5, 0x24));
    // More connections than there is room for: the rest is closed, and later there is room again.
    let crowd: Vec<TcpStream> =
        (0..100).filter_map(|_| TcpStream::connect(served.target.address()).ok()).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(served.target.connection_count() <= 64);
    drop(crowd);
    let until = Instant::now() + Duration::from_secs(20);
    while served.target.connection_count() > 10 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut drive = served.connect(1, 50, true);
    settle(&mut drive);
    assert_eq!(send(&mut drive, &write_cdb(1000), Data::Out(&[1; 1000])).0, Status::Good);
}
