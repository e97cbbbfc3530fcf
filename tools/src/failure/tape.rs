//! Failures of tape libraries, drives and cartridges: what they mean at the edge, and what helps.

use reelfs::job::tape::catalogue::CatalogueError;
use reelfs::job::tape::devices::DeviceError;
use reelfs::job::tape::error::TapeJobError;
use reelfs::library::LibraryError;
use reelfs::repo::RepoError;
use reelfs::tape::TapeError;
use reelfs::tape::drive::DriveError;

use super::{Failure, Kind};

impl From<TapeJobError> for Failure {
    fn from(error: TapeJobError) -> Self {
        match error {
            TapeJobError::Repo(error) => error.into(),
            TapeJobError::Restore(error) => error.into(),
            TapeJobError::Cancelled(cancelled) => cancelled.into(),
            TapeJobError::Tape(error) => tape(*error),
            error @ TapeJobError::NothingChosen => {
                Self::failed(error).hint("'reelfs list' shows clients and generations")
            }
            error @ TapeJobError::NotOnTape { .. } => Self::failed(error).hint(
                "'reelfs tape list' shows what is on tape; 'reelfs tape scan' takes cartridges into the catalogue",
            ),
            error @ TapeJobError::Catalogue(CatalogueError::Damaged { .. }) => Self::new(Kind::Damaged, error)
                .hint("'reelfs tape scan' of the cartridge makes it again"),
            error @ TapeJobError::Catalogue(_) => Self::failed(error),
            error => device(error),
        }
    }
}

impl From<DriveError> for Failure {
    fn from(error: DriveError) -> Self {
        device(error.into())
    }
}

fn tape(error: TapeError) -> Failure {
    match error {
        TapeError::Cancelled(cancelled) => cancelled.into(),
        TapeError::Source(error) if error.source.kind() == std::io::ErrorKind::InvalidData => {
            Failure::new(Kind::Damaged, TapeError::Source(error))
                .hint("nothing damaged goes to tape; 'reelfs verify' lists all that is damaged")
        }
        TapeError::Source(error) => RepoError::from(error).into(),
        other => device(other.into()),
    }
}

fn device(error: TapeJobError) -> Failure {
    let hint = hint(&error);
    let failure = Failure::new(Kind::Device, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(error: &TapeJobError) -> Option<&'static str> {
    Some(match error {
        TapeJobError::Device(DeviceError::Targets { targets, .. }) if targets.is_empty() => {
            "the host serves no target to this initiator; ask its operator"
        }
        TapeJobError::Device(DeviceError::Targets { .. }) => "name one of them: iscsi://HOST/TARGET",
        error if error.is_reserved() => {
            "wait for its end; if it is gone for good, '--preempt' takes the drive over from it"
        }
        TapeJobError::Device(error) if error.is_busy() => "another process uses it; wait for its end",
        TapeJobError::Device(DeviceError::Open { .. } | DeviceError::Unknown { .. }) => {
            "'reelfs tape devices' lists the changers and drives of this machine"
        }
        TapeJobError::Absent { .. } => {
            "'reelfs tape inventory' shows what is there; 'reelfs tape import' takes in what is in the mail slots"
        }
        TapeJobError::Library(error) => match **error {
            LibraryError::NoFree { .. } => "'reelfs tape inventory' shows what is where",
            LibraryError::NoCartridge { .. } | LibraryError::Unexpected { .. } => {
                "'reelfs tape inventory --scan-labels' lets the robot read all barcodes again"
            }
            _ => return None,
        },
        TapeJobError::NotThere { .. } => "'reelfs tape inventory' shows what is where",
        TapeJobError::NoFreeDrive => "'reelfs tape unload' puts cartridges away; --drive chooses a drive",
        TapeJobError::NoCartridge { .. } => {
            "prepare some with 'reelfs tape label', or put blank ones in; then run the same command again"
        }
        TapeJobError::NoDrive { .. } | TapeJobError::NoDrives { .. } => {
            "'reelfs tape devices' lists the drives"
        }
        TapeJobError::WrongCartridge { .. } => {
            "'reelfs tape scan' takes into the catalogue what it holds now"
        }
        TapeJobError::Tape(error) => match **error {
            TapeError::Foreign { .. } | TapeError::Occupied { .. } | TapeError::Retained { .. } => {
                "it was left as it is; 'reelfs tape label --overwrite' writes over what it names"
            }
            _ => return None,
        },
        TapeJobError::DriveFails { .. } => {
            "the drive or its cable is at fault: 'reelfs tape status' shows what it says; --drive chooses another one"
        }
        TapeJobError::NotRetained { .. } => {
            "what was written is safe; put it into the library and run the same command again, or archive to \
             other cartridges: --new-set"
        }
        TapeJobError::Incomplete { .. } => {
            "run 'reelfs tape scan' of the cartridges of the set, then the same command again; or --new-set"
        }
        TapeJobError::BadBarcode { .. } => "such a cartridge can be read, but not be labelled",
        _ => return None,
    })
}
