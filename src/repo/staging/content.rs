//! Open files: the backing files of each, shared by all its handles.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::error::StagingError;
use super::handle::FileHandle;
use super::mapped::Mapped;
use super::objects::Loaded;
use super::stack::Stack;
use super::tree::{Core, StagingTree};
use crate::format::record::Time;
use crate::index::staging::{ContentRow, LayerRow, ObjectRow, ObjectState, StagingBatch};
use crate::repo::Repository;
use crate::storage::sparse::{self, SparseStatus};

/// Content of an open file as its row has it, with the backing files.
#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) content: ContentRow,
    pub(super) files: Vec<Arc<File>>,
    /// The object is gone with a discard.
    pub(super) is_stale: bool,
}

/// A file that somebody has open.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) number: u64,
    state: RwLock<FileState>,
    /// Handles whose reads and writes go to the backing file directly.
    pub(super) direct: AtomicUsize,
    /// Handles that may write.
    pub(super) writers: AtomicUsize,
    /// All handles. Others hold the file up for a moment, too.
    pub(super) handles: AtomicUsize,
    /// The name is one of a database, whose files are never written directly.
    pub(super) is_database: AtomicBool,
    /// Somebody may have it mapped to write it.
    pub(super) is_mappable: AtomicBool,
    /// Writes that came through mappings.
    pub(super) mapped_writes: Arc<AtomicU64>,
    /// The database knows that it may be open for direct writes.
    pub(super) is_noted: AtomicBool,
    /// The stamp was seen to be out of date.
    pub(super) is_past_stamp: AtomicBool,
    pub(super) releases: Arc<Releases>,
}

/// What was dropped and waits for the tree to take notice.
#[derive(Debug, Default)]
pub(super) struct Releases {
    any: AtomicBool,
    numbers: Mutex<Vec<u64>>,
    prepared: Mutex<Vec<u64>>,
    forgotten: Mutex<Vec<u64>>,
}

impl Releases {
    pub(super) fn push(&self, number: u64) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn push_forgotten(&self, number: u64) {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn push_prepared(&self, number: u64) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        self.any.store(true, Ordering::Release);
    }
}

/// What was dropped since the last time.
#[derive(Debug)]
struct Released {
    numbers: Vec<u64>,
    prepared: Vec<u64>,
    forgotten: Vec<u64>,
    /// Of the files those that may have been written directly.
    noted: Vec<Arc<OpenFile>>,
}

/// All open files by number.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    pub(super) mapped: Mapped,
    pub(super) releases: Arc<Releases>,
}

