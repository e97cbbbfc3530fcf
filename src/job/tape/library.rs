//! A library at work: its changer, its drives, and which cartridge is where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::devices::{self, DeviceError, Devices, LibraryAddress, LibraryInputs, Session};
use super::error::TapeJobError;
use super::reservations::ProcessKeys;
use crate::clock::Clock;
use crate::library::{Barcode, Changer, DeviceIdentity, Element, Inventory, is_same_device};
use crate::scsi::{ElementKind, LogicalUnit, Transport, TransportError};
use crate::tape::drive::{Connect, Drive, DriveError, DriveOptions};

/// Attempts to get a changer that another process uses; it has it for a move at most.
const CHANGER_ATTEMPTS: u32 = 3000;

/// Attempts to get a drive that another process uses; it may only have asked what it is.
pub(super) const DRIVE_ATTEMPTS: u32 = 20;
/// Attempts to ask a drive what it is, which another process may just do, too.
const IDENTITY_ATTEMPTS: u32 = 2;
/// Time between two of them.
pub(super) const DRIVE_RETRY: Duration = Duration::from_millis(100);

/// A tape drive.
#[derive(Debug, Clone)]
pub struct DriveUnit {
    /// Name by which it is reached; `None` if another process has it, or no way to it is known.
    pub unit: Option<String>,
    /// What it says of itself, if it could be asked.
    pub identity: Option<DeviceIdentity>,
    /// Address of its element in the changer, if the changer knows it.
    pub element: Option<u16>,
}

impl DriveUnit {
    /// How people call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.identity.as_ref().map_or_else(|| "in use".to_owned(), DeviceIdentity::name)
    }
}

/// The changer of a library.
#[derive(Debug, Clone)]
pub struct ChangerUnit {
    /// Name by which it is reached.
    pub unit: String,
    /// What it says of itself.
    pub identity: DeviceIdentity,
}

/// A library, or a lone drive.
///
/// The changer is held only while it is at work, so that other processes can use it in between. Who holds it waits for no
/// drive: a drive comes first, and then the changer.
#[derive(Debug)]
pub struct TapeLibrary {
    devices: Arc<dyn Devices>,
    clock: Arc<dyn Clock>,
    options: DriveOptions,
    changer: Option<ChangerUnit>,
    drives: Vec<DriveUnit>,
    // Units that other processes had when they were to be asked what they are.
    unidentified: Vec<String>,
}

impl TapeLibrary {
    /// Opens a library by its address.
    ///
    /// # Errors
    /// [`TapeJobError`] if it cannot be reached.
    pub fn open(
        address: &LibraryAddress,
        inputs: &LibraryInputs,
        options: DriveOptions,
    ) -> Result<Self, TapeJobError> {
        Self::over(devices::open(address, inputs)?, &inputs.clock, options)
    }

    /// Takes the logical units of a library: the first changer among them, and all drives.
    ///
    /// # Errors
    /// [`TapeJobError`] if none answers.
    pub fn over(
        devices: Arc<dyn Devices>,
        clock: &Arc<dyn Clock>,
        mut options: DriveOptions,
    ) -> Result<Self, TapeJobError> {
        options.reservations.get_or_insert_with(|| Arc::new(ProcessKeys::new()));
        let mut library = Self {
            devices,
            clock: Arc::clone(clock),
            options,
            changer: None,
            drives: Vec::new(),
            unidentified: Vec::new(),
        };
        let mut refused = None;
        for name in library.devices.units()? {
            let attempts =
                if library.devices.is_changer(&name) { CHANGER_ATTEMPTS } else { IDENTITY_ATTEMPTS };
            let mut unit = match library.connect(&name, library.devices.session(), attempts) {
                Ok(transport) => LogicalUnit::new(transport),
                Err(error) => {
                    log::info!("{name} is left out: {}", crate::job::chain(&error));
                    if error.is_busy() {
                        library.unidentified.push(name);
                    }
                    refused.get_or_insert(error);
                    continue;
                }
            };
            let identity = DeviceIdentity::read(&mut unit)?;
            if identity.is_changer() && library.changer.is_none() {
                library.changer = Some(ChangerUnit { unit: name, identity });
            } else if identity.is_drive() {
                library.drives.push(DriveUnit { unit: Some(name), identity: Some(identity), element: None });
            }
        }
        if library.changer.is_none() && library.drives.is_empty() {
            let none = TapeJobError::NoDrives { library: library.devices.name() };
            return Err(refused.map_or(none, TapeJobError::from));
        }
        library.map_drives()?;
        Ok(library)
    }

