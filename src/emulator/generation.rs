//! Personalities: what drives and cartridges of each LTO generation are and can do.
//!
//! Density codes, medium types, capacities and rates are those that drives of the generation report and
//! their data sheets state. Lengths and times are model parameters: they are near the published averages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An LTO generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Generation {
    /// LTO-5.
    Lto5,
    /// LTO-6.
    Lto6,
    /// LTO-7.
    Lto7,
    /// LTO-7 cartridges initialised in an LTO-8 drive (type M8); no drives.
    M8,
    /// LTO-8.
    Lto8,
    /// LTO-9.
    Lto9,
}

/// What a drive may do with a cartridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: incompatible.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// Figures of a generation.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) name: &'static str,
    pub(super) barcode_suffix: &'static str,
    pub(super) density: u8,
    pub(super) density_name: &'static str,
    pub(super) medium_type: u8,
    pub(super) product: &'static str,
    pub(super) capacity_bytes: u64,
    /// Native rate, full height.
    pub(super) rate_bytes_per_s: u64,
    /// Slowest rate at which the tape still moves without stopping.
    pub(super) rate_min_bytes_per_s: u64,
    pub(super) buffer_bytes: u64,
    pub(super) length_m: u64,
    pub(super) wraps: u64,
    pub(super) tracks: u16,
    pub(super) load_ms: u64,
    pub(super) unload_ms: u64,
    /// From the load point to the middle of the tape.
    pub(super) locate_average_ms: u64,
    /// The first load of a cartridge's life, in which a drive measures it.
    pub(super) calibration_ms: u64,
    /// Bits per millimetre and track, as REPORT DENSITY SUPPORT has it.
    pub(super) bits_per_mm: u32,
    /// Logical block protection methods: 1 Reed-Solomon, 2 CRC32C.
    pub(super) protection_method: u8,
}

const MB: u64 = 1_000_000;
const TB: u64 = 1_000_000 * MB;

const LTO5: Figures = Figures {
    name: "lto5",
    barcode_suffix: "L5",
    density: 0x58,
    density_name: "U-516",
    medium_type: 0x58,
    product: "ULT3580-TD5",
    capacity_bytes: 3 * TB / 2,
    rate_bytes_per_s: 140 * MB,
    rate_min_bytes_per_s: 40 * MB,
    buffer_bytes: 512 << 20,
    length_m: 846,
    wraps: 80,
    tracks: 1280,
    load_ms: 12_000,
    unload_ms: 17_000,
    locate_average_ms: 60_000,
    calibration_ms: 0,
    bits_per_mm: 15_142,
    protection_method: 1,
};
const LTO6: Figures = Figures {
    name: "lto6",
    barcode_suffix: "L6",
    density: 0x5a,
    density_name: "U-616",
    medium_type: 0x68,
    product: "ULT3580-TD6",
    capacity_bytes: 5 * TB / 2,
    rate_bytes_per_s: 160 * MB,
    rate_min_bytes_per_s: 40 * MB,
    buffer_bytes: 512 << 20,
    length_m: 846,
    wraps: 136,
    tracks: 2176,
    load_ms: 12_000,
    unload_ms: 17_000,
    locate_average_ms: 60_000,
    calibration_ms: 0,
    bits_per_mm: 15_143,
    protection_method: 1,
};
const LTO7: Figures = Figures {
    name: "lto7",
    barcode_suffix: "L7",
    density: 0x5c,
    density_name: "U-732",
    medium_type: 0x78,
    product: "ULT3580-TD7",
    capacity_bytes: 6 * TB,
    rate_bytes_per_s: 300 * MB,
    rate_min_bytes_per_s: 101 * MB,
    buffer_bytes: 1 << 30,
    length_m: 960,
    wraps: 112,
    tracks: 3584,
    load_ms: 15_000,
    unload_ms: 20_000,
    locate_average_ms: 60_000,
    calibration_ms: 0,
    bits_per_mm: 19_107,
    protection_method: 2,
};
const M8: Figures = Figures {
    name: "m8",
    barcode_suffix: "M8",
    density: 0x5d,
    density_name: "U-832",
    medium_type: 0x78,
    capacity_bytes: 9 * TB,
    wraps: 168,
    tracks: 5376,
    ..LTO7
};
const LTO8: Figures = Figures {
    name: "lto8",
    barcode_suffix: "L8",
    density: 0x5e,
    density_name: "U-832",
    medium_type: 0x88,
    product: "ULT3580-TD8",
    capacity_bytes: 12 * TB,
    rate_bytes_per_s: 360 * MB,
    rate_min_bytes_per_s: 112 * MB,
    buffer_bytes: 1 << 30,
    length_m: 960,
    wraps: 208,
    tracks: 6656,
    load_ms: 15_000,
    unload_ms: 24_000,
    locate_average_ms: 59_000,
    calibration_ms: 0,
    bits_per_mm: 20_669,
    protection_method: 2,
};
const LTO9: Figures = Figures {
    name: "lto9",
    barcode_suffix: "L9",
    density: 0x60,
    density_name: "U-932",
    medium_type: 0x98,
    product: "ULT3580-TD9",
    capacity_bytes: 18 * TB,
    rate_bytes_per_s: 400 * MB,
    rate_min_bytes_per_s: 177 * MB,
    buffer_bytes: 1 << 30,
    length_m: 1035,
    wraps: 280,
    tracks: 8960,
    load_ms: 16_000,
    unload_ms: 56_000,
    locate_average_ms: 65_000,
    // 4 to 132 minutes, 40 on average.
    calibration_ms: 40 * 60_000,
    bits_per_mm: 21_457,
    protection_method: 2,
};

