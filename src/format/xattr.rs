//! Extended attributes of an object. Their layout stands with the records ([`super::record`]).

use super::FormatError;
use super::extent::Extent;
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::path::NAME_LEN_MAX;

/// Most bytes of extended attributes in a directory record; more are kept in a BDF.
pub const INLINE_XATTR_LEN_MAX: usize = 1024;
/// Most bytes of extended attributes of one object (64 attributes of 64 KiB and their names).
pub const XATTR_LEN_MAX: u64 = 8 << 20;

/// Names and values of extended attributes in ascending order of names.
pub type XattrList = Vec<(Vec<u8>, Vec<u8>)>;

/// Extended attributes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Xattrs {
    /// In the record itself; most often there are none.
    Inline(XattrList),
    /// Kept in a BDF.
    Stored {
        /// Length of the encoded list in bytes.
        len: u64,
        /// Where it is.
        extents: Vec<Extent>,
    },
}

impl Xattrs {
    /// No attributes.
    pub const NONE: Self = Self::Inline(Vec::new());

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Inline(list) if list.is_empty())
    }

    /// Encodes a list, for the record or for a BDF.
    #[must_use]
    pub fn encode_list(list: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, list.len() as u64);
        for (name, value) in list {
            put_prefixed(&mut bytes, name);
            put_prefixed(&mut bytes, value);
        }
        bytes
    }

    /// Decodes a list kept in a BDF.
    ///
    /// # Errors
    /// [`FormatError`] if it is malformed.
    pub fn decode_list(bytes: &[u8]) -> Result<XattrList, FormatError> {
        let mut reader = Reader::new(bytes);
        let list = read_xattr_list(&mut reader).and_then(|list| {
            reader.finish("extended attributes")?;
            Ok(list)
        });
        list.map_err(FormatError::malformed("extended attributes"))
    }
}

/// Reads a list inside a record.
pub(crate) fn read_xattr_list(reader: &mut Reader<'_>) -> Result<XattrList, DecodeError> {
    let count = reader.varint("attribute count")?;
    let mut list = Vec::new();
    for _ in 0..count {
        let offset = reader.offset();
        let name = reader.prefixed("attribute name", NAME_LEN_MAX)?;
        if name.is_empty() || name.contains(&0) {
            return Err(DecodeError::Range { what: "attribute name", offset, value: name.len() as u64 });
        }
        let value = reader.prefixed("attribute value", 1 << 16)?;
        list.push((name.to_vec(), value.to_vec()));
    }
    Ok(list)
}
