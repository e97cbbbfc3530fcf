//! New layers. A file gets one when it is written first after a freeze, and has a few at most: then the uppermost
//! ones, which no one writes any more, become part of the new one, and what lies below them stays.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::content::{FileState, OpenFile, Releases};
use super::error::StagingError;
use super::handle::FileHandle;
use super::objects::{Edit, Loaded};
use super::stack::{SegmentKind, Stack, read_at_most, refused};
use super::tree::{Core, StagingTree};
use crate::index::staging::{ContentRow, LAYER_COUNT_MAX, LayerRow, ObjectState, ZEROED_COUNT_MAX};
use crate::storage::{StorageError, sparse};

pub(super) const COPY_LEN: usize = 1 << 20;
/// A layer of that much goes with those above it, however little these are.
const MERGED_BYTES_MIN: u64 = 1 << 20;

/// A layer that is ready to be put on a file.
#[derive(Debug)]
pub(super) struct NewLayer {
    row: LayerRow,
    backing: Arc<File>,
    /// So many of the layers stay below it.
    floor: usize,
    // For what content, and while which epoch was frozen: neither can be written before the next freeze.
    content: ContentRow,
    frozen_epoch: u32,
    // Who removes its file if it is not used.
    releases: Option<Arc<Releases>>,
}

impl Drop for NewLayer {
    fn drop(&mut self) {
        if let Some(releases) = &self.releases {
            releases.push_prepared(self.row.file);
        }
    }
}

impl StagingTree {
    /// Makes the next layer of a file, if it needs one and something is to be copied for it, which others shall not
    /// wait for.
    ///
    /// # Errors
    /// [`StagingError::NoSpace`] if the copy does not fit.
    pub(super) fn layer_ahead(&self, file: &OpenFile) -> Result<Option<NewLayer>, StagingError> {
        let frozen_epoch = self.frozen_epoch();
        let state = file.state().shared();
        if state.is_stale || self.is_live(&state) || !self.must_copy(&state) {
            return Ok(None);
        }
        let (id, untrusted_epoch) = {
            let mut core = self.core_mut();
            (self.new_number(&mut core)?, core.state.untrusted_epoch)
        };
        self.new_layer(&state, id, (frozen_epoch, untrusted_epoch)).map(Some)
    }

    fn must_copy(&self, state: &FileState) -> bool {
        !self.keeps_holes || state.files.len() >= LAYER_COUNT_MAX
    }

    /// Opens a file and makes sure that its uppermost layer may be written, with a layer that was made ahead if it
    /// needs one and that is still right.
    pub(super) fn live_layer_of(
        &self,
        core: &mut Core,
        number: u64,
        ahead: Option<NewLayer>,
    ) -> Result<FileHandle, StagingError> {
        let handle = self.handle(self.opened(core, number)?, true);
        let (is_ready, ahead) = {
            let state = handle.file().state();
            if state.is_stale {
                return Err(StagingError::Stale { number });
            }
            // Another writer may have been faster, or the commit be over.
            let is_of =
                |new: &NewLayer| new.content == state.content && new.frozen_epoch == self.frozen_epoch();
            (self.is_live(&state), ahead.filter(is_of))
        };
        if !is_ready {
            self.add_layer(core, handle.file(), ahead)?;
        }
        Ok(handle)
    }

    fn add_layer(
        &self,
        core: &mut Core,
        file: &OpenFile,
        ahead: Option<NewLayer>,
    ) -> Result<(), StagingError> {
        let object = self.load(core, file.number)?;
        let mut new = match ahead {
            Some(new) => new,
            None => {
                let id = self.new_number(core)?;
                let state = file.state().shared();
                self.new_layer(&state, id, (self.frozen_epoch(), core.state.untrusted_epoch))?
            }
        };
        let row = LayerRow { epoch: core.state.epoch, ..new.row.clone() };
        self.put_top(core, file, &object, (new.floor, row), Arc::clone(&new.backing))?;
        new.releases = None;
        Ok(())
    }

    fn new_layer(
        &self,
        state: &FileState,
        id: u64,
        (frozen_epoch, untrusted_epoch): (u32, u32),
    ) -> Result<NewLayer, StagingError> {
        let size = state.stack(&self.repository).size()?;
        let mut new = NewLayer {
            row: LayerRow { file: id, epoch: 0, below_len: size, zeroed: Vec::new() },
            backing: Arc::new(self.data.create(id)?),
            floor: state.files.len(),
            content: state.content.clone(),
            frozen_epoch,
            releases: Some(Arc::clone(&self.files.releases)),
        };
        new.backing.set_len(size).map_err(refused("write", id))?;
        if self.must_copy(state) {
            self.copy_into(&mut new, state, size, untrusted_epoch)?;
        }
        Ok(new)
    }

    // What was synced before must be as safe in the copy.
    fn copy_into(
        &self,
        new: &mut NewLayer,
        state: &FileState,
        size: u64,
        untrusted_epoch: u32,
    ) -> Result<(), StagingError> {
        let floor = if self.keeps_holes { floor(state, untrusted_epoch)? } else { None };
        match floor {
            Some(floor) => self.merge(new, state, size, floor)?,
            None => {
                self.space.check_bytes(self, size)?;
                copy_all(&state.stack(&self.repository), size, &new.backing, new.row.file)?;
                (new.row.below_len, new.floor) = (0, 0);
            }
        }
        let id = new.row.file;
        let refused = |source| StorageError { operation: "sync", path: self.data.shown(id), source };
        sparse::sync(&new.backing, false).map_err(refused)?;
        Ok(self.data.sync_name(id)?)
    }

