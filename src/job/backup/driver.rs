//! The driver: walks the source depth first, compares, gives tasks, and writes what comes back.

use std::sync::Arc;

use super::error::BackupError;
use super::frontier::{Frontier, Visit};
use super::open_directories::{OpenDirectories, joined};
use super::selection::Selection;
use super::{BackupOptions, BackupSummary};
use crate::format::record::{Detail, FileKind, ROOT_OBJECT, Record, Xattrs};
use crate::job::object_set::ObjectSet;
use crate::job::store::Unread;
use crate::job::store::claims::Claims;
use crate::job::store::dedup::Dedup;
use crate::job::store::emission::Emitter;
use crate::job::store::pipeline::Pipeline;
use crate::job::store::queue::Target;
use crate::job::store::record;
use crate::job::store::spilling::{Spilled, SpillingMap};
use crate::live::Exclusions;
use crate::live::{Attributes, Scanned, SourceDirectory};
use crate::progress::Progress;
use crate::repo::generation_writer::GenerationWriter;
use crate::repo::pages::PageReader;
use crate::repo::{Entry, Generation, Node, ReadError, Repository};

// About 100 bytes each.
const LINKED_COUNT_MAX: usize = 1 << 16;

/// What the whole backup works with.
pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: &'a BackupOptions,
    pub(super) exclusions: &'a Exclusions,
    pub(super) progress: &'a Progress,
    pub(super) dedup: &'a Dedup<'a>,
    pub(super) claims: &'a Claims<'a>,
}

/// What has several names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linked {
    pub(super) object: u64,
    /// Names that have not come by yet, as far as is known.
    pub(super) names_left: u32,
}

impl Spilled for Linked {
    fn encode(&self) -> Vec<u8> {
        [&self.object.to_le_bytes()[..], &self.names_left.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (object, names_left) = bytes.split_first_chunk()?;
        let names_left = u32::from_le_bytes(names_left.try_into().ok()?);
        Some(Self { object: u64::from_le_bytes(*object), names_left })
    }
}

/// The driver's state.
pub(super) struct Driver<'a, 'r> {
    pub(super) context: Context<'a>,
    pub(super) emitter: Emitter<'a, 'r>,
    pub(super) previous: Option<Arc<Generation>>,
    visits: Frontier,
    open: OpenDirectories,
    // What has several names, some of which are still to come: where it is at the source.
    pub(super) linked: SpillingMap<'a, Linked>,
    pub(super) linked_objects: ObjectSet,
    // Object ids of the generation before that lost a name.
    pub(super) unlinked: ObjectSet,
    // Directories that cannot be read and have names of what has several.
    pub(super) kept: ObjectSet,
    selection: Selection<'a>,
    // Directories of the generation before that came by in the directory that is visited.
    seen: ObjectSet,
}

impl<'a, 'r> Driver<'a, 'r> {
    pub(super) fn new(context: Context<'a>, mut writer: GenerationWriter<'r>, pipeline: Pipeline) -> Self {
        // Ids are given as directories are found, not as they are visited.
        writer.sort_new_directories();
        let previous = writer.previous().cloned();
        let work_prefix = writer.work_prefix();
        let emitter = Emitter::new(context.repository, context.claims, context.progress, writer, pipeline);
        Self {
            emitter,
            previous,
            visits: Frontier::new(Arc::clone(context.repository.storage()), work_prefix),
            open: OpenDirectories::default(),
            linked: SpillingMap::new(b'i', context.claims.scratch(), LINKED_COUNT_MAX),
            linked_objects: ObjectSet::default(),
            unlinked: ObjectSet::default(),
            kept: ObjectSet::default(),
            selection: Selection::new(context.repository, context.options, context.exclusions),
            seen: ObjectSet::default(),
            context,
        }
    }

    /// Walks the tree at `root`; the writer comes back with all records put.
    pub(super) fn run(
        mut self,
        root: SourceDirectory,
    ) -> Result<(GenerationWriter<'r>, BackupSummary), BackupError> {
        match self.walk(root) {
            Ok(()) => Ok(self.emitter.finish()),
            Err(error) => {
                if let Err(left) = self.emitter.abandon() {
                    log::warn!("what the backup had written could not be removed: {left}");
                }
                Err(error)
            }
        }
    }

