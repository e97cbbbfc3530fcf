//! Fuzzes `scsi_checks::log_pages`.

#![no_main]

#[path = "../scsi_checks.rs"]
#[expect(dead_code, reason = "a target uses one of the checks")]
mod scsi_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| scsi_checks::log_pages(data));
