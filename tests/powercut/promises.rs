//! What the programs promised, and from which operation of the disk on.

use crate::seen::Tree;

/// A generation.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) client: &'static str,
    pub(crate) content: Tree,
    /// It may be there from here on.
    pub(crate) begun: u64,
    /// It must be there from here on.
    pub(crate) done: u64,
}

/// A file in staging.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    /// What it holds; nothing if it was removed.
    pub(crate) bytes: Option<Vec<u8>>,
    /// It was synced here.
    pub(crate) from: u64,
    /// It was changed again from here on.
    pub(crate) until: u64,
}

/// All promises.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    pub(crate) generations: Vec<Generation>,
    pub(crate) files: Vec<File>,
}

impl Promises {
    /// A file is about to be changed.
    pub(crate) fn changing(&mut self, path: &str, operation_count: u64) {
        for file in self.files.iter_mut().filter(|file| file.path == path) {
            file.until = file.until.min(operation_count);
        }
    }

    /// A file was synced.
    pub(crate) fn synced(&mut self, path: &str, bytes: Option<Vec<u8>>, operation_count: u64) {
        let path = path.to_owned();
        self.files.push(File { path, bytes, from: operation_count, until: u64::MAX });
    }

    /// Generations of a client that must and that may be there, the oldest first.
    pub(crate) fn generations_at(&self, client: &str, operation_count: u64) -> (usize, Vec<&Generation>) {
        let all = self.generations.iter().filter(|made| made.client == client);
        let begun: Vec<_> = all.filter(|made| made.begun <= operation_count).collect();
        (begun.iter().filter(|made| made.done <= operation_count).count(), begun)
    }

    /// Files that were synced and not changed since.
    pub(crate) fn files_at(&self, operation_count: u64) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| (file.from..file.until).contains(&operation_count))
    }
}
