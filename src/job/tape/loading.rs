//! Puts cartridges into drives and takes them out.
//!
//! Who moves a cartridge into a drive, or out of one, holds the drive meanwhile: no other process takes what is just being
//! loaded for a cartridge that lies there idle, and empties the drive. The drive is taken first and then the changer, by
//! everybody, so that nobody waits for the other one.

use std::error::Error;

use super::error::TapeJobError;
use super::library::{DRIVE_ATTEMPTS, DRIVE_RETRY, TapeLibrary};
use crate::library::{Barcode, Inventory, LibraryError};
use crate::progress::Progress;
use crate::scsi::ElementKind;
use crate::tape::drive::{Drive, DriveError, DriveState};

/// Drives that a cartridge can go into, by their numbers.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The one that holds it.
    Holding(usize),
    /// Those that are empty, and those with another cartridge.
    Others { empty: Vec<usize>, full: Vec<usize> },
}

impl TapeLibrary {
    fn choice(
        &self,
        inventory: &Inventory,
        barcode: &Barcode,
        preferred: Option<usize>,
    ) -> Result<Choice, TapeJobError> {
        self.drive(preferred.unwrap_or(0))?;
        let loaded = self.loaded(inventory);
        let holding = loaded.iter().find(|(_, held)| held.as_ref() == Some(barcode));
        if let Some((number, _)) = holding {
            return match preferred {
                Some(wanted) if wanted != *number => {
                    Err(TapeJobError::InDrive { barcode: barcode.clone(), number: *number })
                }
                _ => Ok(Choice::Holding(*number)),
            };
        }
        let drives = (0..).zip(self.drives());
        let usable = drives.filter(|(number, drive)| {
            drive.element.is_some()
                && drive.unit.is_some()
                && preferred.is_none_or(|wanted| wanted == *number)
        });
        let (full, empty) = usable.map(|(number, _)| number).partition(|number| loaded.contains_key(number));
        Ok(Choice::Others { empty, full })
    }

    /// Begins a session with a drive for a cartridge: the one that holds it, else an empty one; if there is none and
    /// `may_empty`, one that lets go of its cartridge is emptied. `preferred` alone is asked if given.
    ///
    /// # Errors
    /// [`TapeJobError::NoFreeDrive`] if all are in use; [`TapeJobError`] if the one that holds it is, or if it is
    /// reserved.
    pub fn take_drive(
        &mut self,
        barcode: &Barcode,
        preferred: Option<usize>,
        may_empty: bool,
    ) -> Result<(usize, Drive), TapeJobError> {
        let mut attempt = 1;
        loop {
            let is_one_unidentified = self.identify_again()?;
            let inventory = self.inventory()?;
            let (numbers, is_holding) = match self.choice(&inventory, barcode, preferred)? {
                Choice::Holding(number) => (vec![number], true),
                // Another process may just fill the empty one, or only ask what it is.
                Choice::Others { empty, full } if empty.is_empty() || attempt == DRIVE_ATTEMPTS => {
                    (empty.into_iter().chain(full.into_iter().filter(|_| may_empty)).collect(), false)
                }
                Choice::Others { empty, .. } => (empty, false),
            };
            let mut refused = None;
            for number in &numbers {
                match self.try_drive(*number, barcode, may_empty) {
                    Ok(Some(drive)) => return Ok((*number, drive)),
                    Ok(None) => {}
                    Err(error) if error.is_busy() => refused = refused.or(Some(error)),
                    Err(error) => return Err(error),
                }
            }
            if (numbers.is_empty() && !is_one_unidentified) || attempt == DRIVE_ATTEMPTS {
                // Who has reserved it may be gone, so that it is worth telling.
                let told = refused.filter(|error| is_holding || error.is_reserved());
                return Err(told.unwrap_or(TapeJobError::NoFreeDrive));
            }
            attempt += 1;
            self.clock().sleep(DRIVE_RETRY);
        }
    }

    // Begins a session with a drive if it is not in use, and makes sure of what is in it: from now on nobody else changes
    // that.
    fn try_drive(
        &mut self,
        number: usize,
        barcode: &Barcode,
        may_empty: bool,
    ) -> Result<Option<Drive>, TapeJobError> {
        let drive = self.open_drive_within(number, 1)?;
        let inventory = self.inventory()?;
        match self.in_drive(&inventory, number) {
            Some(held) if held.barcode.as_ref() != Some(barcode) => {}
            _ => return Ok(Some(drive)),
        }
        if !may_empty {
            return Ok(None);
        }
        match self.empty(Some(drive), number, None) {
            Ok((_, drive)) => Ok(drive),
            Err(error) => {
                log::info!("drive {number} stays as it is: {}", crate::job::chain(&error));
                Ok(None)
            }
        }
    }

    /// Puts a cartridge into a drive, and waits until it can be used. It must be free, or hold it already. A cartridge
    /// that cannot be used is put away again.
    ///
    /// # Errors
    /// [`TapeJobError`] if the cartridge is not in the library, cannot be moved or not be used.
    pub fn load(
        &mut self,
        barcode: &Barcode,
        number: usize,
        progress: &Progress,
    ) -> Result<Drive, TapeJobError> {
        let drive = self.open_drive(number)?;
        self.load_into(drive, number, barcode, progress)
    }

