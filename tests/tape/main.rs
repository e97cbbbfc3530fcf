//! SCSI, the emulator, drives and what is on tape.
//!
//! Bytes of commands and replies come from the tables of the standards, as cited: `scsi` and `emulator`
//! are both held against them, so that the two cannot share a mistake.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::cast_possible_truncation, reason = "bytes of random numbers")]

mod archive_format;
mod cartridge;
mod changer;
mod conformance;
mod damage;
mod emulated_faults;
mod emulator_changer;
#[path = "../../fuzz/emulator_checks.rs"]
mod emulator_checks;
mod emulator_drive;
mod emulator_faults;
mod emulator_hostile;
mod emulator_model;
mod emulator_replies;
mod emulator_reservations;
mod emulator_sharing;
mod emulator_support;
mod emulator_target;
mod emulator_time;
mod emulator_wire;
mod emulator_zones;
mod faults;
mod gnu_tar;
mod golden;
mod guest;
mod hostile;
mod interrupted;
mod lab;
mod long_blocks;
mod pdu;
#[path = "../shared/random.rs"]
mod random;
mod recovery;
mod replies;
mod reservations;
#[path = "../../fuzz/scsi_checks.rs"]
mod scsi_checks;
mod sense;
mod streaming;
#[path = "../../fuzz/tape_checks.rs"]
mod tape_checks;
mod target;
