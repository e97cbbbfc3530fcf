//! Open files as callers hold them.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::content::{OpenFile, Releases};
use crate::format::record::Time;

/// An open regular file; closed when dropped.
#[derive(Debug)]
pub struct FileHandle {
    // Taken only when dropped.
    file: Option<Arc<OpenFile>>,
    writable: bool,
    is_direct: AtomicBool,
    frozen: Arc<AtomicU32>,
    // All writes must be seen.
    is_bounded: Arc<AtomicBool>,
    // It may write, and a write may take set-id bits away.
    is_watched: AtomicBool,
}

impl FileHandle {
    pub(super) fn new(
        file: Arc<OpenFile>,
        writable: bool,
        frozen: Arc<AtomicU32>,
        is_bounded: Arc<AtomicBool>,
    ) -> Self {
        file.handles.fetch_add(1, Ordering::AcqRel);
        if writable {
            file.writers.fetch_add(1, Ordering::AcqRel);
        }
        Self {
            file: Some(file),
            writable,
            is_direct: AtomicBool::new(false),
            frozen,
            is_bounded,
            is_watched: AtomicBool::new(false),
        }
    }

    pub(super) fn file(&self) -> &Arc<OpenFile> {
        self.file.as_ref().expect("it is taken only when dropped")
    }

    /// Number of the object.
    ///
    /// # Panics
    /// Never: the file is taken only when the handle is dropped.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.file().number
    }

    /// Says that the kernel shall ask for each write: it then says of each whether set-id bits shall go.
    pub(super) fn watch(&self) {
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// Tells whether it was opened for writing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The backing file, if all reads and writes could go to it directly now: nothing lies below it, the name is
    /// not one of a database, writes take no set-id bits away, and no bound wants them to be seen
    /// ([`StagingTree::lets_kernel_write`]). The next moment it may be otherwise: who lets the kernel write asks
    /// [`StagingTree::begin_passthrough`].
    ///
    /// [`StagingTree::lets_kernel_write`]: super::StagingTree::lets_kernel_write
    /// [`StagingTree::begin_passthrough`]: super::StagingTree::begin_passthrough
    #[must_use]
    pub fn passthrough(&self) -> Option<Arc<File>> {
        let is_seen = self.is_watched.load(Ordering::Relaxed) || self.is_bounded.load(Ordering::Acquire);
        if is_seen || self.file().is_database.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.file().state();
        let (layer, file) = state.plain().filter(|_| !state.is_stale)?;
        (layer.epoch > self.frozen.load(Ordering::Acquire)).then(|| Arc::clone(file))
    }

    /// Tells whether a read or write touches one backing file only: nothing is read from the base and nothing
    /// decompressed. It may be so although [`FileHandle::passthrough`] has nothing to give.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        let state = self.file().state();
        !state.is_stale && state.plain().is_some()
    }

    /// Says that reads and writes of the object go to the backing file directly already, by other handles or
    /// since before this process, until this handle is dropped: a freeze then cannot hold writes back.
    pub fn set_passthrough(&self) {
        if !self.is_direct.swap(true, Ordering::AcqRel) {
            self.file().direct.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Says that what is written may come through a mapping: the file is open for reading, too.
    pub fn set_mappable(&self) {
        self.file().is_mappable.store(true, Ordering::Release);
    }

    /// Says that something comes that was written through a mapping, some time ago: who has it mapped may have
    /// written more that comes later.
    pub fn note_mapped_write(&self) {
        self.file().mapped_writes.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells whether reads and writes of the object go to the backing file directly by some handle.
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        self.file().direct.load(Ordering::Acquire) > 0
    }

    /// Says that the kernel does not read and write by this handle after all.
    pub fn end_passthrough(&self) {
        if self.is_direct.swap(false, Ordering::AcqRel) {
            self.file().direct.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.is_direct.load(Ordering::Acquire) {
            file.direct.fetch_sub(1, Ordering::AcqRel);
        }
        if self.writable {
            file.writers.fetch_sub(1, Ordering::AcqRel);
        }
        file.handles.fetch_sub(1, Ordering::AcqRel);
        let (number, releases) = (file.number, Arc::clone(&file.releases));
        // Who takes notice counts those who still hold it.
        drop(file);
        releases.push(number);
    }
}

/// A number and an empty backing file for a file to be created, made ahead; removed if dropped unused.
#[derive(Debug)]
pub struct PreparedFile {
    number: u64,
    file: Arc<File>,
    stamp: Time,
    releases: Option<Arc<Releases>>,
}

impl PreparedFile {
    pub(super) fn new(number: u64, file: Arc<File>, stamp: Time, releases: Arc<Releases>) -> Self {
        Self { number, file, stamp, releases: Some(releases) }
    }

    /// Number that the file will have.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The backing file, open for reading and writing.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// When the backing file was changed last.
    pub(super) fn stamp(&self) -> Time {
        self.stamp
    }

    /// The backing file belongs to an object now.
    pub(super) fn use_up(&mut self) -> &Arc<File> {
        self.releases = None;
        &self.file
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        if let Some(releases) = &self.releases {
            releases.push_prepared(self.number);
        }
    }
}
