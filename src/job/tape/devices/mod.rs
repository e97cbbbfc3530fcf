//! Where drives and changers are reached: the one place that knows all ways to them.

mod emulated;
mod generic;
mod networked;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::clock::Clock;
use crate::path;
use crate::scsi::sg::{SgNode, SgOpenError, list_sg_nodes};
use crate::scsi::{Transport, TransportError};

/// Why a library or drive cannot be reached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is nothing of this name.
    #[error("cannot open {name}")]
    Open {
        /// The name given.
        name: String,
        /// The refusal.
        source: io::Error,
    },
    /// It is neither a device, nor an emulated library, nor an address.
    #[error(
        "{name} is neither a SCSI device (/dev/sgN), nor the directory of an emulated library, nor iscsi://HOST[/TARGET]"
    )]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The way to the device.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A device of this machine.
    #[error(transparent)]
    Generic(#[from] SgOpenError),
    /// Another process uses it.
    #[error("{name} is in use by another process")]
    Busy {
        /// Its name.
        name: String,
    },
    /// The emulated library.
    #[error("cannot use the emulated library {name}")]
    Emulated {
        /// Its directory.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The iSCSI target.
    #[error("cannot use the library {name}")]
    Iscsi {
        /// Its address, without a secret.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host of an iSCSI library has no target, or several.
    #[error("{name} has {} targets{}", targets.len(), listed(targets))]
    Targets {
        /// Its address, without a secret.
        name: String,
        /// Names of the targets.
        targets: Vec<String>,
    },
}

fn listed(targets: &[String]) -> String {
    if targets.is_empty() { String::new() } else { format!(": {}", targets.join(", ")) }
}

impl DeviceError {
    /// Whether another process uses the device.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Generic(SgOpenError::Busy { .. }))
    }
}

/// What `--library` names.
#[derive(Clone, PartialEq, Eq)]
pub enum LibraryAddress {
    /// A changer or drive of this machine: `/dev/sgN`.
    Device(PathBuf),
    /// Directory of an emulated library.
    Emulated(PathBuf),
    /// `iscsi://[user%secret@]host[:port][/target[/lun]]`.
    Iscsi(String),
}

impl LibraryAddress {
    /// Reads what a user gave.
    ///
    /// # Errors
    /// [`DeviceError`] if it is nothing that can be a library.
    pub fn parse(text: &OsStr) -> Result<Self, DeviceError> {
        if text.as_bytes().starts_with(b"iscsi://") {
            let name = path::display(text.as_bytes());
            return match text.to_str() {
                Some(url) => Ok(Self::Iscsi(url.to_owned())),
                None => Err(DeviceError::Unknown { name }),
            };
        }
        let location = PathBuf::from(text);
        let name = path::display(text.as_bytes());
        let metadata =
            location.metadata().map_err(|source| DeviceError::Open { name: name.clone(), source })?;
        if metadata.is_dir() {
            return Ok(Self::Emulated(location));
        }
        let is_device = std::os::unix::fs::FileTypeExt::is_char_device(&metadata.file_type());
        if is_device { Ok(Self::Device(location)) } else { Err(DeviceError::Unknown { name }) }
    }
}

/// Without what is secret in it.
impl fmt::Display for LibraryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(location) | Self::Emulated(location) => {
                f.write_str(&path::display(location.as_os_str().as_bytes()))
            }
            Self::Iscsi(url) => {
                let rest = url.strip_prefix("iscsi://").unwrap_or(url);
                let (authority, target) = rest.split_once('/').map_or((rest, None), |(a, t)| (a, Some(t)));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                write!(f, "iscsi://{}", path::display(host.as_bytes()))?;
                target.map_or(Ok(()), |target| write!(f, "/{}", path::display(target.as_bytes())))
            }
        }
    }
}

impl fmt::Debug for LibraryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a session with a networked unit is known by, beside the name of the initiator.
pub type Session = [u8; 5];

/// The logical units of a library.
pub trait Devices: Send + Sync + fmt::Debug {
    /// Names of all that may be a changer or a drive.
    ///
    /// # Errors
    /// [`DeviceError`] if they cannot be found out.
    fn units(&self) -> Result<Vec<String>, DeviceError>;

    /// A name for a new session with a unit, where sessions have one.
    fn session(&self) -> Session {
        Session::default()
    }

    /// Opens the way to one of them. With the name of an earlier session this one takes its place, and what that one has
    /// locked is free.
    ///
    /// # Errors
    /// [`DeviceError`] if it is not there or in use.
    fn connect(&self, unit: &str, session: Session) -> Result<Box<dyn Transport>, DeviceError>;

    /// Whether a unit is known to be a changer before it is opened.
    fn is_changer(&self, unit: &str) -> bool;

    /// How people call the library.
    fn name(&self) -> String;
}

/// What is given from outside: the library has no clock and no randomness.
#[derive(Clone)]
pub struct LibraryInputs {
    /// The clock by which devices are waited for.
    pub clock: Arc<dyn Clock>,
    /// Random bytes, other ones for each session with a networked device.
    pub random: Arc<dyn Fn() -> [u8; 32] + Send + Sync>,
}

impl fmt::Debug for LibraryInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibraryInputs").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Changers and drives of this machine, as the kernel knows them; none is opened.
///
/// # Errors
/// [`DeviceError`] if they cannot be listed.
pub fn local_nodes() -> Result<Vec<SgNode>, DeviceError> {
    list_sg_nodes().map_err(|source| DeviceError::Open { name: "/sys/class/scsi_generic".to_owned(), source })
}

/// Opens a library by its address.
///
/// # Errors
/// [`DeviceError`] if it is not there.
pub fn open(address: &LibraryAddress, inputs: &LibraryInputs) -> Result<Arc<dyn Devices>, DeviceError> {
    match address {
        LibraryAddress::Device(node) => Ok(Arc::new(generic::GenericDevices::open(node)?)),
        LibraryAddress::Emulated(directory) => {
            Ok(Arc::new(emulated::EmulatedDevices::open(directory, &inputs.clock)?))
        }
        LibraryAddress::Iscsi(url) => {
            Ok(Arc::new(networked::NetworkedDevices::open(url, address.to_string(), inputs)?))
        }
    }
}
