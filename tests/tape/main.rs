//! SCSI, the emulator, drives and what is on tape.
//!
//! Bytes of commands and replies come from the tables of the standards, as cited: `scsi` and `emulator`
//! are both held against them, so that the two cannot share a mistake.

mod conformance;
mod golden;
mod hostile;
mod replies;
#[path = "../../fuzz/scsi_checks.rs"]
mod scsi_checks;
mod sense;
