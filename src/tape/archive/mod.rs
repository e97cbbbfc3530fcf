//! What is on a cartridge, as pure functions between bytes and values.
//!
//! `reelfs-tape(5)` describes it for people: an 80-byte label, then one POSIX pax archive per tape
//! file, in blocks of 512 KiB. Nothing here knows a drive, a clock or a file.

mod attributes;
mod description;
mod entry;
mod foreign;
mod index;
mod label;
mod parser;
mod part;
mod pax;
mod recognise;
mod sparse;
mod ustar;

use thiserror::Error;

pub use attributes::{Coherency, host_attributes};
pub use description::{DescriptionFile, VolumeDescription, description_files};
pub(in crate::tape) use description::{VOLUME_JSON_LEN_MAX, VOLUME_JSON_NAME};
pub use entry::{NewEntry, archive_end, entry_len};
pub use foreign::{BlockRun, ForeignDescription, ForeignFile, ForeignState};
pub use index::{IndexDecoder, IndexHeader, IndexKind, IndexLine, Lacking, SegmentEntry, encode_index};
pub(in crate::tape) use index::{IndexEncoder, checksums_of, is_valid_object_name, segment_file_name};
pub use label::{LABEL_LEN, VolumeLabel, is_valid_barcode};
pub use parser::{Entry, EntryKind, Parser, Step, parse_time};
pub use part::{BlockAddress, PartHeader, PartKind};
pub use pax::{Keyword, decode_records, encode_record};
pub use recognise::{Recognised, recognise};
pub use sparse::Sparse;
pub use ustar::{Header, decode_header};

/// Version of the layout that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Length of every block of a part in bytes: the largest that all host adapters are known to pass.
pub const BLOCK_LEN: usize = 512 * 1024;

/// Length of a record of a tar archive in bytes (POSIX.1-2017, pax, "ustar Interchange Format").
pub const RECORD_LEN: usize = 512;

/// Longest segment of an object in bytes; a segment is one entry of an archive and never spans cartridges.
pub const SEGMENT_LEN_MAX: u64 = 1 << 30;

/// Most segments on one cartridge; one that has them is full.
pub const SEGMENT_COUNT_MAX: u64 = 1 << 20;

/// Longest name of an object in bytes.
pub const NAME_LEN_MAX: usize = 1024;

/// Name of the entry that ends every data part.
pub const MANIFEST_NAME: &str = "MANIFEST";

/// Name of the entry before it: checksums of the segments, as `b3sum --check` takes them.
pub const CHECKSUMS_NAME: &str = "B3SUMS";

/// Name of the entry of a closing index that tells that the set goes on with another cartridge.
pub const NEXT_VOLUME_NAME: &str = "NEXT-VOLUME";

/// Why bytes of a cartridge are not what the format says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A header of a tar archive does not have its own sum.
    #[error("tar header at byte {offset} has checksum {stored}, computed {computed}")]
    Checksum {
        /// Offset from the start of the archive.
        offset: u64,
        /// Sum in the header.
        stored: u64,
        /// Sum of its bytes.
        computed: u64,
    },
    /// A field does not hold what it must.
    #[error("{structure} at byte {offset}: {field} is '{found}', expected {expected}")]
    Field {
        /// What holds the field.
        structure: &'static str,
        /// Offset of the structure from the start of the archive or block.
        offset: u64,
        /// Name of the field.
        field: &'static str,
        /// What must stand there.
        expected: &'static str,
        /// What stands there, escaped and cut to 64 characters.
        found: String,
    },
    /// Something is longer than the format or this program allows.
    #[error("{structure} at byte {offset} has {len} bytes, at most {len_max} are allowed")]
    Length {
        /// What is too long.
        structure: &'static str,
        /// Offset from the start of the archive.
        offset: u64,
        /// Length found.
        len: u64,
        /// Longest length allowed.
        len_max: u64,
    },
    /// The bytes end in the middle.
    #[error("{structure} ends at byte {offset}, in the middle")]
    Cut {
        /// What is cut.
        structure: &'static str,
        /// Offset of the end.
        offset: u64,
    },
    /// It was written by a later version.
    #[error("{structure} has format version {found}, this program reads version {expected}")]
    Version {
        /// What carries the version.
        structure: &'static str,
        /// Version found.
        found: u32,
        /// Version that can be read.
        expected: u32,
    },
    /// A line of an index is no such line.
    #[error("{structure}, line {line}: {reason}")]
    Line {
        /// What holds the line.
        structure: &'static str,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The contents do not have the fingerprint that is written with them.
    #[error("{structure} has BLAKE3 {computed}, expected {stored}")]
    Fingerprint {
        /// What is damaged.
        structure: &'static str,
        /// Fingerprint written.
        stored: String,
        /// Fingerprint computed.
        computed: String,
    },
}

// Shows what was found in a message, and no more than fits into one.
fn shown(bytes: &[u8]) -> String {
    crate::path::display(bytes.get(..64).unwrap_or(bytes))
}

/// Rounds up to whole records.
fn padded_len(len: u64) -> u64 {
    len.div_ceil(RECORD_LEN as u64).saturating_mul(RECORD_LEN as u64)
}
