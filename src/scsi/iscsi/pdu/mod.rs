//! Headers of PDUs, as pure functions between bytes and values (RFC 7143, section 11).

mod request;
mod response;

pub use request::{
    Command, DataOut, LoginRequest, LogoutRequest, NopOut, Request, TaskManagementRequest, TextRequest,
};
pub use response::{
    AsyncMessage, DataIn, LoginResponse, LogoutResponse, NopIn, ReadyToTransfer, Reject, Residual, Response,
    ScsiResponse, Sequence, TaskManagementResponse, TextResponse,
};

pub use crate::scsi::lun::{lun_field, lun_number};

use super::frame::{HEADER_LEN, Header};

/// The tag that stands for none.
pub const NO_TAG: u32 = 0xffff_ffff;

/// Stage of a login (RFC 7143, 11.12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// 0: who is who.
    Security,
    /// 1: limits and habits.
    Operational,
    /// 3: logged in.
    FullFeature,
}

impl Stage {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0x03 {
            0 => Some(Self::Security),
            1 => Some(Self::Operational),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::FullFeature => 3,
        }
    }
}

/// Writes fields into a header.
#[derive(Debug)]
struct HeaderWriter {
    header: Header,
}

impl HeaderWriter {
    fn new(first: u8, second: u8) -> Self {
        let mut header = [0; HEADER_LEN];
        let [a, b, ..] = &mut header;
        (*a, *b) = (first, second);
        Self { header }
    }

    fn put(mut self, offset: usize, bytes: &[u8]) -> Self {
        for (target, byte) in self.header.iter_mut().skip(offset).zip(bytes) {
            *target = *byte;
        }
        self
    }

    fn u8(self, offset: usize, value: u8) -> Self {
        self.put(offset, &[value])
    }

    fn u16(self, offset: usize, value: u16) -> Self {
        self.put(offset, &value.to_be_bytes())
    }

    fn u32(self, offset: usize, value: u32) -> Self {
        self.put(offset, &value.to_be_bytes())
    }

    fn u64(self, offset: usize, value: u64) -> Self {
        self.put(offset, &value.to_be_bytes())
    }
}
