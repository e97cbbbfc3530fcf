//! Of live trees, the patterns that leave something out.

#[path = "../../src/live/exclude.rs"]
mod exclude;

pub use exclude::{ExcludeError, Exclusions};
