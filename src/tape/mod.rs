//! Tape: the session with a drive, what is on a cartridge, writing and reading it.
//!
//! ```text
//! writer  reader     a cartridge of ours: label, append, commit; find the index, read, scan, verify
//! drive              blocks, filemarks, positions; what sense data means is decided here
//! archive            bytes of a cartridge, pure
//! ```

pub mod archive;
pub mod drive;
mod error;
mod object;
pub mod reader;
pub mod writer;

pub use error::TapeError;
pub use object::{Object, ObjectSource, Objects};
