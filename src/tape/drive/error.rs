//! Why a drive did not do what it should, by what is to be done about it.

use thiserror::Error;

use crate::progress::Cancelled;
use crate::scsi::{CommandError, TransportError};

/// Why a drive did not do what it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriveError {
    /// A command failed, for a reason that has no name of its own here.
    #[error("the drive refused")]
    Command {
        /// The command and its sense data.
        #[from]
        source: CommandError,
    },
    /// No cartridge.
    #[error("{device}: no cartridge")]
    Empty {
        /// Drive.
        device: String,
    },
    /// A cartridge with which nothing can be done.
    #[error("{device}: {state}")]
    Unusable {
        /// Drive.
        device: String,
        /// What is wrong with it.
        state: &'static str,
    },
    /// The cartridge did not become ready in time.
    #[error("{device}: not ready after {waited_s} s")]
    NotReady {
        /// Drive.
        device: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The device is no tape drive.
    #[error("{device}: is not a tape drive")]
    NotADrive {
        /// Device.
        device: String,
    },
    /// The way to the drive does not take a whole block.
    #[error("{device}: moves at most {len_max_bytes} bytes at once, a block has {len_bytes}")]
    TransferLimit {
        /// Drive.
        device: String,
        /// Length of a block.
        len_bytes: usize,
        /// Length that can be moved.
        len_max_bytes: usize,
    },
    /// Another program holds the drive.
    #[error("{device}: reserved by {holder}")]
    Reserved {
        /// Drive.
        device: String,
        /// Who, as far as the drive tells.
        holder: String,
    },
    /// The cartridge or the drive is protected from writing.
    #[error("{device}: the cartridge is write-protected")]
    WriteProtected {
        /// Drive.
        device: String,
    },
    /// The drive is elsewhere than it was left: another program moved the tape.
    #[error("{device}: is at block {found:?}, expected {expected}")]
    PositionMoved {
        /// Drive.
        device: String,
        /// Where it was left.
        expected: u64,
        /// Where it is; `None` if it does not know.
        found: Option<u64>,
    },
    /// There is no such block.
    #[error("{device}: data ends at block {end:?}, before block {loi}")]
    BeyondEnd {
        /// Drive.
        device: String,
        /// Block asked for.
        loi: u64,
        /// Where data ends.
        end: Option<u64>,
    },
    /// The end of data is not to be found: power was lost while writing.
    #[error("{device}: no end of data to be found")]
    NoEndOfData {
        /// Drive.
        device: String,
        /// What the drive said.
        source: CommandError,
    },
    /// The cartridge was or may have been exchanged.
    #[error("{device}: the cartridge was changed")]
    MediumChanged {
        /// Drive.
        device: String,
    },
    /// Another drive answers at this address.
    #[error("{device}: has the serial number '{found}', expected '{expected}'")]
    OtherDrive {
        /// Device.
        device: String,
        /// Serial number before.
        expected: String,
        /// Serial number now.
        found: String,
    },
    /// A reset, or no answer: what was only buffered may be lost, and the position is unknown.
    #[error("{device}: the session was lost")]
    SessionLost {
        /// Drive.
        device: String,
        /// What happened.
        source: CommandError,
    },
    /// The connection could not be made again.
    #[error("{device}: cannot connect again")]
    Reconnect {
        /// Drive.
        device: String,
        /// Why.
        source: TransportError,
    },
    /// An earlier write failed after all: nothing since the last commit is certain.
    #[error("{device}: an earlier write failed; what came after the last commit is lost")]
    Deferred {
        /// Drive.
        device: String,
        /// What the drive said.
        source: CommandError,
    },
    /// A block could not be written: the volume ends at the last commit.
    #[error("{device}: block {loi} cannot be written")]
    WriteFailed {
        /// Drive.
        device: String,
        /// Block.
        loi: u64,
        /// What the drive said.
        source: CommandError,
    },
    /// The physical end of the tape: the block is not on it.
    #[error("{device}: the tape ends before block {loi}")]
    VolumeOverflow {
        /// Drive.
        device: String,
        /// First block that is not on tape.
        loi: u64,
    },
    /// A block cannot be read.
    #[error("{device}: block {loi} cannot be read")]
    ReadFailed {
        /// Drive.
        device: String,
        /// Block.
        loi: u64,
        /// What the drive said.
        source: CommandError,
    },
    /// A block was changed between the tape and here.
    #[error("{device}: block {loi} has CRC-32C {computed:08x}, the drive sent {stored:08x}")]
    Protection {
        /// Drive.
        device: String,
        /// Block.
        loi: u64,
        /// What the drive sent.
        stored: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// A block is longer than anything that is expected here.
    #[error("{device}: block {loi} has {len_bytes} bytes, at most {len_max_bytes} are expected")]
    BlockTooLong {
        /// Drive.
        device: String,
        /// Block.
        loi: u64,
        /// Its length.
        len_bytes: u64,
        /// Length of the buffer.
        len_max_bytes: usize,
    },
    /// Data is encrypted by a drive.
    #[error("{device}: block {loi} is encrypted, and the drive has no key")]
    Encrypted {
        /// Drive.
        device: String,
        /// Block.
        loi: u64,
    },
}

impl DriveError {
    /// Whether [`super::Drive::resync`] may help: the cartridge itself did not fail.
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        matches!(self, Self::SessionLost { .. } | Self::PositionMoved { .. } | Self::MediumChanged { .. })
    }

    /// Whether the drive only told of a reset or of another cartridge, and answers.
    pub(super) fn is_attention(&self) -> bool {
        matches!(
            self,
            Self::SessionLost { source: CommandError::Check { .. }, .. } | Self::MediumChanged { .. }
        )
    }

    /// Whether the cartridge takes no more, and nothing since its last commit is certain.
    #[must_use]
    pub fn is_volume_lost(&self) -> bool {
        matches!(self, Self::Deferred { .. } | Self::WriteFailed { .. } | Self::NoEndOfData { .. })
    }
}
