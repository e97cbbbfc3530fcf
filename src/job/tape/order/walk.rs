//! The names of a generation: depth first, so that memory grows with how deep a tree is and not with what it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::builder::{Builder, MadeFrom, Name, Place};
use crate::format::record::{FileKind, Inode, ROOT_OBJECT};
use crate::id::{FileId, Ordinal};
use crate::job::tape::error::TapeJobError;
use crate::progress::Progress;
use crate::repo::generation::check_place;
use crate::repo::node::RecordAddress;
use crate::repo::{Entry, Generation, Node, ReadError, Repository};

/// Deepest directory; no path of a program leads so deep.
pub(in crate::job::tape) const DEPTH_MAX: usize = 1 << 16;

/// Hands all names of a generation to a builder. `place` says where a BDF begins.
///
/// # Errors
/// [`TapeJobError`] if a part of the tree cannot be read or is not a tree, or the operation is asked to stop.
pub(super) fn walk(
    repository: &Repository,
    ordinal: Ordinal,
    place: &dyn Fn(FileId) -> u64,
    builder: &mut Builder,
    progress: &Progress,
) -> Result<MadeFrom, TapeJobError> {
    let generation = repository.generation(ordinal)?;
    let mut walk = Walk {
        repository,
        generation,
        place,
        places: BTreeMap::new(),
        seen: Seen::default(),
        builder,
        progress,
    };
    let mut levels = vec![Level { object: ROOT_OBJECT, entry: 0, after: None, first: None }];
    while let Some(level) = levels.last_mut() {
        match walk.next_directory(level)? {
            Some(below) if levels.len() < DEPTH_MAX => levels.push(below),
            Some(below) => return Err(ReadError::DirectoryElsewhere { object: below.object }.into()),
            None => {
                let (done, above) = (levels.pop(), levels.last_mut());
                if let (Some(done), Some(above)) = (done, above) {
                    walk.add_directory(&done, above)?;
                }
            }
        }
    }
    Ok(MadeFrom { dtf: walk.generation.header.file, ordinal, places: walk.places })
}

// A directory of which some names were taken.
struct Level {
    object: u64,
    // Number of the record of its name.
    entry: u64,
    // The name that was taken last.
    after: Option<RecordAddress>,
    // Of all that is below it so far.
    first: Option<Place>,
}

impl Level {
    fn meet(&mut self, place: Option<Place>) {
        self.first = [self.first, place].into_iter().flatten().min();
    }
}

struct Walk<'a> {
    repository: &'a Repository,
    generation: Arc<Generation>,
    place: &'a dyn Fn(FileId) -> u64,
    places: BTreeMap<FileId, u64>,
    seen: Seen,
    builder: &'a mut Builder,
    progress: &'a Progress,
}

impl Walk<'_> {
    // Takes names up to the next directory.
    fn next_directory(&mut self, level: &mut Level) -> Result<Option<Level>, TapeJobError> {
        let (repository, generation) = (self.repository, Arc::clone(&self.generation));
        for entry in generation.list(repository.pages(), level.object, level.after)? {
            self.progress.check()?;
            let entry = entry?;
            level.after = Some(entry.address);
            let number = Node::Entry(entry.address).to_number();
            if let (FileKind::Directory, Node::Object { object, .. }) = (entry.kind, entry.node) {
                self.inode(&entry, level.object)?;
                // Two names of one directory in its parent: below it each path would be walked again and again.
                if !self.seen.insert(object) {
                    return Err(ReadError::DirectoryElsewhere { object }.into());
                }
                return Ok(Some(Level { object, entry: number, after: None, first: None }));
            }
            let place = self.place(&entry, level.object)?;
            level.meet(place);
            self.builder.add(&Name {
                place,
                is_directory: false,
                node: entry.node.to_number(),
                directory: level.object,
                entry: number,
            })?;
        }
        Ok(None)
    }

    fn add_directory(&mut self, done: &Level, above: &mut Level) -> Result<(), TapeJobError> {
        above.meet(done.first);
        let node = Node::Object { ordinal: self.generation.ordinal(), object: done.object };
        self.builder.add(&Name {
            place: done.first,
            is_directory: true,
            node: node.to_number(),
            directory: above.object,
            entry: done.entry,
        })?;
        Ok(())
    }

    fn inode(&self, entry: &Entry, directory: u64) -> Result<Inode, ReadError> {
        if let Some(inode) = &entry.inode {
            return Ok(inode.clone());
        }
        let inode = self.repository.inode(entry.node)?;
        if let Node::Object { object, .. } = entry.node {
            check_place(object, entry.kind, &inode, directory)?;
        }
        Ok(inode)
    }

    fn place(&mut self, entry: &Entry, directory: u64) -> Result<Option<Place>, ReadError> {
        if entry.kind != FileKind::Regular {
            return Ok(None);
        }
        let inode = self.inode(entry, directory)?;
        let first = self.repository.content(&inode).and_then(|content| content.extents_from(0).next());
        let Some(extent) = first.transpose()? else { return Ok(None) };
        let location = extent.chunk.location;
        let bdf = *self.places.entry(location.file).or_insert_with(|| (self.place)(location.file));
        Ok(Some(Place { bdf, frame: location.frame, start: location.start }))
    }
}

/// Object ids of directories that were met, a bit for each: they are given out one after the other.
#[derive(Debug, Default)]
pub(in crate::job::tape) struct Seen(HashMap<u64, [u64; 8]>);

impl Seen {
    /// Notes one; tells whether it is a new one.
    pub(in crate::job::tape) fn insert(&mut self, object: u64) -> bool {
        let bits = self.0.entry(object / 512).or_default();
        let word = usize::try_from(object % 512 / 64).unwrap_or_default();
        let Some(word) = bits.get_mut(word) else { return false };
        let is_new = *word & 1 << (object % 64) == 0;
        *word |= 1 << (object % 64);
        is_new
    }
}
