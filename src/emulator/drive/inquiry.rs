//! INQUIRY of a drive: standard data and vital product data.

use super::Drive;
use crate::emulator::bytes::{padded, u8_at, u16_at};
use crate::emulator::cartridge::CartridgeKind;
use crate::emulator::exchange::{Done, Exchange};
use crate::emulator::sense::Sense;
use crate::emulator::unit::{identification, standard_inquiry, vital_page};

/// Peripheral device type 01h: sequential access.
const SEQUENTIAL: u8 = 0x01;
/// Version descriptor of SSC-4.
const SSC_4: u16 = 0x0500;

impl Drive {
    /// INQUIRY (SPC-4, section 6.6).
    pub(super) fn inquiry(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let len = usize::from(u16_at(exchange.cdb, 3));
        let page = u8_at(exchange.cdb, 2);
        if !exchange.bit(1, 0) {
            if page != 0 {
                return Err(Sense::invalid_field(2, None).into());
            }
            exchange.answer(&standard_inquiry(SEQUENTIAL, self.figures().product, SSC_4), len);
            return Ok(());
        }
        let serial = self.place.config.drive_serial(self.place.number);
        let body = match page {
            0x00 => vec![0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2, 0xb3],
            0x80 | 0xb1 => serial.into_bytes(),
            0x83 => identification(self.figures().product, &serial),
            // WORM medium can be used; it is, or is not, in the drive.
            0xb0 => vec![u8::from(self.holds_worm())],
            // TapeAlert flags that can be raised: all 64.
            0xb2 => vec![0xff; 8],
            0xb3 => padded::<12>(&serial).to_vec(),
            _ => return Err(Sense::invalid_field(2, None).into()),
        };
        exchange.answer(&vital_page(SEQUENTIAL, page, &body), len);
        Ok(())
    }

    fn holds_worm(&mut self) -> bool {
        self.mounted().is_ok_and(|mounted| mounted.cartridge.sidecar.kind == CartridgeKind::Worm)
    }
}
