//! An archive waits for a drive while others have them all, as a restore does; who does not want that interrupts it.

use std::time::Duration;

use super::archive::{ArchiveEvent, Run};
use super::cartridges::Mounted;
use super::error::TapeJobError;
use super::library::TapeLibrary;
use crate::library::Barcode;
use crate::tape::archive::VolumeDescription;
use crate::tape::drive::Drive;

/// Time between two looks for a free drive.
const RETRY: Duration = Duration::from_millis(500);

impl Run<'_> {
    /// Puts a cartridge into a drive that is certain to be the one to go on with, also if another process reads it now.
    pub(super) fn mount_volume(
        &mut self,
        volume: &VolumeDescription,
    ) -> Result<(usize, Drive), TapeJobError> {
        let (preferred, progress) = (self.options.drive, self.progress);
        // A reservation may be that of a process that is gone: it is told, and not waited for.
        let may_end = |error: &TapeJobError| error.is_busy() && !error.is_reserved();
        self.wait_for_drive(may_end, |library| library.mount_volume(volume, preferred, progress))
    }

    /// Puts one of several cartridges into a drive; one that another process has is not waited for.
    pub(super) fn mount_free(&mut self, barcode: &Barcode) -> Result<Mounted, TapeJobError> {
        let (preferred, progress) = (self.options.drive, self.progress);
        self.wait_for_drive(|_| false, |library| library.mount(Some(barcode), preferred, progress))
    }

    fn wait_for_drive<T>(
        &mut self,
        may_end: impl Fn(&TapeJobError) -> bool,
        mut mount: impl FnMut(&mut TapeLibrary) -> Result<T, TapeJobError>,
    ) -> Result<T, TapeJobError> {
        let mut is_told = false;
        loop {
            let error = match mount(self.library) {
                Err(error) if matches!(error, TapeJobError::NoFreeDrive) || may_end(&error) => error,
                other => return other,
            };
            // A lone drive is the operator's to free.
            if self.library.changer().is_none() {
                return Err(error);
            }
            if !std::mem::replace(&mut is_told, true) {
                (self.inputs.event)(ArchiveEvent::Waiting(crate::job::chain(&error)));
            }
            self.progress.check()?;
            self.library.clock().sleep(RETRY);
        }
    }
}
