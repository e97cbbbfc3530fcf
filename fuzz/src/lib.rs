//! The parsers of reelfs, compiled from their sources and under the library's name: so fuzzing them
//! needs no RocksDB, whose build takes longer than the fuzzing.

#[path = "../../src/checksum.rs"]
pub mod checksum;
#[path = "../../src/chunk/mod.rs"]
pub mod chunk;
#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/codec.rs"]
pub mod codec;
#[path = "../../src/emulator/mod.rs"]
pub mod emulator;
#[path = "../../src/format/mod.rs"]
pub mod format;
#[path = "../../src/id.rs"]
pub mod id;
pub mod index;
pub mod job;
pub mod live;
#[path = "../../src/path.rs"]
pub mod path;
#[path = "../../src/progress.rs"]
pub mod progress;
pub mod repo;
#[path = "../../src/scsi/mod.rs"]
pub mod scsi;
#[path = "../../src/storage/mod.rs"]
pub mod storage;
pub mod tape;
// Of the daemon: the protocol of /dev/fuse.
#[allow(dead_code, reason = "of the daemon only the protocol is here, and nobody who speaks it")]
#[path = "../../mountd/src/wire/mod.rs"]
mod wire;
#[path = "../wire_checks.rs"]
mod wire_checks;

/// What must hold for a message on /dev/fuse.
pub fn fuse_request(message: &[u8]) {
    wire_checks::fuse_request(message);
}
