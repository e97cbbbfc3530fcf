//! The session with one drive.

mod error;

use std::sync::Arc;
use std::time::Duration;

pub use error::DriveError;

use super::Clock;
use super::archive::HostAttribute;
use crate::progress::Progress;
use crate::scsi::{Transport, TransportError};

/// What a drive says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveIdentity {
    /// T10 vendor identification.
    pub vendor: String,
    /// Product identification.
    pub product: String,
    /// Product revision level.
    pub revision: String,
    /// Unit serial number; empty if the drive has no such page.
    pub serial: String,
}

/// How a session is held.
#[derive(Debug, Clone)]
pub struct DriveOptions {
    /// Longest wait for a cartridge to become ready.
    pub ready_timeout: Duration,
    /// Whether blocks carry a CRC between host and drive where the drive can check one.
    pub use_protection: bool,
    /// Distance of the programmable early warning from the early warning, in units of 10^6 bytes.
    pub early_warning_mb: u16,
    /// A pause after which the position is checked again.
    pub stall: Duration,
}

impl Default for DriveOptions {
    fn default() -> Self {
        Self {
            // The first load of an LTO-9 cartridge takes up to two hours and more.
            ready_timeout: Duration::from_secs(3 * 3600),
            use_protection: true,
            early_warning_mb: 8192,
            stall: Duration::from_secs(1),
        }
    }
}

/// Whether there is a cartridge that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriveState {
    /// Ready.
    Ready,
    /// No cartridge.
    Empty,
    /// Loading, threading, calibrating; progress in units of 1/65536 if the drive tells.
    BecomingReady(Option<u16>),
    /// There is one that is not threaded: [`Drive::load`] does it.
    Unloaded,
    /// A cleaning cartridge.
    Cleaning,
    /// A cartridge that this drive cannot use.
    Incompatible,
}

/// What is known of the cartridge in the drive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Medium {
    /// Density code, 60h is LTO-9.
    pub density: u8,
    /// Whether it cannot be written.
    pub is_write_protected: bool,
    /// Whether it can be written once only.
    pub is_worm: bool,
    /// Serial number of the cartridge (MAM 0401h).
    pub serial: Option<String>,
    /// Barcode in its memory (MAM 0806h), which an application wrote.
    pub barcode: Option<String>,
    /// Volume change reference (MAM 0009h).
    pub change_reference: Option<Vec<u8>>,
    /// Capacity of the partition, in units of 10^6 bytes.
    pub capacity_mb: Option<u64>,
    /// Remaining capacity, in units of 10^6 bytes.
    pub remaining_mb: Option<u64>,
    /// Times loaded.
    pub load_count: Option<u64>,
}

/// Where the drive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Partition.
    pub partition: u32,
    /// Logical object identifier of the next block or filemark.
    pub loi: u64,
    /// Filemarks before, if the drive tells.
    pub file: Option<u64>,
    /// At the beginning of the partition.
    pub is_beginning: bool,
    /// Between early warning and the end of the partition.
    pub is_end: bool,
    /// Behind the programmable early warning.
    pub is_near_end: bool,
}

/// What a read met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A block of so many bytes, now at the start of the buffer.
    Block(usize),
    /// A filemark; the position is behind it.
    Filemark,
    /// The end of data.
    EndOfData,
}

/// How much room is left, as a write told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    Plenty,
    /// Behind the programmable early warning: begin no new object.
    NearEnd,
    /// Behind the early warning: only what closes the cartridge may follow.
    AtEnd,
}

/// What a session did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriveCounters {
    /// Blocks written.
    pub blocks_written: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Filemarks written.
    pub filemarks_written: u64,
    /// LOCATE commands.
    pub locates: u64,
    /// Commands that were repeated or whose effect had to be found out.
    pub recoveries: u64,
}

/// Makes the connection again after it was lost.
pub trait Connect: Send + std::fmt::Debug {
    /// Opens the same device.
    ///
    /// # Errors
    /// [`TransportError`] if it is not there.
    fn connect(&mut self) -> Result<Box<dyn Transport>, TransportError>;
}

/// The session with one drive; one at a time.
#[derive(Debug)]
pub struct Drive {
    _options: DriveOptions,
}

#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::unimplemented,
    unused_variables,
    clippy::must_use_candidate
)]
impl Drive {
    /// Opens the session: drains unit attentions, sets variable blocks, buffered mode, no compression,
    /// protection, early warning.
    pub fn open(
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
        options: DriveOptions,
    ) -> Result<Self, DriveError> {
        unimplemented!()
    }
    pub fn set_connect(&mut self, connect: Box<dyn Connect>) {
        unimplemented!()
    }
    pub fn name(&self) -> &str {
        unimplemented!()
    }
    pub fn identity(&self) -> &DriveIdentity {
        unimplemented!()
    }
    pub fn counters(&self) -> DriveCounters {
        unimplemented!()
    }
    pub fn state(&mut self) -> Result<DriveState, DriveError> {
        unimplemented!()
    }
    /// Waits until a cartridge is ready.
    pub fn wait_ready(&mut self, progress: &Progress) -> Result<(), DriveError> {
        unimplemented!()
    }
    pub fn load(&mut self) -> Result<(), DriveError> {
        unimplemented!()
    }
    pub fn unload(&mut self) -> Result<(), DriveError> {
        unimplemented!()
    }
    pub fn set_removal_prevented(&mut self, prevented: bool) -> Result<(), DriveError> {
        unimplemented!()
    }
    pub fn medium(&mut self) -> Result<Medium, DriveError> {
        unimplemented!()
    }
    /// Numbers of the TapeAlert flags that are set, 1 to 64.
    pub fn alerts(&mut self) -> Result<Vec<u8>, DriveError> {
        unimplemented!()
    }
    pub fn write_attributes(&mut self, attributes: &[HostAttribute]) -> Result<(), DriveError> {
        unimplemented!()
    }
    pub fn position(&mut self) -> Result<Position, DriveError> {
        unimplemented!()
    }
    pub fn locate(&mut self, loi: u64) -> Result<Position, DriveError> {
        unimplemented!()
    }
    pub fn locate_end(&mut self) -> Result<Position, DriveError> {
        unimplemented!()
    }
    pub fn read_block(&mut self, buffer: &mut [u8]) -> Result<Read, DriveError> {
        unimplemented!()
    }
    pub fn write_block(&mut self, block: &[u8]) -> Result<Room, DriveError> {
        unimplemented!()
    }
    /// IMMED=0 (`is_commit`) returns once everything is on tape.
    pub fn write_filemarks(&mut self, count: u32, is_commit: bool) -> Result<Room, DriveError> {
        unimplemented!()
    }
}
