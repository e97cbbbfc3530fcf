//! The order in which whoever copies a tree comes to its BDFs: depth first, of each directory the files before the
//! directories in it, as backups write them.
//!
//! Object ids are given as directories are found, so the order of keys is another one. On tape it would be a way back
//! and forth over the whole cartridge.

use std::collections::HashSet;

use super::order::{DEPTH_MAX, Seen};
use crate::format::record::{FileKind, ROOT_OBJECT};
use crate::id::{FileId, Ordinal};
use crate::progress::Progress;
use crate::repo::node::RecordAddress;
use crate::repo::{Generation, Node, ReadError, RepoError, Repository};

/// Puts BDFs into the order in which a copy of a generation comes to them; what it does not come to stays at the end.
/// The tree is walked as far as it takes to find them all.
///
/// # Errors
/// [`RepoError`] if the tree cannot be read, or the operation is asked to stop.
pub(super) fn sort(
    repository: &Repository,
    ordinal: Ordinal,
    bdfs: &mut Vec<FileId>,
    progress: &Progress,
) -> Result<(), RepoError> {
    let generation = repository.generation(ordinal)?;
    let left = bdfs.iter().copied().collect();
    let mut walk = Walk { repository, generation: &generation, progress, left, met: Vec::new() };
    walk.tree()?;
    let mut sorted = walk.met;
    sorted.extend(bdfs.iter().filter(|bdf| walk.left.contains(bdf)));
    *bdfs = sorted;
    Ok(())
}

struct Walk<'a> {
    repository: &'a Repository,
    generation: &'a Generation,
    progress: &'a Progress,
    left: HashSet<FileId>,
    met: Vec<FileId>,
}

impl Walk<'_> {
    fn tree(&mut self) -> Result<(), RepoError> {
        let mut seen = Seen::default();
        // Directories whose files were met, and the last directory in each that was gone into.
        let mut levels: Vec<(u64, Option<RecordAddress>)> = vec![(ROOT_OBJECT, None)];
        self.files(ROOT_OBJECT)?;
        while let Some((directory, after)) = levels.last_mut().filter(|_| !self.left.is_empty()) {
            match self.next_directory(*directory, *after)? {
                Some((address, below)) => {
                    *after = Some(address);
                    if levels.len() >= DEPTH_MAX || !seen.insert(below) {
                        return Err(ReadError::DirectoryElsewhere { object: below }.into());
                    }
                    self.files(below)?;
                    levels.push((below, None));
                }
                None => drop(levels.pop()),
            }
        }
        Ok(())
    }

    fn next_directory(
        &self,
        directory: u64,
        after: Option<RecordAddress>,
    ) -> Result<Option<(RecordAddress, u64)>, RepoError> {
        for entry in self.generation.list(self.repository.pages(), directory, after)? {
            let entry = entry?;
            if let (FileKind::Directory, Node::Object { object, .. }) = (entry.kind, entry.node) {
                return Ok(Some((entry.address, object)));
            }
        }
        Ok(None)
    }

    fn files(&mut self, directory: u64) -> Result<(), RepoError> {
        for entry in self.generation.list(self.repository.pages(), directory, None)? {
            self.progress.check()?;
            let entry = entry?;
            if entry.kind != FileKind::Regular {
                continue;
            }
            let inode = match entry.inode {
                Some(inode) => inode,
                None => self.repository.inode(entry.node)?,
            };
            let extents = self.repository.content(&inode).map(|content| content.extents_from(0));
            for extent in extents.into_iter().flatten() {
                let file = extent?.chunk.location.file;
                if self.left.remove(&file) {
                    self.met.push(file);
                }
            }
        }
        Ok(())
    }
}
