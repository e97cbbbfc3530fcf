//! Reply to REPORT DENSITY SUPPORT.

use crate::codec::DecodeError;
use crate::scsi::fields::{Fields, text};

/// Most densities that are taken from a reply.
const DENSITIES_MAX: usize = 256;
/// Length of a descriptor that does not give its own (SSC-4).
const DESCRIPTOR_LEN: usize = 52;

/// A density that a drive or a cartridge has (SSC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Density {
    /// Primary density code: 58h LTO-5, 5Ah LTO-6, 5Ch LTO-7, 5Dh LTO-7 type M, 5Eh LTO-8, 60h LTO-9.
    pub primary_code: u8,
    /// Secondary density code.
    pub secondary_code: u8,
    /// The drive can write it, to the loaded cartridge if that was asked.
    pub writable: bool,
    /// It is the default.
    pub default: bool,
    /// Bits per millimetre.
    pub bits_per_mm: u32,
    /// Tracks.
    pub tracks: u16,
    /// Capacity in units of 10^6 bytes.
    pub capacity_mb: u32,
    /// Assigning organization.
    pub organization: String,
    /// Name, such as `U-816`.
    pub name: String,
    /// Description, such as `Ultrium 8/16T`.
    pub description: String,
}

impl Density {
    fn parse(descriptor: Fields<'_>) -> Result<Self, DecodeError> {
        let flags = descriptor.u8(2)?;
        Ok(Self {
            primary_code: descriptor.u8(0)?,
            secondary_code: descriptor.u8(1)?,
            writable: flags & 0x80 != 0,
            default: flags & 0x20 != 0,
            bits_per_mm: descriptor.u24(5)?,
            tracks: descriptor.u16(10)?,
            capacity_mb: descriptor.u32(12)?,
            organization: text(descriptor.bytes(16, 8)?),
            name: text(descriptor.bytes(24, 8)?),
            description: text(descriptor.bytes(32, 20)?),
        })
    }
}

/// Decodes the reply to REPORT DENSITY SUPPORT (SSC-4).
///
/// # Errors
/// [`DecodeError`] if a descriptor is short.
pub fn parse_densities(reply: &[u8]) -> Result<Vec<Density>, DecodeError> {
    let fields = Fields::new("density support header", reply);
    let announced = usize::from(fields.u16(0)?) + 2;
    let mut rest = fields.up_to(announced).rest(4);
    let mut densities = Vec::new();
    while !rest.is_empty() && densities.len() < DENSITIES_MAX {
        let descriptor = Fields::new("density support descriptor", rest);
        densities.push(Density::parse(descriptor)?);
        // With DLV set, the descriptor gives its length, from the byte after.
        let own = usize::from(descriptor.u16(3)?) + 5;
        let len = if descriptor.bit(2, 0)? { own.max(DESCRIPTOR_LEN) } else { DESCRIPTOR_LEN };
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(densities)
}
