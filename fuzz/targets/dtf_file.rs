//! Fuzzes `repository_checks::dtf_file`.

#![no_main]

#[path = "../repository_checks.rs"]
#[expect(dead_code, reason = "a target uses one of the checks")]
mod repository_checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| repository_checks::dtf_file(data));
