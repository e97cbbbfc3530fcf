//! The index: what can be found quickly, and made again from sealed files at any time.

mod rocks;
pub mod staging;
mod trust;

pub use rocks::{Index, IndexBatch, IndexError, RfeKey, RfeRecord};
pub use trust::UntrustedError;
