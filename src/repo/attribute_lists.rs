//! Lists of extended attributes that are kept where they are read without their BDF.

use std::fmt;

use super::error::ReadError;
use crate::format::frame::ChunkPointer;
use crate::format::record::Extent;
use crate::id::Fingerprint;
use crate::storage::StorageError;

/// Where lists of extended attributes too long for a directory record are kept besides their BDFs: for BDFs that are
/// not to be touched for a question about metadata.
pub trait AttributeLists: Send + Sync + fmt::Debug {
    /// The bytes of a chunk of such a list; whoever asks verifies them.
    ///
    /// # Errors
    /// [`StorageError`] if it is not kept or cannot be read.
    fn chunk(&self, pointer: &ChunkPointer) -> Result<Vec<u8>, StorageError>;
}

/// Puts a list of `len` bytes together from its chunks, each compared with its fingerprint.
///
/// # Errors
/// [`ReadError`] if a chunk is not kept, cannot be read or is another one.
pub(super) fn read_list(
    lists: &dyn AttributeLists,
    extents: &[Extent],
    len: usize,
) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; len];
    for extent in extents {
        let chunk = lists.chunk(&extent.chunk)?;
        let (expected, actual) = (extent.chunk.fingerprint, Fingerprint::of(&chunk));
        if expected != actual {
            let path = "list of extended attributes".to_owned();
            return Err(ReadError::Fingerprint { path, offset: extent.offset, expected, actual });
        }
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, skip, extent_len) = (place(extent.offset), extent.skip as usize, place(extent.len));
        let target = start.checked_add(extent_len).and_then(|end| bytes.get_mut(start..end));
        let source = skip.checked_add(extent_len).and_then(|end| chunk.get(skip..end));
        // Decoding made sure that skip and length lie within the chunk; an extent beyond the list is none of it.
        if let (Some(target), Some(source)) = (target, source) {
            target.copy_from_slice(source);
        }
    }
    Ok(bytes)
}
