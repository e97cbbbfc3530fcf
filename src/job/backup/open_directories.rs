//! The directories of the source that are open.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::live::{LiveError, SourceDirectory, descriptor_count_max};

// Directories near each other in the walk share most of their path.
const OPEN_DIRECTORY_COUNT_MAX: usize = 64;
const OPEN_DIRECTORY_COUNT_MIN: usize = 4;
// Standard streams, lock, logs and tables of the index, files being written.
const RESERVED_COUNT: usize = 32;

/// The root and the directories opened last.
#[derive(Debug)]
pub(super) struct OpenDirectories {
    open: VecDeque<(Vec<u8>, Arc<SourceDirectory>)>,
    // Directories that files to be read hold open, too.
    held: Vec<Weak<SourceDirectory>>,
    held_count_max: usize,
    open_count_max: usize,
}

impl Default for OpenDirectories {
    fn default() -> Self {
        // Half of the descriptors that the process may have, but for those that the repository and its index
        // need; the rest is for files.
        let free =
            usize::try_from(descriptor_count_max()).unwrap_or(usize::MAX).saturating_sub(RESERVED_COUNT);
        let (held_count_max, open_count_max) = ((free / 2).min(4096), free / 8);
        Self {
            open: VecDeque::new(),
            held: Vec::new(),
            held_count_max: held_count_max.max(OPEN_DIRECTORY_COUNT_MIN),
            open_count_max: open_count_max.clamp(OPEN_DIRECTORY_COUNT_MIN, OPEN_DIRECTORY_COUNT_MAX),
        }
    }
}

impl OpenDirectories {
    /// Takes the root, which stays open.
    pub(super) fn push_root(&mut self, root: SourceDirectory) {
        self.open.push_back((Vec::new(), Arc::new(root)));
    }

    /// Notes that files of this directory may hold it open while they wait to be read; tells whether so many
    /// directories are held that what waits should be read first.
    pub(super) fn hold(&mut self, directory: &Arc<SourceDirectory>) -> bool {
        let mut is_full = false;
        if self.held.len() >= self.held_count_max {
            self.held.retain(|held| held.strong_count() > 0);
            is_full = self.held.len() >= self.held_count_max / 2;
        }
        self.held.push(Arc::downgrade(directory));
        is_full
    }

    /// Opens a directory step by step from the nearest open one, never through a symbolic link.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<Arc<SourceDirectory>, LiveError> {
        let nearest = self
            .open
            .iter()
            .filter(|(open, _)| is_prefix(open, path))
            .max_by_key(|(open, _)| open.len())
            .map(|(open, directory)| (open.clone(), Arc::clone(directory)));
        let Some((mut reached, mut directory)) = nearest else {
            return Err(LiveError::Replaced { path: crate::path::display(path) });
        };
        let rest = path.get(reached.len()..).unwrap_or_default().to_vec();
        for name in crate::path::components(&rest) {
            directory = Arc::new(directory.open_directory(name)?);
            reached = joined(&reached, name);
            self.open.push_back((reached.clone(), Arc::clone(&directory)));
            if self.open.len() > self.open_count_max {
                // The first is the root, which stays.
                self.open.remove(1);
            }
        }
        Ok(directory)
    }
}

/// Path of an entry.
pub(super) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    let mut path = directory.to_vec();
    if !directory.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn is_prefix(directory: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| directory.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
}
