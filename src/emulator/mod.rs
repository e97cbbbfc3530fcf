//! An emulated tape library: drives and a changer whose cartridges are files.
//!
//! A library is a directory. Everything it remembers is in files there, locked for each command, so that
//! several processes can use it at once and nothing is lost when one of them is killed:
//!
//! ```text
//! library.json            what the library is made of; never changes
//! changer.state           inventory, initiators, unit attentions
//! drive-0.state ...       loaded cartridge, position, modes, counters, initiators, unit attentions
//! faults.json             faults that are to happen
//! cartridges/NAME.p0.tap  a partition as a SIMH tape image; NAME.p1.tap for a second one
//! cartridges/NAME.json    barcode, memory (MAM), capacity, index of the images
//! ```
//!
//! The emulator reads commands by itself, from the standards: it shares no code with what sends them, so
//! that the two cannot share a mistake.

mod bytes;
mod cartridge;
mod changer;
mod command;
mod counters;
mod drive;
mod error;
mod exchange;
mod fault;
mod generation;
mod iscsi_target;
mod json;
mod library;
mod mode;
mod nexus;
mod operator;
mod place;
mod primary;
mod reservation;
mod sense;
mod shape;
mod state_file;
mod tap;
mod time_model;
mod transport;
mod unit;

pub use cartridge::{CartridgeKind, CartridgeSpec, TornTail};
pub use counters::DriveCounters;
pub use error::EmulatorError;
pub use fault::{Fault, FaultKind};
pub use generation::{Access, Generation, UnknownGeneration};
pub use iscsi_target::{IscsiTarget, RandomBytes, TargetSettings};
pub use library::{DriveStatus, ElementStatus, EmulatedLibrary, LibraryStatus};
pub use operator::CartridgeStatus;
pub use shape::{LibraryShape, TimeMode};
pub use transport::EmulatedTransport;
