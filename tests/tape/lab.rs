//! An emulated library with one cartridge in a drive, objects to write, and transports that fail.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reelfs::clock::ManualClock;
use reelfs::emulator::{EmulatedLibrary, Generation, LibraryShape};
use reelfs::id::{FileId, Fingerprint};
use reelfs::progress::Progress;
use reelfs::scsi::{Data, LogicalUnit, Outcome, Transport, TransportError};
use reelfs::storage::{ReadFile, StorageError};
use reelfs::tape::archive::{SegmentEntry, VolumeDescription};
use reelfs::tape::drive::{Drive, DriveOptions};
use reelfs::tape::reader::{VolumeIndex, VolumeReader};
use reelfs::tape::writer::{Ended, Overwrite, Place, Session, VolumeWriter, WriterOptions, label};
use reelfs::tape::{Object, ObjectSource, TapeError};

use crate::random::Random;

/// Address of the first slot and of the first drive of an emulated library, and of its arm.
const SLOT: u16 = 1024;
const DRIVE: u16 = 256;
const ARM: u16 = 1;

/// An emulated library in a temporary directory.
pub(crate) struct Lab {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) library: EmulatedLibrary,
    /// A time that both the emulator and the session go by; it passes when somebody sleeps.
    pub(crate) time: Arc<ManualClock>,
}

impl Lab {
    /// One LTO-8 drive, cartridges of this capacity; none is loaded.
    pub(crate) fn new(cartridge_count: u16, capacity_bytes: u64) -> Self {
        Self::shaped(|shape| shape.with_cartridges(cartridge_count, Generation::Lto8, Some(capacity_bytes)))
    }

    pub(crate) fn shaped(change: impl FnOnce(LibraryShape) -> LibraryShape) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shape = change(LibraryShape::new(Generation::Lto8).with_drives(2, Generation::Lto8));
        let library_dir = directory.path().join("library");
        EmulatedLibrary::create(&library_dir, &shape).expect("a library can be made");
        let time = Arc::new(ManualClock::default());
        let library = EmulatedLibrary::open(&library_dir, time.clone()).expect("a library");
        Self { directory, library, time }
    }

    /// The same library again in another directory, as it is now.
    pub(crate) fn copy(&self) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let copied = Command::new("cp")
            .args(["-r", "--sparse=auto"])
            .arg(self.directory.path().join("library"))
            .arg(directory.path())
            .status();
        assert!(copied.expect("cp runs").success());
        let time = Arc::new(ManualClock::default());
        let library =
            EmulatedLibrary::open(&directory.path().join("library"), time.clone()).expect("a library");
        Self { directory, library, time }
    }

    /// The image of a cartridge's first partition.
    pub(crate) fn image(&self, barcode: &str) -> PathBuf {
        self.directory.path().join("library/cartridges").join(format!("{barcode}.p0.tap"))
    }

    fn changer(&self) -> LogicalUnit {
        let mut changer = LogicalUnit::new(Box::new(self.library.transport(0).expect("a changer")));
        changer.clear_unit_attentions().expect("a changer answers");
        changer
    }

    /// Moves the cartridge of a slot, from 0, into the first drive.
    pub(crate) fn load(&self, slot: u16) {
        self.changer().move_medium(ARM, SLOT + slot, DRIVE).expect("the cartridge can be loaded");
    }

    /// Brings the cartridge of the first drive back to a slot.
    pub(crate) fn unload(&self, slot: u16) {
        let mut drive = self.drive();
        drive.unload().expect("the drive gives it out");
        drop(drive);
        self.changer().move_medium(ARM, DRIVE, SLOT + slot).expect("the cartridge can be unloaded");
    }

    pub(crate) fn transport(&self) -> Box<dyn Transport> {
        Box::new(self.library.transport(1).expect("a drive"))
    }

    /// A session with the first drive.
    pub(crate) fn drive(&self) -> Drive {
        self.drive_over(self.transport())
    }

    pub(crate) fn drive_over(&self, transport: Box<dyn Transport>) -> Drive {
        Drive::open(transport, self.time.clone(), DriveOptions::default()).expect("a drive")
    }

    /// A session with the first drive when its cartridge is ready.
    pub(crate) fn ready(&self) -> Drive {
        let mut drive = self.drive();
        drive.wait_ready(&Progress::new()).expect("ready");
        drive
    }

    /// A session with the first drive, the first cartridge in it and labelled.
    pub(crate) fn labelled(&self) -> Drive {
        self.labelled_as(&description(1).barcode)
    }

    /// The same with another barcode.
    pub(crate) fn labelled_as(&self, barcode: &str) -> Drive {
        self.load(0);
        let mut drive = self.ready();
        let description = VolumeDescription { barcode: barcode.to_owned(), ..description(1) };
        label(&mut drive, &description, &Overwrite::Nothing, &session(), &Progress::new())
            .expect("a blank cartridge can be labelled");
        drive
    }
}

