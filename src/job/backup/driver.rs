//! The driver: walks the source level by level, compares, gives tasks, and writes what comes back.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use super::claims::Claims;
use super::dedup::Dedup;
use super::emission::Emitter;
use super::error::BackupError;
use super::large::{self, LargeRead};
use super::open_directories::{OpenDirectories, joined};
use super::pipeline::Pipeline;
use super::prepare::{SmallFile, Task};
use super::queue::{Emission, Target};
use super::record;
use super::selection::Selection;
use super::{BackupOptions, BackupSummary};
use crate::format::record::{Detail, FileKind, Inode, ROOT_OBJECT, Record};
use crate::live::Exclusions;
use crate::live::LiveError;
use crate::live::{Attributes, Scanned, SourceDirectory};
use crate::progress::Progress;
use crate::repo::generation_writer::GenerationWriter;
use crate::repo::{Entry, Generation, Node, Repository};

/// What the whole backup works with.
pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: &'a BackupOptions,
    pub(super) exclusions: &'a Exclusions,
    pub(super) progress: &'a Progress,
    pub(super) dedup: &'a Dedup<'a>,
    pub(super) claims: &'a Claims,
}

/// A directory still to be visited.
struct Visit {
    path: Vec<u8>,
    object: u64,
    parent: u64,
    attributes: Attributes,
    // The directory was there in the generation before, under the same object id.
    is_known: bool,
}

