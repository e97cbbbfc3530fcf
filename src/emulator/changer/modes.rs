//! Mode pages of a changer (SMC-3, section 7.3).

use super::Changer;
use super::inventory::ElementType;
use crate::emulator::exchange::{Done, Exchange};
use crate::emulator::mode::{ModeHeader, Page, mode_select, mode_sense};
use crate::emulator::nexus::MODE_CHANGED;

/// D_SENSE of the control mode page.
const DESCRIPTOR_SENSE: u8 = 0x04;

impl Changer {
    fn pages(&self) -> Vec<Page> {
        let mut control = [0; 10];
        control[0] = if self.file.state.unit.descriptor_sense { DESCRIPTOR_SENSE } else { 0 };
        let mut control_mask = [0; 10];
        control_mask[0] = DESCRIPTOR_SENSE;
        let mut addresses = Vec::new();
        for element in [
            ElementType::Transport,
            ElementType::Storage,
            ElementType::ImportExport,
            ElementType::DataTransfer,
        ] {
            let (first, count) = element.range(&self.config);
            addresses.extend(if count == 0 { 0_u16 } else { first }.to_be_bytes());
            addresses.extend(count.to_be_bytes());
        }
        addresses.extend([0; 2]);
        // Storage elements, mail slots and drives can store; all can be moved from and to.
        let capabilities = [0x0e, 0, 0x00, 0x0e, 0x0e, 0x0e, 0, 0, 0, 0, 0, 0x0e, 0x0e, 0x0e, 0, 0, 0, 0];
        vec![
            Page::changeable(0x0a, 0, &control, &[0; 10], &control_mask),
            Page::constant(0x1d, &addresses),
            // No element can be rotated.
            Page::constant(0x1e, &[0, 0]),
            Page::constant(0x1f, &capabilities),
        ]
    }

    /// MODE SENSE.
    pub(super) fn mode_sense(&mut self, exchange: &mut Exchange<'_>) -> Done {
        mode_sense(exchange, ModeHeader::default(), &self.pages())
    }

    /// MODE SELECT: the sense format can be chosen, nothing else.
    pub(super) fn mode_select(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let Some(selection) = mode_select(exchange, &self.pages(), false)? else { return Ok(()) };
        for (_, page) in &selection.pages {
            if let [0x0a, _, flags, ..] = page.as_slice() {
                self.file.state.unit.descriptor_sense = flags & DESCRIPTOR_SENSE != 0;
                self.file.state.unit.nexuses.tell_others(exchange.nexus, MODE_CHANGED);
            }
        }
        Ok(())
    }
}