/// What the cartridge of this number is labelled as.
pub(crate) fn description(number: u32) -> VolumeDescription {
    VolumeDescription {
        volume: FileId([u8::try_from(number).expect("few cartridges"); 16]),
        set: FileId(*b"set of a test..."),
        sequence: number,
        barcode: format!("RL{number:04}L8"),
        repository: FileId(*b"repository......"),
        pool: "offsite".to_owned(),
        label: format!("web1, cartridge {number}"),
        created_seconds: 1_795_233_600,
    }
}

pub(crate) fn session() -> Session {
    Session { text: "test".to_owned(), now_seconds: 1_795_240_800, retain_until_seconds: None }
}

/// Small buffers and small parts, so that little data goes through everything.
pub(crate) fn small() -> WriterOptions {
    WriterOptions {
        ring_bytes: 16 << 20,
        high_water_bytes: 8 << 20,
        low_water_bytes: 1 << 20,
        reader_count: 2,
        segment_bytes: 1 << 20,
        part_bytes: 4 << 20,
        commit_bytes: 8 << 20,
        commit_interval: Duration::from_secs(600),
    }
}

/// An object in memory.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    pub(crate) name: String,
    pub(crate) content: Arc<Vec<u8>>,
}

impl ReadFile for Bytes {
    fn len(&self) -> u64 {
        self.content.len() as u64
    }

