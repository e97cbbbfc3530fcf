//! A frozen epoch: what a commit reads.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

use super::attributes::time;
use super::base::{self, Base};
use super::error::StagingError;
use super::frozen_content::FrozenContent;
use super::mapped::MappedWrites;
use super::objects::CachedRow;
use super::tree::StagingTree;
use crate::format::record::{
    Content, Detail, FIRST_DIRECTORY_OBJECT, FileKind, Inode, OBJECT_MAX, ROOT_OBJECT,
};
use crate::id::Ordinal;
use crate::index::staging::{
    ContentRow, EntryRow, FrozenPlace, Home, ObjectRow, ObjectState, PINNED, RowDetail, StagingSnapshot,
};
use crate::repo::Generation;
use crate::storage::sparse::SparseStatus;

/// A file that is written directly, at the freeze.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    pub(super) status: SparseStatus,
    /// What was in it.
    pub(super) copy: Option<Arc<File>>,
    /// It was written just then.
    pub(super) has_moved: bool,
}

/// What was changed up to the freeze. Dropping it without [`FrozenEpoch::finish`] abandons the commit:
/// nothing staged is lost, and it can be asked for again. Shared by threads.
#[derive(Debug)]
pub struct FrozenEpoch<'t> {
    pub(super) tree: &'t StagingTree,
    pub(super) snapshot: StagingSnapshot<'t>,
    pub(super) base: Base,
    committed_epoch: u32,
    epoch: u32,
    pub(super) untrusted_epoch: u32,
    next_ids: (u64, u64),
    pub(super) moving: HashMap<u64, Moving>,
    pub(super) mapped: HashMap<u64, MappedWrites>,
    is_changed: bool,
    is_over: bool,
}

/// One change, in the order of keys of a DTF.
#[derive(Debug)]
pub enum FrozenChange {
    /// The record of a directory, at its id with an empty name. Its parent is in `Inode::detail`.
    Directory(FrozenObject),
    /// The record of a file with several names, at its object id with an empty name.
    Linked {
        /// The object id.
        object: u64,
        /// The file.
        file: FrozenObject,
    },
    /// A directory, or a file with several names, of the base is gone: its record at this id goes.
    RemovedObject {
        /// The object id.
        object: u64,
    },
    /// A name.
    Entry {
        /// Object id of the directory.
        directory: u64,
        /// The name.
        name: Vec<u8>,
        /// What it leads to.
        target: FrozenTarget,
    },
}

/// What a changed name leads to.
#[derive(Debug)]
pub enum FrozenTarget {
    /// Nothing any more; the base has the name.
    Removed,
    /// A directory: a link record to its object id.
    Directory {
        /// The object id.
        object: u64,
    },
    /// What has several names: a link record to its object id.
    Linked {
        /// Its kind.
        kind: FileKind,
        /// The object id.
        object: u64,
    },
    /// Anything else: its record stands at the name.
    Object(Box<FrozenObject>),
}

/// A changed object as it was at the freeze.
#[derive(Debug)]
pub struct FrozenObject {
    /// Its number in staging.
    pub number: u64,
    /// Its record as it will be, with the staging number and the times and size of the freeze. Content and
    /// signature of a regular file are those of the base if the content was not touched; else they are empty,
    /// and the commit sets them. Extended attributes that were touched are inline, whatever their length.
    pub inode: Inode,
    /// For a regular file whose content was touched.
    pub content: Option<FrozenContent>,
}

impl<'t> FrozenEpoch<'t> {
    pub(super) fn new(
        tree: &'t StagingTree,
        snapshot: StagingSnapshot<'t>,
        base: Base,
        (committed_epoch, epoch, untrusted_epoch): (u32, u32, u32),
        next_ids: (u64, u64),
        (moving, mapped): (HashMap<u64, Moving>, HashMap<u64, MappedWrites>),
        is_changed: bool,
    ) -> Self {
        Self {
            tree,
            snapshot,
            base,
            committed_epoch,
            epoch,
            untrusted_epoch,
            next_ids,
            moving,
            mapped,
            is_changed,
            is_over: false,
        }
    }

    /// The generation to build on.
    #[must_use]
    pub fn base(&self) -> Option<&Arc<Generation>> {
        self.base.generation()
    }

