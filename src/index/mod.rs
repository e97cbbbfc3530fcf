//! The index: what can be found quickly, and made again from sealed files at any time.

mod chunk_row;
mod rocks;
mod scratch;
pub mod staging;
mod tables;
mod trust;

pub use rocks::{Index, IndexBatch, IndexError, RfeKey, RfeRecord};
pub use scratch::{Scratch, ScratchRow};
pub use trust::UntrustedError;
