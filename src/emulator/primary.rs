//! Primary commands (SPC-4): those that drives and changers have alike, and what they do in both.

use super::bytes::{u8_at, u32_at};
use super::command::Sharing::{Everybody, Reading, Writing};
use super::command::{Command, CommandSet, action, plain, report_supported};
use super::exchange::{Done, Exchange};
use super::sense::Sense;
use super::unit::UnitState;

/// The commands, by operation code and service action. Time-outs in seconds.
pub(super) const COMMANDS: &[Command] = &[
    plain(0x00, &[0, 0, 0, 0, 0], 180, Everybody),
    plain(0x03, &[0x01, 0, 0, 0xff, 0], 180, Everybody),
    plain(0x12, &[0x01, 0xff, 0xff, 0xff, 0], 180, Everybody),
    plain(0x15, &[0x11, 0, 0, 0xff, 0], 180, Writing),
    plain(0x16, &[0, 0, 0, 0, 0], 180, Everybody),
    plain(0x17, &[0, 0, 0, 0, 0], 180, Everybody),
    plain(0x1a, &[0x08, 0xff, 0xff, 0xff, 0], 180, Reading),
    plain(0x1e, &[0, 0, 0, 0x03, 0], 180, Everybody),
    plain(0x4d, &[0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0], 180, Everybody),
    plain(0x55, &[0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0], 180, Writing),
    plain(0x56, &[0, 0, 0, 0, 0, 0, 0, 0, 0], 180, Everybody),
    plain(0x57, &[0, 0, 0, 0, 0, 0, 0, 0, 0], 180, Everybody),
    plain(0x5a, &[0x08, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0], 180, Reading),
    reserve_in(0x00),
    reserve_in(0x01),
    reserve_in(0x02),
    reserve_in(0x03),
    reserve_out(0x00),
    reserve_out(0x01),
    reserve_out(0x02),
    reserve_out(0x03),
    reserve_out(0x04),
    reserve_out(0x05),
    reserve_out(0x06),
    plain(0xa0, &[0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], 180, Everybody),
    action(0xa3, 0x0c, &[0x1f, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], 180, Reading),
];

/// A service action of PERSISTENT RESERVE IN.
const fn reserve_in(service_action: u8) -> Command {
    action(0x5e, service_action, &[0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0], 180, Everybody)
}

/// A service action of PERSISTENT RESERVE OUT.
const fn reserve_out(service_action: u8) -> Command {
    action(0x5f, service_action, &[0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], 180, Writing)
}

impl UnitState {
    /// Runs a command that means the same for every unit; any other one is 5/20/00. `last_lun` is the number of the
    /// last logical unit of the library.
    pub(super) fn run_primary(
        &mut self,
        exchange: &mut Exchange<'_>,
        set: CommandSet,
        last_lun: u16,
    ) -> Done {
        match exchange.operation_code() {
            0x16 | 0x56 => self.reservations.reserve_unit(exchange.nexus),
            0x17 | 0x57 => self.reservations.release_unit(exchange.nexus),
            0x1e => self.prevent_allow(exchange),
            0x5e => self.reservations.report(exchange),
            0x5f => self.reservations.change(&mut self.nexuses, exchange),
            0xa0 => report_luns(exchange, last_lun),
            0xa3 => report_operation_codes(exchange, set),
            _ => Err(Sense::illegal(0x20, 0).into()),
        }
    }

    /// PREVENT ALLOW MEDIUM REMOVAL (SPC-4, section 6.14).
    fn prevent_allow(&mut self, exchange: &Exchange<'_>) -> Done {
        let prevent = u8_at(exchange.cdb, 4) & 3;
        if prevent > 1 {
            return Err(Sense::invalid_field(4, Some(1)).into());
        }
        if let Some(nexus) = self.nexuses.get_mut(exchange.nexus) {
            nexus.prevents_removal = prevent == 1;
        }
        Ok(())
    }
}

/// MAINTENANCE IN, REPORT SUPPORTED OPERATION CODES.
fn report_operation_codes(exchange: &mut Exchange<'_>, set: CommandSet) -> Done {
    let reply = report_supported(set, exchange.cdb)?;
    let len = usize::try_from(u32_at(exchange.cdb, 6)).unwrap_or(usize::MAX);
    exchange.answer(&reply, len);
    Ok(())
}

/// REPORT LUNS (SPC-4, section 6.33) for logical units 0 to `last`.
pub(super) fn report_luns(exchange: &mut Exchange<'_>, last: u16) -> Done {
    let len = usize::try_from(u32_at(exchange.cdb, 6)).unwrap_or(usize::MAX);
    if len < 16 {
        return Err(Sense::invalid_field(6, None).into());
    }
    let select = u8_at(exchange.cdb, 2);
    if select > 2 {
        return Err(Sense::invalid_field(2, None).into());
    }
    // 1: well-known logical units only, of which there are none.
    let luns: Vec<u16> = if select == 1 { Vec::new() } else { (0..=last).collect() };
    let mut bytes = (u32::from(last + 1) * 8 * u32::from(select != 1)).to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    for lun in luns {
        // Peripheral addressing up to 255, flat space beyond (SAM-5, section 4.7).
        let method = if lun > 255 { 0x4000 } else { 0 };
        bytes.extend((method | lun).to_be_bytes());
        bytes.extend([0; 6]);
    }
    exchange.answer(&bytes, len);
    Ok(())
}
