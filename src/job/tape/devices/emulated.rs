//! An emulated library in this process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{DeviceError, Devices, Session};
use crate::clock::Clock;
use crate::emulator::{EmulatedLibrary, EmulatedTransport};
use crate::path;
use crate::scsi::{Data, Outcome, Transport, TransportError};

/// The logical units of an emulated library.
#[derive(Debug)]
pub(super) struct EmulatedDevices {
    directory: PathBuf,
    library: EmulatedLibrary,
}

impl EmulatedDevices {
    pub(super) fn open(directory: &Path, clock: &Arc<dyn Clock>) -> Result<Self, DeviceError> {
        let library =
            EmulatedLibrary::open(directory, Arc::clone(clock)).map_err(|source| DeviceError::Emulated {
                name: path::display(directory.as_os_str().as_encoded_bytes()),
                source: Box::new(source),
            })?;
        Ok(Self { directory: directory.to_owned(), library })
    }

    // One process has a unit, as with O_EXCL on a node of the sg driver; the kernel gives the lock back when the
    // process ends, however it does.
    fn lock(&self, lun: u16) -> Result<File, DeviceError> {
        let file = self.directory.join(format!("unit-{lun}.lock"));
        let name = path::display(file.as_os_str().as_encoded_bytes());
        let refused = |source: io::Error| DeviceError::Open { name: name.clone(), source };
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&file).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(DeviceError::Busy { name: self.unit_name(lun) }),
            Err(TryLockError::Error(source)) => Err(refused(source)),
        }
    }

    fn unit_name(&self, lun: u16) -> String {
        format!("{}:{lun}", self.name())
    }
}

impl Devices for EmulatedDevices {
    fn units(&self) -> Result<Vec<String>, DeviceError> {
        Ok((0..=self.library.last_lun()).map(|lun| lun.to_string()).collect())
    }

    fn connect(&self, unit: &str, _: Session) -> Result<Box<dyn Transport>, DeviceError> {
        let lun = unit.parse::<u16>().map_err(|_| DeviceError::Unknown { name: unit.to_owned() })?;
        let lock = self.lock(lun)?;
        let transport = self
            .library
            .transport(lun)
            .map_err(|source| DeviceError::Emulated { name: self.name(), source: Box::new(source) })?;
        Ok(Box::new(LockedUnit { transport, _lock: lock }))
    }

    fn is_changer(&self, unit: &str) -> bool {
        unit == "0"
    }

    fn name(&self) -> String {
        path::display(self.directory.as_os_str().as_encoded_bytes())
    }
}

/// A unit that no other process has.
#[derive(Debug)]
struct LockedUnit {
    transport: EmulatedTransport,
    _lock: File,
}

impl Transport for LockedUnit {
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> Result<Outcome, TransportError> {
        self.transport.execute(cdb, data, timeout)
    }

    fn name(&self) -> &str {
        self.transport.name()
    }

    fn transfer_len_max(&self) -> usize {
        self.transport.transfer_len_max()
    }
}
