//! SCSI, the emulator, drives and what is on tape.
//!
//! Bytes of commands and replies come from the tables of the standards, as cited: `scsi` and `emulator`
//! are both held against them, so that the two cannot share a mistake.

mod archive_format;
mod cartridge;
mod changer;
mod conformance;
mod damage;
mod emulated_faults;
mod emulator_changer;
mod emulator_drive;
mod emulator_faults;
mod emulator_model;
mod emulator_replies;
mod emulator_reservations;
mod emulator_sharing;
mod emulator_support;
mod emulator_target;
mod emulator_time;
mod emulator_zones;
mod faults;
mod gnu_tar;
mod golden;
mod guest;
mod guest_archive;
mod hostile;
mod interrupted;
mod lab;
mod pdu;
mod replies;
#[path = "../../fuzz/scsi_checks.rs"]
mod scsi_checks;
mod sense;
mod streaming;
#[path = "../../fuzz/tape_checks.rs"]
mod tape_checks;
mod target;
