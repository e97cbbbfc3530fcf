//! A nexus: one initiator's way to one logical unit of an emulated library.

use std::io;
use std::time::Duration;

use super::changer::Changer;
use super::drive::Drive;
use super::error::EmulatorError;
use super::exchange::{Done, Exchange, Halt};
use super::fault::Breakdown;
use super::nexus::DEVICE_RESET;
use super::sense::{Sense, key};
use super::unit::UnitState;
use crate::scsi::{Data, Outcome, Status, Transport, TransportError};

/// Most bytes that one command moves.
const TRANSFER_LEN_MAX: usize = 16 << 20;

/// A logical unit.
#[derive(Debug)]
pub(super) enum Unit {
    Changer(Box<Changer>),
    Drive(Box<Drive>),
}

impl Unit {
    fn state(&mut self) -> &mut UnitState {
        match self {
            Self::Changer(changer) => &mut changer.file.state.unit,
            Self::Drive(drive) => &mut drive.file.state.unit,
        }
    }

    fn run(&mut self, exchange: &mut Exchange<'_>) -> Done {
        match self {
            Self::Changer(changer) => changer.run(exchange),
            Self::Drive(drive) => drive.run(exchange),
        }
    }

    // Locks and refreshes the state, runs, writes the state.
    fn locked<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> Result<T, EmulatorError> {
        let lock = match self {
            Self::Changer(changer) => changer.file.lock()?,
            Self::Drive(drive) => drive.file.lock()?,
        };
        match self {
            Self::Changer(changer) => changer.file.refresh()?,
            Self::Drive(drive) => drive.file.refresh()?,
        };
        let result = act(self);
        match self {
            Self::Changer(changer) => changer.file.save()?,
            Self::Drive(drive) => drive.file.save()?,
        }
        drop(lock);
        Ok(result)
    }
}

/// One initiator's way to one logical unit.
#[derive(Debug)]
pub struct EmulatedTransport {
    name: String,
    nexus: String,
    unit: Unit,
}

impl EmulatedTransport {
    pub(super) fn new(name: String, nexus: String, unit: Unit) -> Self {
        Self { name, nexus, unit }
    }

    /// The session of the initiator is over, or it begins a new one: unit attention 29/07, and what it has
    /// prevented is allowed again.
    ///
    /// # Errors
    /// [`EmulatorError`] if the files of the library fail.
    pub fn lose_nexus(&mut self) -> Result<(), EmulatorError> {
        let nexus = self.nexus.clone();
        self.unit.locked(|unit| unit.state().lose_nexus(&nexus))
    }

    /// All sessions by iSCSI are over: nobody serves them any more.
    pub(super) fn lose_sessions(&mut self) -> Result<(), EmulatorError> {
        self.unit.locked(|unit| unit.state().lose_sessions())
    }

    /// A reset of the logical unit (SAM-5, section 6.3.3): what it prevented is allowed, every initiator is told.
    ///
    /// # Errors
    /// [`EmulatorError`] if the files of the library fail.
    pub fn reset(&mut self) -> Result<(), EmulatorError> {
        self.unit.locked(|unit| unit.state().reset(DEVICE_RESET))
    }

    fn outcome(
        &mut self,
        done: Done,
        transferred_bytes: usize,
        operation_code: u8,
    ) -> Result<Outcome, TransportError> {
        let sense = match done {
            Ok(()) => return Ok(Outcome { status: Status::Good, sense: Vec::new(), transferred_bytes }),
            Err(Halt::Conflict) => {
                return Ok(Outcome {
                    status: Status::ReservationConflict,
                    sense: Vec::new(),
                    transferred_bytes: 0,
                });
            }
            Err(Halt::Breakdown(breakdown)) => return Err(self.broken(breakdown, operation_code)),
            Err(Halt::Files(error)) => {
                log::warn!("{}: {error}: {:?}", self.name, std::error::Error::source(&error));
                Sense::new(key::HARDWARE_ERROR, 0x44, 0)
            }
            Err(Halt::Sense(sense)) => sense,
        };
        let descriptor = self.unit.state().descriptor_sense;
        Ok(Outcome { status: Status::CheckCondition, sense: sense.encode(descriptor), transferred_bytes })
    }

    fn broken(&self, breakdown: Breakdown, operation_code: u8) -> TransportError {
        let device = self.name.clone();
        match breakdown {
            Breakdown::Timeout => {
                TransportError::Timeout { device, operation_code, timeout: Duration::from_secs(0) }
            }
            Breakdown::NoMemory => TransportError::NoMemory { device, operation_code },
            Breakdown::ConnectionLost => TransportError::ConnectionLost {
                device,
                operation_code,
                reason: String::from("reset by the library"),
            },
        }
    }
}

impl Transport for EmulatedTransport {
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> Result<Outcome, TransportError> {
        let operation_code = cdb.first().copied().unwrap_or(0);
        let nexus = self.nexus.clone();
        let mut exchange = Exchange::new(&nexus, cdb, data);
        let done = match self.unit.locked(|unit| unit.run(&mut exchange)) {
            Ok(done) => done,
            Err(error) => {
                let device = self.name.clone();
                return Err(TransportError::Refused {
                    device,
                    operation_code,
                    source: io::Error::other(error),
                });
            }
        };
        let transferred = exchange.transferred;
        match self.outcome(done, transferred, operation_code) {
            Err(TransportError::Timeout { device, operation_code, .. }) => {
                Err(TransportError::Timeout { device, operation_code, timeout })
            }
            other => other,
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn transfer_len_max(&self) -> usize {
        TRANSFER_LEN_MAX
    }
}
