//! Log pages: what a device counted (SPC-4, section 7.3).
//!
//! Page 37h, performance, is of the vendor, and its parameters are left as they are.

mod device;
mod tape_alert;
mod volume;

pub use device::{DeviceActivity, DeviceStatistics, DeviceStatus};
pub use tape_alert::{AlertSeverity, TapeAlert};
pub use volume::{PartitionFigure, TapeCapacity, VolumeStatistics};

use super::fields::{Fields, unsigned};
use crate::codec::DecodeError;

/// Most parameters that are taken from a page.
const PARAMETERS_MAX: usize = 8192;

/// A parameter of a log page (SPC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogParameter {
    /// Code.
    pub code: u16,
    /// Value.
    pub value: Vec<u8>,
}

impl LogParameter {
    /// The value as an integer, if it is one of at most eight bytes.
    #[must_use]
    pub fn unsigned(&self) -> Option<u64> {
        unsigned(&self.value)
    }
}

/// A log page (SPC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Page code.
    pub page: u8,
    /// Subpage code.
    pub subpage: u8,
    /// Parameters, in the device's order.
    pub parameters: Vec<LogParameter>,
    /// Length in bytes of the page that the device has; longer than what came if it was cut off.
    pub available_bytes: usize,
}

impl LogPage {
    /// Decodes the reply to LOG SENSE, up to where it is cut off.
    ///
    /// # Errors
    /// [`DecodeError`] if there is no header.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let header = Fields::new("log page", reply);
        let code = header.u8(0)?;
        let available_bytes = usize::from(header.u16(2)?) + 4;
        // Without SPF there is no subpage, whatever the byte holds.
        let subpage = if code & 0x40 != 0 { header.u8(1)? } else { 0 };
        let mut rest = header.up_to(available_bytes).rest(4);
        let mut parameters = Vec::new();
        while let [high, low, _control, len, after @ ..] = rest {
            let Some(value) = after.get(..usize::from(*len)) else {
                break;
            };
            if parameters.len() == PARAMETERS_MAX {
                break;
            }
            parameters.push(LogParameter { code: u16::from_be_bytes([*high, *low]), value: value.to_vec() });
            rest = after.get(usize::from(*len)..).unwrap_or_default();
        }
        Ok(Self { page: code & 0x3f, subpage, parameters, available_bytes })
    }

    /// The parameter with this code.
    #[must_use]
    pub fn parameter(&self, code: u16) -> Option<&LogParameter> {
        self.parameters.iter().find(|parameter| parameter.code == code)
    }

    /// The parameter with this code, as an integer.
    #[must_use]
    pub fn unsigned(&self, code: u16) -> Option<u64> {
        self.parameter(code)?.unsigned()
    }
}
