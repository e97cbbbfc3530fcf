//! A logical unit: a transport, with what every command needs around it.

use std::time::Duration;

use thiserror::Error;

use super::meaning::Meaning;
use super::sense::{Sense, SenseKey};
use super::timeouts::Timeouts;
use super::transport::{Data, Status, Transport, TransportError};
use crate::codec::DecodeError;

/// Why a command did not do what it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Nothing is known of what became of it.
    #[error("no status of command {operation_code:02X}h")]
    Transport {
        /// First byte of the command.
        operation_code: u8,
        /// The transport's error, which names the device.
        source: TransportError,
    },
    /// The device says why in sense data.
    #[error("{device}: command {operation_code:02X}h: {sense}")]
    Check {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// The sense data; may be of an earlier command, see [`Sense::deferred`].
        sense: Box<Sense>,
    },
    /// The device ended it with another status than GOOD, and no sense data that can be read.
    #[error("{device}: command {operation_code:02X}h: status {:02X}h", status.byte())]
    Status {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// The status.
        status: Status,
    },
    /// The reply is not what the standard says.
    #[error("{device}: reply to command {operation_code:02X}h is malformed")]
    Reply {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// Where.
        source: DecodeError,
    },
    /// The data is longer than the transport or the command can move.
    #[error("{device}: command {operation_code:02X}h would move {len_bytes} bytes, at most {len_max_bytes}")]
    Length {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// Length asked for.
        len_bytes: usize,
        /// Length that can be moved.
        len_max_bytes: usize,
    },
}

impl CommandError {
    /// The sense data, if the device gave some.
    #[must_use]
    pub fn sense(&self) -> Option<&Sense> {
        match self {
            Self::Check { sense, .. } => Some(sense),
            _ => None,
        }
    }

    /// What the sense data means, if the device gave some.
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        self.sense().map(Sense::meaning)
    }

    /// Whether the device says that it lacks the command or a field of it.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.meaning().is_some_and(Meaning::is_unsupported)
    }

    /// Whether another initiator holds a reservation.
    #[must_use]
    pub fn is_reservation_conflict(&self) -> bool {
        matches!(self, Self::Status { status: Status::ReservationConflict, .. })
    }

    /// Whether it is not known if the command was executed.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::Transport { source, .. } => !matches!(source, TransportError::Refused { .. }),
            Self::Check { sense, .. } => matches!(sense.meaning(), Meaning::Aborted | Meaning::Unknown),
            _ => false,
        }
    }
}

/// How a command ended that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Bytes that moved, as the transport counts them: not to be trusted for the length of a block.
    pub transferred_bytes: usize,
    /// Sense data that came with it: NO SENSE or RECOVERED ERROR.
    pub sense: Option<Sense>,
}

impl Completion {
    /// What the sense data means.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        self.sense.map_or(Meaning::Nothing, |sense| sense.meaning())
    }
}

/// A logical unit to which commands are sent.
///
/// The commands are methods, in one file for each standard: primary commands (SPC), stream commands
/// (SSC) and those of changers (SMC). No command is repeated here: what a unit attention or a lost
/// connection means is for the caller to decide.
#[derive(Debug)]
pub struct LogicalUnit {
    transport: Box<dyn Transport>,
    timeouts: Timeouts,
    /// The residual was wrong once, and that was said.
    residual_is_wrong: bool,
}

