//! PDUs that a target sends.

use super::{HeaderWriter, NO_TAG, Stage};
use crate::codec::DecodeError;
use crate::scsi::fields::Fields;
use crate::scsi::iscsi::frame::Header;
use crate::scsi::transport::Status;

const FINAL: u8 = 0x80;
const CONTINUE: u8 = 0x40;

/// The numbers that every PDU of a target carries (RFC 7143, 4.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    /// StatSN.
    pub status_sn: u32,
    /// ExpCmdSN.
    pub expected_command_sn: u32,
    /// MaxCmdSN.
    pub max_command_sn: u32,
}

impl Sequence {
    fn parse(fields: Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            status_sn: fields.u32(24)?,
            expected_command_sn: fields.u32(28)?,
            max_command_sn: fields.u32(32)?,
        })
    }

    fn put(self, header: HeaderWriter) -> HeaderWriter {
        header.u32(24, self.status_sn).u32(28, self.expected_command_sn).u32(32, self.max_command_sn)
    }
}

/// How the length that was moved differs from the one expected (RFC 7143, 11.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residual {
    /// Not.
    #[default]
    None,
    /// This many bytes less were moved.
    Underflow(u32),
    /// This many bytes more would have been moved.
    Overflow(u32),
}

impl Residual {
    fn parse(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let (flags, count) = (fields.u8(1)?, fields.u32(44)?);
        Ok(match flags & 0x06 {
            0x02 => Self::Underflow(count),
            0x04 => Self::Overflow(count),
            _ => Self::None,
        })
    }

    fn parts(self) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Underflow(count) => (0x02, count),
            Self::Overflow(count) => (0x04, count),
        }
    }
}

/// SCSI Response (RFC 7143, 11.4); its data is a length of two bytes and sense data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScsiResponse {
    /// 00h: completed at the target; otherwise the status means nothing.
    pub response: u8,
    /// Status.
    pub status: Status,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Numbers.
    pub sequence: Sequence,
    /// ExpDataSN: count of Data-In and R2T PDUs sent for the command.
    pub expected_data_sn: u32,
    /// Residual.
    pub residual: Residual,
}

impl ScsiResponse {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let (flags, count) = self.residual.parts();
        let header = HeaderWriter::new(0x21, FINAL | flags)
            .u8(2, self.response)
            .u8(3, self.status.byte())
            .u32(16, self.task_tag)
            .u32(36, self.expected_data_sn)
            .u32(44, count);
        self.sequence.put(header).header
    }
}

/// SCSI Data-In (RFC 7143, 11.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataIn {
    /// Last of its sequence.
    pub is_final: bool,
    /// An acknowledgement is wanted; only at error recovery levels above 0.
    pub acknowledge: bool,
    /// Status, if the command ends with this PDU; only then is the residual given.
    pub status: Option<Status>,
    /// Logical unit; only with a transfer tag.
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Target transfer tag, or [`NO_TAG`].
    pub transfer_tag: u32,
    /// Numbers; StatSN only with a status.
    pub sequence: Sequence,
    /// DataSN.
    pub data_sn: u32,
    /// Offset of the data in the command's data.
    pub offset: u32,
    /// Residual.
    pub residual: Residual,
}

impl DataIn {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let (residual_flags, count) = self.residual.parts();
        let mut flags = u8::from(self.is_final) << 7 | u8::from(self.acknowledge) << 6;
        if self.status.is_some() {
            flags |= 0x01 | residual_flags;
        }
        let header = HeaderWriter::new(0x25, flags)
            .u8(3, self.status.map_or(0, Status::byte))
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.transfer_tag)
            .u32(36, self.data_sn)
            .u32(40, self.offset)
            .u32(44, count);
        self.sequence.put(header).header
    }
}

/// Ready To Transfer (RFC 7143, 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyToTransfer {
    /// Logical unit.
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Target transfer tag.
    pub transfer_tag: u32,
    /// Numbers; StatSN is the next one and not used up.
    pub sequence: Sequence,
    /// R2TSN.
    pub ready_sn: u32,
    /// Offset of the data that is wanted.
    pub offset: u32,
    /// Length in bytes of the data that is wanted.
    pub len_bytes: u32,
}

impl ReadyToTransfer {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let header = HeaderWriter::new(0x31, FINAL)
            .u64(8, self.lun)
            .u32(16, self.task_tag)
            .u32(20, self.transfer_tag)
            .u32(36, self.ready_sn)
            .u32(40, self.offset)
            .u32(44, self.len_bytes);
        self.sequence.put(header).header
    }
}

