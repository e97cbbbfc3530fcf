//! What is in which element.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Changer;
use crate::emulator::error::EmulatorError;
use crate::emulator::shape::{ARM_ADDRESS, DRIVE_ADDRESS, LibraryConfig, MAIL_ADDRESS, SLOT_ADDRESS};
use crate::emulator::unit::UnitState;

/// Kinds of elements (SMC-3, table 23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::emulator) enum ElementType {
    /// The arm.
    Transport = 1,
    /// A slot.
    Storage = 2,
    /// A mail slot.
    ImportExport = 3,
    /// A drive.
    DataTransfer = 4,
}

impl ElementType {
    pub(in crate::emulator) const ALL: [Self; 4] =
        [Self::Transport, Self::Storage, Self::ImportExport, Self::DataTransfer];

    /// First address and count of the elements of this kind.
    pub(in crate::emulator) fn range(self, config: &LibraryConfig) -> (u16, u16) {
        match self {
            Self::Transport => (ARM_ADDRESS, 1),
            Self::Storage => (SLOT_ADDRESS, config.slots),
            Self::ImportExport => (MAIL_ADDRESS, config.mail_slots),
            Self::DataTransfer => (DRIVE_ADDRESS, config.drive_count()),
        }
    }

    /// The kind of the element at an address.
    pub(in crate::emulator) fn at(config: &LibraryConfig, address: u16) -> Option<Self> {
        let is_at = |kind: &Self| {
            let (first, count) = kind.range(config);
            address >= first && address - first < count
        };
        Self::ALL.into_iter().find(is_at)
    }
}

/// A cartridge in an element.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct Content {
    /// Name of its files.
    pub(in crate::emulator) name: String,
    /// Empty if there is no label.
    pub(in crate::emulator) barcode: String,
    /// Storage element that it came from.
    pub(in crate::emulator) source: Option<u16>,
    /// An operator has put it in.
    #[serde(default)]
    pub(in crate::emulator) by_operator: bool,
}

/// Everything that a changer remembers from command to command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::emulator) struct ChangerState {
    pub(in crate::emulator) unit: UnitState,
    /// What is in each element that is not empty.
    pub(in crate::emulator) elements: BTreeMap<u16, Content>,
    /// Cartridges moved.
    #[serde(default)]
    pub(in crate::emulator) move_count: u64,
    /// Time that moves would have taken, in nanoseconds of the model.
    #[serde(default)]
    pub(in crate::emulator) move_ns: u64,
}

impl Changer {
    /// Makes the inventory agree with the drives, if a process died between telling the one and the other.
    /// Drives that are at work are left alone.
    pub(in crate::emulator) fn agree_with_drives(&mut self) -> Result<(), EmulatorError> {
        let mut all_lost = Vec::new();
        for (drive, address) in self.drives.iter_mut().zip(DRIVE_ADDRESS..) {
            let Some(lock) = drive.file.try_lock()? else { continue };
            drive.file.refresh()?;
            drop(lock);
            let loaded = drive.file.state.loaded.as_ref();
            let known = self.file.state.elements.get(&address);
            if loaded.map(|loaded| &loaded.name) == known.map(|content| &content.name) {
                continue;
            }
            all_lost.extend(self.file.state.elements.remove(&address));
            if let Some(loaded) = loaded {
                let elements = &mut self.file.state.elements;
                let source = elements.iter().find(|(_, content)| content.name == loaded.name);
                let source = source.map(|(address, _)| *address);
                elements.retain(|_, content| content.name != loaded.name);
                let content = Content {
                    name: loaded.name.clone(),
                    barcode: loaded.barcode.clone(),
                    source,
                    by_operator: false,
                };
                elements.insert(address, content);
            }
        }
        all_lost.into_iter().for_each(|content| self.put_back(content));
        Ok(())
    }

    // A cartridge that left a drive on its way to nobody knows where.
    pub(super) fn put_back(&mut self, content: Content) {
        let elements = &mut self.file.state.elements;
        if elements.values().any(|other| other.name == content.name) {
            return;
        }
        let (first, count) = ElementType::Storage.range(&self.config);
        let source = content.source.filter(|source| !elements.contains_key(source));
        let free = source.or_else(|| (first..first + count).find(|slot| !elements.contains_key(slot)));
        if let Some(slot) = free {
            elements.insert(slot, Content { source: None, ..content });
        }
    }
}
