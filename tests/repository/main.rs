//! Tests of the library as a whole: formats on disk, and repositories.

#[path = "../../fuzz/checks.rs"]
mod checks;
mod format;
mod reader;
mod sample;
