//! Sense data: why a command ended as it did (SPC-4, section 4.5).
//!
//! Devices give it in one of two formats, fixed or descriptor, for the command at hand or, *deferred*,
//! for an earlier one whose data had only been buffered. Sense data comes from outside and may be cut
//! short anywhere: what is not there counts as zero, as SPC-4 has it.

use std::fmt;

use super::fields::Fields;
use super::meaning::Meaning;

/// Most bytes of sense data that a device can give (SPC-4).
pub const SENSE_LEN_MAX: usize = 252;

/// Sense key (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// 0h: no error; filemark, early warning and wrong length are told with it.
    NoSense = 0x0,
    /// 1h: done, after the device had trouble.
    RecoveredError = 0x1,
    /// 2h: no medium, or not yet.
    NotReady = 0x2,
    /// 3h: the medium is bad.
    MediumError = 0x3,
    /// 4h: the device is bad.
    HardwareError = 0x4,
    /// 5h: the device does not do that.
    IllegalRequest = 0x5,
    /// 6h: something happened that the initiator must know of; the command was not executed.
    UnitAttention = 0x6,
    /// 7h: protected.
    DataProtect = 0x7,
    /// 8h: end of data, or nothing written.
    BlankCheck = 0x8,
    /// 9h: what the vendor says.
    VendorSpecific = 0x9,
    /// Ah: a copy was aborted.
    CopyAborted = 0xa,
    /// Bh: the device aborted the command.
    AbortedCommand = 0xb,
    /// Ch: reserved.
    Reserved = 0xc,
    /// Dh: physical end of the medium; data is left in the buffer.
    VolumeOverflow = 0xd,
    /// Eh: a comparison failed.
    Miscompare = 0xe,
    /// Fh: done.
    Completed = 0xf,
}

impl SenseKey {
    /// The key in the low four bits of a byte.
    #[must_use]
    pub fn from_low_bits(byte: u8) -> Self {
        match byte & 0x0f {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::VendorSpecific,
            0xa => Self::CopyAborted,
            0xb => Self::AbortedCommand,
            0xc => Self::Reserved,
            0xd => Self::VolumeOverflow,
            0xe => Self::Miscompare,
            _ => Self::Completed,
        }
    }

    /// The key's number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Where in a command an illegal field is (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPointer {
    /// In the CDB, otherwise in the data sent.
    pub in_cdb: bool,
    /// First byte of the field.
    pub byte: u16,
    /// Leftmost bit of the field, if the device says.
    pub bit: Option<u8>,
}

/// Decoded sense data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// Tells of an earlier command; the present one was not executed.
    pub deferred: bool,
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub additional_sense_code: u8,
    /// Additional sense code qualifier.
    pub additional_sense_code_qualifier: u8,
    /// A filemark was met.
    pub filemark: bool,
    /// Early warning, end or beginning of the partition.
    pub end_of_medium: bool,
    /// The block has another length than was asked for.
    pub incorrect_length: bool,
    /// INFORMATION, if the device says that it is valid: for a tape the count or length asked for, less
    /// what was done; negative if a block is longer than asked for.
    pub information: Option<i64>,
    /// COMMAND-SPECIFIC INFORMATION, zero if not given.
    pub command_specific: u64,
    /// How much of a long operation is done, in units of 1/65536.
    pub progress: Option<u16>,
    /// The field of the command that was refused.
    pub field: Option<FieldPointer>,
}

