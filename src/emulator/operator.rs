//! What an operator does: cartridges in and out, write-protect switches, faults.

use std::fs;
use std::io;

use super::cartridge::{
    CartridgeKind, CartridgeSpec, TornTail, read_sidecar, sidecar_path, tap_path, write_sidecar,
};
use super::changer::{Changer, Content, ElementType, FAULTS};
use super::error::EmulatorError;
use super::fault::{Fault, Script};
use super::generation::Generation;
use super::library::{EmulatedLibrary, is_name, make_cartridge};
use super::nexus::MAIL_SLOT_ACCESSED;
use super::place::Place;
use super::tap::{Found, Object, Tap};

/// A cartridge of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartridgeStatus {
    /// Name of its files; the barcode, if it has one.
    pub name: String,
    /// Serial number in its memory.
    pub serial: String,
    /// Address of the element that it is in.
    pub address: u16,
    /// Generation.
    pub generation: Generation,
    /// What it is for.
    pub kind: CartridgeKind,
    /// Its switch is set.
    pub write_protected: bool,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Bytes in use in all partitions, as it was last unloaded or synchronized.
    pub used_bytes: u64,
    /// Loads.
    pub load_count: u64,
}

impl EmulatedLibrary {
    // Does something while nobody else changes the inventory.
    fn with_changer<T>(
        &self,
        act: impl FnOnce(&mut Changer) -> Result<T, EmulatorError>,
    ) -> Result<T, EmulatorError> {
        let mut changer = self.changer()?;
        let lock = changer.file.lock()?;
        changer.file.refresh()?;
        changer.agree_with_drives()?;
        let result = act(&mut changer)?;
        changer.file.save()?;
        drop(lock);
        Ok(result)
    }

    /// Puts a new cartridge into a free slot, or a mail slot; returns the address of the element. Image
    /// files of its name that are in the library already are taken over.
    ///
    /// # Errors
    /// [`EmulatorError::Full`], or the cartridge cannot be made.
    pub fn add_cartridge(&self, spec: &CartridgeSpec, to_mail_slot: bool) -> Result<u16, EmulatorError> {
        self.with_changer(|changer| {
            let address = self.free_address(changer, to_mail_slot)?;
            let content = make_cartridge(&self.dir.join("cartridges"), spec)?;
            put(changer, address, content, to_mail_slot);
            Ok(address)
        })
    }

    /// Whether there are files of a cartridge, in the library or taken out of it.
    #[must_use]
    pub fn has_files(&self, name: &str) -> bool {
        sidecar_path(&self.dir.join("cartridges").join(name)).exists()
    }

    /// Puts a cartridge that was taken out back, as it was, its memory included; returns the address of the
    /// element.
    ///
    /// # Errors
    /// [`EmulatorError`] if there are no files of this name, it is in the library, or there is no free slot.
    pub fn return_cartridge(&self, name: &str, to_mail_slot: bool) -> Result<u16, EmulatorError> {
        self.with_changer(|changer| {
            if let Ok((address, _)) = find(changer, name) {
                return Err(EmulatorError::Present { name: name.to_owned(), address });
            }
            if !is_name(name) || !self.has_files(name) {
                return Err(EmulatorError::NoCartridge(name.to_owned()));
            }
            let address = self.free_address(changer, to_mail_slot)?;
            let sidecar = read_sidecar(&self.dir.join("cartridges").join(name))?;
            let content = Content {
                name: name.to_owned(),
                barcode: sidecar.barcode,
                source: None,
                by_operator: to_mail_slot,
            };
            put(changer, address, content, to_mail_slot);
            Ok(address)
        })
    }

    fn free_address(&self, changer: &Changer, to_mail_slot: bool) -> Result<u16, EmulatorError> {
        let element = if to_mail_slot { ElementType::ImportExport } else { ElementType::Storage };
        if to_mail_slot && changer.file.state.unit.nexuses.is_removal_prevented() {
            return Err(EmulatorError::Shape(String::from("the library has locked its mail slots")));
        }
        let (first, count) = element.range(&self.config);
        let elements = &changer.file.state.elements;
        (first..first + count).find(|address| !elements.contains_key(address)).ok_or(EmulatorError::Full)
    }

    /// Takes a cartridge out of the library; its files go only if `destroy` is set.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such cartridge, a drive has it, or its files cannot be removed.
    pub fn remove_cartridge(&self, name: &str, destroy: bool) -> Result<(), EmulatorError> {
        self.with_changer(|changer| {
            let (address, content) = find(changer, name)?;
            self.check_not_in_drive(address, &content)?;
            if changer.file.state.unit.nexuses.is_removal_prevented() {
                return Err(EmulatorError::Shape(String::from("the library has locked its mail slots")));
            }
            changer.file.state.elements.remove(&address);
            if ElementType::at(&self.config, address) == Some(ElementType::ImportExport) {
                changer.file.state.unit.nexuses.tell_all(MAIL_SLOT_ACCESSED);
            }
            if destroy { self.destroy(&content.name) } else { Ok(()) }
        })
    }