    // The layers above the floor as one.
    fn merge(
        &self,
        new: &mut NewLayer,
        state: &FileState,
        size: u64,
        floor: usize,
    ) -> Result<(), StagingError> {
        let merged = state.content.layers.get(floor..).unwrap_or_default();
        self.space.check_bytes(self, allocated(state, floor)?)?;
        new.floor = floor;
        new.row.below_len = merged.iter().map(|layer| layer.below_len).fold(size, u64::min);
        let stack = state.stack(&self.repository);
        let mut position = 0;
        while position < size {
            let part = stack.part_above(floor, position, size)?;
            match part.kind {
                SegmentKind::Written => {
                    let source = part.level.checked_sub(1).and_then(|index| state.files.get(index));
                    copy(source.map_or(&*new.backing, |source| source), &new.backing, (position, part.end))
                        .map_err(refused("copy to", new.row.file))?;
                }
                SegmentKind::Hole if position < new.row.below_len => {
                    hide(new, position, part.end.min(new.row.below_len))?;
                }
                SegmentKind::Hole | SegmentKind::Base => {}
            }
            position = part.end;
        }
        // What may be lost of one of them is lost of all.
        if let Some(lost) = merged.iter().find(|layer| self.failed_syncs.contains(layer.file)) {
            self.failed_syncs.follow(lost.file, new.row.file);
        }
        Ok(())
    }

    /// Puts a layer on the lowest ones of a file; what cannot be seen any more below it goes.
    pub(super) fn put_top(
        &self,
        core: &mut Core,
        file: &OpenFile,
        object: &Loaded,
        (floor, layer): (usize, LayerRow),
        backing: Arc<File>,
    ) -> Result<(), StagingError> {
        let mut state = ObjectState::clone(&object.state);
        let is_plain = layer.below_len == 0;
        let Some(content) = state.content_mut() else { return Ok(()) };
        if is_plain {
            *content = ContentRow::default();
        }
        content.stamp = None;
        content.layers.truncate(floor);
        content.layers.push(layer);
        let content = content.clone();
        let mut edit = Edit::new(self, core);
        edit.put(file.number, Some(object), object.linked, state)?;
        edit.apply()?;
        let mut state = file.state_mut();
        state.files.truncate(if is_plain { 0 } else { floor });
        state.files.push(backing);
        state.content = content;
        file.is_past_stamp.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

fn allocated(state: &FileState, floor: usize) -> Result<u64, StagingError> {
    let mut bytes = 0;
    for (layer, file) in state.content.layers.iter().zip(&state.files).skip(floor) {
        bytes += sparse::status(file).map_err(refused("look up", layer.file))?.allocated;
    }
    Ok(bytes)
}

// How many layers stay as they are. One that is much larger than all above it does: so what is copied in all stays
// near what was written. One whose record is not trusted would be trusted in the new one; none if that is the last.
fn floor(state: &FileState, untrusted_epoch: u32) -> Result<Option<usize>, StagingError> {
    let layers = &state.content.layers;
    let lowest = layers.iter().rposition(|layer| layer.epoch <= untrusted_epoch).map_or(0, |last| last + 1);
    let Some(mut floor) = layers.len().checked_sub(1).filter(|last| *last >= lowest) else { return Ok(None) };
    let mut above = allocated(state, floor)?;
    while floor > lowest {
        let with_next = allocated(state, floor - 1)?;
        if with_next - above.min(with_next) > above.saturating_mul(2).max(MERGED_BYTES_MIN) {
            break;
        }
        (floor, above) = (floor - 1, with_next);
    }
    Ok(Some(floor))
}

// Hides what is below a range; where there are too many such, by zeros.
fn hide(new: &mut NewLayer, from: u64, upto: u64) -> Result<(), StagingError> {
    let count = new.row.zeroed.len();
    match new.row.zeroed.last_mut() {
        Some((offset, len)) if *offset + *len == from => *len += upto - from,
        _ if count < ZEROED_COUNT_MAX => new.row.zeroed.push((from, upto - from)),
        _ => {
            let mut at = from;
            while at < upto {
                let len = usize::try_from(upto - at).unwrap_or(COPY_LEN).min(COPY_LEN);
                new.backing.write_all_at(&vec![0; len], at).map_err(refused("write", new.row.file))?;
                at += len as u64;
            }
        }
    }
    Ok(())
}

fn copy(source: &File, target: &File, (from, upto): (u64, u64)) -> std::io::Result<()> {
    let mut at = from;
    while at < upto {
        let len = usize::try_from(upto - at).unwrap_or(COPY_LEN).min(COPY_LEN);
        let mut bytes = vec![0; len];
        // What is beyond its end is zeros.
        let _len = read_at_most(source, at, &mut bytes)?;
        target.write_all_at(&bytes, at)?;
        at += len as u64;
    }
    Ok(())
}

fn copy_all(stack: &Stack<'_>, size: u64, target: &File, id: u64) -> Result<(), StagingError> {
    let mut position = 0;
    while let Some(data) = stack.seek_data(position, size)? {
        let hole = stack.seek_hole(data, size)?;
        let mut at = data;
        while at < hole {
            let len = usize::try_from(hole - at).unwrap_or(COPY_LEN).min(COPY_LEN);
            let mut bytes = vec![0; len];
            stack.read(at, &mut bytes)?;
            target.write_all_at(&bytes, at).map_err(refused("write", id))?;
            at += len as u64;
        }
        position = hole;
    }
    Ok(())
}