    fn walk(&mut self, root: SourceDirectory) -> Result<(), BackupError> {
        let attributes = root.attributes().map_err(BackupError::Source)?;
        self.selection.begin_at(attributes.device);
        self.visits.push(Visit {
            path: Vec::new(),
            object: ROOT_OBJECT,
            parent: ROOT_OBJECT,
            attributes,
            is_known: self.previous.is_some(),
        })?;
        self.open.push_root(root);
        while let Some(visit) = self.visits.pop()? {
            self.context.progress.check()?;
            self.visit(&visit)?;
            self.emitter.poll()?;
        }
        self.emitter.flush()?;
        self.keep_names()?;
        let (unlinked, linked) = (&self.unlinked, &self.linked_objects);
        Ok(self.emitter.drain(unlinked.iter().filter(|object| !linked.contains(*object)))?)
    }

    fn visit(&mut self, visit: &Visit) -> Result<(), BackupError> {
        self.seen = ObjectSet::default();
        let directory = match self.open.open(&visit.path) {
            Ok(directory) => directory,
            Err(error) => return self.unreadable(visit, None, &error),
        };
        if self.selection.is_not_entered(&visit.attributes) {
            return self.mount_point(visit, &directory);
        }
        let scan = match directory.scan(self.context.repository.root()) {
            Ok(scan) => scan,
            Err(error) => return self.unreadable(visit, Some(&directory), &error),
        };
        if self.open.hold(&directory) {
            self.emitter.flush()?;
            self.emitter.wait_for_all()?;
        }
        self.put_directory(visit, Some(&directory))?;
        let only_tag = self.context.options.exclude_caches && directory.is_cache_directory();
        // Both sides come in order of names, so that a directory of any size is compared as it streams by.
        let previous = self.previous.clone().filter(|_| visit.is_known);
        let pages = self.context.repository.pages();
        let listing =
            previous.as_ref().map(|previous| previous.list(pages, visit.object, None)).transpose()?;
        let mut before = listing.into_iter().flatten().peekable();
        for entry in scan {
            let entry = entry.map_err(|source| BackupError::Names { source })?;
            while let Some(old) = before.next_if(|old| old.as_ref().is_ok_and(|old| old.name < entry.name)) {
                self.remove(visit.object, &old?)?;
            }
            let found =
                |old: &Result<Entry, ReadError>| old.as_ref().map_or(true, |old| old.name == entry.name);
            let old = before.next_if(found).transpose()?;
            if self.selection.is_left_out(&visit.path, &entry, only_tag) {
                self.emitter.summary.excluded_count += 1;
                if let Some(old) = old {
                    self.remove(visit.object, &old)?;
                }
                continue;
            }
            self.entry(visit, &directory, entry, old)?;
            if self.emitter.is_behind() {
                self.emitter.flush()?;
                self.emitter.wait_for_all()?;
            }
        }
        for old in before {
            self.remove(visit.object, &old?)?;
        }
        Ok(())
    }

