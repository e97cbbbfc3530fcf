//! Archives on tape: generations copied whole onto cartridges, listed, verified, restored.

pub mod archive;
pub mod cartridges;
pub mod catalogue;
pub mod closure;
pub mod compare;
pub mod devices;
pub mod error;
pub mod extents;
pub mod foreign;
pub mod history;
pub mod labelling;
pub mod library;
pub mod lists;
mod open_set;
pub mod plan;
mod port;
pub mod recall;
pub mod reservations;
pub mod restore;
pub mod scan;
pub mod sealed;
pub mod sets;
pub mod source;
pub mod storage;
