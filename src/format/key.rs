//! Keys of the directory tree ([`super::record`]): an object id and a name.

use super::FormatError;
use crate::codec::Reader;
use crate::path;

const STRUCTURE: &str = "directory record";

/// Key of an entry of a directory, or of an object if the name is empty.
#[must_use]
pub fn entry_key(object: u64, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + name.len());
    key.extend_from_slice(&object.to_be_bytes());
    key.extend_from_slice(name);
    key
}

/// Splits a key into object id and name; the name is empty or valid.
///
/// # Errors
/// [`FormatError`] if the key is too short or the name could lead out of its directory.
pub fn split_key(key: &[u8]) -> Result<(u64, &[u8]), FormatError> {
    let mut reader = Reader::new(key);
    let object =
        reader.array("object id").map(u64::from_be_bytes).map_err(FormatError::malformed(STRUCTURE))?;
    let name = key.get(8..).unwrap_or_default();
    if !name.is_empty() && !path::is_valid_name(name) {
        return Err(FormatError::Unknown {
            structure: STRUCTURE,
            field: "name length",
            value: name.len() as u64,
        });
    }
    Ok((object, name))
}
