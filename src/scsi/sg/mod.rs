//! SCSI devices of the machine, by the kernel's sg driver: `/dev/sgN`.
//!
//! The node is opened for this process alone, and so is the tape driver's node of the same drive: closing
//! `/dev/st0` rewinds the tape, whoever else is writing to it. One command is in flight at a time; the
//! driver copies data through a buffer that it keeps for us, so that no memory is to be found for each
//! command.

mod ioctl;
mod outcome;
mod sysfs;

pub use sysfs::{SgNode, list_sg_nodes, tape_sibling};

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use self::outcome::{HostStatus, Sent, evaluate, refusal};
use super::transport::{Data, Outcome, Transport, TransportError};

/// First version of the driver that has SG_IO as it is used here.
const VERSION_MIN: i32 = 30_000;
/// Buffer that the driver is asked to keep: two blocks of ours.
const RESERVED_LEN: i32 = 1 << 20;
/// Longest transfer that is tried, whatever the adapter says: the longest block there is.
const TRANSFER_LEN_MAX: usize = (1 << 24) - 1;
/// How often a command is sent again that the kernel did not take.
const REQUEUES_MAX: usize = 5;

/// Why a device could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SgOpenError {
    /// The node cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process uses the device, by this node.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The node: that of the sg driver, or that of the tape driver for the same drive.
        path: PathBuf,
    },
    /// The node is not one of the sg driver.
    #[error("{} is not a SCSI generic device", path.display())]
    NotGeneric {
        /// The node.
        path: PathBuf,
        /// What the driver said, if it said anything.
        source: Option<io::Error>,
    },
}

/// A device behind `/dev/sgN`.
#[derive(Debug)]
pub struct SgDevice {
    file: File,
    name: String,
    transfer_len_max: usize,
    // Held open so that nobody else opens it, and rewinds the tape by closing it.
    _tape_node: Option<File>,
}

impl SgDevice {
    /// Opens a node for this process alone.
    ///
    /// # Errors
    /// [`SgOpenError`].
    pub fn open(path: &Path) -> Result<Self, SgOpenError> {
        // Without O_NONBLOCK, O_EXCL waits for the other process.
        let file =
            open_node(path, OpenOptions::new().read(true).write(true), libc::O_EXCL | libc::O_NONBLOCK)?;
        let not_generic = |source| SgOpenError::NotGeneric { path: path.into(), source };
        match ioctl::version(&file) {
            Ok(version) if version >= VERSION_MIN => {}
            Ok(_) => return Err(not_generic(None)),
            Err(source) => return Err(not_generic(Some(source))),
        }
        let failed = |source: io::Error| SgOpenError::Open { path: path.into(), source };
        set_blocking(&file).map_err(failed)?;
        let tape_node = tape_sibling(path).map(|sibling| lock_tape_node(&sibling)).transpose()?.flatten();
        let reserved = ioctl::reserve(&file, RESERVED_LEN).map_err(failed)?;
        let transfer = ioctl::transfer_len_max(&file).unwrap_or(reserved).max(reserved);
        let name = path.display().to_string();
        log::info!("{name}: opened, {reserved} bytes reserved, {transfer} bytes for each command");
        Ok(Self {
            file,
            name,
            transfer_len_max: usize::try_from(transfer).unwrap_or(0).min(TRANSFER_LEN_MAX),
            _tape_node: tape_node,
        })
    }
}

impl Transport for SgDevice {
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> Result<Outcome, TransportError> {
        let len_bytes = match &data {
            Data::None => 0,
            Data::In(buffer) => buffer.len(),
            Data::Out(bytes) => bytes.len(),
        };
        let operation_code = cdb.first().copied().unwrap_or(0);
        let sent = Sent { device: &self.name, operation_code, timeout, len_bytes };
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let mut data = data;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let raw = ioctl::execute(&self.file, cdb, again(&mut data), timeout_ms)
                .map_err(|source| refusal(sent, source))?;
            let requeue = HostStatus::from_number(raw.host_status) == HostStatus::Requeue;
            if !requeue || attempt > REQUEUES_MAX {
                return evaluate(sent, raw);
            }
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn transfer_len_max(&self) -> usize {
        self.transfer_len_max
    }
}

/// The same data phase, for one more attempt.
fn again<'a>(data: &'a mut Data<'_>) -> Data<'a> {
    match data {
        Data::None => Data::None,
        Data::In(buffer) => Data::In(buffer),
        Data::Out(bytes) => Data::Out(bytes),
    }
}

fn open_node(path: &Path, options: &OpenOptions, flags: i32) -> Result<File, SgOpenError> {
    options.clone().custom_flags(flags).open(path).map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => SgOpenError::Busy { path: path.into() },
        _ => SgOpenError::Open { path: path.into(), source },
    })
}

fn set_blocking(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags - rustix::fs::OFlags::NONBLOCK)?)
}

// The tape driver lets in one process at a time. A node that is not there, or broken, needs no lock.
fn lock_tape_node(path: &Path) -> Result<Option<File>, SgOpenError> {
    match open_node(path, OpenOptions::new().read(true), libc::O_NONBLOCK) {
        Ok(file) => Ok(Some(file)),
        Err(SgOpenError::Open { source, .. }) => {
            log::debug!("{}: not locked: {source}", path.display());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
