//! Reads the fields of a message one after the other.

/// The message ends before a field does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

/// What is left of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Short> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_ne_bytes)
    }

    pub(crate) fn skip(&mut self, len: usize) -> Result<(), Short> {
        self.bytes(len).map(|_| ())
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (first, rest) = self.0.split_at_checked(len).ok_or(Short)?;
        self.0 = rest;
        Ok(first)
    }

    /// A name, which NUL ends.
    pub(crate) fn name(&mut self) -> Result<&'a [u8], Short> {
        let len = self.0.iter().position(|byte| *byte == 0).ok_or(Short)?;
        let name = self.bytes(len)?;
        self.skip(1)?;
        Ok(name)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn fields_end_with_the_message_and_names_with_nul() {
        let mut fields = Fields::new(b"\x01\0\0\0ab\0c");
        assert_eq!(fields.u32(), Ok(1_u32.to_le()));
        assert_eq!(fields.name(), Ok(&b"ab"[..]));
        assert_eq!(fields.name(), Err(Short));
        assert_eq!(fields.u16(), Err(Short));
        assert_eq!(fields.bytes(1), Ok(&b"c"[..]));
        assert_eq!(fields.skip(1), Err(Short));
    }
}
