//! Paths of what is committed, for people and for patterns.

use std::collections::HashMap;

use crate::format::record::ROOT_OBJECT;
use crate::repo::staging::StagingTree;

// For directories whose names went by and whose own entries are still to come.
const KNOWN_BYTES_MAX: usize = 4 << 20;
const ENTRY_BYTES: usize = 64;

/// The paths of the directories met last, and of new ones below them.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    tree: &'a StagingTree,
    known: HashMap<u64, Vec<u8>>,
    known_bytes: usize,
    last: u64,
}

impl<'a> Paths<'a> {
    pub(super) fn new(tree: &'a StagingTree) -> Self {
        Self { tree, known: HashMap::new(), known_bytes: 0, last: ROOT_OBJECT }
    }

    /// Takes note of the name of a directory: to find it later, all names beside it would have to be read.
    pub(super) fn learn(&mut self, directory: u64, name: &[u8], object: u64) {
        if self.known_bytes < KNOWN_BYTES_MAX {
            let path = self.of(directory, name);
            self.keep(object, path);
        }
    }

    fn keep(&mut self, object: u64, path: Vec<u8>) {
        self.known_bytes += path.len() + ENTRY_BYTES;
        self.drop_known(object);
        self.known.insert(object, path);
    }

    fn drop_known(&mut self, object: u64) {
        if let Some(path) = self.known.remove(&object) {
            self.known_bytes = self.known_bytes.saturating_sub(path.len() + ENTRY_BYTES);
        }
    }

    /// Path from the client's root of a name in a directory, or of an object if the name is empty. It is as
    /// the tree is now; of what is gone meanwhile it is the number of the directory.
    pub(super) fn of(&mut self, object: u64, name: &[u8]) -> Vec<u8> {
        // Changes come directory by directory: the one before is not asked for again.
        if self.last != object {
            self.drop_known(self.last);
            self.last = object;
        }
        let mut path = match self.known.get(&object) {
            Some(known) => known.clone(),
            None => {
                let found = if object == ROOT_OBJECT { Ok(Vec::new()) } else { self.tree.path(object) };
                let path = found.unwrap_or_else(|_| format!("#{object}").into_bytes());
                self.keep(object, path.clone());
                path
            }
        };
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}
