//! Why a cartridge could not be written or read.

use thiserror::Error;

use super::archive::ArchiveError;
use super::drive::DriveError;
use crate::id::FileId;
use crate::progress::Cancelled;
use crate::storage::StorageError;

/// Why a cartridge could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The drive.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// What is to be written cannot be read.
    #[error("cannot read what is to be archived")]
    Source(#[from] StorageError),
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The bytes of the cartridge are not what the format says.
    #[error("{device}: damaged at block {loi}")]
    Archive {
        /// Drive.
        device: String,
        /// Block at which the structure begins.
        loi: u64,
        /// What is wrong.
        source: ArchiveError,
    },
    /// A block of a part has another length than all have.
    #[error("{device}: block {loi} has {len_bytes} bytes, expected {expected_bytes}")]
    BlockLength {
        /// Drive.
        device: String,
        /// The block.
        loi: u64,
        /// Length found.
        len_bytes: usize,
        /// Length of all blocks.
        expected_bytes: usize,
    },
    /// A list on the cartridge does not say what the newest index says.
    #[error("{device}: {list} at block {loi} differs from the newest index")]
    ListDiffers {
        /// Drive.
        device: String,
        /// Which list: a manifest, the checksums of a part, the other closing index.
        list: &'static str,
        /// Block at which the list begins.
        loi: u64,
    },
    /// The cartridge has no label.
    #[error("{device}: the cartridge is blank")]
    Blank {
        /// Drive.
        device: String,
    },
    /// The cartridge is not one of ours.
    #[error("{device}: the cartridge is not of reelfs but {kind} '{name}'")]
    Foreign {
        /// Drive.
        device: String,
        /// Whose it is.
        kind: &'static str,
        /// What it calls itself.
        name: String,
    },
    /// The cartridge holds something, and the caller did not name it.
    #[error("{device}: the cartridge holds {kind} '{name}', which was not named to be overwritten")]
    Occupied {
        /// Drive.
        device: String,
        /// Whose it is.
        kind: &'static str,
        /// The name to give.
        name: String,
        /// Until when it must be kept, seconds since 1970.
        retain_until_seconds: Option<i64>,
    },
    /// The cartridge holds something and can be written once only.
    #[error("{device}: the cartridge holds {kind} '{name}' and can be written once only")]
    WriteOnce {
        /// Drive.
        device: String,
        /// Whose it is.
        kind: &'static str,
        /// What it calls itself.
        name: String,
    },
    /// The cartridge holds something that must be kept for a time.
    #[error("{device}: the cartridge holds {kind} '{name}', which is under retention")]
    Retained {
        /// Drive.
        device: String,
        /// Whose it is.
        kind: &'static str,
        /// What it calls itself.
        name: String,
        /// Until when it must be kept, seconds since 1970.
        until_seconds: i64,
    },
    /// It is another cartridge than was meant.
    #[error("{device}: cartridge {found}, expected {expected}")]
    WrongVolume {
        /// Drive.
        device: String,
        /// Id of the cartridge meant.
        expected: FileId,
        /// Id of the cartridge found.
        found: FileId,
    },
    /// No index can be read, nor anything else that tells what is there.
    #[error("{device}: the cartridge has a label and nothing behind it")]
    NoDescription {
        /// Drive.
        device: String,
    },
    /// The end of what is written is not where it must be, so nothing is written there.
    #[error("{device}: data ends at block {found}, the newest index at block {expected}")]
    EndMoved {
        /// Drive.
        device: String,
        /// Where the newest index ends.
        expected: u64,
        /// Where data ends.
        found: u64,
    },
    /// The cartridge's memory knows a newer index than there is on the tape.
    #[error(
        "{device}: the cartridge's memory says that index {expected} is at block {loi}, the newest one on tape is {found}"
    )]
    IndexLost {
        /// Drive.
        device: String,
        /// Number of the index that the memory knows.
        expected: u64,
        /// Block at which it should begin.
        loi: u64,
        /// Number of the newest index on tape; 0 if there is none.
        found: u64,
    },
    /// The cartridge can take no more, so the operation did not begin.
    #[error("{device}: the cartridge is full")]
    Full {
        /// Drive.
        device: String,
    },
    /// Data since the last commit is lost and the cartridge takes no more: it was closed to writing.
    #[error("{device}: the cartridge is damaged behind block {committed_loi}, which was the last commit")]
    VolumeLost {
        /// Drive.
        device: String,
        /// End of the last commit.
        committed_loi: u64,
        /// What happened.
        source: Box<DriveError>,
    },
    /// An object has another content than the caller said.
    #[error("'{name}' has {found}, expected {expected}")]
    Object {
        /// Name of the object.
        name: String,
        /// What was to be.
        expected: String,
        /// What is.
        found: String,
    },
    /// A name or a length that no object may have.
    #[error("'{name}' cannot be an object on a cartridge: {reason}")]
    BadObject {
        /// Name of the object.
        name: String,
        /// Why.
        reason: &'static str,
    },
}
