//! Reading and writing of content.
//!
//! A write goes to the uppermost layer, which is made first if there is none or a commit reads it. Where
//! something lies below, whole blocks are written, so that the backing file's own map of data and holes is
//! the record of what was written.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::attributes::{Caller, SetAttributes, time};
use super::content::{FileState, OpenFile};
use super::error::StagingError;
use super::handle::{FileHandle, PreparedFile};
use super::layers::COPY_LEN;
use super::objects::Edit;
use super::stack::{read_at_most, refused};
use super::terms::{SeekFrom, Synced};
use super::tree::{BLOCK, StagingTree};
use crate::index::staging::ObjectState;
use crate::storage::{StorageError, sparse};

/// Largest length of a file in bytes.
pub(super) const SIZE_MAX: u64 = i64::MAX.cast_unsigned();

impl StagingTree {
    /// A number and a backing file for a later [`StagingTree::create_file`].
    ///
    /// # Errors
    /// [`StagingError::NoSpace`] if the reserve is reached.
    pub fn prepare_file(&self) -> Result<PreparedFile, StagingError> {
        self.space.check_row(self)?;
        let number = self.new_number(&mut self.core_mut())?;
        let file = self.data.create(number)?;
        let status = sparse::status(&file).map_err(refused("look up", number))?;
        let releases = Arc::clone(&self.files.releases);
        Ok(PreparedFile::new(number, Arc::new(file), time(status.mtime), releases))
    }

    /// Opens a regular file. With `truncate` it is emptied (`O_TRUNC`).
    ///
    /// # Errors
    /// [`StagingError::Stale`] if there is no such file, [`StagingError::IsDirectory`].
    pub fn open_file(
        &self,
        number: u64,
        writable: bool,
        truncate: bool,
        caller: Caller,
    ) -> Result<FileHandle, StagingError> {
        self.release_dropped()?;
        let handle = self.handle(self.opened(&self.core(), number)?, writable);
        if writable && self.has_privileges(&self.load(&self.core(), number)?.state)? {
            handle.watch();
        }
        if truncate {
            self.set_length(number, 0, caller)?;
        }
        let is_direct = handle.file().direct.load(Ordering::Acquire) > 0;
        if writable && (is_direct || handle.passthrough().is_some()) {
            self.note_direct(handle.file())?;
        }
        Ok(handle)
    }

