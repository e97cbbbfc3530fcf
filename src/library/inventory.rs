//! What a changer reports of its elements.

use std::fmt;

use super::error::LibraryError;
use crate::path;
use crate::scsi::inquiry::Designator;
use crate::scsi::{ElementKind, ElementStatus};

/// Additional sense codes and qualifiers of elements that do not exist: slots and drives that a partition of the library
/// or a missing module leaves as ghosts. Vendors' own; mtx leaves them out too.
const GHOSTS: [(u8, u8); 2] = [(0x83, 0x02), (0x83, 0x04)];

/// A barcode as a changer read it: 1 to 32 bytes that can be anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Barcode(Vec<u8>);

impl Barcode {
    /// Takes the bytes, without the spaces and NULs at their ends; `None` if nothing is left.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let is_fill = |byte: &u8| matches!(byte, b' ' | 0);
        let first = bytes.iter().position(|byte| !is_fill(byte))?;
        let last = bytes.iter().rposition(|byte| !is_fill(byte))?;
        bytes.get(first..=last).map(|bytes| Self(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Shows it with all that is not printable ASCII escaped.
impl fmt::Display for Barcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&path::display(&self.0))
    }
}

/// An element and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Kind.
    pub kind: ElementKind,
    /// Address, unique in the changer.
    pub address: u16,
    /// Holds a cartridge.
    pub is_full: bool,
    /// The cartridge's barcode, if it has one that can be read.
    pub barcode: Option<Barcode>,
    /// The robot can reach it.
    pub is_accessible: bool,
    /// Something is wrong with it: additional sense code and qualifier.
    pub exception: Option<(u8, u8)>,
    /// Address of the slot from which the cartridge came, as the changer remembers it.
    pub source: Option<u16>,
    /// Holds a cleaning cartridge.
    pub is_cleaning: bool,
    /// Mail slot: cartridges can come in here.
    pub can_import: bool,
    /// Mail slot: cartridges can go out here.
    pub can_export: bool,
    /// Drive: how it calls itself.
    pub device: Option<Designator>,
}

impl Element {
    /// Takes what a changer reports; `None` for an element that does not exist.
    pub(super) fn from_status(status: ElementStatus) -> Option<Self> {
        if status.exception.is_some_and(|exception| GHOSTS.contains(&exception)) {
            return None;
        }
        let barcode = status.barcode.as_deref().and_then(Barcode::new);
        // A cleaning cartridge is known by its type or, of older changers, by its barcode alone.
        let is_cleaning = status.medium_type == 2
            || barcode.as_ref().is_some_and(|barcode| barcode.as_bytes().starts_with(b"CLN"));
        Some(Self {
            kind: status.kind,
            address: status.address,
            is_full: status.full,
            // Some changers keep the tag of the cartridge that was there last.
            barcode: barcode.filter(|_| status.full),
            is_accessible: status.accessible,
            exception: status.exception,
            source: status.source,
            is_cleaning: is_cleaning && status.full,
            can_import: status.import_enabled,
            can_export: status.export_enabled,
            device: status.device,
        })
    }
}

/// All elements of a changer at one time, in order of kinds and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Name of the changer.
    pub device: String,
    /// The elements.
    pub elements: Vec<Element>,
}

