//! One command: its data out, its data in, its end (RFC 7143, sections 4.2 and 11).

use std::io;

use super::login::RECEIVE_LEN_MAX;
use super::{Connection, PROBE_INTERVAL};
use crate::codec::DecodeError;
use crate::scsi::iscsi::frame::{self, FrameError};
use crate::scsi::iscsi::pdu::{
    AsyncMessage, Command, DataIn, DataOut, NO_TAG, NopIn, NopOut, ReadyToTransfer, Residual, Response,
    ScsiResponse, Sequence,
};
use crate::scsi::sense::SENSE_LEN_MAX;
use crate::scsi::transport::{Data, Outcome};

/// Why a command has no outcome.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection failed.
    Frame(FrameError),
    /// The target does what the standard does not allow, or ended the session.
    Protocol(String),
    /// The command cannot be sent at all.
    Unsendable(io::Error),
}

impl From<FrameError> for Ended {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Frame(error.into())
    }
}

impl From<DecodeError> for Ended {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

fn protocol(problem: &str) -> Ended {
    Ended::Protocol(problem.to_owned())
}

/// A command under way.
pub(super) struct Task<'a, 'b> {
    connection: &'a mut Connection,
    cdb: [u8; 16],
    data: Data<'b>,
    len: u32,
    task_tag: u32,
    /// Bytes of data that came in, up to the furthest.
    received: usize,
}

impl<'a, 'b> Task<'a, 'b> {
    pub(super) fn new(connection: &'a mut Connection, cdb: &[u8], data: Data<'b>) -> Result<Self, Ended> {
        let unsendable = || Ended::Unsendable(io::ErrorKind::InvalidInput.into());
        let mut padded = [0; 16];
        padded.get_mut(..cdb.len()).ok_or_else(unsendable)?.copy_from_slice(cdb);
        let len = match &data {
            Data::None => 0,
            Data::In(buffer) => buffer.len(),
            Data::Out(bytes) => bytes.len(),
        };
        let len = u32::try_from(len).map_err(|_| unsendable())?;
        // Tags are ours to choose; the one that stands for none is left out.
        connection.task_tag = connection.task_tag.wrapping_add(1) & 0x7fff_ffff;
        let task_tag = connection.task_tag;
        Ok(Self { connection, cdb: padded, data, len, task_tag, received: 0 })
    }