impl OpenFiles {
    fn with<T>(&self, take: impl FnOnce(&mut HashMap<u64, Arc<OpenFile>>) -> T) -> T {
        take(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<OpenFile>> {
        self.with(|files| files.get(&number).cloned())
    }

    pub(super) fn insert(&self, number: u64, state: FileState) -> Arc<OpenFile> {
        let opened = Arc::new(OpenFile {
            number,
            state: RwLock::new(state),
            direct: AtomicUsize::new(0),
            writers: AtomicUsize::new(0),
            handles: AtomicUsize::new(0),
            is_database: AtomicBool::new(false),
            is_mappable: AtomicBool::new(false),
            mapped_writes: Arc::default(),
            is_noted: AtomicBool::new(false),
            is_past_stamp: AtomicBool::new(false),
            releases: Arc::clone(&self.releases),
        });
        self.with(|files| Arc::clone(files.entry(number).or_insert(opened)))
    }

    /// Tells whether the table has the file.
    pub(super) fn is_known(&self, number: u64) -> bool {
        self.with(|files| files.contains_key(&number))
    }

    pub(super) fn is_open(&self, number: u64) -> bool {
        self.with(|files| files.get(&number).is_some_and(|file| Arc::strong_count(file) > 1))
    }

    pub(super) fn all(&self) -> Vec<Arc<OpenFile>> {
        self.with(|files| files.values().cloned().collect())
    }

    /// Empties the table.
    pub(super) fn take_all(&self) -> Vec<Arc<OpenFile>> {
        self.with(|files| files.drain().map(|(_, file)| file).collect())
    }

    pub(super) fn release_later(&self, number: u64) {
        self.releases.push_forgotten(number);
    }

    pub(super) fn set_stamp(&self, number: u64, stamp: Option<Time>) {
        if let Some(file) = self.get(number) {
            file.state_mut().content.stamp = stamp;
            file.is_past_stamp.store(false, Ordering::Release);
        }
    }

    // Takes what nobody has open any more out of the table.
    fn take_released(&self) -> Option<Released> {
        if !self.releases.any.swap(false, Ordering::AcqRel) {
            return None;
        }
        let Releases { numbers, prepared, forgotten, .. } = &*self.releases;
        let [numbers, prepared, forgotten] = [numbers, prepared, forgotten]
            .map(|list| std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut noted = Vec::new();
        self.with(|files| {
            for number in &numbers {
                let Some(file) = files.get(number) else { continue };
                if Arc::strong_count(file) > 1 {
                    // Somebody looks at it who will not say when that is over.
                    if file.handles.load(Ordering::Acquire) == 0 {
                        self.releases.push(*number);
                    }
                } else if let Some(file) = files.remove(number)
                    && file.is_noted.load(Ordering::Acquire)
                {
                    noted.push(file);
                }
            }
        });
        Some(Released { numbers, prepared, forgotten, noted })
    }
}

impl OpenFile {
    pub(super) fn state(&self) -> RwLockReadGuard<'_, FileState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, FileState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileState {
    pub(super) fn created(content: ContentRow, file: Arc<File>) -> Self {
        Self { content, files: vec![file], is_stale: false }
    }

    /// The same for who uses it without holding the file up.
    pub(super) fn shared(&self) -> Self {
        Self { content: self.content.clone(), files: self.files.clone(), is_stale: self.is_stale }
    }

    /// The uppermost layer and its backing file.
    pub(super) fn top(&self) -> Option<(&LayerRow, &Arc<File>)> {
        Some((self.content.layers.last()?, self.files.last()?))
    }

    /// All bytes are in one backing file.
    pub(super) fn plain(&self) -> Option<(&LayerRow, &Arc<File>)> {
        self.top().filter(|(layer, _)| layer.below_len == 0)
    }

    pub(super) fn stack<'a>(&'a self, repository: &'a Repository) -> Stack<'a> {
        Stack::new(repository, &self.content, &self.files)
    }
}

impl StagingTree {
    /// What the system tells of a layer; nothing if it is gone.
    pub(super) fn layer_status(&self, number: u64, layer: u64) -> Result<Option<SparseStatus>, StagingError> {
        if let Some(open) = self.files.get(number) {
            let state = open.state();
            if let Some((_, file)) = state.top().filter(|(top, _)| top.file == layer) {
                let status = sparse::status(file).map_err(super::stack::refused("look up", layer))?;
                return Ok(Some(status));
            }
        }
        match self.data.status(layer) {
            Ok(status) => Ok(Some(status)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The open file of an object, opened if need be. The caller drops it and then releases it.
    pub(super) fn opened(&self, core: &Core, number: u64) -> Result<Arc<OpenFile>, StagingError> {
        if let Some(open) = self.files.get(number) {
            return Ok(open);
        }
        let object = self.load(core, number)?;
        if object.is_removed_file() {
            return Err(StagingError::Stale { number });
        }
        let state = self.file_state(&object)?;
        if object.is_valid && object.state.content().is_some_and(|row| row.layers != state.content.layers) {
            self.put_cut_short(&object, &state)?;
        }
        let open = self.files.insert(number, state);
        open.is_database.store(self.is_database(&object), Ordering::Relaxed);
        Ok(open)
    }

    // Completes a truncation that a kill cut short, before the file can grow again.
    fn put_cut_short(&self, object: &Loaded, file: &FileState) -> Result<(), StagingError> {
        let Some(stored) = &object.stored else { return Ok(()) };
        let mut state = ObjectState::clone(&object.state);
        if let Some(content) = state.content_mut() {
            content.layers.clone_from(&file.content.layers);
        }
        let row = ObjectRow { epoch: stored.epoch, linked: object.linked, object: Some(state) };
        let mut batch = StagingBatch::default();
        batch.put_object(object.number, &row);
        self.store.write(batch)?;
        self.rows.insert(object.number, Arc::new(row.into()));
        Ok(())
    }

    pub(super) fn file_state(&self, object: &Loaded) -> Result<FileState, StagingError> {
        let Some(content) = object.state.content() else {
            let what = "the content of what is no regular file";
            return Err(match object.state.detail {
                crate::index::staging::RowDetail::Directory { .. } => StagingError::IsDirectory,
                _ => StagingError::Invalid { what },
            });
        };
        let mut content = content.clone();
        let mut files = Vec::with_capacity(content.layers.len());
        for layer in &mut content.layers {
            files.push(Arc::new(self.open_layer(layer)?));
        }
        Ok(FileState { content, files, is_stale: false })
    }

    // A truncation that a kill cut short shortened the backing file only; a loss of power may have taken it.
    pub(super) fn open_layer(&self, layer: &mut LayerRow) -> Result<File, StagingError> {
        let refused = |error: io::Error| super::stack::refused("open", layer.file)(error);
        match self.data.open_file(layer.file) {
            Ok(file) => {
                if layer.below_len > 0 {
                    layer.below_len = layer.below_len.min(file.metadata().map_err(refused)?.len());
                }
                Ok(file)
            }
            Err(error) if error.is_not_found() => {
                log::warn!("{} is lost: what was written to it was not synced", self.data.shown(layer.file));
                let file = self.data.create(layer.file)?;
                file.set_len(layer.below_len).map_err(refused)?;
                Ok(file)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn handle(&self, file: Arc<OpenFile>, writable: bool) -> FileHandle {
        FileHandle::new(file, writable, self.frozen_mark(), self.space.bounded_mark())
    }

    /// Takes notice of handles that were dropped.
    pub(super) fn release_dropped(&self) -> Result<(), StagingError> {
        let Some(released) = self.files.take_released() else { return Ok(()) };
        let Released { numbers, prepared, forgotten, noted } = released;
        self.close_direct(noted);
        self.direct.forgotten(&forgotten);
        self.drop_direct_notes()?;
        self.discard_files(prepared);
        // After a takeover nobody knows who held an object, until it is forgotten.
        let dropped = if self.is_taken_over() { Vec::new() } else { numbers };
        let gone: Vec<u64> = forgotten
            .into_iter()
            .chain(dropped)
            .filter(|number| {
                self.has_unnamed_row(*number) && !self.files.is_open(*number) && !self.nodes.is_held(*number)
            })
            .collect();
        if gone.is_empty() { Ok(()) } else { self.remove_unnamed(&mut self.core_mut(), &gone) }
    }

    /// Tells whether an object without a name has a row.
    pub(super) fn has_unnamed_row(&self, number: u64) -> bool {
        let row = self.rows.get(&number);
        row.is_some_and(|row| row.state.as_ref().is_some_and(|state| state.link_count == 0))
    }
}

#[cfg(test)]
mod test {
    use std::sync::atomic::AtomicU32;

    use super::super::handle::FileHandle;
    use super::*;

    #[test]
    fn a_file_that_somebody_looks_at_when_it_is_closed_goes_when_that_is_over() {
        let files = OpenFiles::default();
        let backing = || Arc::new(tempfile::tempfile().expect("a file"));
        let open = |number| {
            let file = files.insert(number, FileState::created(ContentRow::default(), backing()));
            FileHandle::new(file, false, Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)))
        };
        let (first, second) = (open(7), open(7));
        let looked_at = files.get(7);
        drop(first);
        files.take_released();
        assert!(files.take_released().is_none(), "who has it open tells when it is closed");
        drop(second);
        files.take_released();
        assert!(files.is_known(7), "somebody looks at it");
        drop(looked_at);
        files.take_released();
        assert!(!files.is_known(7));
        assert!(files.take_released().is_none());
    }
}
