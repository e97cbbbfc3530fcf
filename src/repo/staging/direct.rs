//! Files that may be written directly.
//!
//! While somebody has one open, that is known by its handles. Two sorts are written though nobody has them open here:
//! after a takeover the kernel still writes to backing files that the new process has not seen opened; and a mapping
//! goes on when the file is closed, as it is one of the backing file itself then. For the first, files that may be open
//! for direct writes are noted in the database. The second are found when they are closed: somebody else has the
//! backing file open.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::content::OpenFile;
use super::error::StagingError;
use super::handle::FileHandle;
use super::tree::{Core, StagingTree};
use crate::index::staging::{NumberSet, ObjectState, StagingBatch};
use crate::storage::openers;

/// Notes of closed files that are removed together.
const CLOSED_COUNT_MAX: usize = 256;
/// Backing files that stay open here for as long as somebody has them mapped.
const KEPT_OPEN_COUNT_MAX: usize = 256;

/// Lets go of backing files that nobody uses any more, wherever they are still open.
#[derive(Clone)]
pub struct LetGo(Arc<dyn Fn() + Send + Sync>);

impl LetGo {
    /// What does it.
    pub fn new(let_go: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(let_go))
    }
}

impl fmt::Debug for LetGo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LetGo")
    }
}

/// A backing file that is written directly.
#[derive(Debug)]
pub(super) struct Written {
    /// Number of the object.
    pub(super) number: u64,
    /// The layer.
    pub(super) layer: u64,
    /// Its file.
    pub(super) file: Arc<File>,
}

type Unseen = HashMap<u64, Option<(u64, Arc<File>)>>;

/// Files that may be written directly though nobody here has them open, and notes that can go.
#[derive(Debug, Default)]
pub(super) struct DirectFiles {
    // With their layers and backing files, if these are open here.
    unseen: Mutex<Unseen>,
    closed: Mutex<Vec<u64>>,
    // Held while it is found out who has a file open, so that nobody is let open it just then.
    asking: Mutex<()>,
    let_go: OnceLock<LetGo>,
}

impl DirectFiles {
    fn unseen(&self) -> MutexGuard<'_, Unseen> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of backing files that nobody uses any more: those without a name take space until then.
    pub(super) fn let_go(&self) {
        if let Some(LetGo(let_go)) = self.let_go.get() {
            let_go();
        }
    }

    fn closed(&self, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.closed.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
        }
    }

    /// Objects that the kernel has forgotten: it has them open no more, nor mapped.
    pub(super) fn forgotten(&self, numbers: &[u64]) {
        let mut unseen = self.unseen();
        let gone: Vec<u64> =
            numbers.iter().copied().filter(|number| unseen.remove(number).is_some()).collect();
        drop(unseen);
        self.closed(gone);
    }

    /// Tells whether the kernel may write a file though nobody has it open here.
    pub(super) fn is_unseen(&self, number: u64) -> bool {
        self.unseen().contains_key(&number)
    }

    /// Tells whether there is any such file.
    pub(super) fn has_unseen(&self) -> bool {
        !self.unseen().is_empty()
    }

    fn add_mapped(&self, number: u64, layer: (u64, Arc<File>)) {
        let mut unseen = self.unseen();
        let layer = (unseen.len() < KEPT_OPEN_COUNT_MAX).then_some(layer);
        unseen.insert(number, layer);
    }
}

impl StagingTree {
    /// The backing file, if the kernel may read and write it itself from now on until the handle is dropped
    /// ([`FileHandle::passthrough`]); a freeze then knows that it cannot hold such writes back.
    ///
    /// # Errors
    /// [`StagingError`] if it cannot be noted for a process after this one.
    pub fn begin_passthrough(&self, handle: &FileHandle) -> Result<Option<Arc<File>>, StagingError> {
        if !self.lets_kernel_write() {
            return Ok(None);
        }
        let backing = {
            // A freeze is over, and its epoch seen here, or it begins after this and sees the mark.
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let _asking = self.direct.asking.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(backing) = handle.passthrough() else { return Ok(None) };
            handle.set_passthrough();
            backing
        };
        if handle.is_writable()
            && let Err(error) = self.note_direct(handle.file())
        {
            handle.end_passthrough();
            return Err(error);
        }
        Ok(Some(backing))
    }

    /// Tells whether the kernel may write a file directly though nobody has it open here.
    #[must_use]
    pub fn is_mapped(&self, number: u64) -> bool {
        self.direct.is_unseen(number)
    }

    /// Notes that a file may be written directly from now on.
    pub(super) fn note_direct(&self, file: &OpenFile) -> Result<(), StagingError> {
        if file.is_noted.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        batch.put_number(NumberSet::Direct, file.number);
        Ok(self.store.write(batch)?)
    }

