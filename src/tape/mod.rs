//! Tape: the session with a drive, what is on a cartridge, writing and reading it.

pub mod archive;
