//! Lengths and holes: truncation, reserved space, punched and zeroed ranges.

use std::sync::Arc;

use super::attributes::{Attributes, Caller, SetAttributes, SetTime};
use super::error::StagingError;
use super::handle::FileHandle;
use super::layers::NewLayer;
use super::objects::Edit;
use super::stack::refused;
use super::terms::AllocateMode;
use super::tree::{BLOCK, Core, StagingTree};
use super::writing::SIZE_MAX;
use crate::format::record::FileKind;
use crate::index::staging::{ContentRow, LAYER_COUNT_MAX, LayerRow, ObjectState, ZEROED_COUNT_MAX};
use crate::storage::sparse;

const ZEROS_LEN: u64 = 1 << 20;

impl StagingTree {
    /// Sets the length (also `set_attributes` with a size).
    ///
    /// # Errors
    /// [`StagingError::IsDirectory`], [`StagingError::TooLarge`], [`StagingError::Invalid`] for what has no
    /// length.
    pub fn truncate(&self, number: u64, size: u64, caller: Caller) -> Result<Attributes, StagingError> {
        self.set_length(number, size, caller)?;
        self.attributes(number)
    }

    /// Tells whether setting a length takes long, because layers of the file are copied for it.
    #[must_use]
    pub fn copies_for_length(&self, number: u64, size: u64) -> bool {
        if size == 0 {
            return false;
        }
        let Ok(object) = self.load(&self.core(), number) else { return false };
        let frozen_epoch = self.frozen_epoch();
        object.state.content().is_some_and(|row| {
            let is_live = row.layers.last().is_some_and(|top| top.epoch > frozen_epoch);
            !is_live && (!self.keeps_holes || row.layers.len() >= LAYER_COUNT_MAX)
        })
    }

    pub(super) fn set_length(&self, number: u64, size: u64, caller: Caller) -> Result<(), StagingError> {
        if size > SIZE_MAX {
            return Err(StagingError::TooLarge);
        }
        // Held open meanwhile, so that what is copied is what it has then.
        let (_open, ahead) = match self.copies_for_length(number, size) {
            true => {
                let opened = self.handle(self.opened(&self.core(), number)?, false);
                let ahead = self.layer_ahead(opened.file())?;
                (Some(opened), ahead)
            }
            false => (None, None),
        };
        let is_same = {
            let mut core = self.core_mut();
            let object = self.load(&core, number)?;
            match object.state.kind() {
                FileKind::Regular => {}
                FileKind::Directory => return Err(StagingError::IsDirectory),
                _ => return Err(StagingError::Invalid { what: "the length of what has none" }),
            }
            let content = object.state.content();
            let is_same =
                content.is_some_and(|row| row.layers.is_empty() && row.base_size() == size && size > 0);
            if !is_same {
                self.set_layer_length(&mut core, number, size, ahead)?;
            }
            is_same
        };
        if is_same {
            let now = Some(SetTime::Now);
            return self
                .set_attributes(number, &SetAttributes { mtime: now, ..SetAttributes::default() }, caller)
                .map(drop);
        }
        Ok(())
    }

    fn set_layer_length(
        &self,
        core: &mut Core,
        number: u64,
        size: u64,
        ahead: Option<NewLayer>,
    ) -> Result<(), StagingError> {
        if size == 0 {
            return self.set_empty(core, number);
        }
        let handle = self.live_layer_of(core, number, ahead)?;
        let mut state = handle.file().state_mut();
        let Some((layer, file)) = state.top() else { return Ok(()) };
        self.shrink(file, || file.set_len(size)).map_err(refused("truncate", layer.file))?;
        if state.content.stamp.is_none() && size >= layer.below_len {
            return Ok(());
        }
        state.content.stamp = None;
        if let Some(top) = state.content.layers.last_mut() {
            top.below_len = top.below_len.min(size);
            top.zeroed.retain(|(offset, _)| *offset < size);
        }
        let content = state.content.clone();
        drop(state);
        self.put_content(core, number, content)
    }

    // All that was there goes, layers and base, but what a commit still reads.
    fn set_empty(&self, core: &mut Core, number: u64) -> Result<(), StagingError> {
        let handle = self.handle(self.opened(core, number)?, true);
        let is_plain_and_live = {
            let state = handle.file().state();
            if state.is_stale {
                return Err(StagingError::Stale { number });
            }
            // One of which a sync failed is not written again.
            self.is_live(&state)
                && state.plain().is_some_and(|(layer, _)| !self.failed_syncs.contains(layer.file))
        };
        if is_plain_and_live {
            let mut state = handle.file().state_mut();
            if let Some((layer, file)) = state.top() {
                self.shrink(file, || file.set_len(0)).map_err(refused("truncate", layer.file))?;
            }
            if state.content.stamp.take().is_none() {
                return Ok(());
            }
            let content = state.content.clone();
            drop(state);
            return self.put_content(core, number, content);
        }
        let object = self.load(core, number)?;
        let id = self.new_number(core)?;
        let backing = Arc::new(self.data.create(id)?);
        let layer = LayerRow { file: id, epoch: core.state.epoch, below_len: 0, zeroed: Vec::new() };
        self.put_top(core, handle.file(), &object, (0, layer), backing)
    }

    // Sets the content in the row; the open file has it already.
    fn put_content(&self, core: &mut Core, number: u64, content: ContentRow) -> Result<(), StagingError> {
        let object = self.load(core, number)?;
        let mut state = ObjectState::clone(&object.state);
        if let Some(known) = state.content_mut() {
            *known = content;
        }
        let mut edit = Edit::new(self, core);
        edit.put(number, Some(&object), object.linked, state)?;
        edit.apply()
    }

