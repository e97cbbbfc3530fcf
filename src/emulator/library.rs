//! The library as a whole: making, opening, what an operator does.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cartridge::{self, Cartridge, CartridgeKind, CartridgeSpec};
use super::changer::{Changer, ChangerState, Content, ElementType, drive_places};
use super::counters::DriveCounters;
use super::drive::{Drive, DriveState};
use super::error::EmulatorError;
use super::generation::Generation;
use super::shape::{LibraryConfig, LibraryShape, SLOT_ADDRESS};
use super::state_file::StateFile;
use super::transport::{EmulatedTransport, Unit};
use crate::clock::Clock;

/// Initiator of transports that were not given a name.
const LOCAL: &str = "local";

/// An emulated library in a directory.
#[derive(Debug, Clone)]
pub struct EmulatedLibrary {
    pub(super) dir: PathBuf,
    pub(super) config: Arc<LibraryConfig>,
    clock: Arc<dyn Clock>,
}

/// An element of the changer, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementStatus {
    /// `slot`, `mail slot` or `drive`.
    pub kind: &'static str,
    /// Element address.
    pub address: u16,
    /// Name of the cartridge's files; none if the element is empty.
    pub cartridge: Option<String>,
    /// Barcode; empty for an unlabelled cartridge.
    pub barcode: String,
}

/// A drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveStatus {
    /// Number, from 0; its logical unit number is one more.
    pub number: u16,
    /// Generation.
    pub generation: Generation,
    /// Serial number.
    pub serial: String,
    /// Name of the cartridge in it.
    pub cartridge: Option<String>,
    /// The cartridge can be used, or will be in a moment.
    pub is_loaded: bool,
    /// Partition and logical object identifier under the head.
    pub position: (usize, u64),
    /// What it has counted.
    pub counters: DriveCounters,
}

/// Everything about a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryStatus {
    /// Serial number.
    pub serial: String,
    /// Drives.
    pub drives: Vec<DriveStatus>,
    /// Elements other than the arm, by address.
    pub elements: Vec<ElementStatus>,
}

impl EmulatedLibrary {
    /// Makes a library in a directory that is empty or not there yet.
    ///
    /// # Errors
    /// [`EmulatorError`] if the shape is impossible, the directory is not empty, or a file cannot be written.
    pub fn create(dir: &Path, shape: &LibraryShape) -> Result<(), EmulatorError> {
        // Before anything is made: what was refused can be tried again at once.
        shape.check()?;
        shape.cartridges.iter().try_for_each(|spec| check_cartridge(spec).map(drop))?;
        fs::create_dir_all(dir).map_err(EmulatorError::file("create", dir))?;
        let mut entries = fs::read_dir(dir).map_err(EmulatorError::file("read", dir))?;
        if entries.next().is_some() {
            return Err(EmulatorError::NotEmpty { path: dir.to_owned() });
        }
        let cartridges = dir.join("cartridges");
        fs::create_dir(&cartridges).map_err(EmulatorError::file("create", &cartridges))?;
        let config = LibraryConfig::new(shape);
        let mut state = ChangerState::default();
        for (spec, slot) in shape.cartridges.iter().zip(SLOT_ADDRESS..) {
            let content = make_cartridge(&cartridges, spec)?;
            state.elements.insert(slot, content);
        }
        StateFile::create(&dir.join("changer.state"), state)?;
        for number in 0..config.drive_count() {
            StateFile::create(&drive_state(dir, number), DriveState::default())?;
        }
        let path = dir.join("library.json");
        let text = serde_json::to_vec_pretty(&config)
            .map_err(|error| EmulatorError::damaged(&path, error.to_string()))?;
        // Last: a directory without it is no library.
        cartridge::replace_file(&path, &text)
    }

    /// The right to be the target of this library: a second one would end the sessions of the first. The kernel takes it
    /// back when the process ends, however it does.
    pub(super) fn lock_target(&self) -> Result<File, EmulatorError> {
        let path = self.dir.join("target.lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(EmulatorError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(EmulatorError::Served { path: self.dir.clone() }),
            Err(TryLockError::Error(source)) => Err(EmulatorError::file("lock", &path)(source)),
        }
    }