    fn path(&self) -> &str {
        &self.name
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let start = usize::try_from(offset).expect("in memory");
        let bytes = self.content.get(start..start + buffer.len()).ok_or_else(|| StorageError {
            operation: "read",
            path: self.name.clone(),
            source: std::io::ErrorKind::UnexpectedEof.into(),
        })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl ObjectSource for Bytes {
    fn open(&self) -> Result<Box<dyn ReadFile>, StorageError> {
        Ok(Box::new(self.clone()))
    }
}

pub(crate) fn object(name: &str, content: Vec<u8>) -> Object {
    let bytes = Bytes { name: name.to_owned(), content: Arc::new(content) };
    Object {
        name: name.into(),
        len: bytes.len(),
        mtime_seconds: 1_795_000_000,
        fingerprint: Some(Fingerprint::of(&bytes.content)),
        source: Arc::new(bytes),
    }
}

/// Bytes that look like none other.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    Random::seeded(seed).bytes(len)
}

/// Objects of many lengths, named as in a repository.
pub(crate) fn objects(seed: u64, count: usize) -> Vec<Object> {
    let lens = [0, 1, 511, 512, 513, 100_000, 524_288, 524_289, 1_500_000, 3_000_001];
    (0..count)
        .map(|number| {
            let len = lens[number % lens.len()];
            object(&format!("full/web1/{seed}-{number:03}.bdf"), noise(seed + number as u64, len))
        })
        .collect()
}

/// Appends objects to the cartridge and closes it.
pub(crate) fn archive(drive: &mut Drive, number: u32, objects: &Vec<Object>) -> VolumeIndex {
    let progress = Progress::new();
    let mut writer = VolumeWriter::append(drive, description(number).volume, session(), small(), &progress)
        .expect("the cartridge can be written");
    let (ended, place) = writer.write(objects, Place::default(), &progress).expect("written");
    assert!(matches!(ended, Ended::Done), "{ended:?}");
    assert_eq!(place.object, objects.len() as u64);
    writer.finish(false, &progress).expect("closed")
}

/// What is on the cartridge, as a new session finds it.
pub(crate) fn index(drive: &mut Drive) -> VolumeIndex {
    VolumeReader::open(drive).expect("ours").index(&Progress::new()).expect("an index")
}

/// Checks that the cartridge has exactly these objects, byte by byte.
pub(crate) fn check_objects(drive: &mut Drive, index: &VolumeIndex, objects: &[Object]) {
    let mut reader = VolumeReader::open(drive).expect("ours");
    let mut segments = index.segments.iter();
    for object in objects {
        let expected = whole(object);
        let mut found = Vec::new();
        loop {
            let entry = segments.next().unwrap_or_else(|| panic!("{} is missing", object.name));
            assert_eq!(entry.name, object.name);
            assert_eq!((entry.offset, entry.total), (found.len() as u64, object.len));
            found.extend(content(&mut reader, entry));
            if entry.is_last() {
                assert_eq!(entry.object_fingerprint, object.fingerprint, "{}", object.name);
                break;
            }
        }
        assert!(found == expected, "{} has another content", object.name);
    }
    assert_eq!(segments.next(), None);
}

pub(crate) fn content(reader: &mut VolumeReader<'_>, entry: &SegmentEntry) -> Vec<u8> {
    let mut bytes = Vec::new();
    let copied: Result<(), TapeError> = reader.copy(entry, &Progress::new(), |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    copied.expect("the segment can be read");
    bytes
}

pub(crate) fn whole(object: &Object) -> Vec<u8> {
    let file = object.source.open().expect("in memory");
    let mut bytes = vec![0; usize::try_from(file.len()).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("in memory");
    bytes
}

/// What happens to a command on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not arrive, and neither does any later one: the process was killed.
    Killed,
    /// It does not arrive; this sense data comes back.
    Sense(&'static [u8]),
    /// It is done, and this sense data comes back all the same.
    DoneSense(&'static [u8]),
    /// It does not arrive, and no status comes back.
    Timeout,
    /// It is done, and no status comes back.
    DoneTimeout,
    /// It does not arrive: no memory.
    NoMemory,
    /// It is done, and no memory was there for the answer.
    DoneNoMemory,
}

/// When a fault happens, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Number of the command, from 0, among those of `code` if there is one.
    pub(crate) at: u64,
    pub(crate) code: Option<u8>,
    pub(crate) fault: Option<Fault>,
    /// Commands seen, of the code if there is one.
    pub(crate) seen: u64,
    pub(crate) is_dead: bool,
    pub(crate) struck: u64,
}

/// A transport with a script.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Box<dyn Transport>,
    pub(crate) script: Arc<Mutex<Script>>,
}

impl Transport for Faulty {
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> Result<Outcome, TransportError> {
        let operation_code = cdb[0];
        let device = self.inner.name().to_owned();
        let gone = || TransportError::ConnectionLost {
            device: device.clone(),
            operation_code,
            reason: "killed".to_owned(),
        };
        let fault = {
            let mut script = self.script.lock().expect("no panic");
            if script.is_dead {
                return Err(gone());
            }
            let counts = script.code.is_none_or(|code| code == operation_code);
            let number = script.seen;
            script.seen += u64::from(counts);
            let fault = script.fault.filter(|_| counts && number == script.at);
            script.is_dead = fault == Some(Fault::Killed);
            script.struck += u64::from(fault.is_some());
            fault
        };
        let late =
            |device: &str| TransportError::Timeout { device: device.to_owned(), operation_code, timeout };
        let memory = |device: &str| TransportError::NoMemory { device: device.to_owned(), operation_code };
        let sense = |bytes: &[u8]| Outcome {
            status: reelfs::scsi::Status::CheckCondition,
            sense: bytes.to_vec(),
            transferred_bytes: 0,
        };
        match fault {
            None => self.inner.execute(cdb, data, timeout),
            Some(Fault::Killed) => Err(gone()),
            Some(Fault::Sense(bytes)) => Ok(sense(bytes)),
            Some(Fault::Timeout) => Err(late(&device)),
            Some(Fault::NoMemory) => Err(memory(&device)),
            Some(done) => {
                let outcome = self.inner.execute(cdb, data, timeout)?;
                match done {
                    Fault::DoneSense(bytes) => Ok(Outcome { sense: bytes.to_vec(), ..sense(bytes) }),
                    Fault::DoneTimeout => Err(late(&device)),
                    Fault::DoneNoMemory => Err(memory(&device)),
                    _ => Ok(outcome),
                }
            }
        }
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn transfer_len_max(&self) -> usize {
        self.inner.transfer_len_max()
    }
}

impl Lab {
    /// A transport with a script, not yet struck.
    pub(crate) fn faulty(
        &self,
        fault: Fault,
        code: Option<u8>,
        at: u64,
    ) -> (Box<dyn Transport>, Arc<Mutex<Script>>) {
        let script = Arc::new(Mutex::new(Script { at, code, fault: Some(fault), ..Script::default() }));
        (Box::new(Faulty { inner: self.transport(), script: script.clone() }), script)
    }
}
