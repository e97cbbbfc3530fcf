//! A command on its way: its data comes in pieces, then a worker runs it.

use crate::scsi::iscsi::pdu::{Command, DataOut};

use super::login::SessionError;
use super::negotiation::Agreement;

/// Most bytes that one command may move.
pub(super) const TRANSFER_LEN_MAX: u32 = 16 << 20;

/// A command and the data that has come for it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) command: Command,
    pub(super) lun: u16,
    pub(super) data: Vec<u8>,
    /// Up to here data was asked for, or comes without.
    solicited_end: u32,
    /// DataSN of the next Data-Out PDU of the present sequence.
    next_data_sn: u32,
    /// Count of R2T PDUs sent.
    pub(super) ready_count: u32,
}

impl Task {
    /// A command with its immediate data.
    pub(super) fn new(
        command: Command,
        lun: u16,
        immediate: Vec<u8>,
        agreement: &Agreement,
    ) -> Result<Self, SessionError> {
        let expected = if command.writes { command.expected_len_bytes } else { 0 };
        let len = u32::try_from(immediate.len()).unwrap_or(u32::MAX);
        let has_wrong_data = len > 0 && !agreement.immediate_data;
        if has_wrong_data || len > expected || len > agreement.first_burst_len {
            return Err(SessionError::Protocol("immediate data that was not agreed on"));
        }
        let more = command.writes && !command.is_final;
        if more && agreement.initial_ready_to_transfer {
            return Err(SessionError::Protocol("unsolicited data that was not agreed on"));
        }
        Ok(Self {
            command,
            lun,
            data: immediate,
            solicited_end: if more { expected.min(agreement.first_burst_len) } else { len },
            next_data_sn: 0,
            ready_count: 0,
        })
    }

    fn len(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap_or(u32::MAX)
    }

    fn expected(&self) -> u32 {
        if self.command.writes { self.command.expected_len_bytes } else { 0 }
    }

    /// All data is there.
    pub(super) fn is_complete(&self) -> bool {
        self.len() >= self.expected()
    }

    /// Offset and length of what is to be asked for now, if anything.
    pub(super) fn ask(&mut self, agreement: &Agreement) -> Option<(u32, u32)> {
        if self.is_complete() || self.len() < self.solicited_end {
            return None;
        }
        let offset = self.len();
        let len = (self.expected() - offset).min(agreement.max_burst_len);
        self.solicited_end = offset + len;
        self.next_data_sn = 0;
        self.ready_count += 1;
        Some((offset, len))
    }

    /// Takes a piece of data.
    pub(super) fn take(&mut self, pdu: &DataOut, bytes: &[u8]) -> Result<(), SessionError> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let end = pdu.offset.checked_add(len).ok_or(SessionError::Protocol("data beyond the end"))?;
        if pdu.offset != self.len() || pdu.data_sn != self.next_data_sn {
            return Err(SessionError::Protocol("data out of order"));
        }
        if end > self.solicited_end {
            return Err(SessionError::Protocol("more data than was asked for"));
        }
        self.next_data_sn += 1;
        self.data.extend_from_slice(bytes);
        // What comes unasked may end early; what was asked for comes whole.
        if pdu.is_final && end < self.solicited_end {
            if self.ready_count > 0 {
                return Err(SessionError::Protocol("less data than was asked for"));
            }
            self.solicited_end = end;
        }
        Ok(())
    }
}
