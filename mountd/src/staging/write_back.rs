//! Makes the kernel write back what programs have written through mappings of files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reelfs::repo::staging::WriteBack;

use crate::lister;
use crate::staging::lister_process::Lister;
use crate::staging::nodes::Place;

/// Who does it: a process of its own, as long as it is needed.
#[derive(Debug)]
pub(crate) struct KernelWriteBack {
    path: PathBuf,
    lister: Mutex<Option<Lister>>,
}

impl KernelWriteBack {
    /// For the staging that is mounted at `path`.
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), lister: Mutex::default() })
    }

    /// The same for the tree of one client.
    pub(crate) fn of(self: &Arc<Self>, slot: u16) -> WriteBack {
        let own = Arc::clone(self);
        WriteBack::new(move |numbers| {
            let nodes = numbers.iter().map(|number| Place { slot, number: *number }.node());
            own.write_back(&lister::write_back_batch(nodes));
        })
    }

    fn write_back(&self, batch: &[u8]) {
        let mut lister = self.lister.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match &mut *lister {
            Some(lister) => lister.run(batch),
            None => Lister::start(&self.path).and_then(|started| lister.insert(started).run(batch)),
        };
        if let Err(error) = done {
            // As for a mount of somebody who is not root: the kernel writes back when it likes.
            log::info!("the kernel is not made to write back what was written through mappings: {error}");
            *lister = None;
        }
    }
}