    /// First object ids that staging had not given out at the freeze, of files with several names and of
    /// directories: the new generation's footer has these, or higher ones.
    #[must_use]
    pub fn next_ids(&self) -> (u64, u64) {
        self.next_ids
    }

    /// Tells whether there is nothing to commit.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn is_empty(&self) -> Result<bool, StagingError> {
        if !self.is_changed {
            return Ok(true);
        }
        self.changes().next().transpose().map(|first| first.is_none())
    }

    pub(super) fn is_of(&self, epoch: u32) -> bool {
        epoch > self.committed_epoch && epoch <= self.epoch
    }

    /// All changes: first linked files and removed objects in order of numbers, then directories and
    /// entries in the order of keys of a DTF, each directory's record before its entries.
    pub fn changes(&self) -> impl Iterator<Item = Result<FrozenChange, StagingError>> + '_ {
        let objects = self.snapshot.objects(0..u64::MAX);
        let objects = objects.map(|row| row.map_err(StagingError::from));
        let linked = objects.filter_map(|row| row.and_then(|row| self.object_change(row)).transpose());
        let root = self.snapshot.objects(ROOT_OBJECT..ROOT_OBJECT + 1);
        let directories = root.chain(self.snapshot.objects(FIRST_DIRECTORY_OBJECT..OBJECT_MAX));
        let directories = directories.filter(|row| match row {
            Ok((_, row)) => self.is_of(row.epoch) && row.object.is_some(),
            Err(_) => true,
        });
        let entries = self.snapshot.entries().filter(|row| match row {
            Ok((_, row)) => self.is_of(row.epoch),
            Err(_) => true,
        });
        linked.chain(InOrder {
            frozen: self,
            directories: directories.peekable(),
            entries: entries.peekable(),
        })
    }

    // Objects that have records of their own, but directories that exist.
    fn object_change(&self, (number, row): (u64, ObjectRow)) -> Result<Option<FrozenChange>, StagingError> {
        let is_unnamed = row.object.as_ref().is_some_and(|state| state.link_count == 0);
        let is_gone = row.object.is_none() || is_unnamed;
        if is_gone && (self.is_of(row.epoch) || row.epoch == PINNED) {
            let object = if base::is_directory(number) { Some(number) } else { row.linked };
            let Some(object) = object else { return Ok(None) };
            let is_there = self.base.object(object)?.is_some_and(|(found, _)| found == number);
            return Ok(is_there.then_some(FrozenChange::RemovedObject { object }));
        }
        let Some(object) = row.linked.filter(|_| self.is_of(row.epoch)) else { return Ok(None) };
        let row = CachedRow::from(row);
        let Some(state) = row.state else { return Ok(None) };
        let file = self.object(number, &state)?;
        Ok(Some(FrozenChange::Linked { object, file }))
    }

    fn entry_change(&self, home: Home, row: EntryRow) -> Result<Option<FrozenChange>, StagingError> {
        let (directory, name) = (home.directory, home.name.into_vec());
        let entry = |name, target| Ok(Some(FrozenChange::Entry { directory, name, target }));
        let Some((kind, number)) = row.target else {
            return match self.base.lookup(directory, &name)? {
                Some(_) => entry(name, FrozenTarget::Removed),
                None => Ok(None),
            };
        };
        if kind == FileKind::Directory {
            return entry(name, FrozenTarget::Directory { object: number });
        }
        // A row of these epochs is changed no more: one in memory is that of the freeze.
        let known = self.tree.rows.get(&number).filter(|row| self.is_of(row.epoch));
        let object = match known {
            Some(known) => known,
            None => match self.snapshot.object(number)?.filter(|row| row.epoch > self.committed_epoch) {
                Some(row) => Arc::new(CachedRow::from(row)),
                None => return Ok(None),
            },
        };
        if let Some(linked) = object.linked {
            return entry(name, FrozenTarget::Linked { kind, object: linked });
        }
        let Some(state) = &object.state else { return Ok(None) };
        let object = self.object(number, state)?;
        entry(name, FrozenTarget::Object(Box::new(object)))
    }

    fn object(&self, number: u64, state: &ObjectState) -> Result<FrozenObject, StagingError> {
        let mut mtime = state.mtime;
        let mut ctime = state.ctime;
        let mut content = None;
        let detail = match &state.detail {
            RowDetail::Directory { parent } => Detail::Directory { parent: *parent },
            RowDetail::Symlink(target) => Detail::Symlink { target: target.clone() },
            RowDetail::CharacterDevice(major, minor) => {
                Detail::CharacterDevice { major: *major, minor: *minor }
            }
            RowDetail::BlockDevice(major, minor) => Detail::BlockDevice { major: *major, minor: *minor },
            RowDetail::Fifo => Detail::Fifo,
            RowDetail::Socket => Detail::Socket,
            RowDetail::Regular(row) if row.layers.is_empty() => untouched(row),
            RowDetail::Regular(row) => {
                let frozen = self.content(number, row)?;
                if row.stamp != Some(time(frozen.at_freeze.mtime)) {
                    mtime = time(frozen.at_freeze.mtime);
                }
                ctime = ctime.max(time(frozen.at_freeze.ctime));
                let size = frozen.size;
                content = Some(frozen);
                Detail::Regular { size, signature: None, content: Content::Inline(Vec::new()) }
            }
        };
        let inode = Inode {
            permissions: state.permissions,
            uid: state.uid,
            gid: state.gid,
            mtime,
            ctime,
            atime: state.atime,
            source_inode: number,
            is_staging_number: true,
            link_count: state.link_count,
            inconsistent: false,
            xattrs: state.xattrs.clone(),
            detail,
        };
        Ok(FrozenObject { number, inode, content })
    }

    /// Leaves an object's changes pending: the generation does not have them (policy for what was not safe).
    ///
    /// # Errors
    /// [`StagingError`] if that cannot be noted.
    pub fn keep(&self, number: u64) -> Result<(), StagingError> {
        self.tree.keep_pending(number)
    }

    /// Number of the file, or of anything else but a directory, that has a name in the base.
    ///
    /// # Errors
    /// [`StagingError`] if the base cannot be read.
    pub fn base_number(&self, directory: u64, name: &[u8]) -> Result<Option<u64>, StagingError> {
        let found = self.base.lookup(directory, name)?;
        Ok(found.filter(|found| found.kind != FileKind::Directory).map(|found| found.number))
    }

    /// Numbers of files, or of anything else but directories, of the base whose names cannot lead to them any more: a
    /// directory or a file with several names has the name now, or the directory that they were in is gone. Some have
    /// other names. With them files that `is_unsafe` and have the name of one with several, or of a directory, which cannot
    /// wait for it: neither stays where it was.
    ///
    /// # Errors
    /// [`StagingError`] if rows or the base cannot be read.
    pub fn displaced(
        &self,
        is_unsafe: &mut dyn FnMut(u64, &Home) -> bool,
    ) -> Result<HashSet<u64>, StagingError> {
        let mut displaced = HashSet::new();
        let mut last = (0, false);
        for row in self.snapshot.entries() {
            let (home, row) = row?;
            let now = row.target.map(|(_, number)| number);
            let is_file = row.target.is_some_and(|(kind, _)| kind != FileKind::Directory);
            if let Some(number) = now.filter(|_| is_file && self.is_of(row.epoch))
                && is_unsafe(number, &home)
                && let Some(before) = self.base.lookup(home.directory, &home.name)?
                && (before.linked.is_some() || before.kind == FileKind::Directory)
                && before.number != number
            {
                displaced.extend([before.number, number]);
                continue;
            }
            let is_one = match row.target {
                _ if !self.is_of(row.epoch) => false,
                Some((FileKind::Directory, _)) => true,
                Some((_, number)) => self.snapshot.object(number)?.is_some_and(|row| row.linked.is_some()),
                None => {
                    if last.0 != home.directory {
                        last = (home.directory, self.is_gone(home.directory)?);
                    }
                    last.1
                }
            };
            if is_one {
                let before = self.base_number(home.directory, &home.name)?;
                displaced.extend(before.filter(|before| now != Some(*before)));
            }
        }
        Ok(displaced)
    }

    fn is_gone(&self, directory: u64) -> Result<bool, StagingError> {
        let row = self.snapshot.object(directory)?;
        let row = row.filter(|row| self.is_of(row.epoch) || row.epoch == PINNED);
        Ok(row.is_some_and(|row| row.object.is_none_or(|state| state.link_count == 0)))
    }

    /// Where a changed object with a name was at the freeze, and whether its content was touched.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn written_place(&self, number: u64) -> Result<Option<(FrozenPlace, bool)>, StagingError> {
        let row = self.snapshot.object(number)?.filter(|row| row.epoch > self.committed_epoch);
        let Some(ObjectRow { linked, object: Some(state), .. }) = row else { return Ok(None) };
        let is_written = state.content().is_some_and(|content| !content.layers.is_empty());
        let place = match (linked, state.home) {
            _ if state.link_count == 0 => None,
            (Some(object), _) => Some(FrozenPlace::Linked(object)),
            (None, home) => home.map(FrozenPlace::Entry),
        };
        Ok(place.map(|place| (place, is_written)))
    }

    /// Leaves it pending that a name was removed: the generation has it.
    ///
    /// # Errors
    /// [`StagingError`] if that cannot be noted.
    pub fn keep_removed(&self, directory: u64, name: &[u8]) -> Result<(), StagingError> {
        self.tree.keep_removed(self.epoch, directory, name)
    }

    /// Notes the number of the generation about to be written, so that after a crash its DTF tells that the
    /// commit was done. Call it before the DTF gets its final name.
    ///
    /// # Errors
    /// [`StagingError`] if that cannot be made durable.
    pub fn announce(&self, ordinal: Ordinal) -> Result<(), StagingError> {
        self.tree.announce(self.epoch, ordinal)
    }

    /// Says that the generation exists: the tree stands on it now, the frozen epoch is over.
    ///
    /// # Errors
    /// [`StagingError`] if the generation cannot be opened or the rows not be written; the commit is then
    /// abandoned, and if it was announced the next opening ends it.
    pub fn finish(mut self, ordinal: Ordinal) -> Result<(), StagingError> {
        let finished = self.tree.finish_frozen(self.epoch, ordinal);
        self.is_over = finished.is_ok();
        finished
    }

    /// Gives up; what was staged stays staged.
    ///
    /// # Errors
    /// [`StagingError`] if that cannot be noted; no commit is running any more all the same.
    pub fn abandon(mut self) -> Result<(), StagingError> {
        self.is_over = true;
        self.tree.abandon_frozen()
    }
}