/// Login Response (RFC 7143, 11.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginResponse {
    /// Goes on to the next stage.
    pub transit: bool,
    /// The text goes on in the next response.
    pub continues: bool,
    /// Stage of this response.
    pub current: Stage,
    /// Stage to go on to.
    pub next: Stage,
    /// Initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// Target's part of the session identifier.
    pub tsih: u16,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Numbers.
    pub sequence: Sequence,
    /// 0 success, 1 redirection, 2 the initiator's error, 3 the target's error.
    pub status_class: u8,
    /// Which.
    pub status_detail: u8,
}

impl LoginResponse {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let next = if self.transit { self.next.bits() } else { 0 };
        let flags =
            u8::from(self.transit) << 7 | u8::from(self.continues) << 6 | self.current.bits() << 2 | next;
        let header = HeaderWriter::new(0x23, flags)
            .put(8, &self.isid)
            .u16(14, self.tsih)
            .u32(16, self.task_tag)
            .u8(36, self.status_class)
            .u8(37, self.status_detail);
        self.sequence.put(header).header
    }
}

/// Text Response (RFC 7143, 11.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextResponse {
    /// Last of its exchange.
    pub is_final: bool,
    /// The text goes on in the next response.
    pub continues: bool,
    /// Logical unit.
    pub lun: u64,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Target transfer tag, or [`NO_TAG`] at the end.
    pub transfer_tag: u32,
    /// Numbers.
    pub sequence: Sequence,
}

impl TextResponse {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let flags = u8::from(self.is_final) << 7 | u8::from(self.continues) << 6;
        let header =
            HeaderWriter::new(0x24, flags).u64(8, self.lun).u32(16, self.task_tag).u32(20, self.transfer_tag);
        self.sequence.put(header).header
    }
}

/// Task Management Function Response (RFC 7143, 11.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// 0 done, 1 no such task, 2 no such logical unit, 5 function not supported, 255 rejected.
    pub response: u8,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Numbers.
    pub sequence: Sequence,
}

impl TaskManagementResponse {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let header = HeaderWriter::new(0x22, FINAL).u8(2, self.response).u32(16, self.task_tag);
        self.sequence.put(header).header
    }
}

/// Logout Response (RFC 7143, 11.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogoutResponse {
    /// 0 closed, 1 no such connection, 2 recovery not supported, 3 cleanup failed.
    pub response: u8,
    /// Initiator task tag.
    pub task_tag: u32,
    /// Numbers.
    pub sequence: Sequence,
    /// Shortest time before a reconnection, in seconds.
    pub time_to_wait_s: u16,
    /// Longest time that tasks are kept, in seconds.
    pub time_to_retain_s: u16,
}

impl LogoutResponse {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let header = HeaderWriter::new(0x26, FINAL)
            .u8(2, self.response)
            .u32(16, self.task_tag)
            .u16(40, self.time_to_wait_s)
            .u16(42, self.time_to_retain_s);
        self.sequence.put(header).header
    }
}

/// NOP-In (RFC 7143, 11.19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NopIn {
    /// Logical unit.
    pub lun: u64,
    /// Initiator task tag of the NOP-Out that is answered, or [`NO_TAG`].
    pub task_tag: u32,
    /// Target transfer tag if an answer is wanted, or [`NO_TAG`].
    pub transfer_tag: u32,
    /// Numbers; StatSN is used up only by an answer.
    pub sequence: Sequence,
}

impl NopIn {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let header =
            HeaderWriter::new(0x20, FINAL).u64(8, self.lun).u32(16, self.task_tag).u32(20, self.transfer_tag);
        self.sequence.put(header).header
    }
}

/// Asynchronous Message (RFC 7143, 11.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncMessage {
    /// 0 sense data, 1 asks for a logout, 2 drops a connection, 3 drops all, 4 asks for negotiation.
    pub event: u8,
    /// Logical unit, of event 0.
    pub lun: u64,
    /// Numbers.
    pub sequence: Sequence,
    /// Connection that is dropped.
    pub parameter_1: u16,
    /// Seconds before a reconnection.
    pub parameter_2: u16,
    /// Seconds within which a logout or a reconnection is wanted.
    pub parameter_3: u16,
}

impl AsyncMessage {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let header = HeaderWriter::new(0x32, FINAL)
            .u64(8, self.lun)
            .u32(16, NO_TAG)
            .u8(36, self.event)
            .u16(38, self.parameter_1)
            .u16(40, self.parameter_2)
            .u16(42, self.parameter_3);
        self.sequence.put(header).header
    }
}

/// Reject (RFC 7143, 11.17); its data is the header that was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// 02h digest error, 03h SNACK, 04h protocol error, 05h not supported, 06h too many immediate commands,
    /// 07h task in progress, 09h invalid field, 0Ah long operation, 0Ch waiting for logout.
    pub reason: u8,
    /// Numbers.
    pub sequence: Sequence,
}