    /// Reserves space, punches holes, zeroes ranges (`fallocate(2)`).
    ///
    /// # Errors
    /// [`StagingError::NoSpace`], [`StagingError::TooLarge`], [`StagingError::Invalid`] for an empty range,
    /// [`StagingError::NotSupported`] if the file system cannot reserve.
    pub fn allocate(
        &self,
        handle: &FileHandle,
        offset: u64,
        len: u64,
        mode: AllocateMode,
        caller: Caller,
    ) -> Result<(), StagingError> {
        if len == 0 {
            return Err(StagingError::Invalid { what: "an empty range" });
        }
        let end = offset.checked_add(len).filter(|end| *end <= SIZE_MAX).ok_or(StagingError::TooLarge)?;
        if !matches!(mode, AllocateMode::Punch) {
            self.space.check_free_bytes(self, len)?;
        }
        let number = handle.number();
        let ahead = self.layer_ahead(handle.file())?;
        let mut core = self.core_mut();
        let live = self.live_layer_of(&mut core, number, ahead)?;
        let (size, layer) = {
            let state = live.file().state();
            let Some((layer, file)) = state.top() else { return Ok(()) };
            if let AllocateMode::Reserve { .. } = mode {
                sparse::reserve(file, offset, len).map_err(|error| match error.raw_os_error() {
                    Some(libc::EOPNOTSUPP) => StagingError::NotSupported { what: "space reserved ahead" },
                    _ => refused("reserve space in", layer.file)(error),
                })?;
            }
            (state.stack(&self.repository).size()?, layer.file)
        };
        if !matches!(mode, AllocateMode::Reserve { .. }) {
            self.zero(&mut core, &live, offset, end.min(size), size)?;
        }
        match mode {
            AllocateMode::Reserve { keep_size: false } | AllocateMode::Zero { keep_size: false }
                if end > size =>
            {
                let state = live.file().state_mut();
                let file = state.top().map(|(_, file)| Arc::clone(file));
                file.map_or(Ok(()), |file| file.set_len(end)).map_err(refused("extend", layer))?;
            }
            _ => {}
        }
        drop(core);
        self.count_change();
        self.note_change(number, caller)
    }

    // The kernel does not say whether set-id bits shall go.
    fn note_change(&self, number: u64, caller: Caller) -> Result<(), StagingError> {
        let kill_privileges = caller.uid != 0;
        let now = SetAttributes { mtime: Some(SetTime::Now), kill_privileges, ..SetAttributes::default() };
        self.set_attributes(number, &now, caller).map(drop)
    }

    // Makes a range within the file zeros, holes where whole blocks allow.
    fn zero(
        &self,
        core: &mut Core,
        handle: &FileHandle,
        offset: u64,
        end: u64,
        size: u64,
    ) -> Result<(), StagingError> {
        if offset >= end {
            return Ok(());
        }
        let mut state = handle.file().state_mut();
        let Some((layer, file)) = state.top() else { return Ok(()) };
        let (id, file, below_len) = (layer.file, Arc::clone(file), layer.below_len);
        if below_len == 0 {
            let punch = || sparse::punch(&file, offset, end - offset);
            return self.shrink(&file, punch).map_err(refused("punch", id));
        }
        let first = offset.next_multiple_of(BLOCK);
        // Behind the end of the file there is nothing to keep.
        let last = if end == size { end.next_multiple_of(BLOCK) } else { end - end % BLOCK };
        if first >= last {
            return self.write_zeros(&state, offset, end);
        }
        self.write_zeros(&state, offset, first.min(end))?;
        self.write_zeros(&state, last.min(end), end)?;
        let zeroed = joined(&layer.zeroed, first, last.min(below_len).max(first));
        if zeroed.len() > ZEROED_COUNT_MAX {
            return self.write_zeros(&state, first, last.min(end));
        }
        if let Some(top) = state.content.layers.last_mut() {
            top.zeroed = zeroed;
        }
        let content = state.content.clone();
        drop(state);
        self.put_content(core, handle.number(), content)?;
        let _alone = handle.file().state_mut();
        self.shrink(&file, || sparse::punch(&file, first, last - first)).map_err(refused("punch", id))
    }

    fn write_zeros(
        &self,
        state: &super::content::FileState,
        from: u64,
        upto: u64,
    ) -> Result<(), StagingError> {
        let mut position = from;
        while position < upto {
            let len = (upto - position).min(ZEROS_LEN);
            let zeros = vec![0; usize::try_from(len).unwrap_or_default()];
            self.write_over(state, position, &zeros)?;
            position += len;
        }
        Ok(())
    }
}

// Ranges in order and apart, with one more.
fn joined(ranges: &[(u64, u64)], from: u64, upto: u64) -> Vec<(u64, u64)> {
    if from >= upto {
        return ranges.to_vec();
    }
    let (mut from, mut upto) = (from, upto);
    let mut joined = Vec::with_capacity(ranges.len() + 1);
    for (offset, len) in ranges {
        let end = offset + len;
        if end < from || *offset > upto {
            joined.push((*offset, *len));
        } else {
            (from, upto) = (from.min(*offset), upto.max(end));
        }
    }
    let at = joined.partition_point(|(offset, _)| *offset < from);
    joined.insert(at, (from, upto - from));
    joined
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let ranges = [(0, 10), (20, 10), (40, 10)];
        assert_eq!(joined(&ranges, 10, 20), [(0, 30), (40, 10)]);
        assert_eq!(joined(&ranges, 12, 15), [(0, 10), (12, 3), (20, 10), (40, 10)]);
        assert_eq!(joined(&ranges, 5, 100), [(0, 100)]);
        assert_eq!(joined(&ranges, 60, 61), [(0, 10), (20, 10), (40, 10), (60, 1)]);
        assert_eq!(joined(&ranges, 5, 5), ranges);
    }
}
