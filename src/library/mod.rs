//! Changers: what is in which element, and how a cartridge gets from one to another.
//!
//! What a changer reports is only ever what it last saw. So every move is checked against a fresh inventory
//! before and by another one after, and what the robot said of the move counts less than what is seen then.
//! Barcodes are bytes from a label: they are compared and shown, and never become a path or part of a
//! command.

mod changer;
mod error;
mod identity;
mod inventory;
mod mapping;
mod moves;

pub use changer::{Changer, settle};
pub use error::LibraryError;
pub use identity::DeviceIdentity;
pub use inventory::{Barcode, Element, Inventory};
pub use mapping::is_same_device;
pub use moves::{Moved, Unload};
