//! Numbers of logical units (SAM-5, section 4.7).

use super::fields::Fields;
use crate::codec::DecodeError;

/// Encodes a number as a LUN field: single-level, flat above 255 (SAM-5, 4.7.7).
#[must_use]
pub fn lun_field(lun: u16) -> u64 {
    let method = if lun > 0xff { 0x4000 } else { 0 };
    u64::from(method | lun & 0x3fff) << 48
}

/// The number in a LUN field; `None` if it has another form than those two.
#[must_use]
pub fn lun_number(field: u64) -> Option<u16> {
    let [high, low, rest @ ..] = field.to_be_bytes();
    let number = u16::from_be_bytes([high, low]);
    match (rest == [0; 6], high >> 6) {
        (true, 0) if high == 0 => Some(number),
        (true, 1) => Some(number & 0x3fff),
        _ => None,
    }
}

/// Decodes the reply to REPORT LUNS (SPC-4).
///
/// # Errors
/// [`DecodeError`] if there is no header.
pub fn parse_luns(reply: &[u8]) -> Result<Vec<u16>, DecodeError> {
    let fields = Fields::new("LUN list", reply);
    let announced = usize::try_from(fields.u32(0)?).unwrap_or(usize::MAX);
    let list = fields.up_to(announced.saturating_add(8)).rest(8);
    let entries = list.chunks_exact(8).filter_map(|entry| entry.try_into().ok());
    Ok(entries.map(u64::from_be_bytes).filter_map(lun_number).collect())
}
