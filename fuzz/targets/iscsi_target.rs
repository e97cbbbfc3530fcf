//! Fuzzes `emulator_checks::iscsi_target`.

#![no_main]

#[path = "../emulator_checks.rs"]
#[expect(dead_code, reason = "a target uses one of the checks")]
mod emulator_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| emulator_checks::iscsi_target(data));
