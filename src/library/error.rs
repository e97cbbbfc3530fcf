//! Why a changer did not do what it should.

use thiserror::Error;

use super::inventory::Barcode;
use crate::scsi::{CommandError, ElementKind};

/// Why an operation on a changer failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// A command was not done.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It does not become ready.
    #[error("{device} is not ready after {waited_s} s")]
    NotReady {
        /// Name of the changer.
        device: String,
        /// How long was waited, in seconds.
        waited_s: u64,
        /// What it says.
        source: Box<CommandError>,
    },
    /// The logical unit is no changer.
    #[error("{device} is no changer")]
    NoChanger {
        /// Name of the device.
        device: String,
    },
    /// There is no such element.
    #[error("{device} has no {} {address}", kind_name(*kind))]
    NoElement {
        /// Name of the changer.
        device: String,
        /// Kind asked for.
        kind: ElementKind,
        /// Address asked for.
        address: u16,
    },
    /// The element to move from holds nothing.
    #[error("{} {address} of {device} is empty", kind_name(*kind))]
    Empty {
        /// Name of the changer.
        device: String,
        /// Kind of the element.
        kind: ElementKind,
        /// Its address.
        address: u16,
    },
    /// The element to move to holds something.
    #[error("{} {address} of {device} holds {}", kind_name(*kind), shown(barcode.as_ref()))]
    Occupied {
        /// Name of the changer.
        device: String,
        /// Kind of the element.
        kind: ElementKind,
        /// Its address.
        address: u16,
        /// What it holds.
        barcode: Option<Barcode>,
    },
    /// The element holds another cartridge than the one that was expected there.
    #[error(
        "{} {address} of {device} holds {}, expected {}",
        kind_name(*kind), shown(found.as_ref()), shown(expected.as_ref())
    )]
    Unexpected {
        /// Name of the changer.
        device: String,
        /// Kind of the element.
        kind: ElementKind,
        /// Its address.
        address: u16,
        /// Expected cartridge; none if it has no barcode.
        expected: Option<Barcode>,
        /// Cartridge found.
        found: Option<Barcode>,
    },
    /// The robot cannot reach the element, or says that something is wrong with it.
    #[error("{} {address} of {device} cannot be reached{}", kind_name(*kind), exception_text(*exception))]
    OutOfReach {
        /// Name of the changer.
        device: String,
        /// Kind of the element.
        kind: ElementKind,
        /// Its address.
        address: u16,
        /// Additional sense code and qualifier, if it gives some.
        exception: Option<(u8, u8)>,
    },
    /// The cartridge is where it was, after all attempts.
    #[error("{device} did not move {} from element {from} to element {to} in {attempts} attempts", shown(barcode.as_ref()))]
    NotMoved {
        /// Name of the changer.
        device: String,
        /// The cartridge.
        barcode: Option<Barcode>,
        /// Address of the element that it is in.
        from: u16,
        /// Address of the element that it should be in.
        to: u16,
        /// Number of attempts.
        attempts: u32,
        /// What the last attempt came to.
        source: Box<CommandError>,
    },
    /// The drive does not let go of its cartridge.
    #[error("the drive in element {address} of {device} does not unload")]
    Held {
        /// Name of the changer.
        device: String,
        /// Address of the drive's element.
        address: u16,
        /// What the drive says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// After a move the cartridge is in neither element.
    #[error("{} is neither in element {from} nor in element {to} of {device} after the move", shown(barcode.as_ref()))]
    Lost {
        /// Name of the changer.
        device: String,
        /// The cartridge.
        barcode: Option<Barcode>,
        /// Address of the element that it was in.
        from: u16,
        /// Address of the element that it should be in.
        to: u16,
    },
    /// All elements of a kind are in use.
    #[error("{device} has no free {}", kind_name(*kind))]
    NoFree {
        /// Name of the changer.
        device: String,
        /// Kind of the elements.
        kind: ElementKind,
    },
    /// No element holds the cartridge.
    #[error("{device} has no cartridge {barcode}")]
    NoCartridge {
        /// Name of the changer.
        device: String,
        /// The cartridge.
        barcode: Barcode,
    },
    /// Two cartridges have the same barcode.
    #[error("{device} has two cartridges {barcode}, in elements {first} and {second}")]
    Ambiguous {
        /// Name of the changer.
        device: String,
        /// Their barcode.
        barcode: Barcode,
        /// Address of the one.
        first: u16,
        /// Address of the other.
        second: u16,
    },
}

/// What people call an element of this kind.
#[must_use]
pub(super) fn kind_name(kind: ElementKind) -> &'static str {
    match kind {
        ElementKind::Transport => "robot",
        ElementKind::Storage => "slot",
        ElementKind::ImportExport => "mail slot",
        ElementKind::DataTransfer => "drive",
    }
}

fn shown(barcode: Option<&Barcode>) -> String {
    barcode
        .map_or_else(|| "a cartridge without a barcode".to_owned(), |barcode| format!("cartridge {barcode}"))
}

fn exception_text(exception: Option<(u8, u8)>) -> String {
    exception.map_or_else(String::new, |(code, qualifier)| format!(": exception {code:02X}/{qualifier:02X}"))
}
