//! What must hold for any bytes that an initiator sends to the emulator, or that are in its files.
//!
//! As in `checks.rs`: each function takes bytes and panics if something is not as it must be. The fuzz targets
//! call them with what the fuzzer finds; `tests/tape/emulator_hostile.rs` with good bytes, damaged.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reelfs::clock::ManualClock;
use reelfs::emulator::{
    EmulatedLibrary, EmulatedTransport, Generation, IscsiTarget, LibraryShape, TargetSettings,
};
use reelfs::scsi::iscsi::frame::{self, Digests};
use reelfs::scsi::iscsi::pdu::{LoginRequest, Stage};
use reelfs::scsi::{Data, Outcome, Status, Transport};

const TARGET: &str = "iqn.2026-11.invalid.test:fuzz";
/// More commands than any tape that fits into the input has objects.
const STEPS_MAX: usize = 1 << 20;

/// A library in a directory of its own, which goes with it.
struct Library {
    dir: PathBuf,
    library: EmulatedLibrary,
}

impl Library {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("reelfs-emulator-{}-{number}", std::process::id()));
        let shape = LibraryShape::new(Generation::Lto8).with_drives(1, Generation::Lto8);
        let shape = LibraryShape { becoming_ready_count: 0, unloads_by_itself: true, ..shape };
        EmulatedLibrary::create(&dir, &shape.with_cartridges(1, Generation::Lto8, Some(64 << 20)))
            .expect("the directory is new");
        let library = EmulatedLibrary::open(&dir, Arc::new(ManualClock::default())).expect("it was made");
        Self { dir, library }
    }

    fn unit(&self, lun: u16) -> EmulatedTransport {
        self.library.transport(lun).expect("there is such a unit")
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.dir.join("cartridges").join(format!("RL0001L8{ending}"))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}

fn run(unit: &mut EmulatedTransport, cdb: &[u8], data: Data<'_>) -> Outcome {
    unit.execute(cdb, data, Duration::from_secs(1)).expect("the emulator answers")
}

// Moves the cartridge into the drive; whether it is there.
fn load(library: &Library) -> bool {
    let mut changer = library.unit(0);
    run(&mut changer, &[0; 6], Data::None);
    run(&mut changer, &[0xa5, 0, 0, 0, 4, 0, 1, 0, 0, 0, 0, 0], Data::None).status == Status::Good
}

fn unload(library: &Library) {
    run(&mut library.unit(0), &[0xa5, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0], Data::None);
}

fn object(drive: &mut EmulatedTransport) -> u64 {
    let mut position = [0; 32];
    let outcome = run(drive, &[0x34, 6, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(&mut position));
    assert_eq!(outcome.status, Status::Good, "{:02x?}", outcome.sense);
    u64::from_be_bytes(position[8..16].try_into().expect("8 bytes"))
}

// Reads to the end and goes back over everything.
fn traverse(drive: &mut EmulatedTransport) {
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..3 {
        run(drive, &[0; 6], Data::None);
    }
    let mut objects = 0;
    for _ in 0..STEPS_MAX {
        let before = object(drive);
        let outcome = run(drive, &[0x08, 0, 1, 0, 0, 0], Data::In(&mut buffer));
        assert!(outcome.transferred_bytes <= buffer.len());
        objects = object(drive);
        if objects == before {
            break;
        }
        assert_eq!(objects, before + 1);
    }
    // Back to the beginning, object by object.
    for _ in 0..objects {
        let before = object(drive);
        run(drive, &[0x11, 0, 0xff, 0xff, 0xff, 0], Data::None);
        assert_eq!(object(drive), before - 1);
    }
    assert_eq!(object(drive), 0);
    run(drive, &[0x92, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0], Data::None);
    run(drive, &[0x11, 1, 0, 0, 2, 0], Data::None);
    run(drive, &[0x11, 3, 0, 0, 0, 0], Data::None);
    assert_eq!(object(drive), objects, "the end of data");
    // What is written there is read again.
    let place = object(drive);
    assert_eq!(run(drive, &[0x0a, 0, 0, 0, 5, 0], Data::Out(b"reels")).status, Status::Good);
    run(drive, &[0x11, 0, 0xff, 0xff, 0xff, 0], Data::None);
    assert_eq!(object(drive), place);
    run(drive, &[0x08, 0, 0, 0, 5, 0], Data::In(&mut buffer[..5]));
    assert_eq!(&buffer[..5], b"reels");
}

fn library() -> &'static Mutex<Library> {
    static LIBRARY: OnceLock<Mutex<Library>> = OnceLock::new();
    LIBRARY.get_or_init(|| Mutex::new(Library::new()))
}

