//! The session with one drive.
//!
//! What sense data means is decided here, once: above, a block is written, or an error says what became
//! of the volume. The drive is never believed to be where it was left: before a burst of writes, and after
//! a pause, its position is compared with the one kept here.

mod blocks;
mod buffer;
mod error;
mod medium;
mod position;
mod reservation;
mod resync;
mod setup;

use std::sync::Arc;
use std::time::Duration;

pub use buffer::AlignedBuffer;
pub use error::DriveError;
pub use medium::{DriveState, Medium};
pub use reservation::ReservationKeys;

use self::setup::PROTECTION_LEN;
use crate::clock::Clock;
use crate::scsi::{CommandError, LogicalUnit, Transport, TransportError};

/// Longest block that READ(6) and WRITE(6) can name.
const BLOCK_LEN_24_MAX: usize = (1 << 24) - 1;

/// What a drive says that it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
    /// A pause after which the position is checked before the next write.
    pub stall: Duration,
    /// Keys of persistent reservations: each session holds one; without them the drive is not reserved.
    pub reservations: Option<Arc<dyn ReservationKeys>>,
    /// Takes a drive over that another session has reserved, although that session may last.
    pub preempts: bool,
}

impl Default for DriveOptions {
    fn default() -> Self {
        Self {
            // The first load of an LTO-9 cartridge takes up to two hours and more.
            ready_timeout: Duration::from_secs(3 * 3600),
            use_protection: true,
            stall: Duration::from_secs(1),
            reservations: None,
            preempts: false,
        }
    }
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
    /// LOCATE and SPACE commands.
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
    unit: LogicalUnit,
    // Of the device and of the cartridge in it, for messages.
    name: String,
    clock: Arc<dyn Clock>,
    options: DriveOptions,
    identity: DriveIdentity,
    connect: Option<Box<dyn Connect>>,
    // Key of the reservation that this session holds.
    reservation_key: Option<u64>,
    counters: DriveCounters,
    // Whether blocks carry a CRC now.
    is_protected: bool,
    // One block with its CRC; grows with the blocks that are moved.
    protected: AlignedBuffer,
    // Longest block that the drive takes in one command, its CRC included.
    block_len_max: usize,
    // Where the drive was left; `None` if that is not known.
    expected: Option<u64>,
    // Whether to compare it with the drive before the next write.
    is_unchecked: bool,
    last_command_at: Duration,
    // The drive was reset, or has another cartridge: its settings may be gone.
    is_unset: bool,
    // What a reset undoes and a resync does again.
    is_removal_prevented: bool,
    early_warning_mb: Option<u16>,
    // A block by which the cartridge is known again: its identifier and CRC-32.
    mark: Option<(u64, u32)>,
    is_closed: bool,
}

impl Drive {
    /// Opens the session: waits until what happened before was told, sets variable blocks, buffered mode,
    /// no compression, and protection of blocks where there is one; reserves the drive if there are keys for it. A
    /// cartridge need not be there.
    ///
    /// # Errors
    /// [`DriveError`] if the device is no drive, is reserved by another, or does not take the settings.
    pub fn open(
        transport: Box<dyn Transport>,
        clock: Arc<dyn Clock>,
        options: DriveOptions,
    ) -> Result<Self, DriveError> {
        let now = clock.now();
        let reservation_key = options.reservations.as_ref().map(|keys| keys.begin());
        let mut drive = Self {
            name: transport.name().to_owned(),
            unit: LogicalUnit::new(transport),
            clock,
            options,
            identity: DriveIdentity::default(),
            connect: None,
            reservation_key,
            counters: DriveCounters::default(),
            is_protected: false,
            protected: AlignedBuffer::new(0),
            block_len_max: BLOCK_LEN_24_MAX,
            expected: None,
            is_unchecked: true,
            last_command_at: now,
            is_unset: false,
            is_removal_prevented: false,
            early_warning_mb: None,
            mark: None,
            is_closed: false,
        };
        drive.set_up()?;
        // Only once: who takes it over from this session meant to.
        drive.options.preempts = false;
        Ok(drive)
    }

    /// How to connect again; without it a lost connection ends the session.
    pub fn set_connect(&mut self, connect: Box<dyn Connect>) {
        self.connect = Some(connect);
    }

    /// Says which cartridge is in the drive: messages then name it beside the device.
    pub fn set_barcode(&mut self, barcode: &str) {
        self.name = format!("{} ({barcode})", self.unit.name());
    }

    /// Name of the device for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Most bytes that one command can move.
    #[must_use]
    pub fn transfer_len_max(&self) -> usize {
        self.unit.transfer_len_max()
    }

    /// Longest block that can be read and written now: by what the drive reports, by the way to it, and without the
    /// CRC that a protected block carries.
    #[must_use]
    pub fn block_len_max(&self) -> usize {
        let crc_len = if self.is_protected { PROTECTION_LEN } else { 0 };
        self.block_len_max.min(self.transfer_len_max()).saturating_sub(crc_len)
    }

    /// What the drive says that it is.
    #[must_use]
    pub fn identity(&self) -> &DriveIdentity {
        &self.identity
    }

    /// What the session did so far.
    #[must_use]
    pub fn counters(&self) -> DriveCounters {
        self.counters
    }

    /// The clock of the session.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Ends the session: blocks are plain again for other programs, the cartridge can be taken out, the
    /// reservation is given up. Dropping does the same and keeps quiet about what fails.
    ///
    /// # Errors
    /// [`DriveError`] if the drive refuses.
    pub fn close(mut self) -> Result<(), DriveError> {
        self.is_closed = true;
        self.tear_down()
    }

    fn device(&self) -> String {
        self.name.clone()
    }

    // Every command is followed by this: a pause is one between commands.
    fn touch(&mut self) {
        self.last_command_at = self.clock.now();
    }

    // An error of a command that leaves the volume alone.
    fn failed(&self, source: CommandError) -> DriveError {
        use crate::scsi::Meaning;
        let device = self.device();
        if source.is_reservation_conflict() {
            return DriveError::Reserved { device, holder: "not told".to_owned() };
        }
        match source.meaning() {
            Some(Meaning::NoMedium) => DriveError::Empty { device },
            Some(Meaning::MediumChanged) => DriveError::MediumChanged { device },
            // It was ready before: it is reset, or another path to it was taken.
            Some(Meaning::Reset | Meaning::BecomingReady) => DriveError::SessionLost { device, source },
            Some(Meaning::Deferred) => DriveError::Deferred { device, source },
            Some(Meaning::EndOfDataNotFound) => DriveError::NoEndOfData { device, source },
            Some(Meaning::WriteProtected) => DriveError::WriteProtected { device },
            None if matches!(source, CommandError::Transport { .. }) => {
                DriveError::SessionLost { device, source }
            }
            _ => DriveError::Command { source },
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if !self.is_closed
            && let Err(error) = self.tear_down()
        {
            log::debug!("{}: closing: {error}", self.unit.name());
        }
        if let (Some(keys), Some(key)) = (&self.options.reservations, self.reservation_key) {
            keys.end(key);
        }
    }
}