impl LogicalUnit {
    /// A logical unit behind `transport`, with the built-in timeouts.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, timeouts: Timeouts::default(), residual_is_wrong: false }
    }

    /// Name of the device for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.transport.name()
    }

    /// Most bytes that one command can move.
    #[must_use]
    pub fn transfer_len_max(&self) -> usize {
        self.transport.transfer_len_max()
    }

    /// How long commands may take.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// How long commands may take, to be changed.
    pub fn timeouts_mut(&mut self) -> &mut Timeouts {
        &mut self.timeouts
    }

    /// Puts another transport in the place of one that lost its connection.
    pub fn reconnect(&mut self, transport: Box<dyn Transport>) {
        self.transport = transport;
    }

    /// Sends any command, with the timeout that its operation code has.
    ///
    /// # Errors
    /// [`CommandError`] unless the command was done: GOOD, or NO SENSE or RECOVERED ERROR for this
    /// command.
    pub fn execute(&mut self, cdb: &[u8], data: Data<'_>) -> Result<Completion, CommandError> {
        let timeout = self.timeouts.of(cdb);
        self.execute_within(cdb, data, timeout)
    }

    /// Sends any command, with a timeout for this time.
    ///
    /// # Errors
    /// As [`LogicalUnit::execute`].
    pub fn execute_within(
        &mut self,
        cdb: &[u8],
        data: Data<'_>,
        timeout: Duration,
    ) -> Result<Completion, CommandError> {
        let operation_code = cdb.first().copied().unwrap_or(0);
        let len_bytes = match &data {
            Data::None => 0,
            Data::In(buffer) => buffer.len(),
            Data::Out(bytes) => bytes.len(),
        };
        let len_max_bytes = self.transport.transfer_len_max();
        if len_bytes > len_max_bytes {
            return Err(self.too_long(operation_code, len_bytes, len_max_bytes));
        }
        let outcome = self
            .transport
            .execute(cdb, data, timeout)
            .map_err(|source| CommandError::Transport { operation_code, source })?;
        let sense = Sense::parse(&outcome.sense);
        let transferred_bytes = outcome.transferred_bytes.min(len_bytes);
        log::trace!(
            "{}: {cdb:02x?} {len_bytes} bytes: {:?} {}",
            self.transport.name(),
            outcome.status,
            sense.map(|sense| sense.to_string()).unwrap_or_default()
        );
        match (outcome.status, sense) {
            (Status::Good, sense) if sense.is_none_or(|sense| !sense.deferred) => {
                Ok(Completion { transferred_bytes, sense: sense.filter(|sense| is_harmless(sense.key)) })
            }
            (Status::CheckCondition, Some(sense)) if !sense.deferred && is_harmless(sense.key) => {
                Ok(Completion { transferred_bytes, sense: Some(sense) })
            }
            (Status::Good | Status::CheckCondition, Some(sense)) => Err(CommandError::Check {
                device: self.name().into(),
                operation_code,
                sense: Box::new(sense),
            }),
            (status, _) => Err(CommandError::Status { device: self.name().into(), operation_code, status }),
        }
    }

    /// Sends a command that has a reply, and returns as much of the reply as came.
    pub(super) fn query(&mut self, cdb: &[u8], allocation_len: usize) -> Result<Vec<u8>, CommandError> {
        let mut reply = vec![0; allocation_len];
        let completion = self.execute(cdb, Data::In(&mut reply))?;
        reply.truncate(completion.transferred_bytes);
        Ok(reply)
    }

    /// Says once that the transport counts wrong: users blame the drive for what an adapter does.
    pub(super) fn compare_residual(&mut self, len_bytes: usize, transferred_bytes: usize) {
        if len_bytes != transferred_bytes && !self.residual_is_wrong {
            self.residual_is_wrong = true;
            log::warn!(
                "{}: a block of {len_bytes} bytes was counted as {transferred_bytes} on the way: host adapter or \
                 bridge gives wrong residuals; lengths are taken from sense data",
                self.name()
            );
        }
    }

    /// Names device and command in the error of a decoder.
    pub(super) fn decoded<T>(
        &self,
        operation_code: u8,
        decoded: Result<T, DecodeError>,
    ) -> Result<T, CommandError> {
        decoded.map_err(|source| CommandError::Reply { device: self.name().into(), operation_code, source })
    }

    pub(super) fn too_long(
        &self,
        operation_code: u8,
        len_bytes: usize,
        len_max_bytes: usize,
    ) -> CommandError {
        CommandError::Length { device: self.name().into(), operation_code, len_bytes, len_max_bytes }
    }
}

// With these keys the command at hand was carried out (SPC-4).
fn is_harmless(key: SenseKey) -> bool {
    matches!(key, SenseKey::NoSense | SenseKey::RecoveredError | SenseKey::Completed)
}
