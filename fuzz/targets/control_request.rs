//! Fuzzes `checks::control_request`.

#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "a target uses one of the checks")]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::control_request(data));
