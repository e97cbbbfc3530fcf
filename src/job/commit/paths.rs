//! Paths of what is committed, for people and for patterns.

use std::collections::HashMap;

use crate::format::record::ROOT_OBJECT;
use crate::repo::staging::StagingTree;

// Changes come directory by directory, so that few are asked for again.
const PATH_COUNT_MAX: usize = 256;

/// The paths of the directories met last.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    tree: &'a StagingTree,
    known: HashMap<u64, Vec<u8>>,
}

impl<'a> Paths<'a> {
    pub(super) fn new(tree: &'a StagingTree) -> Self {
        Self { tree, known: HashMap::new() }
    }

    /// Path from the client's root of a name in a directory, or of an object if the name is empty. It is as
    /// the tree is now; of what is gone meanwhile it is the number of the directory.
    pub(super) fn of(&mut self, object: u64, name: &[u8]) -> Vec<u8> {
        let mut path = match self.known.get(&object) {
            Some(known) => known.clone(),
            None => {
                let found = if object == ROOT_OBJECT { Ok(Vec::new()) } else { self.tree.path(object) };
                let path = found.unwrap_or_else(|_| format!("#{object}").into_bytes());
                if self.known.len() >= PATH_COUNT_MAX {
                    self.known.clear();
                }
                self.known.insert(object, path.clone());
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
