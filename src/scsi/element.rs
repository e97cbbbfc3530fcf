//! Elements of a changer: the reply to READ ELEMENT STATUS (SMC-3).

use super::fields::{Fields, text};
use super::inquiry::Designator;
use crate::codec::DecodeError;

/// Most elements that are taken from one reply: no library has more.
const ELEMENTS_MAX: usize = 65_536;
/// Length of the descriptor's fixed part (SMC-3).
const DESCRIPTOR_LEN: usize = 12;
/// Length of a volume tag (SMC-3).
const VOLUME_TAG_LEN: usize = 36;

/// Kind of an element (SMC-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElementKind {
    /// 1: a robot's arm.
    Transport,
    /// 2: a slot.
    Storage,
    /// 3: a slot that a person can reach: mail slot, I/O station.
    ImportExport,
    /// 4: a drive.
    DataTransfer,
}

impl ElementKind {
    /// All kinds, by code.
    pub const ALL: [Self; 4] = [Self::Transport, Self::Storage, Self::ImportExport, Self::DataTransfer];

    /// The kind's code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Transport => 1,
            Self::Storage => 2,
            Self::ImportExport => 3,
            Self::DataTransfer => 4,
        }
    }

    /// The kind with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// Status of one element (SMC-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementStatus {
    /// Kind.
    pub kind: ElementKind,
    /// Address.
    pub address: u16,
    /// Holds a cartridge.
    pub full: bool,
    /// Import/export: a person put the cartridge there.
    pub placed_by_operator: bool,
    /// Something is wrong with it: the sense code and qualifier say what.
    pub exception: Option<(u8, u8)>,
    /// The robot can reach it.
    pub accessible: bool,
    /// Import/export: cartridges can leave there.
    pub export_enabled: bool,
    /// Import/export: cartridges can enter there.
    pub import_enabled: bool,
    /// Slot from which the cartridge came last; devices err here.
    pub source: Option<u16>,
    /// Code of the medium's type: 1 data, 2 cleaning, 0 unknown.
    pub medium_type: u8,
    /// Identifier of the primary volume tag, the barcode, as the device gives it, without the fill.
    /// Bytes from a label: never a path or part of a command.
    pub barcode: Option<Vec<u8>>,
    /// Drive: how the drive calls itself.
    pub device: Option<Designator>,
}

impl ElementStatus {
    fn parse(kind: ElementKind, tags: (bool, bool), fields: Fields<'_>) -> Result<Self, DecodeError> {
        let flags = fields.u8(2)?;
        let exception = match flags & 0x04 != 0 {
            // Some devices cut descriptors of slots short.
            true => Some((fields.u8(4).unwrap_or(0), fields.u8(5).unwrap_or(0))),
            false => None,
        };
        let provenance = fields.u8(9).unwrap_or(0);
        let (primary, alternate) = tags;
        let tag = |present: bool| if present { VOLUME_TAG_LEN } else { 0 };
        let barcode = match primary {
            true => fields.bytes(DESCRIPTOR_LEN, 32).ok().and_then(barcode),
            false => None,
        };
        let device = fields.rest(DESCRIPTOR_LEN + tag(primary) + tag(alternate));
        Ok(Self {
            kind,
            address: fields.u16(0)?,
            full: flags & 0x01 != 0,
            placed_by_operator: kind == ElementKind::ImportExport && flags & 0x02 != 0,
            exception,
            accessible: kind == ElementKind::Transport || flags & 0x08 != 0,
            export_enabled: kind == ElementKind::ImportExport && flags & 0x10 != 0,
            import_enabled: kind == ElementKind::ImportExport && flags & 0x20 != 0,
            source: if provenance & 0x80 != 0 { fields.u16(10).ok() } else { None },
            medium_type: provenance & 0x07,
            barcode,
            device: if kind == ElementKind::DataTransfer { identifier(device) } else { None },
        })
    }

    /// The barcode as text that can be shown anywhere.
    #[must_use]
    pub fn barcode_text(&self) -> Option<String> {
        self.barcode.as_deref().map(text)
    }
}

/// The reply to READ ELEMENT STATUS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementReport {
    /// The elements that the reply holds, in its order.
    pub elements: Vec<ElementStatus>,
    /// Count of elements that the device says it reports.
    pub reported_count: u16,
    /// Length in bytes of the whole report, header included, that the device has.
    pub available_bytes: usize,
}

impl ElementReport {
    /// Length of the report's header (SMC-3).
    pub const HEADER_LEN: usize = 8;

    /// Decodes the reply, as much of it as there is.
    ///
    /// # Errors
    /// [`DecodeError`] if a header is malformed or a descriptor is too short to be one.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let header = Fields::new("element status header", reply);
        let available_bytes = Self::HEADER_LEN + header.u24(5)? as usize;
        let mut report = Self { elements: Vec::new(), reported_count: header.u16(2)?, available_bytes };
        let mut rest = header.up_to(available_bytes).rest(Self::HEADER_LEN);
        while let Some(page_header) = rest.get(..8) {
            let page = Fields::new("element status page", page_header);
            let len = page.u24(5)? as usize;
            let body = rest.get(8..).unwrap_or_default();
            let (descriptors, after) = body.split_at(len.min(body.len()));
            report.take_page(page, descriptors)?;
            rest = after;
        }
        Ok(report)
    }

    // SMC-3: the header of a page.
    fn take_page(&mut self, page: Fields<'_>, descriptors: &[u8]) -> Result<(), DecodeError> {
        let code = page.u8(0)?;
        let kind = ElementKind::from_code(code & 0x0f).ok_or_else(|| page.range(0, code))?;
        let flags = page.u8(1)?;
        let descriptor_len = page.u16(2)?;
        if usize::from(descriptor_len) < 4 {
            return match descriptors.is_empty() {
                true => Ok(()),
                false => Err(page.range(2, descriptor_len)),
            };
        }
        // Devices cut the last descriptor short; what is left of it is taken if it says the essential.
        let whole_or_last = |descriptor: &&[u8]| {
            descriptor.len() == usize::from(descriptor_len) || descriptor.len() >= DESCRIPTOR_LEN
        };
        for descriptor in descriptors.chunks(descriptor_len.into()).filter(whole_or_last) {
            if self.elements.len() == ELEMENTS_MAX {
                break;
            }
            let fields = Fields::new("element descriptor", descriptor);
            let tags = (flags & 0x80 != 0, flags & 0x40 != 0);
            self.elements.push(ElementStatus::parse(kind, tags, fields)?);
        }
        Ok(())
    }
}

/// The identifier of a volume tag without the spaces and NULs that fill it; `None` if nothing is left.
fn barcode(identifier: &[u8]) -> Option<Vec<u8>> {
    let last = identifier.iter().rposition(|byte| !matches!(byte, b' ' | 0))?;
    let first = identifier.iter().position(|byte| *byte != b' ')?;
    identifier.get(first..=last).map(<[u8]>::to_vec)
}

// SMC-3: code set, identifier type, reserved, length, identifier.
fn identifier(bytes: &[u8]) -> Option<Designator> {
    let fields = Fields::new("device identifier", bytes);
    let len = usize::from(fields.u8(3).ok()?);
    let value = fields.rest(4);
    let value = value.get(..len).unwrap_or(value);
    if value.iter().all(|byte| matches!(byte, b' ' | 0)) {
        return None;
    }
    Some(Designator {
        code_set: fields.u8(0).ok()? & 0x0f,
        association: 0,
        kind: fields.u8(1).ok()? & 0x0f,
        value: value.to_vec(),
    })
}
