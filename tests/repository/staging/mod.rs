//! Staging: any change to a tree that stands on a generation, over epochs, commits, reopening and kills,
//! against a model of a POSIX tree.

mod cases;
mod commit;
mod driver;
mod model;
mod seeds;
mod support;
