//! Cutting data into chunks, and compressing frames.

pub mod compress;
pub mod split;