impl Reject {
    /// Encodes the header.
    #[must_use]
    pub fn header(&self) -> Header {
        let header = HeaderWriter::new(0x3f, FINAL).u8(2, self.reason).u32(16, NO_TAG);
        self.sequence.put(header).header
    }
}

/// Any PDU that a target sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// 20h.
    NopIn(NopIn),
    /// 21h.
    Scsi(ScsiResponse),
    /// 22h.
    TaskManagement(TaskManagementResponse),
    /// 23h.
    Login(LoginResponse),
    /// 24h.
    Text(TextResponse),
    /// 25h.
    DataIn(DataIn),
    /// 26h.
    Logout(LogoutResponse),
    /// 31h.
    ReadyToTransfer(ReadyToTransfer),
    /// 32h.
    Async(AsyncMessage),
    /// 3Fh.
    Reject(Reject),
    /// Any other operation code.
    Other(u8),
}

impl Response {
    /// Decodes a header.
    ///
    /// # Errors
    /// [`DecodeError`] if a login response names a stage that there is not.
    pub fn parse(header: &Header) -> Result<Self, DecodeError> {
        let fields = Fields::new("iSCSI response", header);
        let (first, flags, third) = (fields.u8(0)?, fields.u8(1)?, fields.u8(2)?);
        let (lun, task_tag, transfer_tag) = (fields.u64(8)?, fields.u32(16)?, fields.u32(20)?);
        let sequence = Sequence::parse(fields)?;
        Ok(match first & 0x3f {
            0x20 => Self::NopIn(NopIn { lun, task_tag, transfer_tag, sequence }),
            0x21 => Self::Scsi(ScsiResponse {
                response: third,
                status: Status::from_byte(fields.u8(3)?),
                task_tag,
                sequence,
                expected_data_sn: fields.u32(36)?,
                residual: Residual::parse(fields)?,
            }),
            0x22 => Self::TaskManagement(TaskManagementResponse { response: third, task_tag, sequence }),
            0x23 => Self::Login(parse_login(fields, sequence)?),
            0x24 => Self::Text(TextResponse {
                is_final: flags & FINAL != 0,
                continues: flags & CONTINUE != 0,
                lun,
                task_tag,
                transfer_tag,
                sequence,
            }),
            0x25 => Self::DataIn(parse_data_in(fields, sequence)?),
            0x26 => Self::Logout(LogoutResponse {
                response: third,
                task_tag,
                sequence,
                time_to_wait_s: fields.u16(40)?,
                time_to_retain_s: fields.u16(42)?,
            }),
            0x31 => Self::ReadyToTransfer(ReadyToTransfer {
                lun,
                task_tag,
                transfer_tag,
                sequence,
                ready_sn: fields.u32(36)?,
                offset: fields.u32(40)?,
                len_bytes: fields.u32(44)?,
            }),
            0x32 => Self::Async(AsyncMessage {
                event: fields.u8(36)?,
                lun,
                sequence,
                parameter_1: fields.u16(38)?,
                parameter_2: fields.u16(40)?,
                parameter_3: fields.u16(42)?,
            }),
            0x3f => Self::Reject(Reject { reason: third, sequence }),
            other => Self::Other(other),
        })
    }
}

fn parse_data_in(fields: Fields<'_>, sequence: Sequence) -> Result<DataIn, DecodeError> {
    let flags = fields.u8(1)?;
    let has_status = flags & 0x01 != 0;
    Ok(DataIn {
        is_final: flags & FINAL != 0,
        acknowledge: flags & 0x40 != 0,
        status: if has_status { Some(Status::from_byte(fields.u8(3)?)) } else { None },
        lun: fields.u64(8)?,
        task_tag: fields.u32(16)?,
        transfer_tag: fields.u32(20)?,
        sequence,
        data_sn: fields.u32(36)?,
        offset: fields.u32(40)?,
        residual: if has_status { Residual::parse(fields)? } else { Residual::None },
    })
}

fn parse_login(fields: Fields<'_>, sequence: Sequence) -> Result<LoginResponse, DecodeError> {
    let flags = fields.u8(1)?;
    let transit = flags & FINAL != 0;
    let stage = |bits| Stage::from_bits(bits).ok_or_else(|| fields.range(1, flags));
    let current = stage(flags >> 2)?;
    Ok(LoginResponse {
        transit,
        continues: flags & CONTINUE != 0,
        current,
        next: if transit { stage(flags)? } else { current },
        isid: fields.array(8)?,
        tsih: fields.u16(14)?,
        task_tag: fields.u32(16)?,
        sequence,
        status_class: fields.u8(36)?,
        status_detail: fields.u8(37)?,
    })
}
