//! What a drive has counted.

use serde::{Deserialize, Serialize};

/// Counters of a drive since the library was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DriveCounters {
    /// Commands.
    pub command_count: u64,
    /// Cartridges loaded.
    pub load_count: u64,
    /// Blocks written.
    pub blocks_written: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Filemarks written.
    pub filemarks_written: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// LOCATE and SPACE commands that moved the tape.
    pub locate_count: u64,
    /// REWIND commands, and loads and unloads that rewound.
    pub rewind_count: u64,
    /// Times the tape stopped and went back because no data came, or had no room in the host.
    pub back_hitch_count: u64,
    /// Tape that has passed the head, in millimetres.
    pub tape_moved_mm: u64,
    /// Times the buffer was written out for WRITE FILEMARKS with IMMED=0 or a motion.
    pub synchronize_count: u64,
    /// Time spent moving data, in nanoseconds of the model.
    pub streaming_ns: u64,
    /// Time spent on loads, unloads, locates, rewinds and back-hitches, in nanoseconds of the model.
    pub motion_ns: u64,
    /// Faults that have struck.
    pub fault_count: u64,
}
