//! The repository as a whole: formats on disk, commits that are cut off, trees of pages against a model,
//! damage found and lived with, and trees that come back as they were.

#![cfg(test)]

#[path = "../shared/chain.rs"]
mod chain;
#[path = "../../fuzz/checks.rs"]
mod checks;
mod clock;
mod commit_cost;
mod commit_faults;
mod committing;
mod damage;
mod format;
mod hostile_tree;
mod missing;
mod planted;
mod reader;
mod regressions;
#[path = "../../fuzz/repository_checks.rs"]
mod repository_checks;
mod round_trip;
mod sample;
mod splice;
mod staging;
mod support;
mod tree_model;
mod untrusted;
mod whole_files;
