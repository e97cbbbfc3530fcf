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
use super::exchange::{Done, Exchange, Halt};
use super::fault::{FaultKind, Faults};
use super::sense::Sense;
use super::shape::LibraryConfig;
use super::state_file::StateFile;
use super::unit::{identification, standard_inquiry, vital_page};
use crate::clock::Clock;

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
    faults: Faults,
    clock: Arc<dyn Clock>,
}

impl Changer {
    pub(super) fn open(
        config: Arc<LibraryConfig>,
        state: &Path,
        drives: Vec<Drive>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EmulatorError> {
        let faults = Faults::new(&state.with_file_name(FAULTS), 0);
        Ok(Self { config, file: StateFile::open(state)?, drives, faults, clock })
    }

    /// Runs one command. The state file is locked and fresh; it is written by the caller.
    pub(super) fn run(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let strikes = self.faults.strikes(&mut self.file.state.unit, exchange.cdb, 0, true);
        for kind in &strikes {
            self.strike_before(kind, exchange)?;
        }
        if strikes.contains(&FaultKind::MoveIgnored) {
            return Ok(());
        }
        let mut done = self.run_soundly(exchange);
        for kind in &strikes {
            done = match (kind, kind.breakdown()) {
                (_, Some((breakdown, true))) => Err(Halt::Breakdown(breakdown)),
                (FaultKind::Sense { key, asc, ascq, executed: true }, _) => {
                    Err(Sense::new(*key, *asc, *ascq).into())
                }
                _ => done,
            };
        }
        done
    }

    fn strike_before(&mut self, kind: &FaultKind, exchange: &Exchange<'_>) -> Done {
        let unit = &mut self.file.state.unit;
        match (kind, kind.breakdown()) {
            (_, Some((breakdown, false))) => Err(Halt::Breakdown(breakdown)),
            (FaultKind::Sense { key, asc, ascq, executed: false }, _) => {
                Err(Sense::new(*key, *asc, *ascq).into())
            }
            (FaultKind::Attention { asc, ascq }, _) => Err(Sense::attention((*asc, *ascq)).into()),
            (FaultKind::AttentionsStolen, _) => {
                unit.nexuses.steal_attentions(exchange.nexus);
                Ok(())
            }
            (FaultKind::Reset | FaultKind::PowerLoss, _) => {
                unit.reset(super::nexus::POWER_ON);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn run_soundly(&mut self, exchange: &mut Exchange<'_>) -> Done {
        self.file.state.unit.admit(exchange.nexus, exchange.cdb)?;
        let command = find(commands::COMMANDS, exchange.cdb)?;
        self.file.state.unit.share(exchange.nexus, command, exchange.cdb)?;
        self.dispatch(command, exchange)
    }

    // The arm is at work for so long.
    fn spend(&mut self, duration: std::time::Duration) {
        self.file.state.move_ns += u64::try_from(duration.as_nanos()).unwrap_or(0);
        if self.config.time == super::shape::TimeMode::Real {
            self.clock.sleep(duration);
        }
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
            0x2b => self.position_to_element(exchange),
            0x4d => self.log_sense(exchange),
            0xa5 => self.move_medium(exchange),
            0xa6 => self.exchange_medium(exchange),
            0xb8 => self.read_element_status(exchange),
            _ => {
                let last_lun = self.config.drive_count();
                self.file.state.unit.run_primary(exchange, commands::COMMANDS, last_lun)
            }
        }
    }

    // LOG SENSE: the list of pages, and TapeAlert with no flag raised.
    fn log_sense(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let len = usize::from(u16_at(cdb, 7));
        if u8_at(cdb, 3) != 0 {
            return Err(Sense::invalid_field(3, None).into());
        }
        let body: Vec<u8> = match u8_at(cdb, 2) & 0x3f {
            0x00 => vec![0x00, 0x2e],
            0x2e => (1..=64).flat_map(|flag| [0, flag, 0x03, 1, 0]).collect(),
            _ => return Err(Sense::invalid_field(2, Some(5)).into()),
        };
        let mut bytes = vec![u8_at(cdb, 2) & 0x3f, 0];
        bytes.extend(super::bytes::saturated_u16(body.len()).to_be_bytes());
        bytes.extend(body);
        exchange.answer(&bytes, len);
        Ok(())
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

/// Script of faults of a library.
pub(super) const FAULTS: &str = "faults.json";

/// Where the drives of a library are.
pub(super) fn drive_places(
    dir: &Path,
    config: &Arc<LibraryConfig>,
    clock: &Arc<dyn Clock>,
) -> Vec<DrivePlace> {
    let place = |number| DrivePlace {
        cartridges: dir.join("cartridges"),
        faults: dir.join(FAULTS),
        config: Arc::clone(config),
        number,
        clock: Arc::clone(clock),
    };
    (0..config.drive_count()).map(place).collect()
}
