//! A changer: opening it and taking inventory.

use std::time::Duration;

use super::error::LibraryError;
use super::identity::DeviceIdentity;
use super::inventory::{Element, Inventory};
use crate::scsi::cdb::smc::ElementRequest;
use crate::scsi::mode::ElementAddressAssignment;
use crate::scsi::{CommandError, ElementKind, ElementReport, LogicalUnit, Meaning, SenseKey};

/// Longest time that a changer takes to look at all its elements after its door was open.
const SETTLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Time between two questions whether it is ready.
const POLL: Duration = Duration::from_secs(1);
/// Times that an inventory begins again because something happened meanwhile.
const INVENTORY_ATTEMPTS: u32 = 5;
/// Bytes that a descriptor takes: the fixed part, a volume tag, an identifier of 32 bytes, and room.
const DESCRIPTOR_LEN: usize = 128;

/// Waits until a device is ready; what it tells of earlier events is taken note of and dropped.
///
/// `pause` lets time pass, for `wait_max` at most.
///
/// # Errors
/// [`LibraryError::NotReady`] if it does not become ready, [`LibraryError::Command`] if it cannot.
pub fn settle(
    unit: &mut LogicalUnit,
    wait_max: Duration,
    pause: &mut dyn FnMut(Duration),
) -> Result<(), LibraryError> {
    let mut waited = Duration::ZERO;
    loop {
        for sense in unit.clear_unit_attentions()? {
            log::info!("{}: {sense}", unit.name());
        }
        let error = match unit.test_unit_ready() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.meaning() {
            Some(meaning) if meaning.is_unit_attention() => {}
            // An open door ends when somebody closes it.
            Some(Meaning::BecomingReady | Meaning::InterventionRequired | Meaning::NotReady)
                if waited < wait_max =>
            {
                log::debug!("{}: waiting: {error}", unit.name());
            }
            Some(Meaning::BecomingReady | Meaning::InterventionRequired | Meaning::NotReady) => {
                let device = unit.name().to_owned();
                return Err(LibraryError::NotReady {
                    device,
                    waited_s: waited.as_secs(),
                    source: Box::new(error),
                });
            }
            _ => return Err(error.into()),
        }
        pause(POLL);
        waited += POLL;
        if waited > wait_max + POLL {
            let device = unit.name().to_owned();
            return Err(LibraryError::NotReady {
                device,
                waited_s: waited.as_secs(),
                source: Box::new(error),
            });
        }
    }
}

/// How much a changer is asked for each element: some refuse the one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Detail {
    volume_tags: bool,
    device_identifiers: bool,
}

const DETAILS: [Detail; 3] = [
    Detail { volume_tags: true, device_identifiers: true },
    Detail { volume_tags: true, device_identifiers: false },
    Detail { volume_tags: false, device_identifiers: false },
];

/// A changer.
#[derive(Debug)]
pub struct Changer {
    pub(super) unit: LogicalUnit,
    identity: DeviceIdentity,
    // First address and count of each kind; `None` if the changer does not say.
    ranges: Option<ElementAddressAssignment>,
    // Details that drives and slots were last read with.
    details: [usize; 2],
}

impl Changer {
    /// Takes a changer and waits until it is ready.
    ///
    /// # Errors
    /// [`LibraryError`] if it is none, or does not become ready.
    pub fn open(mut unit: LogicalUnit, pause: &mut dyn FnMut(Duration)) -> Result<Self, LibraryError> {
        let identity = DeviceIdentity::read(&mut unit)?;
        if !identity.is_changer() {
            return Err(LibraryError::NoChanger { device: unit.name().to_owned() });
        }
        settle(&mut unit, SETTLE_MAX, pause)?;
        let ranges = match unit.mode_page(ElementAddressAssignment::CODE) {
            Ok(Some((_, parameters))) => {
                let (page, subpage) = ElementAddressAssignment::CODE;
                parameters.page(page, subpage).and_then(|page| ElementAddressAssignment::parse(page).ok())
            }
            Ok(None) => None,
            Err(error @ CommandError::Transport { .. }) => return Err(error.into()),
            Err(error) => {
                log::info!("{}: element addresses are not known: {error}", unit.name());
                None
            }
        };
        Ok(Self { unit, identity, ranges, details: [0; 2] })
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// Name of the device for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.unit.name()
    }

