//! The directories of the source that are open.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::live::{LiveError, SourceDirectory};

// Directories near each other in the walk share most of their path.
const OPEN_DIRECTORY_COUNT_MAX: usize = 64;

/// The root and the directories opened last.
#[derive(Debug, Default)]
pub(super) struct OpenDirectories {
    open: VecDeque<(Vec<u8>, Arc<SourceDirectory>)>,
}

impl OpenDirectories {
    /// Takes the root, which stays open.
    pub(super) fn push_root(&mut self, root: SourceDirectory) {
        self.open.push_back((Vec::new(), Arc::new(root)));
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
            if self.open.len() > OPEN_DIRECTORY_COUNT_MAX {
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
