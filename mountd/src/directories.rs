//! Which entry each directory was shown under: a directory has one name.
//!
//! A hostile tree can name a directory twice in its parent, and each below it again: of thirty such
//! directories a billion paths are made, and `find` would walk them all. The first name that is asked for is
//! the one that is shown; the others are damage.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reelfs::repo::Node;

// Each takes about 32 bytes. When they are that many, all are forgotten: then a name that is not the
// first one may be shown, which costs time and no more.
const KNOWN_COUNT_MAX: usize = 1 << 19;

/// The directories shown so far; shared by threads.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    // Inode numbers of the directory and of its entry.
    known: Mutex<HashMap<u64, u64>>,
}

impl Directories {
    /// Tells whether the directory may be shown under this entry: no other one was shown before.
    pub(crate) fn is_only_name(&self, directory: Node, entry: Node) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_COUNT_MAX {
            known.clear();
        }
        let entry = entry.to_number();
        *known.entry(directory.to_number()).or_insert(entry) == entry
    }
}