    /// Lets the changer look at every element, which can take minutes.
    ///
    /// # Errors
    /// [`LibraryError`] if it does not.
    pub fn initialize(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<(), LibraryError> {
        settle(&mut self.unit, SETTLE_MAX, pause)?;
        self.unit.initialize_element_status()?;
        settle(&mut self.unit, SETTLE_MAX, pause)
    }

    /// Locks or unlocks the mail slots and the door.
    ///
    /// # Errors
    /// [`LibraryError`] if the changer refuses; one that knows no locks is left as it is.
    pub fn prevent_removal(&mut self, prevent: bool) -> Result<(), LibraryError> {
        match self.unit.prevent_medium_removal(prevent) {
            Err(error) if !error.is_unsupported() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Asks what is in every element. Nothing moves.
    ///
    /// # Errors
    /// [`LibraryError`] if the changer does not say.
    pub fn inventory(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Inventory, LibraryError> {
        let mut attempt = 1;
        loop {
            settle(&mut self.unit, SETTLE_MAX, pause)?;
            match self.read_all() {
                Ok(elements) => return Ok(Inventory { device: self.unit.name().to_owned(), elements }),
                // Somebody opened the door between two of our questions: what was read is of no use.
                Err(error)
                    if attempt < INVENTORY_ATTEMPTS
                        && error.meaning().is_some_and(|meaning| {
                            meaning.is_unit_attention() || meaning == Meaning::BecomingReady
                        }) =>
                {
                    log::info!("{}: inventory begins again: {error}", self.unit.name());
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_all(&mut self) -> Result<Vec<Element>, CommandError> {
        let mut elements = Vec::new();
        let kinds = [
            ElementKind::Transport,
            ElementKind::Storage,
            ElementKind::ImportExport,
            ElementKind::DataTransfer,
        ];
        for kind in kinds {
            let mut of_kind = self.read_kind(kind)?;
            of_kind.sort_by_key(|element| element.address);
            of_kind.dedup_by_key(|element| element.address);
            elements.extend(of_kind);
        }
        Ok(elements)
    }

    fn range(&self, kind: ElementKind) -> (u16, u16) {
        let range = self.ranges.map(|ranges| match kind {
            ElementKind::Transport => ranges.transports,
            ElementKind::Storage => ranges.storage,
            ElementKind::ImportExport => ranges.import_export,
            ElementKind::DataTransfer => ranges.data_transfer,
        });
        range.map_or((0, u16::MAX), |range| (range.first, range.count))
    }

    // One kind in each request, never all at once: devices mix the pages up.
    fn read_kind(&mut self, kind: ElementKind) -> Result<Vec<Element>, CommandError> {
        let (first, count) = self.range(kind);
        let mut found = Vec::new();
        if count == 0 {
            return Ok(found);
        }
        let end = u32::from(first) + u32::from(count);
        let mut next = u32::from(first);
        while next < end {
            let report = match self.read_some(kind, next, end - next) {
                Ok(report) => report,
                // Asked beyond the last one.
                Err(error) if !found.is_empty() && error.meaning() == Some(Meaning::InvalidElement) => break,
                // A changer that does not say how many it has of a kind may have none.
                Err(error) if self.ranges.is_none() && error.sense().is_some() => break,
                Err(error) => return Err(error),
            };
            let in_range = |address: u16| (next..end).contains(&u32::from(address));
            let of_kind =
                report.elements.into_iter().filter(|status| status.kind == kind && in_range(status.address));
            let mut last = None;
            for status in of_kind {
                last = last.max(Some(u32::from(status.address)));
                found.extend(Element::from_status(status));
            }
            // A reply that brings nothing new is the last one.
            let Some(last) = last else { break };
            next = last + 1;
        }
        Ok(found)
    }

    fn read_some(
        &mut self,
        kind: ElementKind,
        first: u32,
        count: u32,
    ) -> Result<ElementReport, CommandError> {
        let is_drive = kind == ElementKind::DataTransfer;
        let narrow = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let mut index = self.details.get(usize::from(is_drive)).copied().unwrap_or_default();
        loop {
            let detail = DETAILS.get(index).copied().unwrap_or(DETAILS[2]);
            let request = ElementRequest {
                kind,
                first: narrow(first),
                count: narrow(count),
                volume_tags: detail.volume_tags,
                device_identifiers: detail.device_identifiers && is_drive,
                current_data: false,
            };
            let error = match self.unit.read_element_status(&request, report_len(count)) {
                Ok(report) => {
                    if let Some(known) = self.details.get_mut(usize::from(is_drive)) {
                        *known = index;
                    }
                    return Ok(report);
                }
                Err(error) => error,
            };
            if is_about_length(&error) {
                // Some changers take no allocation length but the exact one, which the header tells.
                if let Ok(report) = self.unit.read_element_status(&request, ElementReport::HEADER_LEN) {
                    return Ok(report);
                }
            }
            // Asked for less: some know no volume tags, or no identifiers of drives.
            index += if index == 0 && !is_drive { 2 } else { 1 };
            if index >= DETAILS.len() || !may_know_less(&error) {
                return Err(error);
            }
            log::info!("{}: asks again with less detail: {error}", self.unit.name());
        }
    }
}

fn report_len(count: u32) -> usize {
    // Many changers have 65535 as the count of what they do not count.
    8 + 8 + DESCRIPTOR_LEN * usize::try_from(count).unwrap_or(usize::MAX).min(1024)
}

// mtx asks again on any sense key above RECOVERED ERROR; what is no refusal of the request is left out here.
fn may_know_less(error: &CommandError) -> bool {
    let Some(sense) = error.sense() else { return false };
    let meaning = sense.meaning();
    let passes = meaning.is_unit_attention()
        || matches!(meaning, Meaning::BecomingReady | Meaning::NotReady | Meaning::InvalidElement);
    !passes && !matches!(sense.key, SenseKey::NoSense | SenseKey::RecoveredError)
}

// SMC-3, table 24: bytes 7 to 9 of the CDB are the allocation length.
fn is_about_length(error: &CommandError) -> bool {
    let field = error.sense().and_then(|sense| sense.field);
    field.is_some_and(|field| field.in_cdb && (7..=9).contains(&field.byte))
}
