//! The parsers of reelfs, compiled from their sources and under the library's name: so fuzzing them
//! needs no RocksDB, whose build takes longer than the fuzzing.

#[path = "../../src/checksum.rs"]
pub mod checksum;
#[path = "../../src/chunk/mod.rs"]
pub mod chunk;
#[path = "../../src/codec.rs"]
pub mod codec;
#[path = "../../src/format/mod.rs"]
pub mod format;
#[path = "../../src/id.rs"]
pub mod id;
#[path = "../../src/path.rs"]
pub mod path;
#[path = "../../src/scsi/mod.rs"]
pub mod scsi;
