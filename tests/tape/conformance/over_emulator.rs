//! The suite over the emulator in this process: everything a drive and a changer can have.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reelfs::clock::ManualClock;
use reelfs::emulator::{EmulatedLibrary, Generation, LibraryShape};
use reelfs::scsi::LogicalUnit;

use super::{Feature, Rig, conformance};

/// Small enough to be filled.
const CAPACITY_BYTES: u64 = 48 << 20;
/// Room behind the warning, for several blocks.
const EARLY_WARNING_BYTES: u64 = 8 << 20;

/// A library with two drives and three cartridges.
pub(crate) fn library(home: &Path) -> EmulatedLibrary {
    let dir = home.join("library");
    let mut shape = LibraryShape::new(Generation::Lto8).with_drives(2, Generation::Lto8).with_cartridges(
        3,
        Generation::Lto8,
        Some(CAPACITY_BYTES),
    );
    for cartridge in &mut shape.cartridges {
        cartridge.early_warning_bytes = Some(EARLY_WARNING_BYTES);
    }
    EmulatedLibrary::create(&dir, &shape).expect("a library");
    EmulatedLibrary::open(&dir, Arc::new(ManualClock::default())).expect("a library")
}

struct Emulator {
    library: EmulatedLibrary,
    nexuses: AtomicU32,
    _home: tempfile::TempDir,
}

impl Emulator {
    fn start() -> Option<Self> {
        let home = tempfile::tempdir().expect("a directory");
        Some(Self { library: library(home.path()), nexuses: AtomicU32::new(0), _home: home })
    }

    fn open(&self, lun: u16) -> LogicalUnit {
        let initiator = format!("initiator-{}", self.nexuses.fetch_add(1, Ordering::Relaxed));
        LogicalUnit::new(Box::new(self.library.transport_as(lun, &initiator).expect("a logical unit")))
    }
}

impl Rig for Emulator {
    fn has(&self, _feature: Feature) -> bool {
        true
    }

    fn open_drive(&self) -> LogicalUnit {
        self.open(1)
    }

    fn open_changer(&self) -> LogicalUnit {
        self.open(0)
    }
}

conformance!(Emulator::start());
