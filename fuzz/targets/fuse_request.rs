//! Fuzzes `wire_checks::fuse_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfs::fuse_request(data));
