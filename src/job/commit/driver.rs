//! The driver: takes the changes of a frozen epoch in the order of keys, decides how each file is stored,
//! and hands it on.

use std::collections::HashSet;
use std::sync::Arc;

use super::OnFile;
use super::counts::Counts;
use super::error::CommitError;
use super::files::File;
use super::keeping::KeptBack;
use super::linked_paths::LinkedPaths;
use super::paths::Paths;
use super::summary::CommitSummary;
use super::unsafe_files::UnsafeFiles;
use crate::format::record::{FileKind, Inode, Record, Xattrs};
use crate::format::staging_policy::StagingPolicy;
use crate::index::Scratch;
use crate::job::store::dedup::Dedup;
use crate::job::store::emission::Emitter;
use crate::job::store::queue::Target;
use crate::job::store::record::{self, Described};
use crate::job::store::{Count, StoreError};
use crate::path;
use crate::progress::Progress;
use crate::repo::generation_writer::GenerationWriter;
use crate::repo::staging::{
    FrozenChange, FrozenContent, FrozenEpoch, FrozenObject, FrozenTarget, Segment, SegmentKind, StagingTree,
};
use crate::repo::{Entry, Generation, Node, Repository};

// Holes are whole blocks of a file system.
const HOLE_LEN_MIN: u64 = 4096;

/// What the whole commit works with.
pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) tree: &'a StagingTree,
    pub(super) frozen: &'a FrozenEpoch<'a>,
    pub(super) policy: &'a StagingPolicy,
    pub(super) unsafe_files: &'a UnsafeFiles,
    pub(super) progress: &'a Progress,
    pub(super) dedup: &'a Dedup<'a>,
    pub(super) scratch: Option<&'a Scratch>,
    pub(super) tell_paths: bool,
}

/// The driver's state.
pub(super) struct Driver<'a, 'r, 'f> {
    pub(super) context: Context<'a>,
    pub(super) emitter: Emitter<'a, 'r>,
    base: Option<Arc<Generation>>,
    // First object id of a directory that the base does not have.
    first_new_directory: u64,
    pub(super) summary: CommitSummary,
    pub(super) counts: Counts<'a>,
    on_file: &'f mut OnFile<'f>,
    has_news: bool,
    pub(super) paths: Paths<'a>,
    linked_paths: LinkedPaths<'a>,
    /// Object ids of files with several names that stay as they last were.
    pub(super) kept_linked: HashSet<u64>,
    /// Files that are not taken.
    pub(super) kept_back: Vec<KeptBack>,
    /// Numbers of files of the base that stay where they were.
    pub(super) staying: HashSet<u64>,
    /// Numbers of files that are not safe, and cannot stay where they were.
    pub(super) displaced: HashSet<u64>,
}

impl<'a, 'r, 'f> Driver<'a, 'r, 'f> {
    pub(super) fn new(context: Context<'a>, emitter: Emitter<'a, 'r>, on_file: &'f mut OnFile<'f>) -> Self {
        let base = emitter.writer.previous().cloned();
        let first_new_directory = base.as_ref().map_or(0, |base| base.footer.next_directory);
        let (summary, paths) = (CommitSummary::default(), Paths::new(context.tree));
        let (kept_linked, displaced) = (HashSet::new(), HashSet::new());
        let counts = Counts::new(context.scratch);
        let linked_paths = LinkedPaths::new(context.scratch);
        Self {
            context,
            emitter,
            base,
            first_new_directory,
            summary,
            counts,
            on_file,
            has_news: false,
            paths,
            linked_paths,
            kept_linked,
            kept_back: Vec::new(),
            staying: HashSet::new(),
            displaced,
        }
    }

    /// Stores all changes; the writer comes back with all records put, and whether it is worth a generation.
    pub(super) fn run(mut self) -> Result<(GenerationWriter<'r>, CommitSummary, bool), CommitError> {
        match self.walk() {
            Ok(()) => {
                let has_news = self.has_news || self.emitter.has_news;
                let (writer, stored) = self.emitter.finish();
                self.summary.stored = stored;
                let held = self.base.as_ref().map(|base| base.footer.totals).unwrap_or_default();
                let held = Count { files: held.file_count, bytes: held.content_bytes };
                self.counts.complete(&mut self.summary, held);
                self.summary.added_bytes = writer.added_bytes();
                Ok((writer, self.summary, has_news))
            }
            Err(error) => {
                if let Err(left) = self.emitter.abandon() {
                    log::warn!("what the commit had written could not be removed: {left}");
                }
                Err(error)
            }
        }
    }

