//! What a drive counted about the cartridge in it.

use super::{LogPage, LogParameter};
use crate::scsi::fields::{Fields, text, unsigned};

/// Most partitions that a parameter tells of.
const PARTITIONS_MAX: usize = 64;

/// A figure of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionFigure {
    /// Partition.
    pub partition: u16,
    /// Value; `None` if the drive does not know: of the used capacity that means that the end of data was
    /// not found.
    pub value: Option<u64>,
}

/// Volume statistics: page 17h (SSC-4). Figures that the drive does not give are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeStatistics {
    /// The page tells of the cartridge that is loaded.
    pub is_valid: bool,
    /// How often the tape was threaded.
    pub thread_count: Option<u64>,
    /// Data sets written.
    pub data_sets_written: Option<u64>,
    /// Writes that were repeated.
    pub write_retries: Option<u64>,
    /// Writes that failed.
    pub unrecovered_write_errors: Option<u64>,
    /// Reads that were repeated.
    pub read_retries: Option<u64>,
    /// Reads that failed.
    pub unrecovered_read_errors: Option<u64>,
    /// Written since it was loaded, in units of 10^6 bytes.
    pub mount_written_mb: Option<u64>,
    /// Read since it was loaded, in units of 10^6 bytes.
    pub mount_read_mb: Option<u64>,
    /// Written ever, in units of 10^6 bytes.
    pub lifetime_written_mb: Option<u64>,
    /// Read ever, in units of 10^6 bytes.
    pub lifetime_read_mb: Option<u64>,
    /// Serial number.
    pub serial: Option<String>,
    /// Barcode.
    pub barcode: Option<String>,
    /// Protected from writing.
    pub write_protected: Option<bool>,
    /// Can be written once.
    pub worm: Option<bool>,
    /// Capacity of each partition, in units of 10^6 bytes.
    pub capacity_mb: Vec<PartitionFigure>,
    /// Used capacity of each partition, in units of 10^6 bytes.
    pub used_mb: Vec<PartitionFigure>,
    /// Remaining capacity of each partition up to early warning, in units of 10^6 bytes.
    pub remaining_mb: Vec<PartitionFigure>,
}

impl VolumeStatistics {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x17, 0x00);

    /// Decodes the page.
    #[must_use]
    pub fn parse(page: &LogPage) -> Self {
        let number = |code| page.unsigned(code);
        let flag = |code| page.unsigned(code).map(|value| value & 1 == 1);
        let string = |code| page.parameter(code).map(|parameter| text(&parameter.value));
        let partitions = |code| page.parameter(code).map(partition_figures).unwrap_or_default();
        Self {
            is_valid: flag(0x0000).unwrap_or(false),
            thread_count: number(0x0001),
            data_sets_written: number(0x0002),
            write_retries: number(0x0003),
            unrecovered_write_errors: number(0x0004),
            read_retries: number(0x0008),
            unrecovered_read_errors: number(0x0009),
            mount_written_mb: number(0x000e),
            mount_read_mb: number(0x000f),
            lifetime_written_mb: number(0x0010),
            lifetime_read_mb: number(0x0011),
            serial: string(0x0040),
            barcode: string(0x0042),
            write_protected: flag(0x0080),
            worm: flag(0x0081),
            capacity_mb: partitions(0x0202),
            used_mb: partitions(0x0203),
            remaining_mb: partitions(0x0204),
        }
    }
}

// SSC-4: a record is the count of bytes behind this one, a reserved one, the partition, the value.
fn partition_figures(parameter: &LogParameter) -> Vec<PartitionFigure> {
    let mut rest = parameter.value.as_slice();
    let mut figures = Vec::new();
    while let [after, ..] = *rest {
        let (record, next) = rest.split_at(rest.len().min(1 + usize::from(after)));
        let fields = Fields::new("volume statistics partition record", record);
        let (Ok(partition), Some(value)) = (fields.u16(2), unsigned(fields.rest(4))) else {
            break;
        };
        if figures.len() == PARTITIONS_MAX {
            break;
        }
        let is_unknown = fields.rest(4).iter().all(|byte| *byte == 0xff);
        figures.push(PartitionFigure { partition, value: if is_unknown { None } else { Some(value) } });
        rest = next;
    }
    figures
}

/// Capacity of the cartridge in older drives: page 31h (LTO-4 and LTO-5), in units of 2^20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapeCapacity {
    /// Remaining in partition 0.
    pub remaining_mib: Option<u64>,
    /// Remaining in partition 1.
    pub alternate_remaining_mib: Option<u64>,
    /// Capacity of partition 0.
    pub maximum_mib: Option<u64>,
    /// Capacity of partition 1.
    pub alternate_maximum_mib: Option<u64>,
}

impl TapeCapacity {
    /// Page and subpage code.
    pub const CODE: (u8, u8) = (0x31, 0x00);

    /// Decodes the page.
    #[must_use]
    pub fn parse(page: &LogPage) -> Self {
        Self {
            remaining_mib: page.unsigned(0x0001),
            alternate_remaining_mib: page.unsigned(0x0002),
            maximum_mib: page.unsigned(0x0003),
            alternate_maximum_mib: page.unsigned(0x0004),
        }
    }
}
