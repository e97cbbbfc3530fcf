//! Fields of CDBs and replies: big-endian, at fixed offsets.

use crate::codec::DecodeError;

/// A structure of a reply, whose fields are taken by offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The structure `what` in `bytes`.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    /// The first `len` bytes, or all if there are fewer: a device may announce more than was asked for.
    pub(crate) fn up_to(self, len: usize) -> Self {
        Self { what: self.what, bytes: self.bytes.get(..len).unwrap_or(self.bytes) }
    }

    /// `len` bytes at `offset`.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        rest.get(..len).ok_or(DecodeError::Short {
            what: self.what,
            offset,
            expected: len,
            actual: rest.len(),
        })
    }

    /// All bytes from `offset` on, none if there are none.
    pub(crate) fn rest(&self, offset: usize) -> &'a [u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// `N` bytes at `offset`.
    pub(crate) fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(offset, N)?);
        Ok(array)
    }

    /// The byte at `offset`.
    pub(crate) fn u8(&self, offset: usize) -> Result<u8, DecodeError> {
        self.array::<1>(offset).map(|[byte]| byte)
    }

    /// Bit `bit` of the byte at `offset`.
    pub(crate) fn bit(&self, offset: usize, bit: u8) -> Result<bool, DecodeError> {
        Ok(self.u8(offset)? >> bit & 1 == 1)
    }

    /// 16 bits at `offset`.
    pub(crate) fn u16(&self, offset: usize) -> Result<u16, DecodeError> {
        self.array(offset).map(u16::from_be_bytes)
    }

    /// 24 bits at `offset`.
    pub(crate) fn u24(&self, offset: usize) -> Result<u32, DecodeError> {
        self.array(offset).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// 32 bits at `offset`.
    pub(crate) fn u32(&self, offset: usize) -> Result<u32, DecodeError> {
        self.array(offset).map(u32::from_be_bytes)
    }

    /// 64 bits at `offset`.
    pub(crate) fn u64(&self, offset: usize) -> Result<u64, DecodeError> {
        self.array(offset).map(u64::from_be_bytes)
    }

    /// The error for a value that the structure does not allow.
    pub(crate) fn range(&self, offset: usize, value: impl Into<u64>) -> DecodeError {
        DecodeError::Range { what: self.what, offset, value: value.into() }
    }
}

/// A 24-bit field.
///
/// # Panics
/// If the value needs more: callers bound lengths and counts before they build a command.
pub(crate) fn u24(value: u32) -> [u8; 3] {
    assert!(value < 1 << 24, "{value} does not fit a field of 24 bits");
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

/// An unsigned integer of any width up to eight bytes; `None` if there are more or none.
pub(crate) fn unsigned(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Text of a fixed-width field, without the spaces and NULs that fill it; what is not printable ASCII
/// becomes `?`, so that it can be shown anywhere.
pub(crate) fn text(bytes: &[u8]) -> String {
    let shown = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' };
    let end = bytes.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |last| last + 1);
    let start = bytes.iter().position(|byte| *byte != b' ').unwrap_or(0).min(end);
    bytes.get(start..end).unwrap_or_default().iter().map(shown).collect()
}
