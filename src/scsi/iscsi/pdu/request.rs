//! PDUs that an initiator sends.

use super::{HeaderWriter, Stage};
use crate::codec::DecodeError;
use crate::scsi::fields::Fields;
use crate::scsi::iscsi::frame::Header;

const IMMEDIATE: u8 = 0x40;
const FINAL: u8 = 0x80;
const CONTINUE: u8 = 0x40;

/// SCSI Command (RFC 7143, 11.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// No unsolicited data follows in Data-Out PDUs.
    pub is_final: bool,
    /// Data is expected from the target.
    pub reads: bool,
    /// Data goes to the target.
    pub writes: bool,
    /// Task attribute: 0 untagged, 1 simple, 2 ordered, 3 head of queue.
    pub attribute: u8,
    /// Logical unit, see [`super::lun_field`].
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Expected data transfer length in bytes.
    pub expected_len_bytes: u32,
    /// CmdSN.
    pub command_sn: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
    /// The CDB, filled with zeros.
    pub cdb: [u8; 16],
}

impl Command {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let flags = u8::from(self.is_final) << 7
            | u8::from(self.reads) << 6
            | u8::from(self.writes) << 5
            | self.attribute & 0x07;
        HeaderWriter::new(0x01 | if self.immediate { IMMEDIATE } else { 0 }, flags)
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.expected_len_bytes)
            .u32(24, self.command_sn)
            .u32(28, self.expected_status_sn)
            .put(32, &self.cdb)
            .header
    }
}

/// SCSI Data-Out (RFC 7143, 11.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataOut {
    /// Last of its sequence.
    pub is_final: bool,
    /// Logical unit; only in answer to an R2T.
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Target transfer tag of the R2T, or [`super::NO_TAG`].
    pub transfer_tag: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
    /// DataSN.
    pub data_sn: u32,
    /// Offset of the data in the command's data.
    pub offset: u32,
}

impl DataOut {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        HeaderWriter::new(0x05, u8::from(self.is_final) << 7)
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.transfer_tag)
            .u32(28, self.expected_status_sn)
            .u32(36, self.data_sn)
            .u32(40, self.offset)
            .header
    }
}

/// Login Request (RFC 7143, 11.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    /// Asks to go on to the next stage.
    pub transit: bool,
    /// The text goes on in the next request.
    pub continues: bool,
    /// Stage of this request.
    pub current: Stage,
    /// Stage to go on to.
    pub next: Stage,
    /// Initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// Target's part of the session identifier; 0 for a new session.
    pub tsih: u16,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Connection identifier.
    pub connection_id: u16,
    /// CmdSN.
    pub command_sn: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
}

impl LoginRequest {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        // NSG is reserved, and so zero, unless T is set.
        let next = if self.transit { self.next.bits() } else { 0 };
        let flags =
            u8::from(self.transit) << 7 | u8::from(self.continues) << 6 | self.current.bits() << 2 | next;
        HeaderWriter::new(0x03 | IMMEDIATE, flags)
            .put(8, &self.isid)
            .u16(14, self.tsih)
            .u32(16, self.task_tag)
            .u16(20, self.connection_id)
            .u32(24, self.command_sn)
            .u32(28, self.expected_status_sn)
            .header
    }
}

/// Text Request (RFC 7143, 11.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRequest {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// Last of its exchange.
    pub is_final: bool,
    /// The text goes on in the next request.
    pub continues: bool,
    /// Logical unit.
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Target transfer tag of the last answer, or [`super::NO_TAG`].
    pub transfer_tag: u32,
    /// CmdSN.
    pub command_sn: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
}

impl TextRequest {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let flags = u8::from(self.is_final) << 7 | u8::from(self.continues) << 6;
        HeaderWriter::new(0x04 | if self.immediate { IMMEDIATE } else { 0 }, flags)
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.transfer_tag)
            .u32(24, self.command_sn)
            .u32(28, self.expected_status_sn)
            .header
    }
}

/// Task Management Function Request (RFC 7143, 11.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// 1 abort task, 2 abort task set, 3 clear ACA, 4 clear task set, 5 logical unit reset, 6 target warm
    /// reset, 7 target cold reset, 8 task reassign.
    pub function: u8,
    /// Logical unit.
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Task that is meant, or [`super::NO_TAG`].
    pub referenced_tag: u32,
    /// CmdSN.
    pub command_sn: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
    /// CmdSN of the task that is meant.
    pub referenced_command_sn: u32,
}

impl TaskManagementRequest {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        HeaderWriter::new(0x02 | if self.immediate { IMMEDIATE } else { 0 }, FINAL | self.function & 0x7f)
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.referenced_tag)
            .u32(24, self.command_sn)
            .u32(28, self.expected_status_sn)
            .u32(32, self.referenced_command_sn)
            .header
    }
}

