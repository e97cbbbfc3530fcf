//! A medium changer (SMC-3).

mod commands;
mod element_status;
mod inventory;
mod modes;
mod moves;

use std::path::Path;
use std::sync::Arc;

use super::bytes::{u8_at, u16_at};
use super::command::{Command, find};
use super::drive::{Drive, DrivePlace};
use super::error::EmulatorError;
use super::exchange::{Done, Exchange};
use super::sense::Sense;
use super::shape::LibraryConfig;
use super::state_file::StateFile;
use super::unit::{identification, report_luns, report_operation_codes, standard_inquiry, vital_page};

pub(super) use inventory::{ChangerState, Content, ElementType};

/// Peripheral device type 08h: medium changer.
const CHANGER: u8 = 0x08;
/// Version descriptor of SMC-3.
const SMC_3: u16 = 0x0480;
/// Product identification.
const PRODUCT: &str = "VIRTUAL LIBRARY";

/// A changer, as one process works with it; the state is in its file.
#[derive(Debug)]
pub(super) struct Changer {
    pub(super) config: Arc<LibraryConfig>,
    pub(super) file: StateFile<ChangerState>,
    /// The drives, to move cartridges in and out.
    pub(super) drives: Vec<Drive>,
}

impl Changer {
    pub(super) fn open(
        config: Arc<LibraryConfig>,
        state: &Path,
        drives: Vec<Drive>,
    ) -> Result<Self, EmulatorError> {
        Ok(Self { config, file: StateFile::open(state)?, drives })
    }

    /// Runs one command. The state file is locked and fresh; it is written by the caller.
    pub(super) fn run(&mut self, exchange: &mut Exchange<'_>) -> Done {
        self.file.state.unit.admit(exchange.nexus, exchange.cdb)?;
        let command = find(commands::COMMANDS, exchange.cdb)?;
        self.file.state.unit.share(exchange.nexus, command, exchange.cdb)?;
        self.dispatch(command, exchange)
    }

    fn dispatch(&mut self, command: &Command, exchange: &mut Exchange<'_>) -> Done {
        match command.operation_code {
            0x00 | 0x07 | 0x37 | 0xe7 => self.initialize(exchange),
            0x03 => {
                self.file.state.unit.request_sense(exchange, Sense::default());
                Ok(())
            }
            0x12 => self.inquiry(exchange),
            0x15 | 0x55 => self.mode_select(exchange),
            0x1a | 0x5a => self.mode_sense(exchange),
            0x1e => self.file.state.unit.prevent_allow(exchange),
            0x2b => self.position_to_element(exchange),
            0xa0 => report_luns(exchange, self.config.drive_count()),
            0xa3 => report_operation_codes(exchange, commands::COMMANDS),
            0xa5 => self.move_medium(exchange),
            0xa6 => self.exchange_medium(exchange),
            0xb8 => self.read_element_status(exchange),
            _ => Err(Sense::illegal(0x20, 0).into()),
        }
    }

    fn inquiry(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let len = usize::from(u16_at(exchange.cdb, 3));
        let page = u8_at(exchange.cdb, 2);
        if !exchange.bit(1, 0) {
            if page != 0 {
                return Err(Sense::invalid_field(2, None).into());
            }
            exchange.answer(&standard_inquiry(CHANGER, PRODUCT, SMC_3), len);
            return Ok(());
        }
        let body = match page {
            0x00 => vec![0x00, 0x80, 0x83],
            0x80 => self.config.serial.clone().into_bytes(),
            0x83 => identification(PRODUCT, &self.config.serial),
            _ => return Err(Sense::invalid_field(2, None).into()),
        };
        exchange.answer(&vital_page(CHANGER, page, &body), len);
        Ok(())
    }
}

/// Where the drives of a library are.
pub(super) fn drive_places(
    dir: &Path,
    config: &Arc<LibraryConfig>,
    clock: &Arc<dyn super::clock::Clock>,
) -> Vec<DrivePlace> {
    let place = |number| DrivePlace {
        cartridges: dir.join("cartridges"),
        config: Arc::clone(config),
        number,
        clock: Arc::clone(clock),
    };
    (0..config.drive_count()).map(place).collect()
}
