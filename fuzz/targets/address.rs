//! Fuzzes `checks::address`.

#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "a target uses one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::address(data));
