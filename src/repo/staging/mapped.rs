//! What is written through mappings of files that the kernel does not write by itself.
//!
//! It is in the memory of the kernel, which brings it some time later. So the kernel is asked to write it back before a
//! freeze: that has then what who reads the file sees. It is asked again behind the freeze. If anything comes then,
//! somebody was writing meanwhile, of which the freeze may have a part: the commit tells.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::content::OpenFile;
use super::tree::StagingTree;

type OfFiles = dyn Fn(&[u64]) + Send + Sync;

/// Makes the kernel write back what it has in memory of files with these numbers, and waits for that.
#[derive(Clone)]
pub struct WriteBack(Arc<OfFiles>);

impl WriteBack {
    /// What does it.
    pub fn new(write_back: impl Fn(&[u64]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write_back))
    }
}

impl fmt::Debug for WriteBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteBack")
    }
}

/// Who makes the kernel write back.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    write_back: OnceLock<WriteBack>,
}

/// Writes through mappings of a file: how many had come before a freeze, and how many have by now.
#[derive(Debug, Clone)]
pub(super) struct MappedWrites {
    count: Arc<AtomicU64>,
    before: u64,
}

impl MappedWrites {
    fn of(file: &OpenFile) -> Self {
        let count = Arc::clone(&file.mapped_writes);
        let before = count.load(Ordering::Acquire);
        Self { count, before }
    }

    /// Tells whether any came since.
    pub(super) fn have_come(&self) -> bool {
        self.count.load(Ordering::Acquire) != self.before
    }
}

/// Tells whether what is written through mappings of a file comes through here.
fn is_mappable(file: &OpenFile) -> bool {
    file.is_mappable.load(Ordering::Acquire)
        && file.writers.load(Ordering::Acquire) > 0
        && file.direct.load(Ordering::Acquire) == 0
}

impl StagingTree {
    /// Says how the kernel is made to write back. Once.
    pub fn write_back_by(&self, write_back: WriteBack) {
        // The first one holds.
        let _known = self.files.mapped.write_back.set(write_back);
    }

    /// Has all written back that may have been written through mappings. Waits for the kernel, and that for requests
    /// to be answered: not for a thread that answers them.
    pub fn write_back_mapped(&self) {
        self.write_back(&self.mappable());
    }

    fn mappable(&self) -> Vec<Arc<OpenFile>> {
        self.files.all().into_iter().filter(|file| is_mappable(file)).collect()
    }

    fn write_back(&self, files: &[Arc<OpenFile>]) {
        if let (Some(WriteBack(write_back)), false) = (self.files.mapped.write_back.get(), files.is_empty()) {
            let numbers: Vec<u64> = files.iter().map(|file| file.number).collect();
            write_back(&numbers);
        }
    }

    /// The same for one file. Returns whether anything came.
    pub(super) fn expose_mapped(&self, number: u64) -> bool {
        let file = self.files.get(number).filter(|file| is_mappable(file));
        file.is_some_and(|file| {
            let before = MappedWrites::of(&file);
            self.write_back(&[file]);
            before.have_come()
        })
    }

    /// Has all written back, and begins to count what comes from then on.
    pub(super) fn begin_mapped(&self) -> HashMap<u64, MappedWrites> {
        let files = self.mappable();
        self.write_back(&files);
        files.iter().map(|file| (file.number, MappedWrites::of(file))).collect()
    }
}
