//! READ ELEMENT STATUS (SMC-3, section 6.11) and INITIALIZE ELEMENT STATUS (sections 6.4 and 6.5).

use super::inventory::{Content, ElementType};
use super::{Changer, PRODUCT};
use crate::emulator::bytes::{saturated_u16, u8_at, u16_at, u24, u24_at};
use crate::emulator::exchange::{Done, Exchange};
use crate::emulator::sense::Sense;
use crate::emulator::unit::identification;

/// Length of a volume tag in bytes.
const TAG_LEN: usize = 36;
/// Longest identifier of a device in a descriptor.
const IDENTIFIER_LEN: usize = 40;

/// What is asked of each element.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    volume_tag: bool,
    device: bool,
}

impl Changer {
    /// INITIALIZE ELEMENT STATUS, with and without a range: the arm looks at all labels.
    pub(super) fn initialize(&mut self, exchange: &mut Exchange<'_>) -> Done {
        if exchange.operation_code() != 0x00 {
            self.agree_with_drives()?;
            self.spend(std::time::Duration::from_secs(2) * u32::from(self.config.slots));
        }
        Ok(())
    }

    /// READ ELEMENT STATUS.
    pub(super) fn read_element_status(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let kind = u8_at(cdb, 1) & 0x0f;
        if kind > 4 {
            return Err(Sense::invalid_field(1, Some(3)).into());
        }
        let wanted = Wanted { volume_tag: exchange.bit(1, 4), device: exchange.bit(6, 0) };
        let (start, count) = (u16_at(cdb, 2), u16_at(cdb, 4));
        let len = usize::try_from(u24_at(cdb, 7)).unwrap_or(usize::MAX);
        self.agree_with_drives()?;
        let mut addresses: Vec<(ElementType, u16)> = Vec::new();
        for element in ElementType::ALL.into_iter().filter(|element| kind == 0 || kind == *element as u8) {
            let (first, elements) = element.range(&self.config);
            addresses.extend((first..first + elements).filter(|at| *at >= start).map(|at| (element, at)));
        }
        if addresses.is_empty() {
            // INVALID ELEMENT ADDRESS.
            return Err(Sense::illegal(0x21, 0x01).into());
        }
        // A number of elements counts by address.
        addresses.sort_by_key(|(_, at)| *at);
        addresses.truncate(usize::from(count));
        let reply = self.report(&addresses, wanted);
        exchange.answer(&reply, len);
        Ok(())
    }

    fn report(&mut self, addresses: &[(ElementType, u16)], wanted: Wanted) -> Vec<u8> {
        let mut pages = Vec::new();
        for element in ElementType::ALL {
            let own = addresses.iter().filter(|(kind, _)| *kind == element).map(|(_, at)| *at);
            let descriptors: Vec<Vec<u8>> = own.map(|at| self.descriptor(element, at, wanted)).collect();
            let Some(first) = descriptors.first() else { continue };
            let bytes = u32::try_from(first.len() * descriptors.len()).unwrap_or(u32::MAX);
            pages.extend([element as u8, u8::from(wanted.volume_tag) << 7]);
            pages.extend(saturated_u16(first.len()).to_be_bytes());
            pages.push(0);
            pages.extend(u24(bytes));
            pages.extend(descriptors.into_iter().flatten());
        }
        let first = addresses.iter().map(|(_, at)| *at).min().unwrap_or(0);
        let mut reply = first.to_be_bytes().to_vec();
        reply.extend(saturated_u16(addresses.len()).to_be_bytes());
        reply.push(0);
        reply.extend(u24(u32::try_from(pages.len()).unwrap_or(u32::MAX)));
        reply.append(&mut pages);
        reply
    }

    fn descriptor(&self, element: ElementType, address: u16, wanted: Wanted) -> Vec<u8> {
        let content = self.file.state.elements.get(&address);
        let mut bytes = address.to_be_bytes().to_vec();
        bytes.extend([self.flags(element, address, content), 0, 0, 0, 0, 0, 0]);
        let source = content.and_then(|content| content.source);
        // Source valid; medium type unspecified.
        bytes.push(u8::from(source.is_some()) << 7);
        bytes.extend(source.unwrap_or(0).to_be_bytes());
        if wanted.volume_tag {
            bytes.extend(volume_tag(content));
        }
        bytes.extend(self.device(element, address, wanted));
        bytes
    }

    // SMC-3, tables 24 to 31, byte 2.
    fn flags(&self, element: ElementType, address: u16, content: Option<&Content>) -> u8 {
        const FULL: u8 = 0x01;
        const BY_OPERATOR: u8 = 0x02;
        const ACCESS: u8 = 0x08;
        const EXPORTS_AND_IMPORTS: u8 = 0x30;
        let full = if content.is_some() { FULL } else { 0 };
        match element {
            ElementType::Transport => full,
            ElementType::Storage => full | ACCESS,
            ElementType::ImportExport => {
                let by_operator = content.is_some_and(|content| content.by_operator);
                full | ACCESS | EXPORTS_AND_IMPORTS | if by_operator { BY_OPERATOR } else { 0 }
            }
            ElementType::DataTransfer => {
                let number = usize::from(address - element.range(&self.config).0);
                let holds = self.drives.get(number).is_some_and(super::Drive::holds);
                full | if holds { 0 } else { ACCESS }
            }
        }
    }

    // Code set, type, length and identifier of a device.
    fn device(&self, element: ElementType, address: u16, wanted: Wanted) -> Vec<u8> {
        if element != ElementType::DataTransfer || !wanted.device {
            return vec![0; 4];
        }
        let drive = address - element.range(&self.config).0;
        let number = usize::from(drive);
        let product = self.config.drives.get(number).map_or(PRODUCT, |drive| drive.figures().product);
        let mut bytes = identification(product, &self.config.drive_serial(drive));
        bytes.resize(4 + IDENTIFIER_LEN, 0);
        bytes
    }
}

// Volume identification of 32 characters, and four bytes that are zero.
fn volume_tag(content: Option<&Content>) -> [u8; TAG_LEN] {
    let mut tag = [0; TAG_LEN];
    if let Some(content) = content.filter(|content| !content.barcode.is_empty()) {
        for (to, from) in tag.iter_mut().zip(crate::emulator::bytes::padded::<32>(&content.barcode)) {
            *to = from;
        }
    }
    tag
}
