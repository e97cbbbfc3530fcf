//! Mode pages of drives and changers.

use super::ModePage;
use crate::codec::DecodeError;

/// Most partitions besides the first that a page can tell of.
const PARTITIONS_MAX: u8 = 64;

/// Compression in the drive: page 0Fh (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataCompression {
    /// Compress what is written.
    pub compress: bool,
    /// The drive can compress.
    pub capable: bool,
    /// Decompress what is read.
    pub decompress: bool,
}

impl DataCompression {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x0f, 0x00);

    /// Decodes the page.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(page: &ModePage) -> Result<Self, DecodeError> {
        let fields = page.fields("data compression page");
        Ok(Self { compress: fields.bit(2, 7)?, capable: fields.bit(2, 6)?, decompress: fields.bit(3, 7)? })
    }

    /// Switches compression of what is written on or off.
    pub fn set_compress(page: &mut ModePage, compress: bool) {
        page.set(2, 0x80, u8::from(compress) << 7);
    }
}

/// Configuration of a drive: page 10h (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceConfiguration {
    /// Partition at which the tape is.
    pub active_partition: u8,
    /// Time after which buffered data is written by itself, in units of 100 ms.
    pub write_delay_100ms: u16,
    /// Early warning is told while reading too.
    pub report_early_warning: bool,
    /// Filemarks with the IMMED bit flush the buffer at early warning: synchronize at early warning.
    pub synchronize_at_early_warning: bool,
    /// Software write protection until power off.
    pub software_write_protection: bool,
    /// Write protection by an application, kept until changed.
    pub associated_write_protection: bool,
    /// Write protection of the volume for good: persistent.
    pub persistent_write_protection: bool,
    /// Write protection of the volume for ever: permanent.
    pub permanent_write_protection: bool,
}

impl DeviceConfiguration {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x10, 0x00);

    /// Decodes the page.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(page: &ModePage) -> Result<Self, DecodeError> {
        let fields = page.fields("device configuration page");
        Ok(Self {
            active_partition: fields.u8(3)?,
            write_delay_100ms: fields.u16(6)?,
            report_early_warning: fields.bit(8, 0)?,
            synchronize_at_early_warning: fields.bit(10, 3)?,
            software_write_protection: fields.bit(10, 2)?,
            associated_write_protection: fields.bit(15, 2)?,
            persistent_write_protection: fields.bit(15, 1)?,
            permanent_write_protection: fields.bit(15, 0)?,
        })
    }
}

/// Extended configuration of a drive: page 10h, subpage 01h (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceConfigurationExtension {
    /// Only behind the end of data can be written, unless allowed: write mode 1.
    pub append_only: bool,
    /// Where the programmable early warning is: this far before early warning, in units of 10^6 bytes.
    pub programmable_early_warning_mb: u16,
}

impl DeviceConfigurationExtension {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x10, 0x01);

    /// Decodes the page.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(page: &ModePage) -> Result<Self, DecodeError> {
        let fields = page.fields("device configuration extension page");
        Ok(Self { append_only: fields.u8(5)? >> 4 == 1, programmable_early_warning_mb: fields.u16(6)? })
    }

    /// Sets where the programmable early warning is; 0 switches it off.
    pub fn set_programmable_early_warning(page: &mut ModePage, distance_mb: u16) {
        let [high, low] = distance_mb.to_be_bytes();
        page.set(6, 0xff, high);
        page.set(7, 0xff, low);
    }

    /// Switches the append-only mode.
    pub fn set_append_only(page: &mut ModePage, append_only: bool) {
        page.set(5, 0xf0, u8::from(append_only) << 4);
    }
}

/// Partitions of the cartridge: page 11h (SSC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediumPartition {
    /// Most partitions besides the first.
    pub additional_max: u8,
    /// Partitions besides the first that there are.
    pub additional: u8,
    /// Unit of the sizes, as a power of ten of bytes; `None` if the page does not use that unit.
    pub size_exponent: Option<u8>,
    /// Sizes of the partitions, in that unit; FFFFh for what is left.
    pub sizes: Vec<u16>,
}

