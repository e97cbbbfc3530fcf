//! The protocol of /dev/fuse, version 7.45, as far as a writable file system needs it.
//!
//! ```text
//! opcode     numbers and flags of the protocol
//! fields     reads the fields of a message
//! request    one message of the kernel, decoded
//! answer     what is said to it
//! init       what is agreed on at the beginning
//! channel    the descriptor: receives, answers, notifies
//! ```
//!
//! fuser, which the read-only tree uses, knows no unnamed files, hides that a request was sent again after a
//! server died, and drops the flags by which the kernel asks for set-id bits to be cleared.

pub(crate) mod answer;
pub(crate) mod channel;
#[cfg(test)]
#[path = "../../../fuzz/wire_checks.rs"]
mod checks;
mod fields;
pub(crate) mod init;
pub(crate) mod opcode;
pub(crate) mod request;