/// Logout Request (RFC 7143, 11.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// 0 closes the session, 1 the connection, 2 removes it for recovery.
    pub reason: u8,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Connection identifier.
    pub connection_id: u16,
    /// CmdSN.
    pub command_sn: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
}

impl LogoutRequest {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        HeaderWriter::new(0x06 | if self.immediate { IMMEDIATE } else { 0 }, FINAL | self.reason & 0x7f)
            .u32(16, self.task_tag)
            .u16(20, self.connection_id)
            .u32(24, self.command_sn)
            .u32(28, self.expected_status_sn)
            .header
    }
}

/// NOP-Out (RFC 7143, 11.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopOut {
    /// Delivered at once, outside the order of commands.
    pub immediate: bool,
    /// Logical unit, of the NOP-In that is answered.
    pub lun: u64,
    /// Initiator task tag, or [`super::NO_TAG`] if no answer is wanted.
    pub task_tag: u32,
    /// Target transfer tag of the NOP-In that is answered, or [`super::NO_TAG`].
    pub transfer_tag: u32,
    /// CmdSN.
    pub command_sn: u32,
    /// ExpStatSN.
    pub expected_status_sn: u32,
}

impl NopOut {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        HeaderWriter::new(if self.immediate { IMMEDIATE } else { 0 }, FINAL)
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.transfer_tag)
            .u32(24, self.command_sn)
            .u32(28, self.expected_status_sn)
            .header
    }
}

/// Any PDU that an initiator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// 00h.
    NopOut(NopOut),
    /// 01h.
    Command(Command),
    /// 02h.
    TaskManagement(TaskManagementRequest),
    /// 03h.
    Login(LoginRequest),
    /// 04h.
    Text(TextRequest),
    /// 05h.
    DataOut(DataOut),
    /// 06h.
    Logout(LogoutRequest),
    /// Any other operation code, SNACK among them, which error recovery level 0 has no use for.
    Other(u8),
}

impl Request {
    /// Decodes a header.
    ///
    /// # Errors
    /// [`DecodeError`] if a login request names a stage that there is not.
    pub fn parse(header: &Header) -> Result<Self, DecodeError> {
        let fields = Fields::new("iSCSI request", header);
        let (first, flags) = (fields.u8(0)?, fields.u8(1)?);
        let immediate = first & IMMEDIATE != 0;
        let (lun, task_tag, transfer_tag) = (fields.u64(8)?, fields.u32(16)?, fields.u32(20)?);
        let (command_sn, expected_status_sn) = (fields.u32(24)?, fields.u32(28)?);
        let is_final = flags & FINAL != 0;
        Ok(match first & 0x3f {
            0x00 => Self::NopOut(NopOut {
                immediate,
                lun,
                task_tag,
                transfer_tag,
                command_sn,
                expected_status_sn,
            }),
            0x01 => Self::Command(Command {
                immediate,
                is_final,
                reads: flags & 0x40 != 0,
                writes: flags & 0x20 != 0,
                attribute: flags & 0x07,
                lun,
                task_tag,
                expected_len_bytes: fields.u32(20)?,
                command_sn,
                expected_status_sn,
                cdb: fields.array(32)?,
            }),
            0x02 => Self::TaskManagement(TaskManagementRequest {
                immediate,
                function: flags & 0x7f,
                lun,
                task_tag,
                referenced_tag: transfer_tag,
                command_sn,
                expected_status_sn,
                referenced_command_sn: fields.u32(32)?,
            }),
            0x03 => Self::Login(parse_login(fields)?),
            0x04 => Self::Text(TextRequest {
                immediate,
                is_final,
                continues: flags & CONTINUE != 0,
                lun,
                task_tag,
                transfer_tag,
                command_sn,
                expected_status_sn,
            }),
            0x05 => Self::DataOut(DataOut {
                is_final,
                lun,
                task_tag,
                transfer_tag,
                expected_status_sn,
                data_sn: fields.u32(36)?,
                offset: fields.u32(40)?,
            }),
            0x06 => Self::Logout(LogoutRequest {
                immediate,
                reason: flags & 0x7f,
                task_tag,
                connection_id: fields.u16(20)?,
                command_sn,
                expected_status_sn,
            }),
            other => Self::Other(other),
        })
    }
}

fn parse_login(fields: Fields<'_>) -> Result<LoginRequest, DecodeError> {
    let flags = fields.u8(1)?;
    let transit = flags & FINAL != 0;
    let stage = |bits| Stage::from_bits(bits).ok_or_else(|| fields.range(1, flags));
    let current = stage(flags >> 2)?;
    Ok(LoginRequest {
        transit,
        continues: flags & CONTINUE != 0,
        current,
        next: if transit { stage(flags)? } else { current },
        isid: fields.array(8)?,
        tsih: fields.u16(14)?,
        task_tag: fields.u32(16)?,
        connection_id: fields.u16(20)?,
        command_sn: fields.u32(24)?,
        expected_status_sn: fields.u32(28)?,
    })
}
