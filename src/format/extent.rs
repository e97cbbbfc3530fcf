//! Extent: a run of a file's bytes that lies in one chunk. Its layout stands with the records
//! ([`super::record`]) that hold extents.

use super::FormatError;
use super::frame::{ChunkPointer, Location};
use crate::codec::{DecodeError, Reader, put_varint};
use crate::id::{FileId, Fingerprint};

/// A run of a file's bytes that lies in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// Bytes of the chunk before the run.
    pub skip: u32,
    /// The chunk.
    pub chunk: ChunkPointer,
}

impl Extent {
    /// Key in an extent tree.
    #[must_use]
    pub fn key(offset: u64) -> [u8; 8] {
        offset.to_be_bytes()
    }

    /// Value in an extent tree: all but the offset.
    pub fn put_value(&self, target: &mut Vec<u8>) {
        put_varint(target, self.len);
        put_varint(target, self.skip.into());
        put_varint(target, self.chunk.len.into());
        target.extend_from_slice(&self.chunk.fingerprint.0);
        target.extend_from_slice(&self.chunk.location.file.0);
        put_varint(target, self.chunk.location.frame);
        put_varint(target, self.chunk.location.start.into());
    }

    /// Decodes a record of an extent tree.
    ///
    /// # Errors
    /// [`FormatError`] if it is malformed.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, FormatError> {
        let decode = || -> Result<Self, DecodeError> {
            let offset = u64::from_be_bytes(Reader::new(key).array("extent key")?);
            let mut reader = Reader::new(value);
            let extent = Self::read_value(&mut reader, offset)?;
            reader.finish("extent")?;
            Ok(extent)
        };
        decode().map_err(FormatError::malformed("extent record"))
    }

    pub(crate) fn read_value(reader: &mut Reader<'_>, offset: u64) -> Result<Self, DecodeError> {
        let at = reader.offset();
        let len = reader.varint("extent length")?;
        let skip = reader.varint_u32("skipped bytes")?;
        let chunk_len = reader.varint_u32("chunk length")?;
        let covered = u64::from(skip).checked_add(len);
        let end = offset.checked_add(len).filter(|end| *end <= i64::MAX.cast_unsigned());
        if len == 0 || end.is_none() || covered.is_none_or(|covered| covered > chunk_len.into()) {
            return Err(DecodeError::Range { what: "extent length", offset: at, value: len });
        }
        let fingerprint = Fingerprint(reader.array("fingerprint")?);
        let file = FileId(reader.array("BDF id")?);
        let frame = reader.varint("frame offset")?;
        let start = reader.varint_u32("start in frame")?;
        let chunk = ChunkPointer { fingerprint, len: chunk_len, location: Location { file, frame, start } };
        Ok(Self { offset, len, skip, chunk })
    }
}

/// Appends a count and the extents, offset first.
pub(crate) fn put_extents(bytes: &mut Vec<u8>, extents: &[Extent]) {
    put_varint(bytes, extents.len() as u64);
    for extent in extents {
        put_varint(bytes, extent.offset);
        extent.put_value(bytes);
    }
}

/// Reads a count and the extents, which must be in order and not overlap.
pub(crate) fn read_extents(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<Extent>, DecodeError> {
    let at = reader.offset();
    let count = reader.varint("extent count")?;
    if count > count_max as u64 {
        return Err(DecodeError::Range { what: "extent count", offset: at, value: count });
    }
    let mut extents: Vec<Extent> = Vec::new();
    for _ in 0..count {
        let at = reader.offset();
        let offset = reader.varint("extent offset")?;
        if extents.last().is_some_and(|before| before.offset + before.len > offset) {
            return Err(DecodeError::Range { what: "extent offset", offset: at, value: offset });
        }
        extents.push(Extent::read_value(reader, offset)?);
    }
    Ok(extents)
}
