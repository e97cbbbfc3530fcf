//! A file's content as a stack: sparse backing files over each other, and a record of the base at the bottom.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::error::StagingError;
use crate::format::record::Inode;
use crate::index::staging::{ContentRow, LayerRow};
use crate::repo::Repository;
use crate::repo::content::Piece;
use crate::storage::sparse;

/// Where a run of bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// Written in staging.
    Written,
    /// As in the base at the same offset, holes included.
    Base,
    /// Zeros, whatever the base has there.
    Hole,
}

/// A run of bytes and the layer that has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) kind: SegmentKind,
    /// Offset of its end.
    pub(super) end: u64,
    /// The layer, counted from 1; 0 for the base.
    pub(super) level: usize,
}

/// The layers and the base of one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stack<'a> {
    repository: &'a Repository,
    layers: &'a [LayerRow],
    files: &'a [Arc<File>],
    base: Option<&'a Inode>,
}

pub(super) fn refused(operation: &'static str, layer: u64) -> impl FnOnce(io::Error) -> StagingError {
    move |error| StagingError::backing(operation, format!("backing file {layer:x}"))(error)
}

impl<'a> Stack<'a> {
    pub(super) fn new(repository: &'a Repository, content: &'a ContentRow, files: &'a [Arc<File>]) -> Self {
        Self { repository, layers: &content.layers, files, base: content.base.as_deref() }
    }

    fn level(&self) -> usize {
        self.layers.len().min(self.files.len())
    }

    fn layer(&self, level: usize) -> Option<(&'a LayerRow, &'a File)> {
        let index = level.checked_sub(1)?;
        Some((self.layers.get(index)?, self.files.get(index)?))
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> Result<u64, StagingError> {
        match self.layer(self.level()) {
            None => Ok(self.base.map_or(0, Inode::size)),
            Some((row, file)) => Ok(file.metadata().map_err(refused("look up", row.file))?.len()),
        }
    }

    /// The run that begins at `position`, which is below `end`.
    pub(super) fn part(&self, position: u64, end: u64) -> Result<Part, StagingError> {
        let part = self.part_above(0, position, end)?;
        if part.kind != SegmentKind::Base {
            return Ok(part);
        }
        match self.base.map_or(0, Inode::size) {
            size if position < size => Ok(Part { end: part.end.min(size), ..part }),
            _ => Ok(Part { kind: SegmentKind::Hole, ..part }),
        }
    }

    /// The same as the layers above the first `floor` ones have it: what is below them counts as base.
    pub(super) fn part_above(&self, floor: usize, position: u64, end: u64) -> Result<Part, StagingError> {
        let mut end = end;
        // From the top down, until a layer says what is there.
        for level in (floor + 1..=self.level()).rev() {
            let Some((row, file)) = self.layer(level) else { break };
            let data = sparse::seek_data(file, position).map_err(refused("read", row.file))?;
            if data.is_some_and(|data| data <= position) {
                let hole = sparse::seek_hole(file, position).map_err(refused("read", row.file))?;
                let end = hole.clamp(position + 1, end.max(position + 1));
                return Ok(Part { kind: SegmentKind::Written, end, level });
            }
            end = end.min(data.unwrap_or(end));
            let zeroed = row.zeroed.iter().find(|(offset, len)| offset.saturating_add(*len) > position);
            match zeroed {
                Some((offset, len)) if *offset <= position => {
                    return Ok(Part { kind: SegmentKind::Hole, end: end.min(offset + len), level });
                }
                Some((offset, _)) => end = end.min(*offset),
                None => {}
            }
            if position >= row.below_len {
                return Ok(Part { kind: SegmentKind::Hole, end, level });
            }
            end = end.min(row.below_len);
        }
        Ok(Part { kind: SegmentKind::Base, end, level: 0 })
    }

    /// Fills `buffer` from `offset` on; all of it must be below the length.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StagingError> {
        let mut position = offset;
        let mut left = buffer;
        while !left.is_empty() {
            let part = self.part(position, position.saturating_add(left.len() as u64))?;
            let len = usize::try_from(part.end - position).unwrap_or(usize::MAX).min(left.len());
            let (piece, rest) = left.split_at_mut(len);
            match part.kind {
                SegmentKind::Written => self.read_layer(part.level, position, piece)?,
                SegmentKind::Base => self.read_base(position, piece)?,
                SegmentKind::Hole => piece.fill(0),
            }
            left = rest;
            position = part.end;
        }
        Ok(())
    }

    fn read_layer(&self, level: usize, offset: u64, piece: &mut [u8]) -> Result<(), StagingError> {
        let Some((row, file)) = self.layer(level) else { return Ok(()) };
        let read = read_at_most(file, offset, piece).map_err(refused("read", row.file))?;
        // It may have been truncated meanwhile by who writes to it directly.
        piece.get_mut(read..).unwrap_or_default().fill(0);
        Ok(())
    }

    fn read_base(&self, offset: u64, piece: &mut [u8]) -> Result<(), StagingError> {
        let Some(inode) = self.base else { return Ok(()) };
        let Some(content) = self.repository.content(inode) else { return Ok(()) };
        let mut at = 0;
        content.read_each(offset, piece.len(), |part| {
            let len = match part {
                Piece::Data(data) => {
                    let target = piece.get_mut(at..at + data.len()).unwrap_or_default();
                    target.copy_from_slice(data.get(..target.len()).unwrap_or_default());
                    data.len()
                }
                Piece::Hole(len) => {
                    piece.get_mut(at..at + len).unwrap_or_default().fill(0);
                    len
                }
            };
            at += len;
            true
        })?;
        Ok(())
    }

    /// The next offset from `offset` on that holds data (as against a hole), below the length.
    pub(super) fn seek_data(&self, offset: u64, size: u64) -> Result<Option<u64>, StagingError> {
        let mut position = offset;
        while position < size {
            let part = self.part(position, size)?;
            match part.kind {
                SegmentKind::Written => return Ok(Some(position)),
                SegmentKind::Hole => {}
                SegmentKind::Base => {
                    let content = self.base.and_then(|inode| self.repository.content(inode));
                    let data = content.map_or(Ok(None), |content| content.seek_data(position))?;
                    if let Some(data) = data.filter(|data| *data < part.end) {
                        return Ok(Some(data));
                    }
                }
            }
            position = part.end;
        }
        Ok(None)
    }

    /// The next offset from `offset` on that is in a hole; the end of the file counts as one.
    pub(super) fn seek_hole(&self, offset: u64, size: u64) -> Result<u64, StagingError> {
        let mut position = offset;
        while position < size {
            let part = self.part(position, size)?;
            match part.kind {
                SegmentKind::Written => {}
                SegmentKind::Hole => return Ok(position),
                SegmentKind::Base => {
                    let content = self.base.and_then(|inode| self.repository.content(inode));
                    let hole = content.map_or(Ok(position), |content| content.seek_hole(position))?;
                    if hole < part.end {
                        return Ok(hole);
                    }
                }
            }
            position = part.end;
        }
        Ok(size)
    }
}

/// Reads until the buffer is full or the file ends; returns how many bytes.
pub(super) fn read_at_most(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(left) = buffer.get_mut(done..).filter(|left| !left.is_empty()) {
        match file.read_at(left, offset + done as u64) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