impl MediumPartition {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x11, 0x00);

    /// Decodes the page.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short or tells of more partitions than there can be.
    pub fn parse(page: &ModePage) -> Result<Self, DecodeError> {
        let fields = page.fields("medium partition page");
        let additional = fields.u8(3)?;
        if additional > PARTITIONS_MAX {
            return Err(fields.range(3, additional));
        }
        let uses_exponent = fields.u8(4)? >> 3 & 0x03 == 3;
        let sizes = fields.rest(8).chunks_exact(2).take(usize::from(additional) + 1);
        Ok(Self {
            additional_max: fields.u8(2)?,
            additional,
            size_exponent: if uses_exponent { Some(fields.u8(6)? & 0x0f) } else { None },
            sizes: sizes.filter_map(|size| size.try_into().ok()).map(u16::from_be_bytes).collect(),
        })
    }

    /// Asks for two partitions by the initiator's sizes (IDP), in units of 10^9 bytes: what a FORMAT
    /// MEDIUM of format 1 or 2 then makes. FFFFh stands for what is left.
    pub fn set_two_partitions(page: &mut ModePage, first_gb: u16, second_gb: u16) {
        page.set(3, 0xff, 1);
        // IDP, and PSUM 11b: the unit is in byte 6.
        page.set(4, 0xf8, 0x20 | 0x18);
        page.set(6, 0x0f, 9);
        page.bytes.truncate(8);
        page.bytes.extend_from_slice(&first_gb.to_be_bytes());
        page.bytes.extend_from_slice(&second_gb.to_be_bytes());
        page.set(1, 0xff, 10);
    }

    /// Asks for one partition.
    pub fn set_one_partition(page: &mut ModePage) {
        page.set(3, 0xff, 0);
        page.set(4, 0xe0, 0x20);
    }
}

/// How blocks are protected between host and drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectionMethod {
    /// 0: not.
    None,
    /// 1: a Reed-Solomon CRC; LTO-5 and LTO-6.
    ReedSolomonCrc,
    /// 2: CRC32C; LTO-7 and later.
    Crc32c,
    /// Any other.
    Other(u8),
}

impl ProtectionMethod {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::None,
            1 => Self::ReedSolomonCrc,
            2 => Self::Crc32c,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::ReedSolomonCrc => 1,
            Self::Crc32c => 2,
            Self::Other(byte) => byte,
        }
    }
}

/// Logical block protection: page 0Ah, subpage F0h, *control data protection* (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalBlockProtection {
    /// Method.
    pub method: ProtectionMethod,
    /// Bytes that it adds to each block.
    pub information_len_bytes: u8,
    /// Blocks written carry them.
    pub on_write: bool,
    /// Blocks read carry them.
    pub on_read: bool,
}

impl LogicalBlockProtection {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x0a, 0xf0);

    /// Decodes the page.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(page: &ModePage) -> Result<Self, DecodeError> {
        let fields = page.fields("control data protection page");
        Ok(Self {
            method: ProtectionMethod::from_byte(fields.u8(4)?),
            information_len_bytes: fields.u8(5)? & 0x3f,
            on_write: fields.bit(6, 7)?,
            on_read: fields.bit(6, 6)?,
        })
    }

    /// Writes the settings into the page.
    pub fn apply(self, page: &mut ModePage) {
        page.set(4, 0xff, self.method.byte());
        page.set(5, 0x3f, self.information_len_bytes);
        page.set(6, 0xc0, u8::from(self.on_write) << 7 | u8::from(self.on_read) << 6);
    }
}

/// A run of elements of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementRange {
    /// First address.
    pub first: u16,
    /// Count of elements.
    pub count: u16,
}

/// Elements of a changer: page 1Dh (SMC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementAddressAssignment {
    /// Robots.
    pub transports: ElementRange,
    /// Slots.
    pub storage: ElementRange,
    /// Mail slots.
    pub import_export: ElementRange,
    /// Drives.
    pub data_transfer: ElementRange,
}

impl ElementAddressAssignment {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x1d, 0x00);

    /// Decodes the page.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(page: &ModePage) -> Result<Self, DecodeError> {
        let fields = page.fields("element address assignment page");
        let range = |offset| -> Result<ElementRange, DecodeError> {
            Ok(ElementRange { first: fields.u16(offset)?, count: fields.u16(offset + 2)? })
        };
        Ok(Self {
            transports: range(2)?,
            storage: range(6)?,
            import_export: range(10)?,
            data_transfer: range(14)?,
        })
    }
}