    pub(super) fn run(mut self) -> Result<Outcome, Ended> {
        self.wait_for_window()?;
        self.send_command()?;
        loop {
            let outcome = match self.receive()? {
                Response::DataIn(pdu) => self.take_data(&pdu)?,
                Response::ReadyToTransfer(pdu) => self.answer_ready(&pdu)?,
                Response::Scsi(pdu) => Some(self.finish(&pdu)?),
                Response::NopIn(pdu) => self.answer_nop(&pdu)?,
                Response::Async(pdu) => self.take_message(pdu)?,
                Response::Reject(pdu) => {
                    return Err(Ended::Protocol(format!(
                        "rejected by the target, reason {:02x}h",
                        pdu.reason
                    )));
                }
                // Answers to what was asked on an earlier occasion.
                Response::TaskManagement(_) | Response::Text(_) => None,
                Response::Login(_) | Response::Logout(_) | Response::Other(_) => {
                    return Err(protocol("the target sends what nobody asked for"));
                }
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }

    // RFC 7143, 4.2.2.1: a target says how many commands it can hold.
    fn wait_for_window(&mut self) -> Result<(), Ended> {
        let is_open = |connection: &Connection| {
            connection.max_command_sn.wrapping_sub(connection.command_sn).cast_signed() >= 0
        };
        while !is_open(self.connection) {
            match self.receive()? {
                Response::NopIn(pdu) => drop(self.answer_nop(&pdu)?),
                Response::Async(pdu) => drop(self.take_message(pdu)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn send_command(&mut self) -> Result<(), Ended> {
        let agreement = self.connection.agreement;
        let bytes: &[u8] = if let Data::Out(bytes) = &self.data { bytes } else { &[] };
        let first_burst = agreement.first_burst_len.min(agreement.max_burst_len).min(self.len);
        let immediate = match agreement.immediate_data {
            true => first_burst.min(agreement.segment_len_max),
            false => 0,
        };
        let unsolicited = if agreement.initial_ready_to_transfer { immediate } else { first_burst };
        let (immediate_data, _) = split(bytes, immediate);
        let header = Command {
            immediate: false,
            is_final: unsolicited <= immediate || bytes.is_empty(),
            reads: matches!(self.data, Data::In(_)),
            writes: matches!(self.data, Data::Out(_)),
            attribute: 1,
            lun: self.connection.lun,
            task_tag: self.task_tag,
            expected_len_bytes: self.len,
            command_sn: self.connection.command_sn,
            expected_status_sn: self.connection.expected_status_sn,
            cdb: self.cdb,
        }
        .header();
        frame::write(&mut self.connection.stream, &header, immediate_data, agreement.digests)?;
        self.connection.command_sn = self.connection.command_sn.wrapping_add(1);
        if !bytes.is_empty() && unsolicited > immediate {
            self.send_data(NO_TAG, immediate, unsolicited - immediate)?;
        }
        Ok(())
    }

    /// Sends a sequence of Data-Out PDUs.
    fn send_data(&mut self, transfer_tag: u32, start: u32, len: u32) -> Result<(), Ended> {
        let agreement = self.connection.agreement;
        let Data::Out(bytes) = &self.data else {
            return Err(protocol("the target asks for data of a command that has none"));
        };
        let (_, from_start) = split(bytes, start);
        let (mut rest, _) = split(from_start, len);
        if rest.len() < len as usize || len == 0 {
            return Err(protocol("the target asks for data beyond the end"));
        }
        let (mut offset, mut data_sn) = (start, 0);
        while !rest.is_empty() {
            let (piece, after) = split(rest, agreement.segment_len_max);
            let header = DataOut {
                is_final: after.is_empty(),
                lun: if transfer_tag == NO_TAG { 0 } else { self.connection.lun },
                task_tag: self.task_tag,
                transfer_tag,
                expected_status_sn: self.connection.expected_status_sn,
                data_sn,
                offset,
            }
            .header();
            frame::write(&mut self.connection.stream, &header, piece, agreement.digests)?;
            offset = offset.saturating_add(agreement.segment_len_max);
            data_sn += 1;
            rest = after;
        }
        Ok(())
    }

    fn answer_ready(&mut self, pdu: &ReadyToTransfer) -> Result<Option<Outcome>, Ended> {
        self.check_tag(pdu.task_tag)?;
        self.send_data(pdu.transfer_tag, pdu.offset, pdu.len_bytes)?;
        Ok(None)
    }

    fn take_data(&mut self, pdu: &DataIn) -> Result<Option<Outcome>, Ended> {
        self.check_tag(pdu.task_tag)?;
        let Data::In(buffer) = &mut self.data else {
            return Err(protocol("the target sends data for a command that wants none"));
        };
        let start = usize::try_from(pdu.offset).unwrap_or(usize::MAX);
        let data = &self.connection.frame.data;
        let end = start.saturating_add(data.len());
        let Some(place) = buffer.get_mut(start..end) else {
            return Err(protocol("the target sends data beyond the end of the buffer"));
        };
        place.copy_from_slice(data);
        self.received = self.received.max(end);
        let Some(status) = pdu.status else {
            return Ok(None);
        };
        self.count_status(pdu.sequence);
        Ok(Some(Outcome { status, sense: Vec::new(), transferred_bytes: self.transferred(pdu.residual) }))
    }

    fn finish(&mut self, pdu: &ScsiResponse) -> Result<Outcome, Ended> {
        self.check_tag(pdu.task_tag)?;
        self.count_status(pdu.sequence);
        if pdu.response != 0 {
            return Err(Ended::Protocol(format!("failure of the target, response {:02x}h", pdu.response)));
        }
        let sense = match self.connection.frame.data.as_slice() {
            [high, low, rest @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low])).min(SENSE_LEN_MAX);
                rest.get(..len).unwrap_or(rest).to_vec()
            }
            _ => Vec::new(),
        };
        Ok(Outcome { status: pdu.status, sense, transferred_bytes: self.transferred(pdu.residual) })
    }

    fn transferred(&self, residual: Residual) -> usize {
        let told = match residual {
            Residual::Underflow(count) => self.len.saturating_sub(count) as usize,
            Residual::None | Residual::Overflow(_) => self.len as usize,
        };
        // What did not come did not come, whatever the target counts.
        if matches!(self.data, Data::In(_)) { told.min(self.received) } else { told }
    }

    fn answer_nop(&mut self, pdu: &NopIn) -> Result<Option<Outcome>, Ended> {
        if pdu.transfer_tag == NO_TAG {
            return Ok(None);
        }
        let header = NopOut {
            immediate: true,
            lun: pdu.lun,
            task_tag: NO_TAG,
            transfer_tag: pdu.transfer_tag,
            command_sn: self.connection.command_sn,
            expected_status_sn: self.connection.expected_status_sn,
        }
        .header();
        frame::write(&mut self.connection.stream, &header, &[], self.connection.agreement.digests)?;
        Ok(None)
    }

    // RFC 7143, 11.9.1.
    fn take_message(&mut self, pdu: AsyncMessage) -> Result<Option<Outcome>, Ended> {
        self.count_status(pdu.sequence);
        match pdu.event {
            // Sense data also comes with the next command, to those who need it.
            0 => {}
            2 | 3 => {
                self.connection.is_ending = true;
                return Err(protocol("the target ends the session"));
            }
            // It wants an end or another agreement: the command at hand is waited for.
            _ => self.connection.is_ending = true,
        }
        Ok(None)
    }

    fn receive(&mut self) -> Result<Response, Ended> {
        let connection = &mut *self.connection;
        while !connection.stream.is_readable_within(PROBE_INTERVAL)? {
            connection.probe()?;
        }
        connection.frame.read(&mut connection.stream, connection.agreement.digests, RECEIVE_LEN_MAX)?;
        let response = Response::parse(&connection.frame.header)?;
        if let Some(sequence) = sequence(&response) {
            // RFC 7143, 4.2.2.1: numbers only grow, in the arithmetic of serial numbers.
            if sequence.max_command_sn.wrapping_sub(connection.max_command_sn).cast_signed() > 0 {
                connection.max_command_sn = sequence.max_command_sn;
            }
        }
        Ok(response)
    }

    fn count_status(&mut self, sequence: Sequence) {
        self.connection.expected_status_sn = sequence.status_sn.wrapping_add(1);
    }

    fn check_tag(&self, tag: u32) -> Result<(), Ended> {
        match tag == self.task_tag {
            true => Ok(()),
            false => Err(protocol("the target answers a command that was not sent")),
        }
    }
}

fn sequence(response: &Response) -> Option<Sequence> {
    match response {
        Response::NopIn(pdu) => Some(pdu.sequence),
        Response::Scsi(pdu) => Some(pdu.sequence),
        Response::TaskManagement(pdu) => Some(pdu.sequence),
        Response::Login(pdu) => Some(pdu.sequence),
        Response::Text(pdu) => Some(pdu.sequence),
        Response::DataIn(pdu) => Some(pdu.sequence),
        Response::Logout(pdu) => Some(pdu.sequence),
        Response::ReadyToTransfer(pdu) => Some(pdu.sequence),
        Response::Async(pdu) => Some(pdu.sequence),
        Response::Reject(pdu) => Some(pdu.sequence),
        Response::Other(_) => None,
    }
}

fn split(bytes: &[u8], at: u32) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(at as usize))
}