    /// Reads up to `len` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// [`StagingError`] if a byte of the range cannot be read; another range may be readable.
    pub fn read(&self, handle: &FileHandle, offset: u64, len: usize) -> Result<Vec<u8>, StagingError> {
        let state = handle.file().state();
        if state.is_stale {
            return Err(StagingError::Stale { number: handle.number() });
        }
        if let Some((layer, file)) = state.plain() {
            let mut bytes = vec![0; len];
            let read = read_at_most(file, offset, &mut bytes).map_err(refused("read", layer.file))?;
            bytes.truncate(read);
            return Ok(bytes);
        }
        let stack = state.stack(&self.repository);
        let left = stack.size()?.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(len)];
        stack.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes all of `data`. With `kill_privileges` set-id bits and capabilities go.
    ///
    /// # Errors
    /// [`StagingError::NoSpace`], [`StagingError::TooLarge`]; [`StagingError::Stale`] after a discard.
    pub fn write(
        &self,
        handle: &FileHandle,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
        caller: Caller,
    ) -> Result<(), StagingError> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= SIZE_MAX);
        self.space.check_write(self, handle, (offset, end.ok_or(StagingError::TooLarge)?))?;
        if data.is_empty() {
            return Ok(());
        }
        while !self.try_write(handle.file(), offset, data)? {
            let ahead = self.layer_ahead(handle.file())?;
            self.live_layer_of(&mut self.core_mut(), handle.number(), ahead)?;
        }
        self.count_change();
        self.pass_stamp(handle.file())?;
        if kill_privileges {
            self.kill_privileges_of(handle.number(), caller)?;
        }
        Ok(())
    }

    // Returns whether there was a layer to write to.
    fn try_write(&self, file: &OpenFile, offset: u64, data: &[u8]) -> Result<bool, StagingError> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let state = file.state();
        if state.is_stale {
            return Err(StagingError::Stale { number: file.number });
        }
        if !self.is_live(&state) {
            return Ok(false);
        }
        if let Some((layer, backing)) = state.plain() {
            backing.write_all_at(data, offset).map_err(refused("write", layer.file))?;
            return Ok(true);
        }
        drop(state);
        let state = file.state_mut();
        if !self.is_live(&state) {
            return Ok(false);
        }
        self.write_over(&state, offset, data)?;
        Ok(true)
    }

    /// Tells whether the uppermost layer may be written: there is one, and no commit reads it.
    pub(super) fn is_live(&self, state: &FileState) -> bool {
        state.top().is_some_and(|(layer, _)| layer.epoch > self.frozen_epoch())
    }

    /// Writes to the uppermost layer, whole blocks where something lies below.
    pub(super) fn write_over(&self, state: &FileState, offset: u64, data: &[u8]) -> Result<(), StagingError> {
        let Some((layer, backing)) = state.top() else { return Ok(()) };
        let stack = state.stack(&self.repository);
        let size = stack.size()?;
        let end = offset + data.len() as u64;
        let is_below = |block: u64| -> Result<bool, StagingError> {
            if block >= layer.below_len.min(size) {
                return Ok(false);
            }
            let data = sparse::seek_data(backing, block).map_err(refused("read", layer.file))?;
            Ok(data != Some(block))
        };
        let first = offset - offset % BLOCK;
        let last = end - end % BLOCK;
        let head_from = if first < offset && is_below(first)? { first } else { offset };
        let tail_upto =
            if last < end && end < size && is_below(last)? { (last + BLOCK).min(size) } else { end };
        if (head_from, tail_upto) == (offset, end) {
            return backing.write_all_at(data, offset).map_err(refused("write", layer.file));
        }
        let len = |from: u64, upto: u64| usize::try_from(upto - from).unwrap_or_default();
        // What is beyond the old end, up to the data, is zeros.
        let mut head = vec![0; len(head_from, offset)];
        let readable = len(head_from, offset.min(size).max(head_from));
        stack.read(head_from, head.get_mut(..readable).unwrap_or_default())?;
        let mut tail = vec![0; len(end, tail_upto)];
        stack.read(end, &mut tail)?;
        let whole = [&head, data, &tail].concat();
        backing.write_all_at(&whole, head_from).map_err(refused("write", layer.file))
    }

    // After a write the time of the backing file holds, not the one that was set.
    fn pass_stamp(&self, file: &OpenFile) -> Result<(), StagingError> {
        if file.is_past_stamp.load(Ordering::Acquire) {
            return Ok(());
        }
        {
            let state = file.state();
            let Some((layer, backing)) = state.top() else { return Ok(()) };
            let stamp = state.content.stamp;
            let status = sparse::status(backing).map_err(refused("look up", layer.file))?;
            if stamp != Some(time(status.mtime)) {
                file.is_past_stamp.store(true, Ordering::Release);
                return Ok(());
            }
        }
        // Written within the same tick of the clock in which the time was set.
        let mut core = self.core_mut();
        let object = self.load(&core, file.number)?;
        let mut state = ObjectState::clone(&object.state);
        if let Some(content) = state.content_mut() {
            content.stamp = None;
        }
        let mut edit = Edit::new(self, &mut core);
        edit.put(file.number, Some(&object), object.linked, state)?;
        edit.apply()?;
        file.state_mut().content.stamp = None;
        file.is_past_stamp.store(true, Ordering::Release);
        Ok(())
    }

    fn kill_privileges_of(&self, number: u64, caller: Caller) -> Result<(), StagingError> {
        let object = self.load(&self.core(), number)?;
        let mut state = ObjectState::clone(&object.state);
        self.kill_privileges(&mut state)?;
        if state == *object.state {
            return Ok(());
        }
        let set = SetAttributes { kill_privileges: true, ..SetAttributes::default() };
        self.set_attributes(number, &set, caller).map(drop)
    }

    /// The next data or hole, as `lseek(2)` has it.
    ///
    /// # Errors
    /// [`StagingError::NoSegment`] beyond the end, or if only a hole follows.
    pub fn seek(&self, handle: &FileHandle, from: SeekFrom) -> Result<u64, StagingError> {
        let state = handle.file().state();
        if state.is_stale {
            return Err(StagingError::Stale { number: handle.number() });
        }
        let stack = state.stack(&self.repository);
        let size = stack.size()?;
        let (SeekFrom::Data(offset) | SeekFrom::Hole(offset)) = from;
        if offset >= size {
            return Err(StagingError::NoSegment);
        }
        match from {
            SeekFrom::Data(offset) => stack.seek_data(offset, size)?.ok_or(StagingError::NoSegment),
            SeekFrom::Hole(offset) => stack.seek_hole(offset, size),
        }
    }

    /// Copies up to `len` bytes between files; returns how many, 0 at the end of the source.
    /// Set-id bits go unless root copies: the kernel does not say of copies whether they shall.
    ///
    /// # Errors
    /// As for reads and writes; [`StagingError::Invalid`] for ranges of one file that overlap.
    pub fn copy_range(
        &self,
        source: (&FileHandle, u64),
        target: (&FileHandle, u64),
        len: u64,
        caller: Caller,
    ) -> Result<u64, StagingError> {
        let is_same = source.0.number() == target.0.number();
        if is_same && source.1 < target.1.saturating_add(len) && target.1 < source.1.saturating_add(len) {
            return Err(StagingError::Invalid { what: "ranges that overlap" });
        }
        let mut copied = 0;
        while copied < len {
            let step = usize::try_from(len - copied).unwrap_or(COPY_LEN).min(COPY_LEN);
            let bytes = self.read(source.0, source.1.saturating_add(copied), step)?;
            if bytes.is_empty() {
                break;
            }
            self.write(target.0, target.1.saturating_add(copied), &bytes, caller.uid != 0, caller)?;
            copied += bytes.len() as u64;
        }
        Ok(copied)
    }

    /// Makes an object durable: content and rows. Also for directories.
    ///
    /// # Errors
    /// [`StagingError`] if the disk refuses; what was written since the last time is then unknown.
    pub fn sync_object(&self, number: u64, synced: Synced) -> Result<(), StagingError> {
        let handle = {
            let core = self.core();
            let object = self.load(&core, number)?;
            let has_layers = object.state.content().is_some_and(|content| !content.layers.is_empty());
            if has_layers { Some(self.handle(self.opened(&core, number)?, false)) } else { None }
        };
        if let Some(handle) = handle {
            let (layers, files) = {
                let state = handle.file().state();
                (state.content.layers.clone(), state.files.clone())
            };
            for (layer, file) in layers.iter().zip(&files) {
                self.sync_layer(number, layer.file, file, synced)?;
            }
        }
        self.sync_rows()
    }

    fn sync_layer(
        &self,
        number: u64,
        layer: u64,
        file: &std::fs::File,
        synced: Synced,
    ) -> Result<(), StagingError> {
        let refused = |source| StorageError { operation: "sync", path: self.data.shown(layer), source };
        if self.failed_syncs.contains(layer) {
            return Err(refused(std::io::Error::from_raw_os_error(libc::EIO)).into());
        }
        let done = sparse::sync(file, synced == Synced::All).map_err(refused);
        Ok(self.note_sync(number, layer, done.and_then(|()| self.data.sync_name(layer)))?)
    }

    /// Makes all rows durable that were written so far.
    pub(super) fn sync_rows(&self) -> Result<(), StagingError> {
        Ok(self.store.sync()?)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`StagingError`] if the disk refuses.
    pub fn sync(&self) -> Result<(), StagingError> {
        self.data.sync()?;
        self.sync_rows()
    }
}
