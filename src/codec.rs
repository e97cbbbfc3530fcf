//! Reading and writing of fixed and variable-length integers in little-endian order.
//!
//! Every format of the project is built from these functions and states its layout in its own
//! module. A variable-length integer (*varint*) is LEB128: seven bits a byte, low bits first, the
//! top bit set on all bytes but the last, ten bytes at most. A signed one is zigzag-coded first.

use thiserror::Error;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("{what} at byte {offset} needs {expected} bytes, {actual} are left")]
    Short {
        /// Name of the field.
        what: &'static str,
        /// Offset of the field from the start of the decoded bytes.
        offset: usize,
        /// Bytes that the field needs.
        expected: usize,
        /// Bytes that are left.
        actual: usize,
    },
    /// The field holds a value that the format does not allow.
    #[error("{what} at byte {offset} has the value {value}, which is out of range")]
    Range {
        /// Name of the field.
        what: &'static str,
        /// Offset of the field from the start of the decoded bytes.
        offset: usize,
        /// The value found.
        value: u64,
    },
}

/// Reads values one after the other from a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Offset of the next byte from the start.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Count of bytes not yet read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Takes the next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] if fewer are left.
    pub fn bytes(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(DecodeError::Short {
            what,
            offset: self.offset,
            expected: len,
            actual: rest.len(),
        })?;
        self.offset += len;
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// [`DecodeError::Short`] if fewer are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(what, N)?);
        Ok(array)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Short`] at the end.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Reads a 16-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Short`] at the end.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    /// Reads a 32-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Short`] at the end.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Reads a 64-bit integer.
    ///
    /// # Errors
    /// [`DecodeError::Short`] at the end.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads a varint.
    ///
    /// # Errors
    /// [`DecodeError::Short`] at the end, [`DecodeError::Range`] beyond 64 bits.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let offset = self.offset;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Range { what, offset, value });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Range { what, offset, value })
    }

    /// Reads a varint that must fit 32 bits.
    ///
    /// # Errors
    /// As [`Reader::varint`].
    pub fn varint_u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let offset = self.offset;
        let value = self.varint(what)?;
        u32::try_from(value).map_err(|_| DecodeError::Range { what, offset, value })
    }

    /// Reads a zigzag-coded varint.
    ///
    /// # Errors
    /// As [`Reader::varint`].
    pub fn varint_i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let coded = self.varint(what)?;
        Ok((coded >> 1).cast_signed() ^ -((coded & 1).cast_signed()))
    }

    /// Reads a varint length and as many bytes.
    ///
    /// # Errors
    /// As [`Reader::varint`]; [`DecodeError::Range`] if the length is above `len_max`.
    pub fn prefixed(&mut self, what: &'static str, len_max: usize) -> Result<&'a [u8], DecodeError> {
        let offset = self.offset;
        let value = self.varint(what)?;
        let len = usize::try_from(value).unwrap_or(usize::MAX);
        if len > len_max {
            return Err(DecodeError::Range { what, offset, value });
        }
        self.bytes(what, len)
    }

    /// Makes sure that every byte was read.
    ///
    /// # Errors
    /// [`DecodeError::Range`] with the count of bytes left.
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Range { what, offset: self.offset, value: left as u64 }),
        }
    }
}

/// Appends a varint.
pub fn put_varint(target: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        target.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    target.push(low_byte(value));
}

/// Appends a zigzag-coded varint.
pub fn put_varint_i64(target: &mut Vec<u8>, value: i64) {
    put_varint(target, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a varint length and the bytes.
pub fn put_prefixed(target: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(target, bytes.len() as u64);
    target.extend_from_slice(bytes);
}

/// A length in memory as a 32-bit field.
///
/// # Panics
/// If the length needs more than 32 bits; writers bound what they write well below that.
#[must_use]
pub fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths written are bounded far below 4 GiB")
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_varint_comes_back_as_it_was_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Reader::new(&bytes).varint("value"), Ok(value));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX, -62_135_596_800] {
            let mut bytes = Vec::new();
            put_varint_i64(&mut bytes, value);
            assert_eq!(Reader::new(&bytes).varint_i64("value"), Ok(value));
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let bytes = [0xff; 11];
        assert!(matches!(Reader::new(&bytes).varint("v"), Err(DecodeError::Range { .. })));
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(matches!(Reader::new(&bytes).varint("v"), Err(DecodeError::Range { .. })));
    }

    #[test]
    fn a_length_above_the_limit_allocates_nothing() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        let error = Reader::new(&bytes).prefixed("name", 255);
        assert_eq!(error, Err(DecodeError::Range { what: "name", offset: 0, value: u64::MAX }));
    }
}
