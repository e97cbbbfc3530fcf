//! Why an operation with cartridges ended before its end.

use thiserror::Error;

use super::catalogue::CatalogueError;
use super::devices::DeviceError;
use crate::id::FileId;
use crate::library::{Barcode, LibraryError};
use crate::progress::Cancelled;
use crate::repo::{ReadError, RepoError};
use crate::scsi::CommandError;
use crate::storage::StorageError;
use crate::tape::TapeError;
use crate::tape::drive::DriveError;

/// Why an operation with cartridges ended before its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TapeJobError {
    /// The library or drive cannot be reached.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The changer.
    #[error(transparent)]
    Library(Box<LibraryError>),
    /// The drive.
    #[error(transparent)]
    Drive(DriveError),
    /// A command to a device of which more is not known yet.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The cartridge.
    #[error(transparent)]
    Tape(Box<TapeError>),
    /// The catalogue of cartridges.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The repository.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// There is no drive at all.
    #[error("{library} has no tape drive that can be reached")]
    NoDrives {
        /// The library.
        library: String,
    },
    /// There is no such drive.
    #[error("there is no drive {number}; the last one is drive {last}")]
    NoDrive {
        /// Number asked for.
        number: usize,
        /// Number of the last one.
        last: usize,
    },
    /// The cartridge is in another drive than the one to be used.
    #[error("cartridge {barcode} is in drive {number}")]
    InDrive {
        /// Its barcode.
        barcode: Barcode,
        /// Number of the drive.
        number: usize,
    },
    /// Not even the smallest part of what is to be written fits a cartridge.
    #[error("cartridge {barcode} is too small: nothing was written to it")]
    TooSmall {
        /// Its barcode.
        barcode: String,
    },
    /// All drives are in use.
    #[error("all drives are in use")]
    NoFreeDrive,
    /// There is a drive and no changer.
    #[error("{library} is a drive without a changer")]
    NoChanger {
        /// The drive.
        library: String,
    },
    /// The drive holds nothing.
    #[error("drive {number} is empty")]
    Empty {
        /// Number of the drive.
        number: usize,
    },
    /// What is in the drive is of no use.
    #[error("drive {number} holds {what}")]
    Unusable {
        /// Number of the drive.
        number: usize,
        /// What it is.
        what: &'static str,
    },
    /// The cartridge is not where it is to be taken from.
    #[error("cartridge {barcode} is in no {place}")]
    NotThere {
        /// Its barcode.
        barcode: String,
        /// What was looked into: `drive`, `mail slot`.
        place: &'static str,
    },
    /// The cartridge is not in the library.
    #[error("cartridge {barcode} is not in the library")]
    Absent {
        /// Its barcode.
        barcode: String,
    },
    /// A cartridge of this barcode is another one than the catalogue knows.
    #[error(
        "the cartridge with barcode {barcode} is {found}, expected {expected}: a wrong label, or it was labelled anew"
    )]
    WrongCartridge {
        /// The barcode.
        barcode: String,
        /// Id in the catalogue.
        expected: FileId,
        /// Id on the cartridge.
        found: FileId,
    },
    /// The barcode on the outside is not the one on the tape.
    #[error("the cartridge with barcode {outside} says that it is {inside}")]
    Mislabelled {
        /// Barcode that the changer read.
        outside: Barcode,
        /// Barcode on the tape.
        inside: String,
    },
    /// The barcode cannot be on a label of ours.
    #[error("barcode {barcode} has other characters than A-Z, 0-9, '-' and '_'")]
    BadBarcode {
        /// The barcode.
        barcode: String,
    },
    /// The catalogue knows no such cartridge.
    #[error("the catalogue has no cartridge {barcode}")]
    Unknown {
        /// Its barcode.
        barcode: String,
    },
    /// The cartridge belongs to another repository.
    #[error("cartridge {barcode} belongs to repository {found}, this is {expected}")]
    OtherRepository {
        /// Its barcode.
        barcode: String,
        /// This repository.
        expected: FileId,
        /// Its repository.
        found: FileId,
    },
    /// No cartridge can take more.
    #[error("no cartridge is left that can be written: {reason}")]
    NoCartridge {
        /// What was looked at.
        reason: String,
    },
    /// A drive failed with several cartridges, so it is the drive.
    #[error(
        "drive {number} failed with {count} cartridges one after the other, before anything was committed to them"
    )]
    DriveFails {
        /// Number of the drive.
        number: usize,
        /// Cartridges.
        count: u32,
    },
    /// All was written, and yet the set does not hold it whole.
    #[error("the set does not hold all that was written: {count} objects, '{name}' the first of them")]
    Incomplete {
        /// Objects that are not there whole.
        count: usize,
        /// Name of the first one.
        name: String,
    },
    /// The end of the retention of a cartridge could not be put off.
    #[error("cartridge {barcode} holds a part of it and is not kept as long as was asked for")]
    NotRetained {
        /// Its barcode.
        barcode: String,
        /// Why.
        source: Box<TapeJobError>,
    },
    /// A cartridge takes no index any more.
    #[error("cartridge {barcode} failed earlier or is full to its end, and is not written again")]
    NotWritten {
        /// Its barcode.
        barcode: String,
    },
    /// There is nothing to archive.
    #[error("there is nothing to archive")]
    NothingChosen,
    /// The cartridges hold no such generation whole.
    #[error("the cartridges at hand do not hold {what}")]
    NotOnTape {
        /// What was asked for.
        what: String,
    },
    /// The restore from the recalled data.
    #[error(transparent)]
    Restore(#[from] crate::job::restore::RestoreError),
}

impl From<LibraryError> for TapeJobError {
    fn from(error: LibraryError) -> Self {
        Self::Library(Box::new(error))
    }
}

// To be asked to stop is not the fault of a drive or cartridge.
impl TapeJobError {
    /// Whether another process or machine has the drive, and may give it up.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Device(error) => error.is_busy(),
            Self::Drive(DriveError::Reserved { .. }) => true,
            Self::Tape(error) => matches!(**error, TapeError::Drive(DriveError::Reserved { .. })),
            _ => false,
        }
    }

    /// Whether the drive is reserved, perhaps by a process that is gone.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.is_busy() && !matches!(self, Self::Device(_))
    }
}

impl From<DriveError> for TapeJobError {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Cancelled(cancelled) => cancelled.into(),
            other => Self::Drive(other),
        }
    }
}

impl From<TapeError> for TapeJobError {
    fn from(error: TapeError) -> Self {
        match error {
            TapeError::Cancelled(cancelled) => cancelled.into(),
            TapeError::Drive(error) => error.into(),
            other => Self::Tape(Box::new(other)),
        }
    }
}

impl From<StorageError> for TapeJobError {
    fn from(error: StorageError) -> Self {
        Self::Repo(error.into())
    }
}

impl From<ReadError> for TapeJobError {
    fn from(error: ReadError) -> Self {
        Self::Repo(error.into())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn to_be_asked_to_stop_is_told_as_such_wherever_it_was_heard() {
        let heard: [TapeJobError; 3] = [
            DriveError::from(Cancelled).into(),
            TapeError::from(DriveError::from(Cancelled)).into(),
            TapeError::from(Cancelled).into(),
        ];
        assert!(heard.iter().all(|error| matches!(error, TapeJobError::Cancelled(_))), "{heard:?}");
    }
}
