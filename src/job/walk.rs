//! Walks a tree of a generation in order of paths, each directory before what is in it.

use thiserror::Error;

use super::object_set::ObjectSet;
use crate::format::record::{Detail, Inode};
use crate::path;
use crate::repo::generation::{Listing, check_place};
use crate::repo::{Entry, Generation, Node, ReadError, Repository};

/// An entry that cannot be read; the walk goes on after it.
#[derive(Debug, Error)]
#[error("cannot read {path}")]
pub struct WalkError {
    /// The entry, or the directory of which some entries cannot be read.
    pub path: String,
    /// The reason.
    pub source: Box<ReadError>,
}

impl WalkError {
    /// Adds a path to the reason.
    #[must_use]
    pub fn new(path: &[u8], source: ReadError) -> Self {
        let path = if path.is_empty() { "/".to_owned() } else { path::display(path) };
        Self { path, source: Box::new(source) }
    }
}

/// An entry that was met on the way.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Path from the place where the walk began.
    pub path: Vec<u8>,
    /// Number of directories between that place and the entry.
    pub depth: usize,
    /// Inode number.
    pub node: Node,
    /// The object.
    pub inode: Inode,
}

struct Level<'a> {
    listing: Listing<'a>,
    directory: u64,
    path_len: usize,
    // Its directories so far: each has one name.
    seen: ObjectSet,
}

/// The entries below a directory.
///
/// An entry that cannot be read is returned as an error, and the walk goes on after it.
pub struct Walk<'a> {
    repository: &'a Repository,
    generation: &'a Generation,
    path: Vec<u8>,
    levels: Vec<Level<'a>>,
    start: Option<u64>,
}

impl std::fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = path::display(&self.path);
        f.debug_struct("Walk").field("path", &shown).finish_non_exhaustive()
    }
}

impl<'a> Walk<'a> {
    /// Starts in the directory with this object id; paths begin with `path`.
    #[must_use]
    pub fn new(
        repository: &'a Repository,
        generation: &'a Generation,
        directory: u64,
        path: Vec<u8>,
    ) -> Self {
        Self { repository, generation, path, levels: Vec::new(), start: Some(directory) }
    }

    /// Leaves out what is in the directory that was returned last.
    pub fn skip_directory(&mut self) {
        self.start = None;
    }

    fn enter(&mut self, directory: u64) -> Result<(), WalkError> {
        let listed = self.generation.list(self.repository.pages(), directory, None);
        let listing = listed.map_err(|error| WalkError::new(&self.path, error))?;
        self.levels.push(Level { listing, directory, path_len: self.path.len(), seen: ObjectSet::default() });
        Ok(())
    }

    fn visit(&mut self, mut entry: Entry, above: u64) -> Result<Walked, WalkError> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&entry.name);
        let inode = inode_of(self.repository, &mut entry, above)
            .map_err(|error| WalkError::new(&self.path, error))?;
        if let (Node::Object { object, .. }, Detail::Directory { .. }) = (entry.node, &inode.detail) {
            let is_first = self.levels.last_mut().is_none_or(|level| level.seen.insert(object));
            if !is_first {
                return Err(WalkError::new(&self.path, ReadError::DirectoryElsewhere { object }));
            }
            self.start = Some(object);
        }
        Ok(Walked { path: self.path.clone(), depth: self.levels.len() - 1, node: entry.node, inode })
    }
}

/// Takes the object out of an entry or reads it; a directory must know the one above it.
///
/// # Errors
/// [`ReadError`] if it is missing or damaged.
pub fn inode_of(repository: &Repository, entry: &mut Entry, above: u64) -> Result<Inode, ReadError> {
    let inode = entry.inode.take().map_or_else(|| repository.inode(entry.node), Ok)?;
    if let Node::Object { object, .. } = entry.node {
        check_place(object, entry.kind, &inode, above)?;
    }
    Ok(inode)
}

impl Iterator for Walk<'_> {
    type Item = Result<Walked, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(directory) = self.start.take()
            && let Err(error) = self.enter(directory)
        {
            return Some(Err(error));
        }
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            let above = level.directory;
            match level.listing.next() {
                Some(Ok(entry)) => return Some(self.visit(entry, above)),
                Some(Err(error)) => return Some(Err(WalkError::new(&self.path, error))),
                None => {
                    self.levels.pop();
                }
            }
        }
    }
}