    /// The same with the drive of [`TapeLibrary::take_drive`].
    ///
    /// # Errors
    /// As for [`TapeLibrary::load`].
    pub fn load_into(
        &mut self,
        mut drive: Drive,
        number: usize,
        barcode: &Barcode,
        progress: &Progress,
    ) -> Result<Drive, TapeJobError> {
        let library = || TapeJobError::NoChanger { library: self.name() };
        let element = self.drive(number)?.element.ok_or_else(library)?;
        let inventory = self.inventory()?;
        let source = inventory.find(barcode).map_err(|error| absent(error, barcode))?.address;
        if source != element {
            if let Some(other) = self.drives().iter().position(|drive| drive.element == Some(source)) {
                return Err(TapeJobError::from(LibraryError::Occupied {
                    device: inventory.device.clone(),
                    kind: ElementKind::DataTransfer,
                    address: u16::try_from(other).unwrap_or(u16::MAX),
                    barcode: Some(barcode.clone()),
                }));
            }
            progress.check()?;
            let mut changer = self.open_changer()?;
            changer.move_cartridge(source, element, Some(barcode), None, &mut self.pause())?;
        }
        match self.make_ready(&mut drive, number, progress) {
            Ok(()) => {
                drive.set_barcode(&barcode.to_string());
                Ok(drive)
            }
            Err(error) => {
                if let TapeJobError::Unusable { .. } = &error
                    && let Err(error) = self.put_away(drive, number, None)
                {
                    log::warn!("drive {number}: {}", crate::job::chain(&error));
                }
                Err(error)
            }
        }
    }

    /// Begins a session with a drive and waits until the cartridge in it can be used.
    ///
    /// # Errors
    /// [`TapeJobError`] if there is none, or it cannot be used.
    pub fn ready(&mut self, number: usize, progress: &Progress) -> Result<Drive, TapeJobError> {
        let mut drive = self.open_drive(number)?;
        self.make_ready(&mut drive, number, progress)?;
        Ok(drive)
    }

    fn make_ready(
        &mut self,
        drive: &mut Drive,
        number: usize,
        progress: &Progress,
    ) -> Result<(), TapeJobError> {
        match drive.state()? {
            // It was unloaded and not taken out, as mt(1) leaves it: many drives say then that they are empty.
            DriveState::Empty if self.is_full(number)? => drive.load()?,
            DriveState::Empty => return Err(TapeJobError::Empty { number }),
            DriveState::Unloaded => drive.load()?,
            state => usable(state, number)?,
        }
        match drive.wait_ready(progress) {
            Ok(()) => usable(drive.state()?, number),
            // While it was loaded it may have been found to be none that can be used.
            Err(error @ DriveError::Unusable { .. }) => {
                usable(drive.state()?, number)?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    // Whether the changer says that there is a cartridge in a drive.
    fn is_full(&mut self, number: usize) -> Result<bool, TapeJobError> {
        let inventory = self.inventory()?;
        Ok(self.in_drive(&inventory, number).is_some())
    }

    /// Takes the cartridge out of a drive that nobody uses: into a slot, or `to` another element. A lone drive only lets
    /// go of it.
    ///
    /// # Errors
    /// [`TapeJobError`] if the drive is in use, does not let go of it, or it cannot be moved.
    pub fn unload(&mut self, number: usize, to: Option<u16>) -> Result<Option<Barcode>, TapeJobError> {
        let drive = match self.open_drive(number) {
            Ok(drive) => Some(drive),
            Err(error) if self.changer().is_none() || error.is_busy() => return Err(error),
            // The robot may get it out all the same.
            Err(error) => {
                self.drive(number)?;
                log::warn!("drive {number}: {}", crate::job::chain(&error));
                None
            }
        };
        self.empty(drive, number, to).map(|(barcode, _)| barcode)
    }

    /// The same at the end of a session, so that nobody else has the drive in between.
    ///
    /// # Errors
    /// As for [`TapeLibrary::unload`].
    pub fn put_away(
        &mut self,
        drive: Drive,
        number: usize,
        to: Option<u16>,
    ) -> Result<Option<Barcode>, TapeJobError> {
        self.empty(Some(drive), number, to).map(|(barcode, _)| barcode)
    }

    // Takes the cartridge out; the session with the drive lasts, if it is not lost.
    fn empty(
        &mut self,
        drive: Option<Drive>,
        number: usize,
        to: Option<u16>,
    ) -> Result<(Option<Barcode>, Option<Drive>), TapeJobError> {
        let element = self.drive(number)?.element.filter(|_| self.changer().is_some());
        let Some(element) = element else {
            let mut drive = drive.map_or_else(|| self.open_drive(number), Ok)?;
            drive.unload()?;
            return Ok((None, Some(drive)));
        };
        let inventory = self.inventory()?;
        let Some(held) = inventory.element(element).filter(|held| held.is_full) else {
            return Err(TapeJobError::Empty { number });
        };
        let home = match to {
            Some(address) => address,
            None => inventory.home(held)?.address,
        };
        let mut session = drive;
        let mut unload = || -> Result<(), Box<dyn Error + Send + Sync>> {
            // Once only: who has the changer waits for no drive.
            let mut drive = session.take().map_or_else(|| self.open_drive_within(number, 1), Ok)?;
            drive.unload()?;
            session = Some(drive);
            Ok(())
        };
        let barcode = held.barcode.clone();
        let mut changer = self.open_changer()?;
        changer.move_cartridge(element, home, barcode.as_ref(), Some(&mut unload), &mut self.pause())?;
        Ok((barcode, session))
    }
}

// What cannot be used is told as such.
fn usable(state: DriveState, number: usize) -> Result<(), TapeJobError> {
    match state {
        DriveState::Cleaning => Err(TapeJobError::Unusable { number, what: "a cleaning cartridge" }),
        DriveState::Incompatible => {
            Err(TapeJobError::Unusable { number, what: "a cartridge that it cannot use" })
        }
        _ => Ok(()),
    }
}

fn absent(error: LibraryError, barcode: &Barcode) -> TapeJobError {
    match error {
        LibraryError::NoCartridge { .. } => TapeJobError::Absent { barcode: barcode.to_string() },
        other => other.into(),
    }
}
