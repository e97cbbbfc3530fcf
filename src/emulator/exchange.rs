//! One command on its way through a logical unit: its bytes, its data, and how it may end.

use super::bytes::u8_at;
use super::error::EmulatorError;
use super::fault::Breakdown;
use super::sense::{Sense, key};
use crate::scsi::Data;

/// Why a command does not end plainly good.
#[derive(Debug)]
pub(super) enum Halt {
    /// CHECK CONDITION; the command may have done something all the same.
    Sense(Sense),
    /// RESERVATION CONFLICT.
    Conflict,
    /// No status reaches the initiator.
    Breakdown(Breakdown),
    /// The files of the emulator fail.
    Files(EmulatorError),
}

impl From<Sense> for Halt {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<EmulatorError> for Halt {
    fn from(error: EmulatorError) -> Self {
        Self::Files(error)
    }
}

/// What handling a command comes to.
pub(super) type Done = Result<(), Halt>;

/// A command, its data and who sends it.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    /// The command descriptor block.
    pub(super) cdb: &'a [u8],
    /// Data to or from the initiator.
    data: Data<'a>,
    /// Name of the initiator.
    pub(super) nexus: &'a str,
    /// Bytes that have moved.
    pub(super) transferred: usize,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(nexus: &'a str, cdb: &'a [u8], data: Data<'a>) -> Self {
        Self { cdb, data, nexus, transferred: 0 }
    }

    /// First byte of the command.
    pub(super) fn operation_code(&self) -> u8 {
        u8_at(self.cdb, 0)
    }

    /// Tells whether a bit of the command is set.
    pub(super) fn bit(&self, byte: usize, bit: u8) -> bool {
        u8_at(self.cdb, byte) >> bit & 1 == 1
    }

    /// Gives the initiator data, cut off at the allocation length, which is no error (SPC-4, section 4.2.5.6).
    pub(super) fn answer(&mut self, bytes: &[u8], allocation_len: usize) {
        let bytes = bytes.get(..allocation_len).unwrap_or(bytes);
        self.transferred = 0;
        self.append(bytes);
    }

    /// Gives the initiator more data, behind what it has.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let room = self.room();
        let len = room.len().min(bytes.len());
        for (to, from) in
            [(room.get_mut(..len), bytes.get(..len))].into_iter().flat_map(|(to, from)| to.zip(from))
        {
            to.copy_from_slice(from);
        }
        self.transferred += len;
    }

    /// Changes the last byte that the initiator was given.
    pub(super) fn spoil_last_byte(&mut self) {
        let at = self.transferred.checked_sub(1);
        if let (Data::In(buffer), Some(at)) = (&mut self.data, at)
            && let Some(byte) = buffer.get_mut(at)
        {
            *byte ^= 0xff;
        }
    }

    /// What is left of the initiator's buffer.
    pub(super) fn room(&mut self) -> &mut [u8] {
        match &mut self.data {
            Data::In(buffer) => buffer.get_mut(self.transferred..).unwrap_or_default(),
            _ => &mut [],
        }
    }

    /// The initiator's data; less than the command announces is an aborted command, 4B/00 DATA PHASE ERROR.
    pub(super) fn parameters(&mut self, len: usize) -> Result<&'a [u8], Halt> {
        if len == 0 {
            return Ok(&[]);
        }
        let bytes = match self.data {
            Data::Out(bytes) => bytes.get(..len),
            _ => None,
        };
        self.transferred = bytes.map_or(0, <[u8]>::len);
        bytes.ok_or(Halt::Sense(Sense::new(key::ABORTED_COMMAND, 0x4b, 0)))
    }
}
