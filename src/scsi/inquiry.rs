//! What a device is: the replies to INQUIRY.

use super::fields::{Fields, text};
use crate::codec::DecodeError;

/// Most designators that are taken from a page.
const DESIGNATORS_MAX: usize = 64;

/// Kind of a device (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceType {
    /// 01h: a tape drive.
    SequentialAccess,
    /// 08h: a changer.
    MediumChanger,
    /// Any other.
    Other(u8),
}

impl DeviceType {
    fn from_low_bits(byte: u8) -> Self {
        match byte & 0x1f {
            0x01 => Self::SequentialAccess,
            0x08 => Self::MediumChanger,
            other => Self::Other(other),
        }
    }
}

/// Standard INQUIRY data (SPC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// Kind of the device.
    pub device_type: DeviceType,
    /// Whether a device is there: qualifier 000b.
    pub connected: bool,
    /// Version of SPC: 05h SPC-3, 06h SPC-4, 07h SPC-5.
    pub version: u8,
    /// Vendor.
    pub vendor: String,
    /// Product.
    pub product: String,
    /// Revision of the firmware.
    pub revision: String,
}

impl Inquiry {
    /// Decodes standard INQUIRY data; texts that are cut off are empty.
    ///
    /// # Errors
    /// [`DecodeError`] if there are less than five bytes.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("standard INQUIRY data", reply);
        let announced = usize::from(fields.u8(4)?) + 5;
        let fields = fields.up_to(announced);
        let part = |offset, len| fields.bytes(offset, len).map(text).unwrap_or_default();
        Ok(Self {
            device_type: DeviceType::from_low_bits(fields.u8(0)?),
            connected: fields.u8(0)? >> 5 == 0,
            version: fields.u8(2)?,
            vendor: part(8, 8),
            product: part(16, 16),
            revision: part(32, 4),
        })
    }
}

/// A name of a device (SPC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Designator {
    /// 1 binary, 2 ASCII, 3 UTF-8.
    pub code_set: u8,
    /// What is named: 0 the logical unit, 1 the port, 2 the target device.
    pub association: u8,
    /// 0 vendor's own, 1 T10 vendor identification, 2 EUI-64, 3 NAA, 8 SCSI name string.
    pub kind: u8,
    /// The name.
    pub value: Vec<u8>,
}

/// The payload of a page of vital product data, if it is the page asked for (SPC-4).
///
/// # Errors
/// [`DecodeError`] if it is short or another page.
pub fn parse_vital_product_data(page: u8, reply: &[u8]) -> Result<&[u8], DecodeError> {
    let fields = Fields::new("vital product data", reply);
    if fields.u8(1)? != page {
        return Err(fields.range(1, fields.u8(1)?));
    }
    let len = usize::from(fields.u16(2)?);
    let payload = fields.rest(4);
    Ok(payload.get(..len).unwrap_or(payload))
}

/// Decodes page 80h, the serial number of the logical unit (SPC-4).
///
/// # Errors
/// [`DecodeError`] if it is not that page.
pub fn parse_serial_number(reply: &[u8]) -> Result<String, DecodeError> {
    parse_vital_product_data(0x80, reply).map(text)
}

/// Decodes page B1h, the serial number that the manufacturer gave (SSC-4).
///
/// # Errors
/// [`DecodeError`] if it is not that page.
pub fn parse_manufacturer_serial_number(reply: &[u8]) -> Result<String, DecodeError> {
    parse_vital_product_data(0xb1, reply).map(text)
}

/// Decodes page B0h: whether the drive can do WORM (SSC-4).
///
/// # Errors
/// [`DecodeError`] if it is not that page.
pub fn parse_worm_capable(reply: &[u8]) -> Result<bool, DecodeError> {
    let payload = parse_vital_product_data(0xb0, reply)?;
    Fields::new("sequential-access device capabilities", payload).bit(0, 0)
}

/// Decodes page 83h, the names of the device (SPC-4); stops where a name is cut off.
///
/// # Errors
/// [`DecodeError`] if it is not that page.
pub fn parse_designators(reply: &[u8]) -> Result<Vec<Designator>, DecodeError> {
    let mut rest = parse_vital_product_data(0x83, reply)?;
    let mut designators = Vec::new();
    while let [code_set, kind, _, len, after @ ..] = rest {
        let Some(value) = after.get(..usize::from(*len)) else {
            break;
        };
        if designators.len() == DESIGNATORS_MAX {
            break;
        }
        designators.push(Designator {
            code_set: code_set & 0x0f,
            association: kind >> 4 & 0x03,
            kind: kind & 0x0f,
            value: value.to_vec(),
        });
        rest = after.get(usize::from(*len)..).unwrap_or_default();
    }
    Ok(designators)
}