impl Inventory {
    /// Elements of a kind, in order of addresses; their index in it is the number that people use.
    pub fn of_kind(&self, kind: ElementKind) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |element| element.kind == kind)
    }

    /// The element with this address.
    #[must_use]
    pub fn element(&self, address: u16) -> Option<&Element> {
        self.elements.iter().find(|element| element.address == address)
    }

    /// The `number`th element of a kind, from 0.
    ///
    /// # Errors
    /// [`LibraryError::NoElement`] if there are fewer.
    pub fn nth(&self, kind: ElementKind, number: u16) -> Result<&Element, LibraryError> {
        self.of_kind(kind).nth(number.into()).ok_or_else(|| LibraryError::NoElement {
            device: self.device.clone(),
            kind,
            address: number,
        })
    }

    /// Number of an element among those of its kind, from 0.
    #[must_use]
    pub fn number(&self, element: &Element) -> Option<usize> {
        self.of_kind(element.kind).position(|other| other.address == element.address)
    }

    /// Finds a cartridge.
    ///
    /// # Errors
    /// [`LibraryError`] if no element holds it, or two hold such a one.
    pub fn find(&self, barcode: &Barcode) -> Result<&Element, LibraryError> {
        let mut found = self.elements.iter().filter(|element| element.barcode.as_ref() == Some(barcode));
        let device = self.device.clone();
        let Some(first) = found.next() else {
            return Err(LibraryError::NoCartridge { device, barcode: barcode.clone() });
        };
        match found.next() {
            None => Ok(first),
            Some(second) => Err(LibraryError::Ambiguous {
                device,
                barcode: barcode.clone(),
                first: first.address,
                second: second.address,
            }),
        }
    }

    /// A slot for a cartridge that is to leave a drive: the one it came from, if the changer remembers a free
    /// one, else the first free one.
    ///
    /// # Errors
    /// [`LibraryError::NoFree`] if all are full.
    pub fn home(&self, drive: &Element) -> Result<&Element, LibraryError> {
        let is_free = |element: &&Element| {
            element.kind == ElementKind::Storage
                && !element.is_full
                && element.is_accessible
                && element.exception.is_none()
        };
        let source = drive.source.and_then(|address| self.element(address)).filter(is_free);
        source
            .or_else(|| self.elements.iter().find(is_free))
            .ok_or_else(|| LibraryError::NoFree { device: self.device.clone(), kind: ElementKind::Storage })
    }

    /// A mail slot that is free and lets cartridges out.
    ///
    /// # Errors
    /// [`LibraryError::NoFree`] if there is none.
    pub fn free_mail_slot(&self) -> Result<&Element, LibraryError> {
        let mail_slots = || self.of_kind(ElementKind::ImportExport).filter(|element| !element.is_full);
        // Some changers never set the flag.
        let exporting = mail_slots().find(|element| element.can_export);
        exporting.or_else(|| mail_slots().next()).ok_or_else(|| LibraryError::NoFree {
            device: self.device.clone(),
            kind: ElementKind::ImportExport,
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn element(kind: ElementKind, address: u16, barcode: Option<&[u8]>) -> Element {
        Element {
            kind,
            address,
            is_full: barcode.is_some(),
            barcode: barcode.and_then(Barcode::new),
            is_accessible: true,
            exception: None,
            source: None,
            is_cleaning: false,
            can_import: false,
            can_export: false,
            device: None,
        }
    }

    #[test]
    fn a_barcode_loses_its_fill_and_nothing_else() {
        assert_eq!(Barcode::new(b"  RL0001L8 \0\0").map(|code| code.0), Some(b"RL0001L8".to_vec()));
        assert_eq!(Barcode::new(b" \0 "), None);
        let hostile = Barcode::new(b"../a\n$(reboot)\xff").expect("bytes");
        assert_eq!(hostile.as_bytes(), b"../a\n$(reboot)\xff");
        assert!(!hostile.to_string().contains('\n'));
    }

    #[test]
    fn two_cartridges_of_one_barcode_are_told_and_not_guessed_between() {
        let elements = vec![
            element(ElementKind::Storage, 1, Some(b"A")),
            element(ElementKind::Storage, 2, Some(b"A")),
            element(ElementKind::Storage, 3, Some(b"B")),
        ];
        let inventory = Inventory { device: "ch".to_owned(), elements };
        let find = |code: &[u8]| inventory.find(&Barcode::new(code).expect("not empty"));
        assert!(matches!(find(b"A"), Err(LibraryError::Ambiguous { first: 1, second: 2, .. })));
        assert_eq!(find(b"B").expect("one").address, 3);
        assert!(matches!(find(b"C"), Err(LibraryError::NoCartridge { .. })));
    }

    #[test]
    fn a_cartridge_goes_home_or_to_a_free_slot_if_home_is_taken() {
        let mut drive = element(ElementKind::DataTransfer, 256, Some(b"A"));
        drive.source = Some(2);
        let mut inventory = Inventory {
            device: "ch".to_owned(),
            elements: vec![
                element(ElementKind::Storage, 1, Some(b"B")),
                element(ElementKind::Storage, 2, None),
                element(ElementKind::Storage, 3, None),
                drive.clone(),
            ],
        };
        assert_eq!(inventory.home(&drive).expect("free").address, 2);
        inventory.elements[1].is_full = true;
        assert_eq!(inventory.home(&drive).expect("free").address, 3);
        drive.source = Some(256);
        assert_eq!(inventory.home(&drive).expect("a drive is no slot").address, 3);
        inventory.elements[2].is_full = true;
        assert!(matches!(inventory.home(&drive), Err(LibraryError::NoFree { .. })));
    }
}