    fn walk(&mut self) -> Result<(), CommitError> {
        self.find_displaced()?;
        for change in self.context.frozen.changes() {
            self.context.progress.check()?;
            let change = change.map_err(|source| super::staging_error(self.context.tree, source))?;
            self.change(change)?;
            self.tell();
            if self.emitter.is_behind() {
                self.emitter.flush()?;
                self.emitter.wait_for_all()?;
            }
        }
        self.emitter.flush()?;
        self.emitter.drain(std::iter::empty())?;
        self.tell();
        self.tell_kept_back();
        Ok(())
    }

    fn tell(&mut self) {
        for report in self.emitter.reports.drain(..) {
            self.summary.count(&report);
            (self.on_file)(&report);
        }
    }

    fn change(&mut self, change: FrozenChange) -> Result<(), CommitError> {
        match change {
            FrozenChange::Directory(object) => self.directory(object),
            FrozenChange::Linked { object, file } => {
                if self.must_keep_linked(object, &file)? {
                    return Ok(());
                }
                let before = self.object_before(object)?;
                let counted = self.counts.linked(object, before.as_ref(), &file.inode);
                counted.map_err(StoreError::from)?;
                self.object(object, Vec::new(), file, before).map_err(|error| self.named(object, error))
            }
            FrozenChange::RemovedObject { object } => {
                let before = self.object_before(object)?;
                self.counts.removed_object(object, before.as_ref()).map_err(StoreError::from)?;
                self.has_news = true;
                self.emitter.remove(object, b"");
                Ok(())
            }
            FrozenChange::Entry { directory, name, target } => self.entry(directory, name, target),
        }
    }

    fn entry(&mut self, directory: u64, name: Vec<u8>, target: FrozenTarget) -> Result<(), CommitError> {
        let before = self.entry_before(directory, &name)?;
        if self.must_stay(directory, &name, &target, before.as_ref())? {
            self.staying.extend(self.number_before(directory, &name)?);
            return self.keep_name(directory, &name, &target);
        }
        self.counts.name(before.as_ref(), &target).map_err(StoreError::from)?;
        let linked_before = before.as_ref().and_then(|before| match before.node {
            Node::Object { object, .. } => Some((before.kind, object)),
            _ => None,
        });
        let link = match target {
            FrozenTarget::Removed => {
                if before.is_some() {
                    self.has_news = true;
                    self.emitter.remove(directory, &name);
                }
                return Ok(());
            }
            FrozenTarget::Object(object) => {
                let inode = before.and_then(|before| before.inode).filter(|_| linked_before.is_none());
                return self.object(directory, name, *object, inode);
            }
            FrozenTarget::Directory { object } => {
                if object >= self.first_new_directory {
                    self.paths.learn(directory, &name, object);
                }
                (FileKind::Directory, object)
            }
            FrozenTarget::Linked { kind, object } => (kind, object),
        };
        if linked_before == Some(link) {
            return Ok(());
        }
        self.has_news = true;
        let (kind, object) = link;
        Ok(self.emitter.put(directory, name, Record::Link { kind, object })?)
    }

    // What stands at a name in the base.
    fn entry_before(&self, directory: u64, name: &[u8]) -> Result<Option<Entry>, CommitError> {
        let Some(base) = self.base.as_ref().filter(|_| directory < self.first_new_directory) else {
            return Ok(None);
        };
        Ok(base.lookup(self.context.repository.pages(), directory, name)?)
    }