    /// Asks those units what they are that could not be asked yet; tells whether some still cannot. Numbers of drives stay
    /// what they are.
    ///
    /// # Errors
    /// [`TapeJobError`] if one that lets itself be asked does not answer, or the changer does not.
    pub(super) fn identify_again(&mut self) -> Result<bool, TapeJobError> {
        if self.changer.is_none() {
            return Ok(false);
        }
        let mut is_found = false;
        for name in std::mem::take(&mut self.unidentified) {
            let mut unit = match self.connect(&name, self.devices.session(), 1) {
                Ok(transport) => LogicalUnit::new(transport),
                Err(error) if error.is_busy() => {
                    self.unidentified.push(name);
                    continue;
                }
                Err(error) => {
                    log::info!("{name} is left out: {}", crate::job::chain(&error));
                    continue;
                }
            };
            let identity = DeviceIdentity::read(&mut unit)?;
            if identity.is_drive() {
                self.drives.push(DriveUnit { unit: Some(name), identity: Some(identity), element: None });
                is_found = true;
            }
        }
        if is_found {
            self.drives.retain(|drive| drive.unit.is_some());
            self.map_drives()?;
        }
        Ok(!self.unidentified.is_empty())
    }

    pub(super) fn pause(&self) -> impl FnMut(Duration) + 'static {
        let clock = Arc::clone(&self.clock);
        move |duration| clock.sleep(duration)
    }

    // Opens the way to a unit that another process may be about to let go of.
    fn connect(
        &self,
        unit: &str,
        session: Session,
        attempts: u32,
    ) -> Result<Box<dyn Transport>, DeviceError> {
        let mut attempt = 1;
        loop {
            match self.devices.connect(unit, session) {
                Err(error) if error.is_busy() && attempt < attempts => {
                    attempt += 1;
                    self.clock.sleep(DRIVE_RETRY);
                }
                connected => return connected,
            }
        }
    }

    // Gives each drive its element. A drive that another process has is known by its element alone, so that the
    // numbers of the others stay what they are.
    fn map_drives(&mut self) -> Result<(), TapeJobError> {
        if self.changer.is_none() {
            return Ok(());
        }
        let inventory = self.inventory()?;
        let elements: Vec<&Element> = inventory.of_kind(ElementKind::DataTransfer).collect();
        let names_none = elements.iter().all(|element| element.device.is_none());
        for drive in &mut self.drives {
            let Some(identity) = &drive.identity else { continue };
            let same = |element: &&&Element| {
                element.device.as_ref().is_some_and(|device| is_same_device(device, identity))
            };
            drive.element = elements.iter().find(same).map(|element| element.address);
        }
        // With one drive on each side there is nothing to mix up.
        if let ([element], [drive], true) = (&elements[..], &mut self.drives[..], names_none) {
            drive.element = Some(element.address);
        }
        for element in elements {
            if !self.drives.iter().any(|drive| drive.element == Some(element.address)) {
                self.drives.push(DriveUnit { unit: None, identity: None, element: Some(element.address) });
            }
        }
        // A machine may have drives that are in no library, or in another one.
        self.drives.retain(|drive| drive.element.is_some() || self.changer.is_none());
        self.drives.sort_by_key(|drive| drive.element);
        Ok(())
    }

    /// How people call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.devices.name()
    }

    /// The changer, if there is one.
    #[must_use]
    pub fn changer(&self) -> Option<&ChangerUnit> {
        self.changer.as_ref()
    }

    /// The drives, in order of their elements.
    #[must_use]
    pub fn drives(&self) -> &[DriveUnit] {
        &self.drives
    }

    /// The clock by which it waits.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What is in every element; a lone drive has no elements.
    ///
    /// # Errors
    /// [`TapeJobError`] if the changer does not say.
    pub fn inventory(&mut self) -> Result<Inventory, TapeJobError> {
        if self.changer.is_none() {
            return Ok(Inventory { device: self.devices.name(), elements: Vec::new() });
        }
        Ok(self.open_changer()?.inventory(&mut self.pause())?)
    }

    /// Lets the changer look at all labels again.
    ///
    /// # Errors
    /// [`TapeJobError`] if there is none or it refuses.
    pub fn initialize(&mut self) -> Result<(), TapeJobError> {
        Ok(self.open_changer()?.initialize(&mut self.pause())?)
    }

    pub(super) fn open_changer(&self) -> Result<Changer, TapeJobError> {
        let library = || TapeJobError::NoChanger { library: self.devices.name() };
        let unit = &self.changer.as_ref().ok_or_else(library)?.unit;
        let transport = self.connect(unit, self.devices.session(), CHANGER_ATTEMPTS)?;
        Ok(Changer::open(LogicalUnit::new(transport), &mut self.pause())?)
    }

    /// The drive of this number, from 0.
    ///
    /// # Errors
    /// [`TapeJobError`] if there is none.
    pub fn drive(&self, number: usize) -> Result<&DriveUnit, TapeJobError> {
        let library = || TapeJobError::NoDrives { library: self.devices.name() };
        let last = self.drives.len().checked_sub(1).ok_or_else(library)?;
        self.drives.get(number).ok_or(TapeJobError::NoDrive { number, last })
    }

    pub(super) fn reachable(&self, number: usize) -> Result<String, TapeJobError> {
        let unit = self.drive(number)?.unit.clone();
        Ok(unit.ok_or_else(|| DeviceError::Busy { name: format!("drive {number}") })?)
    }

    /// Begins a session with a drive.
    ///
    /// # Errors
    /// [`TapeJobError`] if it cannot be reached or somebody else has it.
    pub fn open_drive(&self, number: usize) -> Result<Drive, TapeJobError> {
        self.open_drive_within(number, DRIVE_ATTEMPTS)
    }

    // Begins a session with a drive that somebody else may give up meanwhile.
    pub(super) fn open_drive_within(&self, number: usize, attempts_max: u32) -> Result<Drive, TapeJobError> {
        let unit = self.reachable(number)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let session = self.devices.session();
            let transport = self.connect(&unit, session, attempts_max)?;
            let mut drive = match Drive::open(transport, Arc::clone(&self.clock), self.options.clone()) {
                Err(DriveError::Reserved { .. }) if attempts < attempts_max => {
                    self.clock.sleep(DRIVE_RETRY);
                    continue;
                }
                opened => opened?,
            };
            drive.set_connect(Box::new(Reconnect { devices: Arc::clone(&self.devices), unit, session }));
            return Ok(drive);
        }
    }

    /// The cartridge in a drive, as the changer knows it.
    #[must_use]
    pub fn in_drive<'a>(&self, inventory: &'a Inventory, number: usize) -> Option<&'a Element> {
        let address = self.drives.get(number)?.element?;
        inventory.element(address).filter(|element| element.is_full)
    }

    /// Barcodes in drives, by the number of the drive.
    #[must_use]
    pub fn loaded(&self, inventory: &Inventory) -> BTreeMap<usize, Option<Barcode>> {
        let numbers = 0..self.drives.len();
        let loaded =
            |number| self.in_drive(inventory, number).map(|element| (number, element.barcode.clone()));
        numbers.filter_map(loaded).collect()
    }

    /// Moves a cartridge between elements of which none is a drive.
    ///
    /// # Errors
    /// [`TapeJobError`] if it cannot be moved.
    pub fn transfer(
        &mut self,
        from: u16,
        to: u16,
        expected: Option<&Barcode>,
    ) -> Result<Inventory, TapeJobError> {
        let moved = self.open_changer()?.move_cartridge(from, to, expected, None, &mut self.pause())?;
        Ok(moved.inventory)
    }
}

/// Finds a drive again that was lost.
#[derive(Debug)]
struct Reconnect {
    devices: Arc<dyn Devices>,
    unit: String,
    session: Session,
}

impl Connect for Reconnect {
    fn connect(&mut self) -> Result<Box<dyn Transport>, TransportError> {
        self.devices.connect(&self.unit, self.session).map_err(|error| TransportError::ConnectionLost {
            device: self.unit.clone(),
            operation_code: 0,
            reason: crate::job::chain(&error),
        })
    }
}
