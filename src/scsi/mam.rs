//! Attributes in the memory of a cartridge, its *medium auxiliary memory* (SPC-4, section 7.4).

use super::fields::{Fields, text, unsigned};
use crate::codec::{DecodeError, len_u32};

/// Most attributes that are taken from a reply.
const ATTRIBUTES_MAX: usize = 4096;

/// Identifiers of attributes (SPC-4; the last one is of LTFS).
pub mod attribute_id {
    /// Remaining capacity of the partition, in MiB.
    pub const REMAINING_CAPACITY: u16 = 0x0000;
    /// Capacity of the partition, in MiB.
    pub const MAXIMUM_CAPACITY: u16 = 0x0001;
    /// TapeAlert flags.
    pub const TAPE_ALERT_FLAGS: u16 = 0x0002;
    /// Count of loads.
    pub const LOAD_COUNT: u16 = 0x0003;
    /// Remaining space of the memory itself, in bytes.
    pub const MAM_SPACE_REMAINING: u16 = 0x0004;
    /// Volume change reference: grows with every change of the medium.
    pub const VOLUME_CHANGE_REFERENCE: u16 = 0x0009;
    /// Manufacturer of the medium.
    pub const MEDIUM_MANUFACTURER: u16 = 0x0400;
    /// Serial number of the medium.
    pub const MEDIUM_SERIAL_NUMBER: u16 = 0x0401;
    /// Type of the medium: 00h data, 01h cleaning, 80h write-once.
    pub const MEDIUM_TYPE: u16 = 0x0408;
    /// Vendor of the application.
    pub const APPLICATION_VENDOR: u16 = 0x0800;
    /// Name of the application.
    pub const APPLICATION_NAME: u16 = 0x0801;
    /// Version of the application.
    pub const APPLICATION_VERSION: u16 = 0x0802;
    /// Label for people.
    pub const USER_MEDIUM_TEXT_LABEL: u16 = 0x0803;
    /// Date and time of the last write.
    pub const DATE_AND_TIME_LAST_WRITTEN: u16 = 0x0804;
    /// Character set of texts: 00h ASCII, 81h UTF-8.
    pub const TEXT_LOCALIZATION_IDENTIFIER: u16 = 0x0805;
    /// Barcode.
    pub const BARCODE: u16 = 0x0806;
    /// Media pool.
    pub const MEDIA_POOL: u16 = 0x0808;
    /// Version of the application's format.
    pub const APPLICATION_FORMAT_VERSION: u16 = 0x080b;
    /// Volume coherency information.
    pub const VOLUME_COHERENCY: u16 = 0x080c;
    /// Volume lock state.
    pub const VOLUME_LOCK_STATE: u16 = 0x1623;
}

/// Format of a value (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeFormat {
    /// 0: bytes or an integer.
    Binary,
    /// 1: ASCII, filled with spaces.
    Ascii,
    /// 2: text in the character set of the text localization identifier.
    Text,
    /// 3: reserved.
    Reserved,
}

impl AttributeFormat {
    fn from_bits(byte: u8) -> Self {
        match byte & 0x03 {
            0 => Self::Binary,
            1 => Self::Ascii,
            2 => Self::Text,
            _ => Self::Reserved,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Binary => 0,
            Self::Ascii => 1,
            Self::Text => 2,
            Self::Reserved => 3,
        }
    }
}

/// An attribute (SPC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Identifier.
    pub id: u16,
    /// Cannot be written by hosts.
    pub read_only: bool,
    /// Format of the value.
    pub format: AttributeFormat,
    /// Value; empty removes the attribute when written.
    pub value: Vec<u8>,
}

impl Attribute {
    /// An attribute of text in ASCII, cut or filled with spaces to `len_bytes`.
    #[must_use]
    pub fn ascii(id: u16, value: &str, len_bytes: usize) -> Self {
        Self { id, read_only: false, format: AttributeFormat::Ascii, value: filled(value, len_bytes, b' ') }
    }

    /// An attribute of text, cut or filled with NULs to `len_bytes`.
    #[must_use]
    pub fn text(id: u16, value: &str, len_bytes: usize) -> Self {
        Self { id, read_only: false, format: AttributeFormat::Text, value: filled(value, len_bytes, 0) }
    }

    /// An attribute of bytes.
    #[must_use]
    pub fn binary(id: u16, value: &[u8]) -> Self {
        Self { id, read_only: false, format: AttributeFormat::Binary, value: value.to_vec() }
    }

