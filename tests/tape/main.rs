//! SCSI, the emulator, drives and what is on tape.
//!
//! Bytes of commands and replies come from the tables of the standards, as cited: `scsi` and `emulator`
//! are both held against them, so that the two cannot share a mistake.

mod cartridge;
mod conformance;
mod damage;
mod emulator_drive;
mod emulator_support;
mod faults;
mod gnu_tar;
mod golden;
mod hostile;
mod interrupted;
mod lab;
mod replies;
#[path = "../../fuzz/scsi_checks.rs"]
mod scsi_checks;
mod sense;