    /// Opens a library; the clock must agree with that of others who use it.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is none or it is damaged.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, EmulatorError> {
        let path = dir.join("library.json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EmulatorError::NoLibrary { path: dir.to_owned() });
            }
            other => other.map_err(EmulatorError::file("read", &path))?,
        };
        let config = LibraryConfig::decode(&bytes).map_err(|reason| EmulatorError::damaged(&path, reason))?;
        Ok(Self { dir: dir.to_owned(), config: Arc::new(config), clock })
    }

    /// Number of the last logical unit: 0 is the changer, 1 the first drive.
    #[must_use]
    pub fn last_lun(&self) -> u16 {
        self.config.drive_count()
    }

    /// A way to a logical unit for the initiator `local`: 0 is the changer, 1 the first drive.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such unit or its state cannot be read.
    pub fn transport(&self, lun: u16) -> Result<EmulatedTransport, EmulatorError> {
        self.transport_as(lun, LOCAL)
    }

    /// A way to a logical unit for another initiator; each has its own unit attentions and reservations.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such unit or its state cannot be read.
    pub fn transport_as(&self, lun: u16, initiator: &str) -> Result<EmulatedTransport, EmulatorError> {
        let last = self.last_lun();
        if lun > last {
            return Err(EmulatorError::NoUnit { lun, last });
        }
        let unit = match lun.checked_sub(1) {
            None => Unit::Changer(Box::new(self.changer()?)),
            Some(number) => Unit::Drive(Box::new(self.drive(number)?)),
        };
        let name = format!("{}#{lun}", self.dir.display());
        Ok(EmulatedTransport::new(name, initiator.to_owned(), unit))
    }

    pub(super) fn drive(&self, number: u16) -> Result<Drive, EmulatorError> {
        let place = drive_places(&self.dir, &self.config, &self.clock).into_iter().nth(usize::from(number));
        let place = place.ok_or(EmulatorError::NoUnit { lun: number + 1, last: self.last_lun() })?;
        Drive::open(place, &drive_state(&self.dir, number))
    }

    pub(super) fn changer(&self) -> Result<Changer, EmulatorError> {
        let drives = (0..self.config.drive_count()).map(|number| self.drive(number));
        let drives = drives.collect::<Result<_, _>>()?;
        Changer::open(
            Arc::clone(&self.config),
            &self.dir.join("changer.state"),
            drives,
            Arc::clone(&self.clock),
        )
    }

    /// What is where, and what the drives have counted.
    ///
    /// # Errors
    /// [`EmulatorError`] if the files of the library fail.
    pub fn status(&self) -> Result<LibraryStatus, EmulatorError> {
        let mut changer = self.changer()?;
        let lock = changer.file.lock()?;
        changer.file.refresh()?;
        changer.agree_with_drives()?;
        changer.file.save()?;
        drop(lock);
        let mut elements = Vec::new();
        for (element, kind) in [
            (ElementType::ImportExport, "mail slot"),
            (ElementType::DataTransfer, "drive"),
            (ElementType::Storage, "slot"),
        ] {
            let (first, count) = element.range(&self.config);
            for address in first..first + count {
                let content = changer.file.state.elements.get(&address);
                elements.push(ElementStatus {
                    kind,
                    address,
                    cartridge: content.map(|content| content.name.clone()),
                    barcode: content.map(|content| content.barcode.clone()).unwrap_or_default(),
                });
            }
        }
        let drives = changer.drives.iter().zip(0..).map(|(drive, number)| self.drive_status(drive, number));
        Ok(LibraryStatus { serial: self.config.serial.clone(), drives: drives.collect(), elements })
    }

    fn drive_status(&self, drive: &Drive, number: u16) -> DriveStatus {
        let state = &drive.file.state;
        let loaded = state.loaded.as_ref();
        DriveStatus {
            number,
            generation: drive.generation(),
            serial: self.config.drive_serial(number),
            cartridge: loaded.map(|loaded| loaded.name.clone()),
            is_loaded: drive.holds(),
            position: loaded.map_or((0, 0), |loaded| (loaded.partition, loaded.place.object)),
            counters: state.counters,
        }
    }

    /// What a drive has counted; drives are numbered from 0.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such drive or its state cannot be read.
    pub fn counters(&self, drive: u16) -> Result<DriveCounters, EmulatorError> {
        Ok(self.drive(drive)?.file.state.counters)
    }
}

pub(super) fn drive_state(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("drive-{number}.state"))
}

/// Tells whether files of a cartridge can have this name.
pub(super) fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_$".contains(&byte);
    !name.is_empty() && name.bytes().all(is_allowed)
}

// Makes the files of a cartridge; its barcode, or else its serial number, names them.
pub(super) fn make_cartridge(cartridges: &Path, spec: &CartridgeSpec) -> Result<Content, EmulatorError> {
    let name = check_cartridge(spec)?;
    Cartridge::create(&cartridges.join(&name), spec)?;
    Ok(Content { name, barcode: spec.barcode.clone().unwrap_or_default(), source: None, by_operator: false })
}

// The name of its files, if there can be such a cartridge.
fn check_cartridge(spec: &CartridgeSpec) -> Result<String, EmulatorError> {
    let name = spec.barcode.clone().unwrap_or_else(|| format!("unlabelled-{}", spec.serial));
    let longest = spec.barcode.as_ref().map_or(0, String::len).max(spec.serial.len());
    if longest > 32 || !is_name(&name) || spec.barcode.as_deref() == Some("") {
        return Err(EmulatorError::Shape(format!(
            "{name:?} cannot be a barcode; it has 1 to 32 letters, digits, '-', '_' and '$'"
        )));
    }
    if spec.capacity_bytes.is_some_and(|bytes| !(1 << 20..=1 << 50).contains(&bytes)) {
        return Err(EmulatorError::Shape(String::from("the capacity of a cartridge is 1 MiB to 1 PiB")));
    }
    if spec.kind == CartridgeKind::Cleaning && spec.capacity_bytes.is_some() {
        return Err(EmulatorError::Shape(String::from("a cleaning cartridge has no capacity")));
    }
    Ok(name)
}
