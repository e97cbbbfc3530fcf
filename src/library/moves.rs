//! Moves a cartridge, and makes sure of it.

use std::error::Error;
use std::time::Duration;

use super::changer::Changer;
use super::error::LibraryError;
use super::inventory::{Barcode, Element, Inventory};
use crate::scsi::{CommandError, ElementKind, Meaning};

/// Attempts at a move that a drive or a robot which is not ready yet refuses.
const ATTEMPTS: u32 = 3;
/// Time between two attempts.
const RETRY: Duration = Duration::from_secs(5);

/// A cartridge that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its barcode, if it has one.
    pub barcode: Option<Barcode>,
    /// Address of the element that it was in.
    pub from: u16,
    /// Address of the element that it is in.
    pub to: u16,
    /// Inventory after the move.
    pub inventory: Inventory,
}

/// Lets a drive let go of its cartridge; called before a cartridge is taken out of it, and again if the robot
/// finds it held. An empty drive is no error. A drive that no transport leads to has none.
pub type Unload<'a> = &'a mut dyn FnMut() -> Result<(), Box<dyn Error + Send + Sync>>;

impl Changer {
    /// Moves the cartridge `expected`, or whatever there is, from one element to another one.
    ///
    /// Both are looked at before, so that a cartridge which somebody put elsewhere meanwhile is never taken for
    /// another one, and after, so that only what is seen counts.
    ///
    /// # Errors
    /// [`LibraryError`] if the cartridge is not where it should be, or was not moved.
    pub fn move_cartridge(
        &mut self,
        from: u16,
        to: u16,
        expected: Option<&Barcode>,
        unload: Option<Unload<'_>>,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<Moved, LibraryError> {
        let before = self.inventory(pause)?;
        let source = self.known(&before, from)?;
        let destination = self.known(&before, to)?;
        self.check_before(source, destination, expected)?;
        let barcode = source.barcode.clone();
        let robot = before.of_kind(ElementKind::Transport).next().map_or(0, |robot| robot.address);
        let mut unload = unload.filter(|_| source.kind == ElementKind::DataTransfer);
        let mut attempt = 1;
        loop {
            if let Some(unload) = &mut unload {
                match unload() {
                    Err(source) if attempt == ATTEMPTS => {
                        let device = self.name().to_owned();
                        return Err(LibraryError::Held { device, address: from, source });
                    }
                    Err(error) => log::warn!("{}: unload: {error}", self.name()),
                    Ok(()) => {}
                }
            }
            let moved = self.unit.move_medium(robot, from, to);
            // After an error too: the robot may have arrived all the same.
            let after = self.inventory(pause)?;
            let error = match (has_arrived(&after, from, to, barcode.as_ref()), moved) {
                (Arrival::There, moved) => {
                    if let Err(error) = moved {
                        log::warn!("{}: the cartridge was moved in spite of: {error}", self.name());
                    }
                    return Ok(Moved { barcode, from, to, inventory: after });
                }
                (Arrival::Neither, _) => {
                    return Err(LibraryError::Lost { device: self.name().to_owned(), barcode, from, to });
                }
                (Arrival::Other(found), _) => {
                    return Err(LibraryError::Unexpected {
                        device: self.name().to_owned(),
                        kind: destination.kind,
                        address: to,
                        expected: barcode,
                        found,
                    });
                }
                (Arrival::NotYet, Ok(())) => {
                    return Err(LibraryError::Lost { device: self.name().to_owned(), barcode, from, to });
                }
                (Arrival::NotYet, Err(error)) => error,
            };
            if attempt == ATTEMPTS || !may_pass(&error) {
                let device = self.name().to_owned();
                return Err(LibraryError::NotMoved {
                    device,
                    barcode,
                    from,
                    to,
                    attempts: attempt,
                    source: Box::new(error),
                });
            }
            log::warn!("{}: attempt {attempt} to move from {from} to {to}: {error}", self.name());
            attempt += 1;
            pause(RETRY);
        }
    }

    fn known<'a>(&self, inventory: &'a Inventory, address: u16) -> Result<&'a Element, LibraryError> {
        inventory.element(address).ok_or_else(|| LibraryError::NoElement {
            device: self.name().to_owned(),
            kind: ElementKind::Storage,
            address,
        })
    }

    fn check_before(
        &self,
        source: &Element,
        destination: &Element,
        expected: Option<&Barcode>,
    ) -> Result<(), LibraryError> {
        let device = || self.name().to_owned();
        let (kind, address) = (source.kind, source.address);
        if !source.is_full {
            return Err(LibraryError::Empty { device: device(), kind, address });
        }
        if expected.is_some() && source.barcode.as_ref() != expected {
            let (expected, found) = (expected.cloned(), source.barcode.clone());
            return Err(LibraryError::Unexpected { device: device(), kind, address, expected, found });
        }
        if destination.is_full {
            let (kind, address) = (destination.kind, destination.address);
            let barcode = destination.barcode.clone();
            return Err(LibraryError::Occupied { device: device(), kind, address, barcode });
        }
        // A cartridge held by its drive makes the drive's element out of reach, until it is unloaded.
        let unreachable = [source, destination]
            .into_iter()
            .find(|element| element.kind != ElementKind::DataTransfer && !element.is_accessible);
        match unreachable {
            None => Ok(()),
            Some(Element { kind, address, exception, .. }) => {
                let (kind, address, exception) = (*kind, *address, *exception);
                Err(LibraryError::OutOfReach { device: device(), kind, address, exception })
            }
        }
    }
}

enum Arrival {
    There,
    NotYet,
    Neither,
    Other(Option<Barcode>),
}

fn has_arrived(after: &Inventory, from: u16, to: u16, barcode: Option<&Barcode>) -> Arrival {
    let at = |address| after.element(address).filter(|element| element.is_full);
    match (at(from), at(to)) {
        (_, Some(there)) if there.barcode.as_ref() == barcode => Arrival::There,
        // A drive may hide the label of what it has taken in.
        (None, Some(there)) if there.barcode.is_none() => Arrival::There,
        (_, Some(there)) => Arrival::Other(there.barcode.clone()),
        (Some(_), None) => Arrival::NotYet,
        (None, None) => Arrival::Neither,
    }
}

// tape.md 7, 10: a robot says 4/04/03 or 3B/xx while a drive still holds the cartridge.
fn may_pass(error: &CommandError) -> bool {
    error.meaning().is_some_and(|meaning| {
        meaning.is_unit_attention()
            || matches!(
                meaning,
                Meaning::InterventionRequired
                    | Meaning::BecomingReady
                    | Meaning::NotReady
                    | Meaning::HardwareError
                    | Meaning::Aborted
                    | Meaning::RemovalPrevented
            )
    })
}
