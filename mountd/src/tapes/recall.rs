//! Data from tape: the library is opened, and the cache made, when something is first read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reelfs::checksum::crc32;
use reelfs::format::record::Time;
use reelfs::id::FileId;
use reelfs::job::chain;
use reelfs::job::tape::catalogue::Catalogue;
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::recall::{Recall, RecallOptions};
use reelfs::job::tape::storage::BlockReader;
use reelfs::progress::Progress;
use reelfs::repo::CacheBytes;
use reelfs::tape::archive::BlockAddress;
use reelfs::tape::drive::DriveOptions;

use super::tree::{TapeTree, TapesOptions};
use crate::launch::{Plan, TAPE_LIBRARY_VARIABLE};
use crate::options::MountOptions;

// Who copies a tree reads in order: this much ahead keeps a drive streaming.
const AHEAD_BYTES_MAX: u64 = 256 << 20;
// One cartridge that is read need not wait for another one.
const DRIVE_COUNT_MAX: usize = 2;

/// Ends all reading of a mount when it is dropped: it waits until the cartridges are put away, whoever has the tree still.
#[derive(Debug)]
pub(crate) struct Ending(Arc<LateRecall>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nothing that is not begun begins any more.
        if let Some(recall) = self.0.recall.get_or_init(|| None) {
            recall.end();
        }
    }
}

/// The tree of cartridges of a mount, and what ends the reading of them.
pub(crate) fn open(plan: &Plan, catalogue: Catalogue, started: Time) -> (Arc<TapeTree>, Ending) {
    let options = &plan.options;
    let library = library(options);
    let inputs = LibraryInputs { clock: Arc::new(SystemClock), random: Arc::new(random) };
    // Each mount has its own.
    let place = crc32(&[plan.mountpoint.as_os_str().as_bytes()]);
    let recall = library.clone().map(|library| RecallOptions {
        library,
        drive: None,
        cache: catalogue.root().join(format!("cache-{place:?}")),
        cache_bytes_max: options.tape_cache_bytes,
        drive_count_max: DRIVE_COUNT_MAX,
        ahead_bytes_max: AHEAD_BYTES_MAX,
        drive_wait: Duration::from_secs(options.tape_wait_seconds),
        // Who waits for another cartridge gets it within the wait that he was promised.
        turn: Some(Duration::from_secs(options.tape_wait_seconds) / 2),
        idle: Duration::from_secs(options.tape_idle_seconds),
        drive_options: DriveOptions::default(),
    });
    let reader = Arc::new(LateRecall {
        catalogue: catalogue.clone(),
        inputs: inputs.clone(),
        options: recall,
        recall: OnceLock::new(),
    });
    let cache = CacheBytes { pages: options.page_cache_bytes, frames: options.frame_cache_bytes };
    let refused = options.tape_refuse.clone();
    let owners = options.owners;
    let ending = Ending(Arc::clone(&reader));
    let options = TapesOptions { catalogue, library, inputs, reader, refused, owners, cache, started };
    (Arc::new(TapeTree::new(options)), ending)
}

fn library(options: &MountOptions) -> Option<LibraryAddress> {
    match LibraryAddress::parse(options.tape_library.as_ref()?.as_ref()) {
        Ok(address) => Some(address),
        Err(error) => {
            log::warn!("{}", chain(&error));
            None
        }
    }
}

#[derive(Debug)]
struct LateRecall {
    catalogue: Catalogue,
    inputs: LibraryInputs,
    options: Option<RecallOptions>,
    recall: OnceLock<Option<Recall>>,
}

impl LateRecall {
    fn recall(&self) -> io::Result<&Recall> {
        let recall = self.recall.get_or_init(|| {
            let Some(options) = self.options.clone() else {
                log::info!(
                    "no library is known: the option tape_library or {TAPE_LIBRARY_VARIABLE} names it"
                );
                return None;
            };
            let (catalogue, inputs) = (self.catalogue.clone(), self.inputs.clone());
            Recall::start(catalogue, inputs, options, Arc::new(Progress::default()))
                .inspect_err(|error| log::error!("tapes cannot be read: {error}"))
                .ok()
        });
        recall.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEDIUM))
    }
}

impl BlockReader for LateRecall {
    fn read(&self, volume: FileId, address: BlockAddress, buffer: &mut [u8]) -> io::Result<()> {
        self.recall()?.read(volume, address, buffer)
    }
}

#[derive(Debug)]
struct SystemClock;

impl reelfs::clock::Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the edge from which time is passed in")]
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

// For the names of sessions with networked libraries.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let read = File::open(OsStr::new("/dev/urandom")).and_then(|mut file| file.read_exact(&mut bytes));
    if let Err(error) = read {
        log::error!("/dev/urandom: {error}");
    }
    bytes
}