    pub(super) fn object_before(&self, object: u64) -> Result<Option<Inode>, CommitError> {
        let Some(base) = &self.base else { return Ok(None) };
        let (next_linked, next_directory) = (base.footer.next_linked, base.footer.next_directory);
        let is_linked = object < crate::format::record::FIRST_DIRECTORY_OBJECT;
        if object >= if is_linked { next_linked } else { next_directory } {
            return Ok(None);
        }
        match base.object(self.context.repository.pages(), object) {
            Ok(inode) => Ok(Some(inode)),
            Err(crate::repo::ReadError::NoObject { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn directory(&mut self, object: FrozenObject) -> Result<(), CommitError> {
        let before = self.object_before(object.number)?;
        self.record(object.number, Vec::new(), object.inode, before.as_ref())
    }

    fn object(
        &mut self,
        directory: u64,
        name: Vec<u8>,
        object: FrozenObject,
        before: Option<Inode>,
    ) -> Result<(), CommitError> {
        if object.inode.kind() == FileKind::Regular {
            return self.file(directory, name, object, before);
        }
        self.record(directory, name, object.inode, before.as_ref())
    }

    // Puts the record of anything but a regular file.
    fn record(
        &mut self,
        object: u64,
        name: Vec<u8>,
        mut inode: Inode,
        before: Option<&Inode>,
    ) -> Result<(), CommitError> {
        inode.xattrs = match std::mem::replace(&mut inode.xattrs, Xattrs::NONE) {
            Xattrs::Inline(list) => self.emitter.xattrs(list)?,
            stored @ Xattrs::Stored { .. } => stored,
        };
        let is_same =
            |before: &Inode| record::is_same(before, &inode) && before.link_count == inode.link_count;
        if before.is_some_and(is_same) {
            return Ok(());
        }
        self.has_news |= !before.is_some_and(|before| record::is_alike(before, &inode));
        Ok(self.emitter.put(object, name, Record::Inode(inode))?)
    }

    fn file(
        &mut self,
        object: u64,
        name: Vec<u8>,
        frozen: FrozenObject,
        before: Option<Inode>,
    ) -> Result<(), CommitError> {
        let FrozenObject { number, mut inode, content } = frozen;
        let path = match name.is_empty() && self.context.tell_paths {
            true => self.path(object, &name)?,
            false => self.paths.of(object, &name),
        };
        let before = before.filter(|before| before.kind() == FileKind::Regular).map(Arc::new);
        self.context.progress.add_total(1, inode.size());
        // A long list that was not touched stays where it is, and is not read: it may be damaged.
        let xattrs = std::mem::replace(&mut inode.xattrs, Xattrs::NONE);
        if self.is_unsafe(content.as_ref(), number, (object, &name)) {
            inode.inconsistent = true;
            let has_lost = content.as_ref().is_some_and(|content| content.has_lost_writes);
            let why = if has_lost || self.context.unsafe_files.is_unsynced(number) {
                "could not be synced: what was written to it may be lost"
            } else if self.has_moved(content.as_ref(), &path)? {
                "was being written at the freeze, and while it was read"
            } else {
                "was being written at the freeze"
            };
            let shown = path::display(&self.path(object, &name)?);
            self.summary.inconsistent.note(shown, why.to_owned());
        }
        let described = Described { inode, xattrs };
        let file = File { target: Target::Entry { object, name }, before, number, described, path };
        let Some(content) = content else { return self.untouched(file) };
        if content.base.is_some() && !content.trusted {
            let why = "the record of written regions is not trusted, all of it was read".to_owned();
            let shown = self.shown(&file)?;
            self.summary.untrusted.note(shown, why);
        }
        let small_len = u64::from(self.context.repository.config().chunking.whole_file_bytes);
        if content.may_move() || content.size > small_len || has_hole(&content) {
            return self.large(file, &content);
        }
        self.small(file, content)
    }

    /// Path from the client's root of a name in a directory; of a file with several names, by its object id and no name,
    /// the first one.
    pub(super) fn path(&mut self, object: u64, name: &[u8]) -> Result<Vec<u8>, CommitError> {
        let (tree, frozen) = (self.context.tree, self.context.frozen);
        let linked = match name.is_empty() {
            true => self.linked_paths.of((tree, frozen), object)?,
            false => None,
        };
        Ok(linked.unwrap_or_else(|| self.paths.of(object, name)))
    }

    // The same for people.
    pub(super) fn shown(&mut self, file: &File) -> Result<String, CommitError> {
        let Target::Entry { object, name } = &file.target else { return Ok(file.shown()) };
        Ok(path::display(&self.path(*object, name)?))
    }

    // An error that tells of a file with several names by its object id tells a name.
    fn named(&mut self, object: u64, error: CommitError) -> CommitError {
        let unnamed = path::display(&self.paths.of(object, b""));
        match error {
            CommitError::Store(StoreError::Read { path, source }) if path == unnamed => {
                let path = self.path(object, b"").map_or(path, |found| path::display(&found));
                StoreError::Read { path, source }.into()
            }
            other => other,
        }
    }

    pub(super) fn is_unsafe(
        &mut self,
        content: Option<&FrozenContent>,
        number: u64,
        (directory, name): (u64, &[u8]),
    ) -> bool {
        let Some(content) = content else { return false };
        let unsafe_files = self.context.unsafe_files;
        content.has_lost_writes
            || unsafe_files.contains(number)
            || unsafe_files.has_groups() && unsafe_files.is_in_group(&self.paths.of(directory, name))
    }
}

// A short file is stored whole, unless that would fill a hole.
fn has_hole(content: &FrozenContent) -> bool {
    let is_hole = |segment: Segment| segment.kind == SegmentKind::Hole && segment.len >= HOLE_LEN_MIN;
    content.size > HOLE_LEN_MIN
        && !content.is_dense()
        && content.segments().any(|segment| segment.is_ok_and(is_hole))
}
