//! Bytes of a file of a foreign cartridge, by the places of its blocks.

use std::io;

use super::node::{ForeignNode, NodeKind};
use crate::id::FileId;
use crate::job::tape::storage::BlockReader;
use crate::tape::archive::{BlockAddress, ForeignFile};

/// Reads up to `len` bytes of a file from `offset` on; `None` if the object is no file.
///
/// # Errors
/// What the reader says; `EIO` if the tape file ends before.
pub fn read_content(
    reader: &dyn BlockReader,
    volume: FileId,
    file: &ForeignFile,
    node: &ForeignNode,
    offset: u64,
    len: usize,
) -> io::Result<Option<Vec<u8>>> {
    let NodeKind::Regular { size, content, pieces } = &node.kind else { return Ok(None) };
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; len.min(left)];
    let end = offset.saturating_add(buffer.len() as u64);
    // Pieces follow one another in the archive.
    let mut at = *content;
    for piece in pieces {
        let (first, last) = (piece.offset.max(offset), (piece.offset + piece.len).min(end));
        if first < last {
            let from = at.saturating_add(first - piece.offset);
            let (loi, byte) = file.address(from).ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))?;
            let range = usize::try_from(first - offset).unwrap_or(usize::MAX)
                ..usize::try_from(last - offset).unwrap_or(usize::MAX);
            if let Some(target) = buffer.get_mut(range) {
                reader.read(volume, BlockAddress { loi, byte }, target)?;
            }
        }
        at = at.saturating_add(piece.len);
        if piece.offset >= end {
            break;
        }
    }
    Ok(Some(buffer))
}
