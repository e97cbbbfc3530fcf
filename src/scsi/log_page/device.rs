//! What a drive tells about itself.

use super::LogPage;
use crate::scsi::fields::Fields;

/// What a drive is doing (ADC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceActivity {
    /// 00h.
    Idle,
    /// 01h.
    Cleaning,
    /// 02h.
    Loading,
    /// 03h.
    Unloading,
    /// 05h.
    Reading,
    /// 06h.
    Writing,
    /// 07h.
    Locating,
    /// 08h.
    Rewinding,
    /// 09h.
    Erasing,
    /// 0Ah.
    Formatting,
    /// 0Bh: the first load of an LTO-9 cartridge, for up to two hours.
    Calibrating,
    /// 0Dh.
    UpdatingMicrocode,
    /// Any other.
    Other(u8),
}

impl DeviceActivity {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0x00 => Self::Idle,
            0x01 => Self::Cleaning,
            0x02 => Self::Loading,
            0x03 => Self::Unloading,
            0x05 | 0x0e => Self::Reading,
            0x06 | 0x0f => Self::Writing,
            0x07 => Self::Locating,
            0x08 => Self::Rewinding,
            0x09 => Self::Erasing,
            0x0a => Self::Formatting,
            0x0b => Self::Calibrating,
            0x0d => Self::UpdatingMicrocode,
            other => Self::Other(other),
        }
    }
}

/// Device status: page 11h, the *very high frequency data* (ADC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceStatus {
    /// The cartridge cannot be written.
    pub write_protected: bool,
    /// The drive asks for cleaning.
    pub cleaning_requested: bool,
    /// The drive does nothing before it is cleaned.
    pub cleaning_required: bool,
    /// A cartridge is there.
    pub medium_present: bool,
    /// The cartridge can be used.
    pub medium_mounted: bool,
    /// What the drive is doing.
    pub activity: DeviceActivity,
    /// TapeAlert has news.
    pub has_alerts: bool,
}

impl DeviceStatus {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x11, 0x00);

    /// Decodes the page; `None` if it lacks its only mandatory parameter.
    #[must_use]
    pub fn parse(page: &LogPage) -> Option<Self> {
        let fields = Fields::new("very high frequency data", &page.parameter(0x0000)?.value);
        Some(Self {
            write_protected: fields.bit(0, 3).ok()?,
            cleaning_requested: fields.bit(0, 2).ok()?,
            cleaning_required: fields.bit(0, 1).ok()?,
            medium_present: fields.bit(1, 4).ok()?,
            medium_mounted: fields.bit(1, 0).ok()?,
            activity: DeviceActivity::from_byte(fields.u8(2).ok()?),
            has_alerts: fields.bit(3, 0).ok()?,
        })
    }
}

/// Device statistics: page 14h (SSC-4). Figures that the drive does not give are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceStatistics {
    /// Cartridges loaded ever.
    pub lifetime_loads: Option<u64>,
    /// Cleanings ever.
    pub lifetime_cleanings: Option<u64>,
    /// Hours with power ever.
    pub power_on_hours: Option<u64>,
    /// Hours in which tape moved.
    pub motion_hours: Option<u64>,
    /// Metres of tape moved.
    pub tape_metres: Option<u64>,
    /// Hours with power since the last cleaning.
    pub hours_since_cleaning: Option<u64>,
    /// Hard errors of writing.
    pub hard_write_errors: Option<u64>,
    /// Hard errors of reading.
    pub hard_read_errors: Option<u64>,
}

impl DeviceStatistics {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x14, 0x00);

    /// Decodes the page.
    #[must_use]
    pub fn parse(page: &LogPage) -> Self {
        Self {
            lifetime_loads: page.unsigned(0x0000),
            lifetime_cleanings: page.unsigned(0x0001),
            power_on_hours: page.unsigned(0x0002),
            motion_hours: page.unsigned(0x0003),
            tape_metres: page.unsigned(0x0004),
            hours_since_cleaning: page.unsigned(0x0008),
            hard_write_errors: page.unsigned(0x000d),
            hard_read_errors: page.unsigned(0x000e),
        }
    }
}
