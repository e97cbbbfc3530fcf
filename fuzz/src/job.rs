//! Of the operations, what others may ask for.

#[path = "control.rs"]
pub mod control;
