//! The pure half of tape: what is on a cartridge.

#[path = "../../src/tape/archive/mod.rs"]
pub mod archive;