    /// The value as an integer, if it is one of at most eight bytes.
    #[must_use]
    pub fn unsigned(&self) -> Option<u64> {
        unsigned(&self.value)
    }

    /// The value as text that can be shown anywhere, without its fill.
    #[must_use]
    pub fn shown(&self) -> String {
        text(&self.value)
    }

    /// Appends the attribute as WRITE ATTRIBUTE wants it.
    ///
    /// # Panics
    /// If the value needs more than 65,535 bytes.
    pub fn put(&self, target: &mut Vec<u8>) {
        let len = u16::try_from(self.value.len()).expect("values of attributes are short");
        target.extend_from_slice(&self.id.to_be_bytes());
        target.push(u8::from(self.read_only) << 7 | self.format.bits());
        target.extend_from_slice(&len.to_be_bytes());
        target.extend_from_slice(&self.value);
    }
}

/// Decodes the reply to READ ATTRIBUTE (SPC-4), up to where it is cut off.
///
/// # Errors
/// [`DecodeError`] if there is no header.
pub fn parse_attributes(reply: &[u8]) -> Result<Vec<Attribute>, DecodeError> {
    let header = Fields::new("attribute values", reply);
    let available = usize::try_from(header.u32(0)?).unwrap_or(usize::MAX);
    let mut rest = header.up_to(available.saturating_add(4)).rest(4);
    let mut attributes = Vec::new();
    while let [id_high, id_low, flags, len_high, len_low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        let Some(value) = after.get(..len) else {
            break;
        };
        if attributes.len() == ATTRIBUTES_MAX {
            break;
        }
        attributes.push(Attribute {
            id: u16::from_be_bytes([*id_high, *id_low]),
            read_only: flags & 0x80 != 0,
            format: AttributeFormat::from_bits(*flags),
            value: value.to_vec(),
        });
        rest = after.get(len..).unwrap_or_default();
    }
    Ok(attributes)
}

/// Encodes the parameter list of WRITE ATTRIBUTE (SPC-4).
///
/// # Panics
/// If a value needs more than 65,535 bytes.
#[must_use]
pub fn encode_attributes(attributes: &[Attribute]) -> Vec<u8> {
    let mut list = vec![0; 4];
    for attribute in attributes {
        attribute.put(&mut list);
    }
    let len = len_u32(list.len() - 4).to_be_bytes();
    for (target, byte) in list.iter_mut().zip(len) {
        *target = byte;
    }
    list
}

fn filled(value: &str, len_bytes: usize, fill: u8) -> Vec<u8> {
    let mut end = value.len().min(len_bytes);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = value.as_bytes().get(..end).unwrap_or_default().to_vec();
    bytes.resize(len_bytes, fill);
    bytes
}

/// Volume coherency information (SPC-4): which state of the volume an index describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeCoherency {
    /// Volume change reference when it was written: if it differs now, the rest says nothing.
    pub volume_change_reference: u64,
    /// Count of the application's own.
    pub count: u64,
    /// Identifier of the application's own: for LTFS, the block of the index.
    pub set_identifier: u64,
    /// What the application keeps with it.
    pub application: Vec<u8>,
}

impl VolumeCoherency {
    /// Decodes the value of attribute 080Ch.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short or gives lengths that cannot be.
    pub fn parse(value: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("volume coherency information", value);
        let reference_len = fields.u8(0)?;
        let reference = fields.bytes(1, reference_len.into())?;
        let after = 1 + usize::from(reference_len);
        let application_len = fields.u16(after + 16)?;
        Ok(Self {
            volume_change_reference: unsigned(reference).ok_or_else(|| fields.range(0, reference_len))?,
            count: fields.u64(after)?,
            set_identifier: fields.u64(after + 8)?,
            application: fields.bytes(after + 18, application_len.into())?.to_vec(),
        })
    }

    /// Encodes the value of attribute 080Ch.
    ///
    /// # Panics
    /// If the application's part needs more than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let len = u16::try_from(self.application.len()).expect("the application keeps a few bytes");
        let mut value = vec![8];
        value.extend_from_slice(&self.volume_change_reference.to_be_bytes());
        value.extend_from_slice(&self.count.to_be_bytes());
        value.extend_from_slice(&self.set_identifier.to_be_bytes());
        value.extend_from_slice(&len.to_be_bytes());
        value.extend_from_slice(&self.application);
        value
    }
}
