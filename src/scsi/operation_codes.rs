//! Which commands a device has, and how long they take: the reply to REPORT SUPPORTED OPERATION CODES.

use super::fields::Fields;
use crate::codec::DecodeError;

/// Most descriptors that are taken from a reply.
const DESCRIPTORS_MAX: usize = 4096;
/// Length of a descriptor without its timeouts (SPC-4).
const DESCRIPTOR_LEN: usize = 8;

/// A command that a device has (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportedCommand {
    /// Operation code.
    pub operation_code: u8,
    /// Service action, of commands that have one.
    pub service_action: Option<u16>,
    /// Length of the CDB in bytes.
    pub cdb_len_bytes: u16,
    /// Timeout that the device recommends, in seconds; 0 if it gives none.
    pub recommended_timeout_s: u32,
}

/// Decodes the reply about all commands (SPC-4), up to where it is cut off.
///
/// # Errors
/// [`DecodeError`] if there is no header.
pub fn parse_supported_commands(reply: &[u8]) -> Result<Vec<SupportedCommand>, DecodeError> {
    let header = Fields::new("supported operation codes", reply);
    let announced = usize::try_from(header.u32(0)?).unwrap_or(usize::MAX);
    let mut rest = header.up_to(announced.saturating_add(4)).rest(4);
    let mut commands = Vec::new();
    while rest.len() >= DESCRIPTOR_LEN && commands.len() < DESCRIPTORS_MAX {
        let fields = Fields::new("command descriptor", rest);
        let (has_timeouts, has_action) = (fields.bit(5, 1)?, fields.bit(5, 0)?);
        // Each descriptor tells by itself whether timeouts follow it, and those how long they are.
        let timeouts_len =
            if has_timeouts { 2 + usize::from(fields.u16(DESCRIPTOR_LEN).unwrap_or(0)) } else { 0 };
        commands.push(SupportedCommand {
            operation_code: fields.u8(0)?,
            service_action: if has_action { Some(fields.u16(2)?) } else { None },
            cdb_len_bytes: fields.u16(6)?,
            recommended_timeout_s: match timeouts_len >= 12 {
                true => fields.u32(DESCRIPTOR_LEN + 8).unwrap_or(0),
                false => 0,
            },
        });
        rest = rest.get(DESCRIPTOR_LEN + timeouts_len..).unwrap_or_default();
    }
    Ok(commands)
}