/// The driver's state.
pub(super) struct Driver<'a> {
    context: Context<'a>,
    emitter: Emitter<'a>,
    previous: Option<Arc<Generation>>,
    visits: VecDeque<Visit>,
    open: OpenDirectories,
    batch: Vec<SmallFile>,
    batch_len: u64,
    // Files with several names: where they are at the source, and their object id.
    linked: BTreeMap<(u32, u32, u64), u64>,
    linked_objects: HashSet<u64>,
    // Object ids of the generation before that lost a name.
    unlinked: HashSet<u64>,
    selection: Selection<'a>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(context: Context<'a>, writer: GenerationWriter<'a>, pipeline: Pipeline) -> Self {
        let previous = writer.previous().cloned();
        let emitter = Emitter::new(context.repository, context.claims, context.progress, writer, pipeline);
        Self {
            emitter,
            previous,
            visits: VecDeque::new(),
            open: OpenDirectories::default(),
            batch: Vec::new(),
            batch_len: 0,
            linked: BTreeMap::new(),
            linked_objects: HashSet::new(),
            unlinked: HashSet::new(),
            selection: Selection::new(context.repository, context.options, context.exclusions),
            context,
        }
    }

    /// Walks the tree at `root`; the writer comes back with all records put.
    pub(super) fn run(
        mut self,
        root: SourceDirectory,
    ) -> Result<(GenerationWriter<'a>, BackupSummary), BackupError> {
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
        self.visits.push_back(Visit {
            path: Vec::new(),
            object: ROOT_OBJECT,
            parent: ROOT_OBJECT,
            attributes,
            is_known: self.previous.is_some(),
        });
        self.open.push_root(root);
        while let Some(visit) = self.visits.pop_front() {
            self.context.progress.check()?;
            self.visit(&visit)?;
            self.emitter.poll()?;
        }
        self.flush_batch()?;
        let gone: Vec<u64> = self.unlinked.difference(&self.linked_objects).copied().collect();
        self.emitter.drain(&gone)
    }

    fn visit(&mut self, visit: &Visit) -> Result<(), BackupError> {
        let directory = self.open.open(&visit.path);
        let (directory, scanned) = match directory.and_then(|open| Ok((Arc::clone(&open), open.scan()?))) {
            Ok(opened) => opened,
            Err(error) => {
                self.put_directory(visit, None)?;
                self.emitter.failed(&error);
                // What the generation before has of it is not what it holds now.
                let gone = self.entries_before(visit)?;
                return self.remove_rest(visit, gone);
            }
        };
        self.put_directory(visit, Some(&directory))?;
        let only_tag = self.context.options.exclude_caches && directory.is_cache_directory();
        let mut before = self.entries_before(visit)?.into_iter().peekable();
        let mut gone = Vec::new();
        for entry in scanned {
            while let Some(old) = before.next_if(|old| old.name < entry.name) {
                gone.push(old);
            }
            let old = before.next_if(|old| old.name == entry.name);
            if self.selection.is_left_out(&visit.path, &entry, only_tag) {
                self.emitter.summary.excluded_count += 1;
                gone.extend(old);
                continue;
            }
            self.entry(visit, &directory, entry, old)?;
        }
        gone.extend(before);
        self.remove_rest(visit, gone)
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
            Err(error) => {
                self.emitter.failed(&error);
                return self.remove_rest(visit, old.into_iter().collect());
            }
        };
        // An object of another kind took the name: what was below or behind it goes.
        let old = match old {
            Some(old) if old.kind != attributes.kind => {
                self.forget(&old)?;
                Some(Entry { inode: None, ..old })
            }
            old => old,
        };
        let name = entry.name;
        match attributes.kind {
            FileKind::Directory => self.subdirectory(visit, path, &name, attributes, old.as_ref()),
            FileKind::Regular if attributes.link_count > 1 => {
                self.linked_file(visit, directory, &name, attributes, old)
            }
            FileKind::Regular => {
                if let Some(Entry { kind: FileKind::Regular, node: Node::Object { object, .. }, .. }) = old {
                    self.unlinked.insert(object);
                }
                let before = old.and_then(|old| old.inode).map(Arc::new);
                let target = Target::Entry { object: visit.object, name };
                self.file(directory, target, attributes, before)
            }
            _ => self.other(visit, directory, name, &attributes, old),
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
            Some(Entry { kind: FileKind::Directory, node: Node::Object { object, .. }, .. }) => Some(*object),
            _ => None,
        };
        let object = known.unwrap_or_else(|| self.emitter.writer.new_directory());
        if known.is_none() {
            let link = Record::Link { kind: FileKind::Directory, object };
            self.emitter.put(visit.object, name.to_vec(), link)?;
        }
        let parent = visit.object;
        self.visits.push_back(Visit { path, object, parent, attributes, is_known: known.is_some() });
        Ok(())
    }

    // Every name is a link to the group's object; the object is written when all names are known.
    fn linked_file(
        &mut self,
        visit: &Visit,
        directory: &Arc<SourceDirectory>,
        name: &[u8],
        attributes: Attributes,
        old: Option<Entry>,
    ) -> Result<(), BackupError> {
        let device = attributes.device;
        let identity = (device.major, device.minor, attributes.source_inode);
        let old_object = match &old {
            Some(Entry { kind: FileKind::Regular, node: Node::Object { object, .. }, .. }) => Some(*object),
            _ => None,
        };
        let group = self.linked.get(&identity).copied();
        let object = match group {
            Some(object) => object,
            None => {
                let before = self.linked_before(old_object, &attributes)?;
                let object =
                    before.as_ref().map_or_else(|| self.emitter.writer.new_linked(), |(object, _)| *object);
                self.linked.insert(identity, object);
                self.linked_objects.insert(object);
                // A file that had one name before is compared with what stood in its entry.
                let before = before.map(|(_, inode)| inode).or_else(|| old.as_ref()?.inode.clone());
                let is_new_object = old_object != Some(object);
                let target = Target::Linked { object, name: name.to_vec(), is_new_object };
                self.file(directory, target, attributes, before.map(Arc::new))?;
                object
            }
        };
        let is_known = old_object == Some(object);
        if !is_known {
            self.unlinked.extend(old_object);
        }
        self.emitter.put_name(visit.object, name.to_vec(), object, is_known)
    }

    // The object of the generation before, if it is this file and no other group took it.
    fn linked_before(
        &self,
        object: Option<u64>,
        attributes: &Attributes,
    ) -> Result<Option<(u64, Inode)>, BackupError> {
        let (Some(object), Some(previous)) = (object, &self.previous) else { return Ok(None) };
        if self.linked_objects.contains(&object) {
            return Ok(None);
        }
        let inode = previous.object(self.context.repository.pages(), object)?;
        let same = inode.source_inode == attributes.source_inode || self.context.options.ignore_inode;
        Ok(same.then_some((object, inode)))
    }

    fn file(
        &mut self,
        directory: &Arc<SourceDirectory>,
        target: Target,
        attributes: Attributes,
        before: Option<Arc<Inode>>,
    ) -> Result<(), BackupError> {
        self.context.progress.add_total(1, attributes.size);
        if let Some(inode) = &before {
            let unchanged = !self.context.options.checksum
                && record::is_unchanged(inode, &attributes, self.context.options.ignore_inode)
                && matches!(&inode.detail, Detail::Regular { content, .. } if self.context.dedup.is_content_present(content));
            if unchanged {
                return self.emitter.unchanged(target, inode);
            }
        }
        let limit = self.context.repository.config().chunking.whole_file_bytes;
        if attributes.size > u64::from(limit) {
            return self.large_file(directory, target, attributes, before);
        }
        let frame_len = u64::from(self.context.repository.config().chunking.frame_bytes);
        if !self.batch.is_empty() && self.batch_len + attributes.size > frame_len {
            self.flush_batch()?;
        }
        let task = self.emitter.next_task();
        let slot = self.batch.len();
        let name = target.name().to_vec();
        self.emitter.queue(Emission::Small { target, before: before.clone(), task, slot });
        self.batch.push(SmallFile { directory: Arc::clone(directory), name, attributes, before });
        self.batch_len += attributes.size;
        // Empty files cost time too.
        if self.batch_len >= frame_len || self.batch.len() >= 512 {
            self.flush_batch()?;
        }
        Ok(())
    }

    fn flush_batch(&mut self) -> Result<(), BackupError> {
        self.batch_len = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.emitter.give(Task::Small(batch))
    }

    fn large_file(
        &mut self,
        directory: &Arc<SourceDirectory>,
        target: Target,
        attributes: Attributes,
        before: Option<Arc<Inode>>,
    ) -> Result<(), BackupError> {
        // Tasks are numbered in order; the open batch comes first.
        self.flush_batch()?;
        let name = target.name().to_vec();
        let mut expected = attributes;
        let frame_len = self.context.repository.config().chunking.frame_bytes as usize;
        for attempt in 0..2 {
            let file = match directory.open_file(&name, &expected) {
                Ok(file) => file,
                Err(error) => return self.give_up(target, &error),
            };
            let xattrs = match file.xattrs() {
                Ok(xattrs) => xattrs,
                Err(error) => return self.give_up(target, &error),
            };
            if self.context.dedup.may_be_redundant(&name, file.attributes())?
                && let Ok(Some(signature)) = large::signature(&file)
                && let Some(extents) =
                    self.context.dedup.redundant_file(&name, file.attributes(), signature)?
                && file.attributes_now().is_ok_and(|now| now.is_unchanged_since(file.attributes()))
            {
                let attributes = *file.attributes();
                return self.emitter.redundant(target, before, &attributes, xattrs, signature, extents);
            }
            let first_task = self.emitter.next_task();
            let emitter = &mut self.emitter;
            let progress = self.context.progress;
            let mut give = |task| {
                progress.check()?;
                emitter.give(task)
            };
            match large::read(&file, before.as_ref(), frame_len, &mut give)? {
                LargeRead::Failed(error) => {
                    self.emitter.discard(first_task);
                    return self.give_up(target, &error);
                }
                LargeRead::Done { attributes, signature, changed } => {
                    if changed && attempt == 0 {
                        self.emitter.discard(first_task);
                        expected = file.attributes_now().unwrap_or(expected);
                        continue;
                    }
                    let tasks = first_task..self.emitter.next_task();
                    self.emitter.queue(Emission::Large {
                        target,
                        before,
                        tasks,
                        attributes,
                        xattrs,
                        signature,
                        inconsistent: changed,
                    });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, target: Target, error: &LiveError) -> Result<(), BackupError> {
        self.emitter.failed(error);
        self.emitter.give_up(target);
        Ok(())
    }

    fn other(
        &mut self,
        visit: &Visit,
        directory: &Arc<SourceDirectory>,
        name: Vec<u8>,
        attributes: &Attributes,
        old: Option<Entry>,
    ) -> Result<(), BackupError> {
        let before = old.and_then(|old| old.inode);
        self.context.progress.add_total(1, 0);
        self.context.progress.add(1, 0);
        if let Some(before) = &before
            && record::is_unchanged(before, attributes, self.context.options.ignore_inode)
        {
            return Ok(());
        }
        let read = || -> Result<_, LiveError> {
            let detail = match record::special(attributes) {
                Some(detail) => detail,
                None => Detail::Symlink { target: directory.read_symlink(&name)? },
            };
            Ok((detail, directory.xattrs_of(&name)?))
        };
        match read() {
            Ok((detail, xattrs)) => {
                let xattrs = self.emitter.xattrs(xattrs)?;
                let inode = record::inode(attributes, xattrs, false, detail);
                if before.is_some_and(|before| record::is_same(&before, &inode)) {
                    return Ok(());
                }
                self.emitter.put(visit.object, name, Record::Inode(inode))
            }
            Err(error) => {
                self.emitter.failed(&error);
                self.emitter.give_up(Target::Entry { object: visit.object, name });
                Ok(())
            }
        }
    }

    fn put_directory(
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
        {
            return Ok(());
        }
        let xattrs = match directory.map(|directory| directory.xattrs()) {
            Some(Ok(xattrs)) => self.emitter.xattrs(xattrs)?,
            Some(Err(error)) => {
                self.emitter.failed(&error);
                crate::format::record::Xattrs::NONE
            }
            None => crate::format::record::Xattrs::NONE,
        };
        let detail = Detail::Directory { parent: visit.parent };
        let inode = record::inode(&visit.attributes, xattrs, false, detail);
        if before.is_some_and(|before| record::is_same(&before, &inode)) {
            return Ok(());
        }
        self.emitter.put(visit.object, Vec::new(), Record::Inode(inode))
    }

    fn entries_before(&self, visit: &Visit) -> Result<Vec<Entry>, BackupError> {
        if visit.is_known { self.listed_before(visit.object) } else { Ok(Vec::new()) }
    }

    fn listed_before(&self, directory: u64) -> Result<Vec<Entry>, BackupError> {
        let Some(previous) = &self.previous else { return Ok(Vec::new()) };
        let listing = previous.list(self.context.repository.pages(), directory, None)?;
        Ok(listing.collect::<Result<_, _>>()?)
    }

    fn remove_rest(&mut self, visit: &Visit, gone: Vec<Entry>) -> Result<(), BackupError> {
        for entry in gone {
            self.forget(&entry)?;
            self.emitter.remove(visit.object, &entry.name);
        }
        Ok(())
    }

    // Removes all that only this entry leads to, but not the entry itself.
    fn forget(&mut self, entry: &Entry) -> Result<(), BackupError> {
        let Node::Object { object, .. } = entry.node else { return Ok(()) };
        if entry.kind == FileKind::Regular {
            self.unlinked.insert(object);
            return Ok(());
        }
        let mut directories = vec![object];
        while let Some(directory) = directories.pop() {
            for entry in self.listed_before(directory)? {
                if let Node::Object { object, .. } = entry.node {
                    match entry.kind {
                        FileKind::Directory => directories.push(object),
                        _ => drop(self.unlinked.insert(object)),
                    }
                }
                self.emitter.remove(directory, &entry.name);
            }
            self.emitter.remove(directory, b"");
        }
        Ok(())
    }
}
