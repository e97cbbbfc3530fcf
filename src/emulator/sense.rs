//! Sense data as the emulator makes it (SPC-4, section 4.5).

use super::bytes::u24;

/// Sense keys (SPC-4, table 48).
pub(super) mod key {
    pub(in crate::emulator) const NO_SENSE: u8 = 0x0;
    pub(in crate::emulator) const NOT_READY: u8 = 0x2;
    pub(in crate::emulator) const MEDIUM_ERROR: u8 = 0x3;
    pub(in crate::emulator) const HARDWARE_ERROR: u8 = 0x4;
    pub(in crate::emulator) const ILLEGAL_REQUEST: u8 = 0x5;
    pub(in crate::emulator) const UNIT_ATTENTION: u8 = 0x6;
    pub(in crate::emulator) const DATA_PROTECT: u8 = 0x7;
    pub(in crate::emulator) const BLANK_CHECK: u8 = 0x8;
    pub(in crate::emulator) const ABORTED_COMMAND: u8 = 0xb;
    pub(in crate::emulator) const VOLUME_OVERFLOW: u8 = 0xd;
}

/// Which field of a command or parameter list is wrong (SPC-4, section 4.5.2.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldPointer {
    pub(super) in_cdb: bool,
    pub(super) byte: u16,
    pub(super) bit: Option<u8>,
}

/// What a command came to, other than plainly good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sense {
    pub(super) key: u8,
    /// Additional sense code and its qualifier.
    pub(super) code: (u8, u8),
    pub(super) information: Option<i64>,
    pub(super) filemark: bool,
    pub(super) eom: bool,
    pub(super) ili: bool,
    pub(super) deferred: bool,
    pub(super) field: Option<FieldPointer>,
    /// Share of an operation that is done, in 65536ths.
    pub(super) progress: Option<u16>,
}

impl Sense {
    pub(super) fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Self { key, code: (asc, ascq), ..Self::default() }
    }

    pub(super) fn illegal(asc: u8, ascq: u8) -> Self {
        Self::new(key::ILLEGAL_REQUEST, asc, ascq)
    }

    /// 5/24/00 INVALID FIELD IN CDB.
    pub(super) fn invalid_field(byte: u16, bit: Option<u8>) -> Self {
        Self { field: Some(FieldPointer { in_cdb: true, byte, bit }), ..Self::illegal(0x24, 0) }
    }

    /// 5/26/00 INVALID FIELD IN PARAMETER LIST.
    pub(super) fn invalid_parameter(byte: usize, bit: Option<u8>) -> Self {
        let byte = u16::try_from(byte).unwrap_or(u16::MAX);
        Self { field: Some(FieldPointer { in_cdb: false, byte, bit }), ..Self::illegal(0x26, 0) }
    }

    /// 5/1A/00 PARAMETER LIST LENGTH ERROR.
    pub(super) fn parameter_length() -> Self {
        Self::illegal(0x1a, 0)
    }

    /// 2/3A/00 MEDIUM NOT PRESENT.
    pub(super) fn no_medium() -> Self {
        Self::new(key::NOT_READY, 0x3a, 0)
    }

    pub(super) fn attention(code: (u8, u8)) -> Self {
        Self::new(key::UNIT_ATTENTION, code.0, code.1)
    }

    pub(super) fn with_information(self, value: i64) -> Self {
        Self { information: Some(value), ..self }
    }

    pub(super) fn with_filemark(self) -> Self {
        Self { filemark: true, ..self }
    }

    pub(super) fn with_eom(self) -> Self {
        Self { eom: true, ..self }
    }

    pub(super) fn with_ili(self) -> Self {
        Self { ili: true, ..self }
    }

    /// The bytes: descriptor format (72h) or fixed format (70h).
    pub(super) fn encode(&self, descriptor: bool) -> Vec<u8> {
        if descriptor { self.encode_descriptor() } else { self.encode_fixed() }
    }

    // Bytes 15 to 17 of fixed format, and of the sense-key-specific descriptor.
    fn key_specific(&self) -> Option<[u8; 3]> {
        if let Some(field) = self.field {
            let bit = field.bit.map_or(0, |bit| 0x08 | bit & 7);
            let [high, low] = field.byte.to_be_bytes();
            return Some([0x80 | u8::from(field.in_cdb) << 6 | bit, high, low]);
        }
        let [high, low] = self.progress?.to_be_bytes();
        Some([0x80, high, low])
    }

    fn encode_fixed(&self) -> Vec<u8> {
        let mut bytes = vec![0; 18];
        // A value that has no room is not there: VALID stays clear.
        let information = self.information.and_then(|value| match u32::try_from(value) {
            Ok(value) => Some(value.to_be_bytes()),
            Err(_) => i32::try_from(value).ok().map(i32::to_be_bytes),
        });
        let flags = u8::from(self.filemark) << 7 | u8::from(self.eom) << 6 | u8::from(self.ili) << 5;
        let head = [0x70 | u8::from(self.deferred) | u8::from(information.is_some()) << 7, 0];
        let parts: [(usize, &[u8]); 5] = [
            (0, &head),
            (2, &[flags | self.key]),
            (3, &information.unwrap_or_default()),
            (7, &[10, 0, 0, 0, 0, self.code.0, self.code.1, 0]),
            (15, &self.key_specific().unwrap_or_default()),
        ];
        for (at, part) in parts {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        }
        bytes
    }

    fn encode_descriptor(&self) -> Vec<u8> {
        let mut descriptors = Vec::new();
        if let Some(value) = self.information {
            descriptors.extend([0x00, 0x0a, 0x80, 0]);
            descriptors.extend(value.to_be_bytes());
        }
        if let Some([first, high, low]) = self.key_specific() {
            descriptors.extend([0x02, 0x06, 0, 0, first, high, low, 0]);
        }
        let flags = u8::from(self.filemark) << 7 | u8::from(self.eom) << 6 | u8::from(self.ili) << 5;
        if flags != 0 {
            descriptors.extend([0x04, 0x02, 0, flags]);
        }
        let [_, _, len] = u24(u32::try_from(descriptors.len()).unwrap_or(0));
        let mut bytes =
            vec![0x72 | u8::from(self.deferred), self.key, self.code.0, self.code.1, 0, 0, 0, len];
        bytes.append(&mut descriptors);
        bytes
    }
}