impl Generation {
    /// All generations, oldest first.
    pub const ALL: [Self; 6] = [Self::Lto5, Self::Lto6, Self::Lto7, Self::M8, Self::Lto8, Self::Lto9];

    pub(super) fn figures(self) -> &'static Figures {
        match self {
            Self::Lto5 => &LTO5,
            Self::Lto6 => &LTO6,
            Self::Lto7 => &LTO7,
            Self::M8 => &M8,
            Self::Lto8 => &LTO8,
            Self::Lto9 => &LTO9,
        }
    }

    /// Name on the command line: `lto8`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.figures().name
    }

    /// Density code (SSC; 5Eh for LTO-8).
    #[must_use]
    pub fn density(self) -> u8 {
        self.figures().density
    }

    /// Last two characters of a barcode: `L8`.
    #[must_use]
    pub fn barcode_suffix(self) -> &'static str {
        self.figures().barcode_suffix
    }

    /// Native capacity of a cartridge in bytes.
    #[must_use]
    pub fn capacity_bytes(self) -> u64 {
        self.figures().capacity_bytes
    }

    /// Tells whether there are drives of this generation.
    #[must_use]
    pub fn has_drives(self) -> bool {
        self != Self::M8
    }

    /// What a drive of this generation may do with a cartridge. LTO-5 to LTO-7 read two generations back
    /// and write one; LTO-8 and LTO-9 read and write one back.
    #[must_use]
    pub fn access(self, cartridge: Self) -> Access {
        use Generation::{Lto5, Lto6, Lto7, Lto8, Lto9, M8};
        match (self, cartridge) {
            (Lto5, Lto5) | (Lto6, Lto6 | Lto5) | (Lto7, Lto7 | Lto6) => Access::Write,
            (Lto8, Lto8 | M8 | Lto7) | (Lto9, Lto9 | Lto8) => Access::Write,
            (Lto7, Lto5) => Access::Read,
            _ => Access::None,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No generation has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no generation; there are lto5, lto6, lto7, m8, lto8 and lto9")]
pub struct UnknownGeneration(String);

impl FromStr for Generation {
    type Err = UnknownGeneration;

    fn from_str(name: &str) -> Result<Self, UnknownGeneration> {
        let found = Self::ALL.into_iter().find(|generation| generation.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownGeneration(name.to_owned()))
    }
}