impl Drop for FrozenEpoch<'_> {
    fn drop(&mut self) {
        if !self.is_over
            && let Err(error) = self.tree.abandon_frozen()
        {
            log::warn!("a commit was abandoned, but that could not be noted: {error}");
        }
    }
}

fn untouched(row: &ContentRow) -> Detail {
    let (size, signature, content) = match row.base.as_ref().map(|inode| &inode.detail) {
        Some(Detail::Regular { size, signature, content, .. }) => (*size, *signature, content.clone()),
        _ => (0, None, Content::Inline(Vec::new())),
    };
    Detail::Regular { size, signature, content }
}

struct InOrder<'f, 't, D: Iterator, E: Iterator> {
    frozen: &'f FrozenEpoch<'t>,
    directories: std::iter::Peekable<D>,
    entries: std::iter::Peekable<E>,
}

impl<D, E> Iterator for InOrder<'_, '_, D, E>
where
    D: Iterator<Item = Result<(u64, ObjectRow), crate::index::staging::StagingStoreError>>,
    E: Iterator<Item = Result<(Home, EntryRow), crate::index::staging::StagingStoreError>>,
{
    type Item = Result<FrozenChange, StagingError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let is_directory = match (self.directories.peek(), self.entries.peek()) {
                (Some(Ok((directory, _))), Some(Ok((home, _)))) => *directory <= home.directory,
                (Some(_), _) => true,
                (None, _) => false,
            };
            let change = if is_directory {
                match self.directories.next()? {
                    Ok((number, row)) => match row.object {
                        Some(state) => self
                            .frozen
                            .object(number, &state)
                            .map(|object| Some(FrozenChange::Directory(object))),
                        None => Ok(None),
                    },
                    Err(error) => Err(error.into()),
                }
            } else {
                match self.entries.next()? {
                    Ok((home, row)) => self.frozen.entry_change(home, row),
                    Err(error) => Err(error.into()),
                }
            };
            if let Some(change) = change.transpose() {
                return Some(change);
            }
        }
    }
}
