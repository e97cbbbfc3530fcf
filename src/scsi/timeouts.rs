//! How long a command may take.
//!
//! A built-in table says how long at least; what the device reports can only raise it. A command given
//! up too early is worse than a late one: the host resets the bus, and the drive loses position and
//! buffered data.

use std::collections::HashMap;
use std::time::Duration;

use super::opcode;

/// For every command that moves nothing: retries of a drive over its cartridge memory alone take 120 s.
const FAST_S: u64 = 180;
/// Most that is believed of what a device reports: two days, above the longest erasure.
const REPORTED_MAX_S: u64 = 2 * 86_400;

/// Timeouts of the commands of one logical unit.
#[derive(Debug, Clone, Default)]
pub struct Timeouts {
    /// Reported, by operation code and service action.
    reported: HashMap<(u8, Option<u16>), Duration>,
}

impl Timeouts {
    /// Takes over what the device reports; only what is longer than the built-in value has an effect.
    ///
    /// `service_action` is given for commands that have one. Zero seconds stand for "not given".
    pub fn raise(&mut self, operation_code: u8, service_action: Option<u16>, seconds: u32) {
        let seconds = u64::from(seconds).min(REPORTED_MAX_S);
        self.reported.insert((operation_code, service_action), Duration::from_secs(seconds));
    }

    /// How long the command may take.
    #[must_use]
    pub fn of(&self, cdb: &[u8]) -> Duration {
        let operation_code = cdb.first().copied().unwrap_or(0);
        // Commands with a service action have it in the low five bits of byte 1 (SPC-4).
        let service_action = cdb.get(1).map(|byte| u16::from(byte & 0x1f));
        let reported = [service_action, None]
            .into_iter()
            .find_map(|action| self.reported.get(&(operation_code, action)).copied())
            .unwrap_or_default();
        built_in(cdb).max(reported)
    }
}

// The longest that LTO-5 to LTO-10 drives of two vendors need, full and half height.
fn built_in(cdb: &[u8]) -> Duration {
    let seconds = match cdb.first().copied().unwrap_or(0) {
        opcode::READ_6 => 2340,
        opcode::WRITE_6 | opcode::WRITE_FILEMARKS_6 => 1680,
        opcode::REWIND => 660,
        // POSITION TO ELEMENT of changers has the code of LOCATE(10).
        opcode::LOCATE_10 | opcode::LOCATE_16 | opcode::SPACE_6 | opcode::SPACE_16 => 3940,
        // The first load of an LTO-9 cartridge calibrates it: up to two hours.
        opcode::LOAD_UNLOAD => 7920,
        opcode::FORMAT_MEDIUM => 7920,
        opcode::ERASE_6 if cdb.get(1).is_some_and(|byte| byte & 1 == 1) => 166_370,
        opcode::ERASE_6 => 1680,
        opcode::VERIFY_6 => 104_880,
        opcode::SET_CAPACITY => 960,
        opcode::INITIALIZE_ELEMENT_STATUS
        | opcode::INITIALIZE_ELEMENT_STATUS_WITH_RANGE
        | opcode::MOVE_MEDIUM
        | opcode::EXCHANGE_MEDIUM
        | opcode::READ_ELEMENT_STATUS => 1800,
        _ => FAST_S,
    };
    Duration::from_secs(seconds)
}
