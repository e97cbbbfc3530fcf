//! A tape drive (SSC-4).

mod commands;
mod inquiry;
mod loading;
mod medium;
mod modes;
mod motion;
mod position;
mod reading;
mod state;
mod timing;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use super::cartridge::Cartridge;
use super::clock::Clock;
use super::command::{Command, find};
use super::error::EmulatorError;
use super::exchange::{Done, Exchange, Halt};
use super::generation::Figures;
use super::sense::{Sense, key};
use super::shape::LibraryConfig;
use super::state_file::StateFile;
use super::unit::{report_luns, report_operation_codes};

pub(super) use state::{DriveState, Loaded};

/// Longest block in bytes.
const BLOCK_LEN_MAX: u32 = 8 << 20;

/// Where a drive stands and what it has at hand.
#[derive(Debug, Clone)]
pub(super) struct DrivePlace {
    /// Directory of the cartridges.
    pub(super) cartridges: PathBuf,
    pub(super) config: Arc<LibraryConfig>,
    /// Number of the drive, from 0.
    pub(super) number: u16,
    pub(super) clock: Arc<dyn Clock>,
}

/// The files of a cartridge as this process has them open.
#[derive(Debug)]
struct Cache {
    epoch: u64,
    cartridge: Cartridge,
}

/// A drive, as one process works with it; the state is in its file.
#[derive(Debug)]
pub(super) struct Drive {
    place: DrivePlace,
    pub(super) file: StateFile<DriveState>,
    cache: Option<Cache>,
}

impl Drive {
    pub(super) fn open(place: DrivePlace, state: &std::path::Path) -> Result<Self, EmulatorError> {
        Ok(Self { place, file: StateFile::open(state)?, cache: None })
    }

    pub(super) fn figures(&self) -> &'static Figures {
        self.generation().figures()
    }

    pub(super) fn generation(&self) -> super::generation::Generation {
        let number = usize::from(self.place.number);
        self.place.config.drives.get(number).copied().unwrap_or(super::generation::Generation::Lto8)
    }

    /// Runs one command. The state file is locked and fresh; it is written by the caller.
    pub(super) fn run(&mut self, exchange: &mut Exchange<'_>) -> Done {
        self.file.state.counters.command_count += 1;
        self.file.state.unit.admit(exchange.nexus, exchange.cdb)?;
        let command = find(commands::COMMANDS, exchange.cdb)?;
        self.file.state.unit.share(exchange.nexus, command, exchange.cdb)?;
        self.dispatch(command, exchange)
    }

    fn dispatch(&mut self, command: &Command, exchange: &mut Exchange<'_>) -> Done {
        match command.operation_code {
            0x00 => self.check_ready().map_err(Halt::from),
            0x01 => self.rewind(exchange),
            0x03 => {
                let idle = self.check_ready().err().unwrap_or_default();
                self.file.state.unit.request_sense(exchange, idle);
                Ok(())
            }
            0x05 => self.read_block_limits(exchange),
            0x08 => self.read(exchange),
            0x0a => self.write(exchange),
            0x10 => self.write_filemarks(exchange),
            0x11 | 0x91 => self.space(exchange),
            0x12 => self.inquiry(exchange),
            0x1b => self.load_unload(exchange),
            0x1e => self.file.state.unit.prevent_allow(exchange),
            0x2b => self.locate_10(exchange),
            0x34 => self.read_position(exchange),
            0x92 => self.locate_16(exchange),
            0xa0 => report_luns(exchange, self.place.config.drive_count()),
            0xa3 => report_operation_codes(exchange, commands::COMMANDS),
            _ => Err(Sense::new(key::ILLEGAL_REQUEST, 0x20, 0).into()),
        }
    }
}