impl Sense {
    /// Decodes sense data; `None` if there is none, or of a format that no standard has.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let response_code = bytes.first()? & 0x7f;
        match response_code {
            0x70 | 0x71 => Some(Self::parse_fixed(bytes, response_code == 0x71)),
            0x72 | 0x73 => Some(Self::parse_descriptors(bytes, response_code == 0x73)),
            _ => None,
        }
    }

    /// Sense with a key and codes alone.
    #[must_use]
    pub fn new(key: SenseKey, additional_sense_code: u8, additional_sense_code_qualifier: u8) -> Self {
        Self {
            deferred: false,
            key,
            additional_sense_code,
            additional_sense_code_qualifier,
            filemark: false,
            end_of_medium: false,
            incorrect_length: false,
            information: None,
            command_specific: 0,
            progress: None,
            field: None,
        }
    }

    /// Key, code and qualifier.
    #[must_use]
    pub fn codes(&self) -> (u8, u8, u8) {
        (self.key.number(), self.additional_sense_code, self.additional_sense_code_qualifier)
    }

    /// What it means for us.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        Meaning::of(self)
    }

    // SPC-4: fixed format.
    fn parse_fixed(bytes: &[u8], deferred: bool) -> Self {
        // A device that says how much follows means that the rest of the buffer is not sense data.
        let announced = bytes.get(7).map_or(bytes.len(), |additional| 8 + usize::from(*additional));
        let fields = Fields::new("fixed sense data", bytes).up_to(announced);
        let byte = |offset| fields.u8(offset).unwrap_or(0);
        let mut sense = Self::new(SenseKey::from_low_bits(byte(2)), byte(12), byte(13));
        sense.deferred = deferred;
        sense.filemark = byte(2) & 0x80 != 0;
        sense.end_of_medium = byte(2) & 0x40 != 0;
        sense.incorrect_length = byte(2) & 0x20 != 0;
        if byte(0) & 0x80 != 0 {
            sense.information = fields.array(3).ok().map(|bytes| i64::from(i32::from_be_bytes(bytes)));
        }
        sense.command_specific = fields.u32(8).map_or(0, u64::from);
        if let Ok(specific) = fields.array(15) {
            sense.take_key_specific(specific);
        }
        sense
    }

    // SPC-4: descriptor format, types of descriptors.
    fn parse_descriptors(bytes: &[u8], deferred: bool) -> Self {
        let announced = bytes.get(7).map_or(bytes.len(), |additional| 8 + usize::from(*additional));
        let fields = Fields::new("descriptor sense data", bytes).up_to(announced);
        let byte = |offset| fields.u8(offset).unwrap_or(0);
        let mut sense = Self::new(SenseKey::from_low_bits(byte(1)), byte(2), byte(3));
        sense.deferred = deferred;
        let mut rest = fields.rest(8);
        while let [kind, additional, ..] = *rest {
            let len = 2 + usize::from(additional);
            let (descriptor, after) = rest.split_at(len.min(rest.len()));
            sense.take_descriptor(kind, Fields::new("sense descriptor", descriptor));
            rest = after;
        }
        sense
    }

    fn take_descriptor(&mut self, kind: u8, descriptor: Fields<'_>) {
        match kind {
            // Information: SPC-4
            0x00 => {
                if descriptor.bit(2, 7).unwrap_or(false) {
                    self.information = descriptor.array(4).ok().map(i64::from_be_bytes);
                }
            }
            // Command specific information: SPC-4
            0x01 => self.command_specific = descriptor.u64(4).unwrap_or(0),
            // Sense key specific: SPC-4
            0x02 => {
                if let Ok(specific) = descriptor.array(4) {
                    self.take_key_specific(specific);
                }
            }
            // Stream commands: SSC-4
            0x04 => {
                let flags = descriptor.u8(3).unwrap_or(0);
                self.filemark = flags & 0x80 != 0;
                self.end_of_medium = flags & 0x40 != 0;
                self.incorrect_length = flags & 0x20 != 0;
            }
            // Another progress indication: SPC-4
            0x0a => {
                if self.progress.is_none() {
                    self.progress = descriptor.u16(6).ok();
                }
            }
            _ => {}
        }
    }

    // SPC-4: what the three bytes say depends on the key.
    fn take_key_specific(&mut self, [flags, high, low]: [u8; 3]) {
        if flags & 0x80 == 0 {
            return;
        }
        let value = u16::from_be_bytes([high, low]);
        match self.key {
            SenseKey::NoSense | SenseKey::NotReady => self.progress = Some(value),
            SenseKey::IllegalRequest => {
                let bit = (flags & 0x08 != 0).then_some(flags & 0x07);
                self.field = Some(FieldPointer { in_cdb: flags & 0x40 != 0, byte: value, bit });
            }
            _ => {}
        }
    }
}

/// Writes key, code and qualifier as manuals do, `3/11/00`, with what they mean.
impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, code, qualifier) = self.codes();
        let deferred = if self.deferred { "deferred " } else { "" };
        write!(f, "{deferred}sense {key:X}/{code:02X}/{qualifier:02X}, {}", self.meaning().text())?;
        for (set, name) in
            [(self.filemark, "FM"), (self.end_of_medium, "EOM"), (self.incorrect_length, "ILI")]
        {
            if set {
                write!(f, ", {name}")?;
            }
        }
        if let Some(information) = self.information {
            write!(f, ", information {information}")?;
        }
        if let Some(field) = self.field {
            write!(f, ", byte {} of the {}", field.byte, if field.in_cdb { "CDB" } else { "data" })?;
        }
        Ok(())
    }
}