    /// Takes up the notes of the process before, or removes them.
    pub(super) fn begin_direct(&self) -> Result<(), StagingError> {
        let known: Result<Vec<u64>, _> = self.store.numbers(NumberSet::Direct).collect();
        if self.is_taken_over() {
            self.direct.unseen().extend(known?.into_iter().map(|number| (number, None)));
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        for number in known? {
            batch.delete_number(NumberSet::Direct, number);
        }
        if batch.is_empty() { Ok(()) } else { Ok(self.store.write(batch)?) }
    }

    /// Removes notes of files that are closed, when there are enough of them.
    pub(super) fn drop_direct_notes(&self) -> Result<(), StagingError> {
        let mut closed = self.direct.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() < CLOSED_COUNT_MAX {
            return Ok(());
        }
        let mut batch = StagingBatch::default();
        for number in closed.drain(..) {
            // Opened again since, it has its note for that.
            if !self.files.is_known(number) && !self.direct.is_unseen(number) {
                batch.delete_number(NumberSet::Direct, number);
            }
        }
        drop(closed);
        if batch.is_empty() { Ok(()) } else { Ok(self.store.write(batch)?) }
    }

    /// Says how to let go of backing files that nobody uses any more: who has one open is asked after that. Once.
    pub fn let_go_by(&self, let_go: LetGo) {
        // The first one holds.
        let _known = self.direct.let_go.set(let_go);
    }

    /// Takes note of files that nobody has open here any more and that may have been written directly.
    pub(super) fn close_direct(&self, files: Vec<Arc<OpenFile>>) {
        let mut closed = Vec::new();
        for file in files {
            let top = file.state().plain().map(|(layer, top)| (layer.file, Arc::clone(top)));
            match top {
                Some(top) if self.is_written_elsewhere(file.number, &top.1) => {
                    self.direct.add_mapped(file.number, top);
                }
                _ => closed.push(file.number),
            }
        }
        self.direct.closed(closed);
    }

    // Somebody who has it open in no way that is known here: a mapping. Readers count, too; that does no harm.
    fn is_written_elsewhere(&self, number: u64, file: &File) -> bool {
        let _asking = self.direct.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let is_direct = |open: Arc<OpenFile>| open.direct.load(Ordering::Acquire) > 0;
        self.files.get(number).is_some_and(is_direct)
            || openers::is_open_elsewhere(file).unwrap_or_else(|error| {
                log::debug!("who has a backing file open cannot be told: {error}");
                true
            })
    }

    /// Files that are written directly, or may be, though nobody has them open. The others that were so are forgotten.
    pub(super) fn unseen_files(&self, core: &Core) -> Vec<Written> {
        let unseen: Vec<_> = self.direct.unseen().iter().map(|(at, layer)| (*at, layer.clone())).collect();
        let mut asked: Vec<Written> = Vec::new();
        let mut gone = Vec::new();
        for (number, known) in unseen {
            match self.stored(number) {
                Ok(Some(row)) if core.is_valid(row.epoch) => {
                    let found = row.state.as_ref().and_then(|state| self.plain_layer(state, number, known));
                    asked.extend(found.map(|(layer, file)| Written { number, layer, file }));
                }
                // It is in the base, if anywhere, or was discarded: what is written to it is nobody's any more.
                Ok(_) => gone.push(number),
                Err(error) => log::debug!("{error}"),
            }
        }
        self.direct.forgotten(&gone);
        // Closed a moment ago.
        for file in self.files.all() {
            let is_closed = file.direct.load(Ordering::Acquire) == 0 && file.is_noted.load(Ordering::Acquire);
            if is_closed
                && !self.direct.is_unseen(file.number)
                && let Some((layer, top)) = file.state().plain()
            {
                let file = Written { number: file.number, layer: layer.file, file: Arc::clone(top) };
                asked.push(file);
            }
        }
        if let (Some(LetGo(let_go)), false) = (self.direct.let_go.get(), asked.is_empty()) {
            let_go();
        }
        asked.retain(|file| {
            let is_written = self.is_written_elsewhere(file.number, &file.file);
            if !is_written {
                self.direct.forgotten(&[file.number]);
            }
            is_written
        });
        asked
    }

    // The backing file of an object that nothing lies below.
    fn plain_layer(
        &self,
        state: &ObjectState,
        number: u64,
        known: Option<(u64, Arc<File>)>,
    ) -> Option<(u64, Arc<File>)> {
        let top = state.content()?.layers.last().filter(|top| top.below_len == 0)?.file;
        let open = self.files.get(number).and_then(|open| {
            let state = open.state();
            state.plain().map(|(layer, file)| (layer.file, Arc::clone(file)))
        });
        let found = [open, known].into_iter().flatten().find(|(layer, _)| *layer == top);
        found.or_else(|| Some((top, Arc::new(self.data.open_file(top).ok()?))))
    }
}
