//! TapeAlert: 64 flags by which a drive asks for help (SSC-4, annex A; log page 2Eh).

use super::LogPage;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertSeverity {
    /// Good to know.
    Information,
    /// Something may fail.
    Warning,
    /// Something has failed or is about to.
    Critical,
}

/// A flag that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapeAlert {
    /// Number, 1 to 64.
    pub number: u8,
    /// How bad it is.
    pub severity: AlertSeverity,
    /// What it means, lower case.
    pub name: &'static str,
}

impl TapeAlert {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x2e, 0x00);
    /// Number of the flag that asks for cleaning at once.
    pub const CLEAN_NOW: u8 = 20;

    /// The flag with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        let (severity, name) = *FLAGS.get(index)?;
        Some(Self { number, severity, name })
    }

    /// The flags that are set in the page, by number.
    #[must_use]
    pub fn parse(page: &LogPage) -> Vec<Self> {
        let is_set = |number: &u8| page.unsigned((*number).into()).is_some_and(|value| value & 1 == 1);
        (1..=64).filter(is_set).filter_map(Self::from_number).collect()
    }
}

use AlertSeverity::{Critical as C, Information as I, Warning as W};

const RESERVED: (AlertSeverity, &str) = (I, "reserved");

/// SSC-4
const FLAGS: [(AlertSeverity, &str); 64] = [
    (W, "read warning"),
    (W, "write warning"),
    (W, "hard error"),
    (C, "medium"),
    (C, "read failure"),
    (C, "write failure"),
    (W, "medium life"),
    (W, "not data grade"),
    (C, "write protect"),
    (I, "no removal"),
    (I, "cleaning medium"),
    (I, "unsupported format"),
    (C, "recoverable mechanical cartridge failure"),
    (C, "unrecoverable mechanical cartridge failure"),
    (W, "cartridge memory failure"),
    (C, "forced eject"),
    (W, "read only format"),
    (W, "tape directory corrupted on load"),
    (I, "nearing medium life"),
    (C, "cleaning required"),
    (W, "cleaning requested"),
    (C, "expired cleaning medium"),
    (C, "invalid cleaning tape"),
    (W, "retension requested"),
    (W, "multi-port interface error"),
    (W, "cooling fan failure"),
    (W, "power supply failure"),
    (W, "power consumption"),
    (W, "drive preventive maintenance required"),
    (C, "hardware A"),
    (C, "hardware B"),
    (W, "primary interface"),
    (C, "eject medium"),
    (W, "microcode update fail"),
    (W, "drive humidity"),
    (W, "drive temperature"),
    (W, "drive voltage"),
    (C, "predictive failure"),
    (W, "diagnostics required"),
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
    (W, "lost statistics"),
    (W, "tape directory invalid at unload"),
    (C, "tape system area write failure"),
    (C, "tape system area read failure"),
    (C, "no start of data"),
    (C, "loading or threading failure"),
    (C, "unrecoverable unload failure"),
    (C, "automation interface failure"),
    (W, "microcode failure"),
    (W, "WORM medium integrity check failed"),
    (W, "WORM medium overwrite attempted"),
    RESERVED,
    RESERVED,
    RESERVED,
    RESERVED,
];
