//! Staging: any change to a tree that stands on a generation, over epochs, commits, reopening and kills,
//! against a model of a POSIX tree.

mod cases;
mod claims;
mod commit;
mod contents;
mod costs;
mod driver;
mod hard;
mod layers;
mod leftovers;
mod listing;
mod model;
mod names;
mod paths;
mod seeds;
mod source;
mod support;
