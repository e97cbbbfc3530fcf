//! The repository as a whole: commits that are cut off, trees of pages against a model, damage found
//! and lived with, and trees that come back as they were.

#![cfg(test)]

mod commit_cost;
mod commit_faults;
mod damage;
mod round_trip;
mod splice;
mod support;
mod tree_model;
