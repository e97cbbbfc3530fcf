//! The mount daemon.
fn main() {}
