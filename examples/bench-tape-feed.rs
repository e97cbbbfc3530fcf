//! How fast the host can feed a drive: objects from memory through the ring into an emulated drive that
//! takes no time.
//!
//! Usage: `bench-tape-feed DIRECTORY MIB`. The directory should be on something fast: what the emulated
//! cartridge costs is part of the figure.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reelfs::emulator::{EmulatedLibrary, Generation, LibraryShape};
use reelfs::id::FileId;
use reelfs::progress::Progress;
use reelfs::scsi::LogicalUnit;
use reelfs::storage::{ReadFile, StorageError};
use reelfs::tape::archive::VolumeDescription;
use reelfs::tape::drive::{Drive, DriveOptions};
use reelfs::tape::writer::{Overwrite, Place, Session, VolumeWriter, WriterOptions, label};
use reelfs::tape::{Object, ObjectSource};

const OBJECT_LEN: u64 = 256 << 20;

#[derive(Debug)]
struct RealTime(Instant);

impl reelfs::clock::Clock for RealTime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

// The same few bytes again and again: they come from memory, as from a page cache.
#[derive(Debug, Clone)]
struct Pattern(Arc<Vec<u8>>);

impl ReadFile for Pattern {
    fn len(&self) -> u64 {
        OBJECT_LEN
    }

    fn path(&self) -> &str {
        "pattern"
    }

    fn read_exact_at(&self, buffer: &mut [u8], _offset: u64) -> Result<(), StorageError> {
        for target in buffer.chunks_mut(self.0.len()) {
            target.copy_from_slice(self.0.get(..target.len()).unwrap_or_default());
        }
        Ok(())
    }
}

impl ObjectSource for Pattern {
    fn open(&self) -> Result<Box<dyn ReadFile>, StorageError> {
        Ok(Box::new(self.clone()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, mib] = &arguments[..] else {
        return Err("usage: bench-tape-feed DIRECTORY MIB".into());
    };
    let count = (mib.parse::<u64>()? << 20).div_ceil(OBJECT_LEN);
    let directory = Path::new(directory).join("bench-tape-feed.library");
    let shape = LibraryShape::new(Generation::Lto9).with_drives(1, Generation::Lto9).with_cartridges(
        1,
        Generation::Lto9,
        None,
    );
    EmulatedLibrary::create(&directory, &shape)?;
    let result = run(&directory, count);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn run(directory: &Path, count: u64) -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(RealTime(Instant::now()));
    let library = EmulatedLibrary::open(directory, clock.clone())?;
    let mut changer = LogicalUnit::new(Box::new(library.transport(0)?));
    changer.clear_unit_attentions()?;
    changer.move_medium(1, 1024, 256)?;
    let progress = Progress::new();
    let mut drive = Drive::open(Box::new(library.transport(1)?), clock, DriveOptions::default())?;
    drive.wait_ready(&progress)?;
    let volume = FileId([1; 16]);
    let description = VolumeDescription {
        volume,
        set: volume,
        sequence: 1,
        barcode: "RL0001L9".to_owned(),
        repository: volume,
        pool: String::new(),
        label: String::new(),
        created_seconds: 0,
    };
    label(&mut drive, &description, &Overwrite::Nothing, &Session::default(), &progress)?;
    let mut state = 1_u64;
    let mut pattern = Vec::new();
    for _ in 0..512 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        pattern.extend_from_slice(&state.to_le_bytes());
    }
    let source = Arc::new(Pattern(Arc::new(pattern)));
    let object = |number: u64| Object {
        name: format!("full/bench/{number}.bdf").into(),
        len: OBJECT_LEN,
        mtime_seconds: 0,
        fingerprint: None,
        source: source.clone(),
    };
    let objects: Vec<_> = (0..count).map(object).collect();
    let options =
        WriterOptions { ring_bytes: 256 << 20, high_water_bytes: 192 << 20, ..WriterOptions::default() };
    let mut writer = VolumeWriter::append(&mut drive, volume, Session::default(), options, &progress)?;
    let start = Instant::now();
    let (ended, _) = writer.write(&objects, Place::default(), &progress)?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes = count * OBJECT_LEN;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = bytes as f64 / 1e6 / seconds;
    #[expect(clippy::print_stdout, reason = "what an example is for")]
    {
        println!(
            "{ended:?}: {} MiB in {seconds:.2} s: {rate:.0} MB/s, {} pauses",
            bytes >> 20,
            writer.pauses()
        );
    }
    writer.finish(false, &progress)?;
    Ok(())
}
