//! A tape drive (SSC-4).

mod attributes;
mod commands;
mod faults;
mod format;
mod inquiry;
mod loading;
mod logs;
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
use super::command::{Command, find};
use super::error::EmulatorError;
use super::exchange::{Done, Exchange, Halt};
use super::fault::Faults;
use super::generation::{Figures, Generation};
use super::sense::Sense;
use super::shape::LibraryConfig;
use super::state_file::StateFile;
use crate::clock::Clock;

pub(super) use state::{DriveState, Loaded};

/// Longest block in bytes.
const BLOCK_LEN_MAX: u32 = 8 << 20;

/// Where a drive stands and what it has at hand.
#[derive(Debug, Clone)]
pub(super) struct DrivePlace {
    /// Directory of the cartridges.
    pub(super) cartridges: PathBuf,
    /// Script of faults.
    pub(super) faults: PathBuf,
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
    faults: Faults,
    /// The present command has IMMED=1: it does not wait for the end of motion.
    is_immediate: bool,
}

impl Drive {
    pub(super) fn open(place: DrivePlace, state: &std::path::Path) -> Result<Self, EmulatorError> {
        let faults = Faults::new(&place.faults, place.number + 1);
        Ok(Self { place, file: StateFile::open(state)?, cache: None, faults, is_immediate: false })
    }

    pub(super) fn figures(&self) -> &'static Figures {
        self.generation().figures()
    }

    pub(super) fn generation(&self) -> Generation {
        let number = usize::from(self.place.number);
        self.place.config.drives.get(number).copied().unwrap_or(Generation::Lto8)
    }

    /// Runs one command. The state file is locked and fresh; it is written by the caller.
    pub(super) fn run(&mut self, exchange: &mut Exchange<'_>) -> Done {
        self.file.state.counters.command_count += 1;
        let strikes = self.strikes(exchange);
        for kind in &strikes {
            self.strike_before(kind, exchange)?;
        }
        let before = self.head().1;
        let mut done = self.run_soundly(exchange);
        for kind in &strikes {
            done = self.strike_after(kind, exchange, before, done);
        }
        done
    }

    fn run_soundly(&mut self, exchange: &mut Exchange<'_>) -> Done {
        self.file.state.unit.admit(exchange.nexus, exchange.cdb)?;
        self.tell_deferred(exchange.operation_code())?;
        let command = find(commands::COMMANDS, exchange.cdb)?;
        self.file.state.unit.share(exchange.nexus, command, exchange.cdb)?;
        self.is_immediate = match command.operation_code {
            0x01 | 0x04 | 0x1b | 0x2b | 0x92 => exchange.bit(1, 0),
            0x19 => exchange.bit(1, 1),
            _ => false,
        };
        self.dispatch(command, exchange)
    }

    fn dispatch(&mut self, command: &Command, exchange: &mut Exchange<'_>) -> Done {
        match command.operation_code {
            0x00 => self.check_ready().map_err(Halt::from),
            0x01 => self.rewind(),
            0x03 => {
                let idle = self.idle_sense();
                self.file.state.unit.request_sense(exchange, idle);
                Ok(())
            }
            0x04 => self.format_medium(exchange),
            0x05 => self.read_block_limits(exchange),
            0x08 => self.read(exchange),
            0x0a => self.write(exchange),
            0x0b => self.set_capacity(exchange),
            0x10 => self.write_filemarks(exchange),
            0x11 | 0x91 => self.space(exchange),
            0x12 => self.inquiry(exchange),
            0x13 => self.verify(exchange),
            0x15 | 0x55 => self.mode_select(exchange),
            0x19 => self.erase(exchange),
            0x1a | 0x5a => self.mode_sense(exchange),
            0x1b => self.load_unload(exchange),
            0x1d => self.send_diagnostic(exchange),
            0x2b => self.locate_10(exchange),
            0x34 => self.read_position(exchange),
            0x44 => self.report_density(exchange),
            0x4c => self.log_select(exchange),
            0x4d => self.log_sense(exchange),
            0x82 => self.allow_overwrite(exchange),
            0x8c => self.read_attribute(exchange),
            0x8d => self.write_attribute(exchange),
            0x92 => self.locate_16(exchange),
            _ => {
                let last_lun = self.place.config.drive_count();
                self.file.state.unit.run_primary(exchange, commands::COMMANDS, last_lun)
            }
        }
    }

    // SEND DIAGNOSTIC: the self-test finds nothing; no other test is known.
    fn send_diagnostic(&self, exchange: &Exchange<'_>) -> Done {
        if exchange.bit(1, 2) { Ok(()) } else { Err(Sense::invalid_field(1, Some(2)).into()) }
    }
}
