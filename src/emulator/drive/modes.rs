//! Mode parameters of a drive (SSC-4, section 8.5; SPC-4, section 7.5).

use serde::{Deserialize, Serialize};

/// Mode parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct Modes {
    /// Length of fixed blocks in bytes; 0 for variable blocks.
    pub(in crate::emulator) block_len: u32,
    /// Buffered mode, 0 to 2.
    pub(in crate::emulator) buffered: u8,
    /// Programmable early warning size in MB (10^6 bytes).
    pub(in crate::emulator) early_warning_mb: u16,
    pub(in crate::emulator) append_only: bool,
    pub(in crate::emulator) compression: bool,
    /// Logical block protection: method, and whether it holds for writes and reads.
    pub(in crate::emulator) protection_method: u8,
    pub(in crate::emulator) protects_writes: bool,
    pub(in crate::emulator) protects_reads: bool,
    /// Additional partitions that FORMAT MEDIUM makes, and the size of each in units of 10^6 bytes.
    pub(in crate::emulator) partitions: u8,
    pub(in crate::emulator) partition_mb: [u64; 2],
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            block_len: 0,
            buffered: 1,
            early_warning_mb: 0,
            append_only: false,
            compression: true,
            protection_method: 0,
            protects_writes: false,
            protects_reads: false,
            partitions: 0,
            partition_mb: [0; 2],
        }
    }
}
