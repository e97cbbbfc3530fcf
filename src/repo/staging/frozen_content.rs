//! The content of a file in a frozen epoch.

use std::fs::File;
use std::sync::Arc;

use super::error::StagingError;
use super::frozen::FrozenEpoch;
use super::mapped::MappedWrites;
use super::stack::{SegmentKind, Stack, read_at_most, refused};
use super::watching::moment;
use crate::format::record::{Content, Detail};
use crate::id::Fingerprint;
use crate::index::staging::ContentRow;
use crate::repo::Repository;
use crate::storage::sparse::{self, SparseStatus};

/// The content of a regular file at the freeze.
#[derive(Debug)]
pub struct FrozenContent {
    pub(super) repository: Arc<Repository>,
    pub(super) row: ContentRow,
    pub(super) files: Vec<Arc<File>>,
    pub(super) at_freeze: SparseStatus,
    // It was written at the freeze.
    pub(super) has_moved: bool,
    // Its backing file is a copy that nobody else has.
    pub(super) is_copied: bool,
    // Somebody may have it mapped whose writes come through this process.
    pub(super) mapped: Option<MappedWrites>,
    /// Length in bytes.
    pub size: u64,
    /// What lies below the written regions, if anything of it may still be visible.
    pub base: Option<FrozenBase>,
    /// The regions are exact. If not (power was lost, or the file system cannot tell) the whole content must
    /// be read, base and all, and cut anew (SFP).
    pub trusted: bool,
    /// Open for direct writes at the freeze: it stays pending, and its content may be of no one moment
    /// ([`FrozenContent::is_moved`]).
    pub open_for_writing: bool,
    /// Something of what was written may be lost: the disk refused to take it.
    pub has_lost_writes: bool,
}

/// What lies below the written regions of a file.
#[derive(Debug, Clone)]
pub struct FrozenBase {
    /// Where the bytes are.
    pub content: Content,
    /// Length in the base generation, in bytes.
    pub size: u64,
    /// Bytes of it that are still visible where nothing was written: from there on there are zeros.
    pub visible_len: u64,
    /// Signature of all `size` bytes, if known.
    pub signature: Option<Fingerprint>,
}

/// A run of a frozen file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Where the bytes are.
    pub kind: SegmentKind,
}

impl FrozenEpoch<'_> {
    /// The content of a file as it was at the freeze, as its row has it.
    pub(super) fn content(&self, number: u64, row: &ContentRow) -> Result<FrozenContent, StagingError> {
        let mut row = row.clone();
        let mut files = Vec::with_capacity(row.layers.len());
        let open = self.tree.files.get(number);
        for layer in &mut row.layers {
            let known = open.as_ref().and_then(|open| {
                let state = open.state();
                let at = state.content.layers.iter().position(|known| known.file == layer.file)?;
                state.files.get(at).cloned()
            });
            files.push(match known {
                Some(file) => file,
                None => Arc::new(self.tree.open_layer(layer)?),
            });
        }
        let moving = self.moving.get(&number);
        let status = match (moving, files.last()) {
            (Some(moving), _) => moving.status,
            (None, Some(file)) => sparse::status(file).map_err(refused("look up", number))?,
            (None, None) => return Err(StagingError::Stale { number }),
        };
        let has_lost_writes = self.tree.has_lost_writes(number, &row.layers, &files);
        let copy = moving.and_then(|moving| moving.copy.clone());
        let is_copied = copy.is_some();
        if let Some((top, copy)) = files.last_mut().zip(copy) {
            *top = copy;
        }
        let trusted = row.layers.iter().all(|layer| layer.epoch > self.untrusted_epoch);
        let base = row.base.as_ref().and_then(|inode| match &inode.detail {
            Detail::Regular { size, signature, content, .. } => Some(FrozenBase {
                content: content.clone(),
                size: *size,
                visible_len: row.layers.iter().map(|layer| layer.below_len).fold(*size, u64::min),
                signature: *signature,
            }),
            _ => None,
        });
        Ok(FrozenContent {
            repository: Arc::clone(&self.tree.repository),
            size: status.len,
            at_freeze: status,
            open_for_writing: moving.is_some(),
            has_moved: moving.is_some_and(|moving| moving.has_moved),
            is_copied,
            mapped: self.mapped.get(&number).cloned(),
            has_lost_writes,
            row,
            files,
            base,
            trusted,
        })
    }
}

impl FrozenContent {
    fn stack(&self) -> Stack<'_> {
        Stack::new(&self.repository, &self.row, &self.files)
    }

    /// All bytes as segments in order, none twice, from 0 to `size`.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment, StagingError>> + '_ {
        let mut position = 0;
        std::iter::from_fn(move || {
            if position >= self.size {
                return None;
            }
            let offset = position;
            match self.stack().part(offset, self.size) {
                Ok(part) => {
                    position = part.end;
                    Some(Ok(Segment { offset, len: part.end - offset, kind: part.kind }))
                }
                Err(error) => {
                    position = self.size;
                    Some(Err(error))
                }
            }
        })
    }

    // The only backing file, if nothing of what lies below it can be seen.
    fn plain(&self) -> Option<(u64, &File)> {
        match (&self.row.layers[..], &self.files[..]) {
            ([layer], [file]) if layer.below_len == 0 => Some((layer.file, file)),
            _ => None,
        }
    }

    /// Tells whether all of it was written, so that there is no hole and nothing from the base.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        self.plain().is_some() && self.at_freeze.allocated >= self.size
    }

    /// Reads up to `len` bytes as they are seen, written or from the base; fewer only at the end.
    ///
    /// # Errors
    /// [`StagingError`] if a byte cannot be read.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StagingError> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        if let Some((layer, file)) = self.plain() {
            // It may have been truncated meanwhile by who writes to it directly: zeros then, as below.
            read_at_most(file, offset, &mut bytes).map_err(refused("read", layer))?;
            return Ok(bytes);
        }
        self.stack().read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Tells whether the content may turn out to be of no one moment ([`FrozenContent::is_moved`]).
    #[must_use]
    pub fn may_move(&self) -> bool {
        self.open_for_writing || self.mapped.is_some()
    }

    /// Tells whether the content may be of no one moment: the backing file was written at the freeze or since, which
    /// can be only if it was `open_for_writing`, and it could not be held for a copy; or something came since that had
    /// been written through a mapping, perhaps before.
    ///
    /// # Errors
    /// [`StagingError`] if the system does not tell.
    pub fn is_moved(&self) -> Result<bool, StagingError> {
        let comes_through_mapping = self.mapped.as_ref().is_some_and(MappedWrites::have_come);
        if self.has_moved || comes_through_mapping || !self.open_for_writing || self.is_copied {
            return Ok(self.has_moved || comes_through_mapping);
        }
        let Some(file) = self.files.last() else { return Ok(false) };
        let now = sparse::status(file).map_err(refused("look up", 0))?;
        Ok(moment(&now) != moment(&self.at_freeze))
    }
}
