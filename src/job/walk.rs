//! Walks a tree of a generation in order of paths, each directory before what is in it.

use thiserror::Error;

use crate::format::record::{Detail, Inode};
use crate::path;
use crate::repo::generation::Listing;
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
        self.levels.push(Level { listing, directory, path_len: self.path.len() });
        Ok(())
    }

    fn visit(&mut self, entry: Entry, above: u64) -> Result<Walked, WalkError> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&entry.name);
        let inode = inode_of(self.repository, entry.node, entry.inode, above)
            .map_err(|error| WalkError::new(&self.path, error))?;
        if let (Node::Object { object, .. }, Detail::Directory { .. }) = (entry.node, &inode.detail) {
            self.start = Some(object);
        }
        Ok(Walked { path: self.path.clone(), depth: self.levels.len() - 1, node: entry.node, inode })
    }
}

/// Reads the object of an entry; a directory must know the one above it.
///
/// # Errors
/// [`ReadError`] if it is missing or damaged.
pub fn inode_of(
    repository: &Repository,
    node: Node,
    inode: Option<Inode>,
    above: u64,
) -> Result<Inode, ReadError> {
    let inode = inode.map_or_else(|| repository.inode(node), Ok)?;
    match (&inode.detail, node) {
        // A directory has one parent, so that no loop can be reached from the root.
        (Detail::Directory { parent }, Node::Object { object, .. }) if *parent != above => {
            Err(ReadError::NoObject { object })
        }
        _ => Ok(inode),
    }
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
