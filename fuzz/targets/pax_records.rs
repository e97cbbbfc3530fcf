//! Fuzzes `tape_checks::pax_records`.

#![no_main]

#[path = "../tape_checks.rs"]
#[expect(dead_code, reason = "a target uses one of the checks")]
mod tape_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tape_checks::pax_records(data));
