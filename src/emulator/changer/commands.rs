//! The commands of a changer besides those of every unit. Time-outs in seconds.

use crate::emulator::command::Sharing::{Reading, Writing};
use crate::emulator::command::{Command, CommandSet, plain};
use crate::emulator::primary;

/// All commands.
pub(super) const COMMANDS: CommandSet = [primary::COMMANDS, OWN];

/// Those of changers alone, by operation code.
const OWN: &[Command] = &[
    plain(0x07, &[0, 0, 0, 0, 0], 3600, Writing),
    plain(0x2b, &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, 0], 1800, Writing),
    plain(0x37, &[0x03, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0], 3600, Writing),
    plain(0xa5, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, 0], 1800, Writing),
    plain(0xa6, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03, 0], 1800, Writing),
    plain(0xb8, &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x03, 0xff, 0xff, 0xff, 0, 0], 1800, Reading),
    plain(0xe7, &[0x03, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0], 3600, Writing),
];