    // Not even the names are read: the other file system may be a server that is gone.
    fn mount_point(&mut self, visit: &Visit, directory: &Arc<SourceDirectory>) -> Result<(), BackupError> {
        self.put_directory(visit, Some(directory))?;
        self.emitter.summary.excluded_count += 1;
        let previous = self.previous.clone().filter(|_| visit.is_known);
        for old in self.listed_before(previous.as_deref(), visit.object)? {
            self.remove(visit.object, &old?)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        visit: &Visit,
        directory: &Arc<SourceDirectory>,
        entry: Scanned,
        old: Option<Entry>,
    ) -> Result<(), BackupError> {
        let path = joined(&visit.path, &entry.name);
        let attributes = match entry.attributes {
            Ok(attributes) => attributes,
            Err(error) => return self.unseen(visit, old, &error),
        };
        // An object of another kind took the name: what was below or behind it goes.
        let old = match old {
            Some(old) if old.kind != attributes.kind => {
                self.forget(visit.object, &old)?;
                Some(Entry { inode: None, ..old })
            }
            old => old,
        };
        let name = entry.name;
        match attributes.kind {
            FileKind::Directory => self.subdirectory(visit, path, &name, attributes, old.as_ref()),
            _ if attributes.link_count > 1 => self.linked_file(visit, directory, &name, attributes, old),
            _ => {
                if let Some(Entry { kind, node: Node::Object { object, .. }, .. }) = old
                    && kind == attributes.kind
                {
                    self.unlinked.insert(object);
                }
                let before = old.and_then(|old| old.inode).map(Arc::new);
                let target = Target::Entry { object: visit.object, name };
                self.content_of(directory, target, attributes, before)
            }
        }
    }

    fn subdirectory(
        &mut self,
        visit: &Visit,
        path: Vec<u8>,
        name: &[u8],
        attributes: Attributes,
        old: Option<&Entry>,
    ) -> Result<(), BackupError> {
        let known = match old {
            Some(Entry { kind: FileKind::Directory, node: Node::Object { object, .. }, .. }) => {
                self.is_in_place(visit.object, *object)?.then_some(*object)
            }
            _ => None,
        };
        let object = known.unwrap_or_else(|| self.emitter.writer.new_directory());
        if known.is_none() {
            let link = Record::Link { kind: FileKind::Directory, object };
            self.emitter.put(visit.object, name.to_vec(), link)?;
        }
        let parent = visit.object;
        Ok(self.visits.push(Visit { path, object, parent, attributes, is_known: known.is_some() })?)
    }

    pub(super) fn put_directory(
        &mut self,
        visit: &Visit,
        directory: Option<&Arc<SourceDirectory>>,
    ) -> Result<(), BackupError> {
        let before = match &self.previous {
            Some(previous) if visit.is_known => {
                Some(previous.object(self.context.repository.pages(), visit.object)?)
            }
            _ => None,
        };
        if let Some(before) = &before
            && record::is_unchanged(before, &visit.attributes, self.context.options.ignore_inode)
            && before.detail == (Detail::Directory { parent: visit.parent })
            && self.context.dedup.is_whole(before)
        {
            return Ok(());
        }
        let xattrs = match directory.map(|directory| directory.xattrs()) {
            Some(Ok(xattrs)) => self.emitter.xattrs(xattrs)?,
            Some(Err(error)) => {
                self.emitter.failed(&error, Unread::LeftOut);
                Xattrs::NONE
            }
            // It cannot be opened: what it had stays.
            None => before.as_ref().map_or(Xattrs::NONE, |before| before.xattrs.clone()),
        };
        let detail = Detail::Directory { parent: visit.parent };
        let inode = record::inode(&visit.attributes, xattrs, false, detail);
        if before.is_some_and(|before| record::is_same(&before, &inode)) {
            return Ok(());
        }
        Ok(self.emitter.put(visit.object, Vec::new(), Record::Inode(inode))?)
    }

    // What a directory had, as it streams by: it may be of any size.
    pub(super) fn listed_before<'p>(
        &self,
        previous: Option<&'p Generation>,
        directory: u64,
    ) -> Result<impl Iterator<Item = Result<Entry, ReadError>> + use<'a, 'p>, BackupError>
    where
        'a: 'p,
    {
        let pages: &'a PageReader = self.context.repository.pages();
        let listing = previous.map(|previous| previous.list(pages, directory, None)).transpose()?;
        Ok(listing.into_iter().flatten())
    }

    // Removes an entry and all that only it leads to.
    pub(super) fn remove(&mut self, directory: u64, entry: &Entry) -> Result<(), BackupError> {
        self.forget(directory, entry)?;
        self.emitter.remove(directory, &entry.name);
        Ok(())
    }

    // Removes all that only this entry leads to, but not the entry itself.
    fn forget(&mut self, directory: u64, entry: &Entry) -> Result<(), BackupError> {
        let Node::Object { object, .. } = entry.node else { return Ok(()) };
        if entry.kind != FileKind::Directory {
            self.unlinked.insert(object);
            return Ok(());
        }
        if !self.is_in_place(directory, object)? {
            return Ok(());
        }
        let mut directories = vec![object];
        let mut seen = ObjectSet::default();
        let previous = self.previous.clone();
        while let Some(directory) = directories.pop() {
            for entry in self.listed_before(previous.as_deref(), directory)? {
                let entry = entry?;
                if let Node::Object { object, .. } = entry.node {
                    match entry.kind {
                        FileKind::Directory => {
                            if self.has_parent(object, directory)? && seen.insert(object) {
                                directories.push(object);
                            }
                        }
                        _ => drop(self.unlinked.insert(object)),
                    }
                }
                self.emitter.remove(directory, &entry.name);
            }
            self.emitter.remove(directory, b"");
        }
        Ok(())
    }

    // Tells whether a directory of the generation before has its place in `parent` and was not met there
    // under another name: what a damaged tree names twice is not the same directory twice.
    pub(super) fn is_in_place(&mut self, parent: u64, object: u64) -> Result<bool, BackupError> {
        Ok(self.has_parent(object, parent)? && self.seen.insert(object))
    }

    pub(super) fn has_parent(&self, object: u64, expected: u64) -> Result<bool, BackupError> {
        let Some(previous) = &self.previous else { return Ok(false) };
        let inode = previous.object(self.context.repository.pages(), object)?;
        Ok(inode.detail == Detail::Directory { parent: expected })
    }
}
