//! The seam between commands and what carries them.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

/// Data phase of a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// From the device, at most as many bytes as the buffer has.
    In(&'a mut [u8]),
    /// To the device.
    Out(&'a [u8]),
}

/// Status of a command (SAM-5, table 39).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 00h: done.
    Good,
    /// 02h: look at the sense data.
    CheckCondition,
    /// 08h: later.
    Busy,
    /// 18h: another initiator holds a reservation.
    ReservationConflict,
    /// 28h: too many commands.
    TaskSetFull,
    /// 30h: a conflicting automatic contingent allegiance.
    AcaActive,
    /// 40h: another initiator ended the command.
    TaskAborted,
    /// Any other byte.
    Other(u8),
}

impl Status {
    /// The status that a byte stands for.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0x00 => Self::Good,
            0x02 => Self::CheckCondition,
            0x08 => Self::Busy,
            0x18 => Self::ReservationConflict,
            0x28 => Self::TaskSetFull,
            0x30 => Self::AcaActive,
            0x40 => Self::TaskAborted,
            other => Self::Other(other),
        }
    }

    /// The byte that stands for the status.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Good => 0x00,
            Self::CheckCondition => 0x02,
            Self::Busy => 0x08,
            Self::ReservationConflict => 0x18,
            Self::TaskSetFull => 0x28,
            Self::AcaActive => 0x30,
            Self::TaskAborted => 0x40,
            Self::Other(byte) => byte,
        }
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Status.
    pub status: Status,
    /// Sense data, at most 252 bytes; empty unless the device gave some.
    pub sense: Vec<u8>,
    /// Bytes that moved, as the transport counts them. Host adapters get it wrong: the length of a block
    /// comes from the sense data, never from here.
    pub transferred_bytes: usize,
}

/// Why nothing is known of what became of a command.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No answer in time; the device may still be at it.
    #[error("{device}: no answer to command {operation_code:02X}h within {timeout:?}")]
    Timeout {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// How long was waited.
        timeout: Duration,
    },
    /// The way to the device broke: it was reset, removed, or the network failed.
    #[error("{device}: connection lost during command {operation_code:02X}h: {reason}")]
    ConnectionLost {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// What was seen.
        reason: String,
    },
    /// The operating system had no memory for the command: it may have run or not.
    #[error("{device}: no memory for command {operation_code:02X}h")]
    NoMemory {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
    },
    /// The operating system refused the command before it was sent.
    #[error("{device}: cannot send command {operation_code:02X}h")]
    Refused {
        /// Name of the device.
        device: String,
        /// First byte of the command.
        operation_code: u8,
        /// The refusal.
        source: io::Error,
    },
}

/// A way to one logical unit.
pub trait Transport: Send + fmt::Debug {
    /// Sends a command and waits for its end; one command is in flight at a time.
    ///
    /// # Errors
    /// [`TransportError`] if no status came back.
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> Result<Outcome, TransportError>;

    /// Name of the device for messages: a path or an address.
    fn name(&self) -> &str;

    /// Most bytes that one command can move.
    fn transfer_len_max(&self) -> usize;
}
