//! MOVE MEDIUM, EXCHANGE MEDIUM and POSITION TO ELEMENT (SMC-3, sections 6.6, 6.3 and 6.8).

use super::Changer;
use super::inventory::{Content, ElementType};
use crate::emulator::bytes::u16_at;
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::sense::{Sense, key};
use crate::emulator::shape::DRIVE_ADDRESS;

/// Time that a move takes.
const MOVE_TIME: std::time::Duration = std::time::Duration::from_secs(15);

impl Changer {
    /// MOVE MEDIUM.
    pub(super) fn move_medium(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let (source, destination) = (u16_at(cdb, 4), u16_at(cdb, 6));
        if exchange.bit(10, 0) {
            return Err(Sense::invalid_field(10, Some(0)).into());
        }
        self.check_arm(u16_at(cdb, 2))?;
        self.check_element(source)?;
        self.check_element(destination)?;
        self.agree_with_drives()?;
        self.check_full(source)?;
        self.check_empty(destination)?;
        self.transfer(source, destination)
    }

    /// EXCHANGE MEDIUM: source to first destination, what was there to the second.
    pub(super) fn exchange_medium(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let (source, first, second) = (u16_at(cdb, 4), u16_at(cdb, 6), u16_at(cdb, 8));
        if exchange.bit(10, 0) || exchange.bit(10, 1) {
            return Err(Sense::invalid_field(10, Some(1)).into());
        }
        self.check_arm(u16_at(cdb, 2))?;
        for address in [source, first, second] {
            self.check_element(address)?;
        }
        self.agree_with_drives()?;
        self.check_full(source)?;
        self.check_full(first)?;
        if second != source {
            self.check_empty(second)?;
            self.transfer(first, second)?;
            return self.transfer(source, first);
        }
        // The two change places; one of them waits in the arm.
        let out = self.take_out(first)?;
        let taken = self.take_out(source);
        let back = match taken {
            Ok(content) => content,
            Err(error) => {
                self.put_in(first, out)?;
                return Err(error);
            }
        };
        self.put_in(first, back)?;
        self.put_in(source, out)
    }

    /// POSITION TO ELEMENT.
    pub(super) fn position_to_element(&mut self, exchange: &mut Exchange<'_>) -> Done {
        if exchange.bit(8, 0) {
            return Err(Sense::invalid_field(8, Some(0)).into());
        }
        self.check_arm(u16_at(exchange.cdb, 2))?;
        self.check_element(u16_at(exchange.cdb, 4))?;
        Ok(())
    }

    // Address 0 stands for the arm that there is.
    fn check_arm(&self, address: u16) -> Result<(), Sense> {
        let is_arm = ElementType::at(&self.config, address) == Some(ElementType::Transport);
        if address == 0 || is_arm { Ok(()) } else { Err(Sense::illegal(0x21, 0x01)) }
    }

    fn check_element(&self, address: u16) -> Result<(), Sense> {
        match ElementType::at(&self.config, address) {
            Some(ElementType::Transport) | None => Err(Sense::illegal(0x21, 0x01)),
            Some(_) => Ok(()),
        }
    }

    // MEDIUM SOURCE ELEMENT EMPTY.
    fn check_full(&self, address: u16) -> Result<(), Sense> {
        let is_full = self.file.state.elements.contains_key(&address);
        if is_full { Ok(()) } else { Err(Sense::illegal(0x3b, 0x0e)) }
    }

    // MEDIUM DESTINATION ELEMENT FULL.
    fn check_empty(&self, address: u16) -> Result<(), Sense> {
        let is_full = self.file.state.elements.contains_key(&address);
        if is_full { Err(Sense::illegal(0x3b, 0x0d)) } else { Ok(()) }
    }

    fn transfer(&mut self, source: u16, destination: u16) -> Done {
        let content = self.take_out(source)?;
        self.put_in(destination, content)
    }

    fn take_out(&mut self, address: u16) -> Result<Content, Halt> {
        let content = self.file.state.elements.get(&address).cloned();
        let content = content.ok_or(Sense::illegal(0x3b, 0x0e))?;
        if ElementType::at(&self.config, address) == Some(ElementType::DataTransfer) {
            self.take_from_drive(address)?;
        }
        self.file.state.elements.remove(&address);
        let is_slot = ElementType::at(&self.config, address) == Some(ElementType::Storage);
        let source = if is_slot { Some(address) } else { content.source };
        Ok(Content { source, by_operator: false, ..content })
    }

    fn take_from_drive(&mut self, address: u16) -> Done {
        let unloads_by_itself = self.config.unloads_by_itself;
        let number = usize::from(address - DRIVE_ADDRESS);
        let drive = self.drives.get_mut(number).ok_or(Sense::illegal(0x21, 0x01))?;
        let lock = drive.file.lock()?;
        drive.file.refresh()?;
        let mut unload = || {
            if drive.holds() {
                if drive.file.state.unit.nexuses.is_removal_prevented() {
                    // MEDIUM REMOVAL PREVENTED.
                    return Err(Halt::Sense(Sense::illegal(0x53, 0x02)));
                }
                if !unloads_by_itself {
                    // LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED: the drive has not let go of it.
                    return Err(Sense::new(key::HARDWARE_ERROR, 0x04, 0x03).into());
                }
                drive.unload()?;
            }
            drive.remove();
            drive.file.save()?;
            Ok(())
        };
        let done = unload();
        drop(lock);
        done
    }

    fn put_in(&mut self, address: u16, content: Content) -> Done {
        if ElementType::at(&self.config, address) == Some(ElementType::DataTransfer) {
            let number = usize::from(address - DRIVE_ADDRESS);
            let drive = self.drives.get_mut(number).ok_or(Sense::illegal(0x21, 0x01))?;
            let lock = drive.file.lock()?;
            drive.file.refresh()?;
            drive.insert(&content.name)?;
            drive.file.save()?;
            drop(lock);
        }
        let is_slot = ElementType::at(&self.config, address) == Some(ElementType::Storage);
        let source = if is_slot { None } else { content.source };
        self.file.state.elements.insert(address, Content { source, ..content });
        self.file.state.move_count += 1;
        self.spend(MOVE_TIME);
        Ok(())
    }
}
