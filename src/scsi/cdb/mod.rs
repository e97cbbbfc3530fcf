//! Command descriptor blocks, as pure functions from parameters to bytes.
//!
//! Multi-byte fields are big-endian. The last byte, CONTROL, is zero throughout.

pub mod smc;
pub mod spc;
pub mod ssc;