fn new_sidecar() -> &'static Vec<u8> {
    static SIDECAR: OnceLock<Vec<u8>> = OnceLock::new();
    SIDECAR.get_or_init(|| fs::read(Library::new().file(".json")).expect("every cartridge has one"))
}

/// A sidecar as the emulator writes it.
pub(crate) fn sidecar_of_a_new_cartridge() -> Vec<u8> {
    new_sidecar().clone()
}

/// An image that is put into a library is a tape that can be read to its end and back, and appended to.
pub(crate) fn tap_image(data: &[u8]) {
    let library = library().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    fs::write(library.file(".json"), new_sidecar()).expect("it can be written");
    fs::write(library.file(".p0.tap"), data).expect("it can be written");
    assert!(load(&library), "any image is a tape");
    traverse(&mut library.unit(1));
    unload(&library);
}

/// A sidecar of any bytes is refused, or what is in it does no harm.
pub(crate) fn tape_sidecar(data: &[u8]) {
    let library = library().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let image = [[4, 0, 0, 0], *b"tape", [4, 0, 0, 0], [0; 4]].concat();
    fs::write(library.file(".p0.tap"), image).expect("it can be written");
    fs::write(library.file(".json"), data).expect("it can be written");
    if load(&library) {
        let mut drive = library.unit(1);
        let mut buffer = [0; 4096];
        let cdbs: [&[u8]; 9] = [
            &[0; 6],
            &[0; 6],
            &[0x4d, 0, 0x57, 0, 0, 0, 0, 16, 0, 0],
            &[0x8c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0],
            &[0x1a, 0, 0x3f, 0, 255, 0],
            &[0x08, 0, 0, 16, 0, 0],
            &[0x11, 3, 0, 0, 0, 0],
            &[0x34, 8, 0, 0, 0, 0, 0, 0, 32, 0],
            &[0x11, 0, 0xff, 0xff, 0xff, 0],
        ];
        for cdb in cdbs {
            run(&mut drive, cdb, Data::In(&mut buffer));
        }
        run(&mut drive, &[0x0a, 0, 0, 0, 5, 0], Data::Out(b"reels"));
        run(&mut drive, &[0x10, 0, 0, 0, 1, 0], Data::None);
        unload(&library);
    }
    // The next one finds an empty drive, whatever this one was.
    fs::write(library.file(".json"), new_sidecar()).expect("it can be written");
    unload(&library);
}

fn target() -> &'static IscsiTarget {
    static SERVED: OnceLock<(Library, IscsiTarget)> = OnceLock::new();
    let (_, target) = SERVED.get_or_init(|| {
        let library = Library::new();
        let random = Arc::new(|| [0x11; 16]);
        let settings = TargetSettings { name: TARGET.into(), initiator: None, target: None, random };
        let listener = TcpListener::bind(("localhost", 0)).expect("a port is free");
        let target = IscsiTarget::start(library.library.clone(), settings, listener).expect("a thread");
        (library, target)
    });
    target
}

/// Whatever an initiator sends, before a login or (if the first byte is odd) after it, the session ends when
/// the initiator has ended, and the target goes on.
pub(crate) fn iscsi_target(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let mut stream = TcpStream::connect(target().address()).expect("the target listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    if first % 2 == 1 {
        let request = LoginRequest {
            transit: true,
            continues: false,
            current: Stage::Operational,
            next: Stage::FullFeature,
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            task_tag: 1,
            connection_id: 0,
            command_sn: 1,
            expected_status_sn: 0,
        };
        let text = format!("InitiatorName=iqn.2026-11.invalid:fuzz\0TargetName={TARGET}\0InitialR2T=No\0");
        frame::write(&mut stream, &request.header(), text.as_bytes(), Digests::default()).unwrap_or_default();
    }
    stream.write_all(bytes).unwrap_or_default();
    stream.shutdown(Shutdown::Write).unwrap_or_default();
    let mut answers = [0; 4096];
    let mut total = 0;
    loop {
        match stream.read(&mut answers) {
            Ok(0) => return,
            Ok(len) => total += len,
            Err(error) => {
                let is_end = error.kind() == std::io::ErrorKind::ConnectionReset;
                assert!(is_end, "the session does not end: {error}");
                return;
            }
        }
        assert!(total < 64 << 20, "an answer without end");
    }
}
