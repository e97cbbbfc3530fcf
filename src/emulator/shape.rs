//! What a library is made of: drives, slots, addresses, and how it behaves.

use serde::{Deserialize, Serialize};

use super::cartridge::CartridgeSpec;
use super::error::EmulatorError;
use super::generation::Generation;

/// Most drives of a library.
const DRIVES_MAX: u16 = 64;
/// Most slots of a library.
const SLOTS_MAX: u16 = 10_000;

/// How a library passes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeMode {
    /// Nothing takes time.
    #[default]
    Off,
    /// Nothing takes time, but it is counted what it would take.
    Counted,
    /// Everything takes the time it takes.
    Real,
}

/// A library to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryShape {
    /// Generation of each drive; 1 to 64.
    pub drives: Vec<Generation>,
    /// Storage slots; 1 to 10 000.
    pub slots: u16,
    /// Import/export elements (mail slots).
    pub mail_slots: u16,
    /// Serial number of the library, 1 to 10 characters; those of the drives begin with it.
    pub serial: String,
    /// Cartridges, in the storage slots from the first one on.
    pub cartridges: Vec<CartridgeSpec>,
    /// How it passes time.
    pub time: TimeMode,
    /// The library unloads a drive by itself when a cartridge is to be moved out of it. Without, MOVE MEDIUM
    /// fails as long as the drive holds on to the cartridge, as libraries do that leave it to the host.
    pub unloads_by_itself: bool,
    /// How often a drive says that it is becoming ready after a load when time is off or counted.
    pub becoming_ready_count: u32,
}

impl LibraryShape {
    /// Two drives, 20 slots, two mail slots, no cartridges, no time.
    #[must_use]
    pub fn new(generation: Generation) -> Self {
        Self {
            drives: vec![generation; 2],
            slots: 20,
            mail_slots: 2,
            serial: String::from("VT00000001"),
            cartridges: Vec::new(),
            time: TimeMode::Off,
            unloads_by_itself: false,
            becoming_ready_count: 1,
        }
    }

    /// As many drives of one generation.
    #[must_use]
    pub fn with_drives(self, count: u16, generation: Generation) -> Self {
        Self { drives: vec![generation; usize::from(count)], ..self }
    }

    /// Data cartridges of this capacity in the first slots, with barcodes `RL0001L8` and so on.
    #[must_use]
    pub fn with_cartridges(self, count: u16, generation: Generation, capacity_bytes: Option<u64>) -> Self {
        let made = |number: u16| CartridgeSpec {
            capacity_bytes,
            ..CartridgeSpec::data(&format!("RL{number:04}{}", generation.barcode_suffix()), generation)
        };
        Self { cartridges: (1..=count).map(made).collect(), ..self }
    }

    pub(super) fn check(&self) -> Result<(), EmulatorError> {
        let refuse = |text: String| Err(EmulatorError::Shape(text));
        let drives = u16::try_from(self.drives.len()).unwrap_or(u16::MAX);
        if drives == 0 || drives > DRIVES_MAX {
            return refuse(format!("{drives} drives; a library has 1 to {DRIVES_MAX}"));
        }
        if let Some(other) = self.drives.iter().find(|generation| !generation.has_drives()) {
            return refuse(format!("there are no {other} drives"));
        }
        if self.slots == 0 || self.slots > SLOTS_MAX {
            return refuse(format!("{} slots; a library has 1 to {SLOTS_MAX}", self.slots));
        }
        if self.mail_slots > 200 {
            return refuse(format!("{} mail slots; a library has at most 200", self.mail_slots));
        }
        if self.serial.is_empty() || self.serial.len() > 10 || !self.serial.bytes().all(is_serial_byte) {
            return refuse(format!("serial number {:?}; it has 1 to 10 letters and digits", self.serial));
        }
        if self.cartridges.len() > usize::from(self.slots) {
            return refuse(format!("{} cartridges for {} slots", self.cartridges.len(), self.slots));
        }
        Ok(())
    }
}

fn is_serial_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Address of the medium transport element.
pub(super) const ARM_ADDRESS: u16 = 1;
/// Address of the first import/export element.
pub(super) const MAIL_ADDRESS: u16 = 16;
/// Address of the first drive.
pub(super) const DRIVE_ADDRESS: u16 = 256;
/// Address of the first storage slot.
pub(super) const SLOT_ADDRESS: u16 = 1024;

/// `library.json`: what does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LibraryConfig {
    pub(super) version: u32,
    pub(super) serial: String,
    pub(super) drives: Vec<Generation>,
    pub(super) slots: u16,
    pub(super) mail_slots: u16,
    pub(super) time: TimeMode,
    pub(super) unloads_by_itself: bool,
    pub(super) becoming_ready_count: u32,
}

impl LibraryConfig {
    pub(super) fn new(shape: &LibraryShape) -> Self {
        Self {
            version: 1,
            serial: shape.serial.clone(),
            drives: shape.drives.clone(),
            slots: shape.slots,
            mail_slots: shape.mail_slots,
            time: shape.time,
            unloads_by_itself: shape.unloads_by_itself,
            becoming_ready_count: shape.becoming_ready_count,
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if config.version != 1 {
            return Err(format!("version {} is not known, only 1", config.version));
        }
        let shape = LibraryShape {
            drives: config.drives.clone(),
            slots: config.slots,
            mail_slots: config.mail_slots,
            serial: config.serial.clone(),
            ..LibraryShape::new(Generation::Lto8)
        };
        shape.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Count of drives.
    pub(super) fn drive_count(&self) -> u16 {
        u16::try_from(self.drives.len()).unwrap_or(u16::MAX)
    }

    /// Serial number of a drive.
    pub(super) fn drive_serial(&self, drive: u16) -> String {
        format!("{}D{:02}", self.serial, drive + 1)
    }
}