    fn destroy(&self, name: &str) -> Result<(), EmulatorError> {
        let base = self.dir.join("cartridges").join(name);
        for path in [sidecar_path(&base), tap_path(&base, 0), tap_path(&base, 1)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(EmulatorError::file("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_not_in_drive(&self, address: u16, content: &Content) -> Result<(), EmulatorError> {
        let (first, _) = ElementType::DataTransfer.range(&self.config);
        if ElementType::at(&self.config, address) != Some(ElementType::DataTransfer) {
            return Ok(());
        }
        Err(EmulatorError::InDrive { barcode: content.name.clone(), drive: address - first })
    }

    // Changes a cartridge that is in no drive.
    fn change_cartridge(
        &self,
        name: &str,
        change: impl FnOnce(&mut super::cartridge::Sidecar),
    ) -> Result<(), EmulatorError> {
        self.with_changer(|changer| {
            let (address, content) = find(changer, name)?;
            self.check_not_in_drive(address, &content)?;
            let base = self.dir.join("cartridges").join(&content.name);
            let mut sidecar = read_sidecar(&base)?;
            change(&mut sidecar);
            write_sidecar(&base, &sidecar)
        })
    }

    /// Sets or clears the write-protect switch of a cartridge.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such cartridge or a drive has it.
    pub fn set_write_protected(&self, name: &str, is_protected: bool) -> Result<(), EmulatorError> {
        self.change_cartridge(name, |sidecar| sidecar.write_protected = is_protected)
    }

    /// Makes the memory of a cartridge unreadable, or readable again.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such cartridge or a drive has it.
    pub fn set_memory_readable(&self, name: &str, is_readable: bool) -> Result<(), EmulatorError> {
        self.change_cartridge(name, |sidecar| sidecar.has_memory = is_readable)
    }

    /// Says what a reader meets behind a record that was cut short.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such cartridge or a drive has it.
    pub fn set_torn_tail(&self, name: &str, torn_tail: TornTail) -> Result<(), EmulatorError> {
        self.change_cartridge(name, |sidecar| sidecar.torn_tail = torn_tail)
    }

    /// Damages a block of a cartridge for good: reading it is an unrecovered read error.
    ///
    /// # Errors
    /// [`EmulatorError`] if there is no such cartridge, partition or block, or a drive has it.
    pub fn spoil_block(&self, name: &str, partition: usize, object: u64) -> Result<(), EmulatorError> {
        self.with_changer(|changer| {
            let (address, content) = find(changer, name)?;
            self.check_not_in_drive(address, &content)?;
            let path = tap_path(&self.dir.join("cartridges").join(&content.name), partition);
            let spoil = || -> io::Result<()> {
                let tap = Tap::open(&path)?;
                let file_len = tap.len()?;
                let mut place = Place::default();
                loop {
                    match tap.next(place.offset, file_len)? {
                        Found::Object { object: Object::Record { len, .. }, start, .. }
                            if place.object == object =>
                        {
                            return tap.spoil(start, len);
                        }
                        Found::Object { object: met, end, .. } if place.object < object => {
                            place = place.after(met, end);
                        }
                        _ => return Err(io::Error::new(io::ErrorKind::NotFound, "no such block")),
                    }
                }
            };
            spoil().map_err(EmulatorError::file("spoil", &path))
        })
    }

    /// All cartridges in the library, by address.
    ///
    /// # Errors
    /// [`EmulatorError`] if the files of the library fail.
    pub fn cartridges(&self) -> Result<Vec<CartridgeStatus>, EmulatorError> {
        let elements = self.with_changer(|changer| Ok(changer.file.state.elements.clone()))?;
        let mut cartridges = Vec::new();
        for (address, content) in elements {
            let sidecar = read_sidecar(&self.dir.join("cartridges").join(&content.name))?;
            cartridges.push(CartridgeStatus {
                name: content.name,
                serial: sidecar.serial,
                address,
                generation: sidecar.generation,
                kind: sidecar.kind,
                write_protected: sidecar.write_protected,
                capacity_bytes: sidecar.capacity_bytes,
                used_bytes: sidecar.partitions.iter().map(|partition| partition.end.place.offset).sum(),
                load_count: sidecar.load_count,
            });
        }
        Ok(cartridges)
    }

    /// Adds a fault to the script and returns its number.
    ///
    /// # Errors
    /// [`EmulatorError`] if the script cannot be read or written.
    pub fn add_fault(&self, fault: Fault) -> Result<u64, EmulatorError> {
        self.with_changer(|_| {
            let path = self.dir.join(FAULTS);
            let mut script = Script::read(&path)?;
            let id = script.add(fault);
            script.write(&path)?;
            Ok(id)
        })
    }

    /// The faults of the script.
    ///
    /// # Errors
    /// [`EmulatorError`] if the script cannot be read.
    pub fn faults(&self) -> Result<Vec<Fault>, EmulatorError> {
        Ok(Script::read(&self.dir.join(FAULTS))?.faults)
    }

    /// Takes a fault out of the script, or all of them; tells how many.
    ///
    /// # Errors
    /// [`EmulatorError`] if the script cannot be read or written.
    pub fn remove_faults(&self, id: Option<u64>) -> Result<usize, EmulatorError> {
        self.with_changer(|_| {
            let path = self.dir.join(FAULTS);
            let mut script = Script::read(&path)?;
            let before = script.faults.len();
            script.faults.retain(|fault| id.is_some_and(|id| id != fault.id));
            script.write(&path)?;
            Ok(before - script.faults.len())
        })
    }
}

fn put(changer: &mut Changer, address: u16, content: Content, to_mail_slot: bool) {
    let state = &mut changer.file.state;
    state.elements.insert(address, Content { by_operator: to_mail_slot, ..content });
    if to_mail_slot {
        state.unit.nexuses.tell_all(MAIL_SLOT_ACCESSED);
    }
}

fn find(changer: &Changer, name: &str) -> Result<(u16, Content), EmulatorError> {
    let elements = &changer.file.state.elements;
    let found = elements.iter().find(|(_, content)| content.name == name);
    let found = found.map(|(address, content)| (*address, content.clone()));
    found.ok_or_else(|| EmulatorError::NoCartridge(name.to_owned()))
}
