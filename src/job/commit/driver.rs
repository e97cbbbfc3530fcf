//! The driver: takes the changes of a frozen epoch in the order of keys, decides how each file is stored,
//! and hands it on.

use std::sync::Arc;

use super::OnFile;
use super::content::{StagedLarge, StagedSmall, refused};
use super::error::CommitError;
use super::method::{Regions, decide};
use super::paths::Paths;
use super::summary::CommitSummary;
use super::unsafe_files::UnsafeFiles;
use crate::format::record::{Content, Detail, FileKind, Inode, Record, Xattrs};
use crate::format::staging_policy::{Inconsistent, StagingPolicy};
use crate::job::store::dedup::Dedup;
use crate::job::store::emission::Emitter;
use crate::job::store::large::{self, FileRange};
use crate::job::store::prepare::SmallFile;
use crate::job::store::queue::{Bytes, Emission, StoredFile, Target};
use crate::job::store::record::{self, Described};
use crate::job::store::source::ReadProblem;
use crate::job::store::{FileReport, Method, StoreError};
use crate::path;
use crate::progress::Progress;
use crate::repo::generation_writer::GenerationWriter;
use crate::repo::staging::{
    FrozenChange, FrozenContent, FrozenEpoch, FrozenObject, FrozenTarget, StagingTree,
};
use crate::repo::{Entry, Generation, Node, Repository};

/// What the whole commit works with.
pub(super) struct Context<'a> {
    pub(super) repository: &'a Repository,
    pub(super) tree: &'a StagingTree,
    pub(super) frozen: &'a FrozenEpoch<'a>,
    pub(super) policy: &'a StagingPolicy,
    pub(super) unsafe_files: &'a UnsafeFiles,
    pub(super) progress: &'a Progress,
    pub(super) dedup: &'a Dedup<'a>,
}

/// The driver's state.
pub(super) struct Driver<'a, 'r, 'f> {
    context: Context<'a>,
    emitter: Emitter<'a, 'r>,
    base: Option<Arc<Generation>>,
    // First object id of a directory that the base does not have.
    first_new_directory: u64,
    summary: CommitSummary,
    on_file: &'f mut OnFile<'f>,
    has_news: bool,
    paths: Paths<'a>,
}

// A file on its way: where it goes, what stood there, and what it is.
struct File {
    target: Target,
    before: Option<Arc<Inode>>,
    number: u64,
    described: Described,
    path: Vec<u8>,
}

impl File {
    fn shown(&self) -> String {
        path::display(&self.path)
    }

    fn report(
        &self,
        written_bytes: u64,
        (method, reason): (Method, &'static str),
    ) -> Option<Box<FileReport>> {
        let (path, size) = (self.path.clone(), self.described.size());
        Some(Box::new(FileReport { path, size, written_bytes, method, reason }))
    }
}

impl<'a, 'r, 'f> Driver<'a, 'r, 'f> {
    pub(super) fn new(context: Context<'a>, emitter: Emitter<'a, 'r>, on_file: &'f mut OnFile<'f>) -> Self {
        let base = emitter.writer.previous().cloned();
        let first_new_directory = base.as_ref().map_or(0, |base| base.footer.next_directory);
        let (summary, paths) = (CommitSummary::default(), Paths::new(context.tree));
        Self { context, emitter, base, first_new_directory, summary, on_file, has_news: false, paths }
    }

    /// Stores all changes; the writer comes back with all records put, and whether it is worth a generation.
    pub(super) fn run(mut self) -> Result<(GenerationWriter<'r>, CommitSummary, bool), CommitError> {
        match self.walk() {
            Ok(()) => {
                let has_news = self.has_news || self.emitter.has_news;
                let (writer, stored) = self.emitter.finish();
                self.summary.stored = stored;
                self.summary.add_unchanged(self.base.as_deref());
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
        self.emitter.drain(&[])?;
        self.tell();
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
                let before = self.object_before(object)?;
                self.summary.touched.bytes += before.as_ref().map_or(0, Inode::size);
                self.object(object, Vec::new(), file, before)
            }
            FrozenChange::RemovedObject { object } => {
                if let Some(Inode { detail: Detail::Regular { size, .. }, .. }) =
                    self.object_before(object)?
                {
                    self.summary.touched.bytes += size;
                }
                self.has_news = true;
                self.emitter.remove(object, b"");
                Ok(())
            }
            FrozenChange::Entry { directory, name, target } => self.entry(directory, name, target),
        }
    }

    fn entry(&mut self, directory: u64, name: Vec<u8>, target: FrozenTarget) -> Result<(), CommitError> {
        let before = self.entry_before(directory, &name)?;
        if let FrozenTarget::Object(object) = &target
            && self.must_be_kept(directory, &name, object)?
        {
            let path = self.paths.of(directory, &name);
            return self.keep_back(&path, object.number);
        }
        if let Some(Entry { kind: FileKind::Regular, node, inode, .. }) = &before {
            self.summary.touched.files += 1;
            let is_own = matches!(node, Node::Entry(_));
            self.summary.touched.bytes += inode.as_ref().filter(|_| is_own).map_or(0, Inode::size);
        }
        let linked_before = before.as_ref().and_then(|before| match before.node {
            Node::Object { object, .. } => Some((before.kind, object)),
            _ => None,
        });
        let link = match target {
            FrozenTarget::Removed => {
                if before.is_some() {
                    self.summary
                        .removed
                        .add(before.and_then(|before| before.inode).map_or(0, |old| old.size()));
                    self.has_news = true;
                    self.emitter.remove(directory, &name);
                }
                return Ok(());
            }
            FrozenTarget::Object(object) => {
                let inode = before.and_then(|before| before.inode).filter(|_| linked_before.is_none());
                return self.object(directory, name, object, inode);
            }
            FrozenTarget::Directory { object } => (FileKind::Directory, object),
            FrozenTarget::Linked { object } => (FileKind::Regular, object),
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

    fn object_before(&self, object: u64) -> Result<Option<Inode>, CommitError> {
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
        let path = self.paths.of(object, &name);
        let before = before.filter(|before| before.kind() == FileKind::Regular).map(Arc::new);
        self.context.progress.add_total(1, inode.size());
        let xattrs = match std::mem::replace(&mut inode.xattrs, Xattrs::NONE) {
            Xattrs::Inline(list) => list,
            stored @ Xattrs::Stored { .. } => {
                inode.xattrs = stored;
                self.context.repository.xattrs(&inode)?
            }
        };
        if content.is_some() && self.is_unsafe(number, object, &name) {
            inode.inconsistent = true;
            self.summary
                .inconsistent
                .note(path::display(&path), "was being written at the freeze".to_owned());
        }
        let described = Described { inode, xattrs };
        let file = File { target: Target::Entry { object, name }, before, number, described, path };
        let Some(content) = content else { return self.untouched(file) };
        if content.base.is_some() && !content.trusted {
            self.summary.untrusted.note(
                file.shown(),
                "the record of written regions is not trusted, all of it was read".to_owned(),
            );
        }
        let small_len = u64::from(self.context.repository.config().chunking.whole_file_bytes);
        if content.open_for_writing || content.size > small_len {
            return self.large(file, &content);
        }
        self.small(file, content)
    }

    // A file of which only attributes or names changed.
    fn untouched(&mut self, file: File) -> Result<(), CommitError> {
        let report = file.report(0, (Method::Kept, "its content was not touched"));
        let File { target, before, described, .. } = file;
        let Detail::Regular { signature, content, .. } = &described.inode.detail else { return Ok(()) };
        if before.is_none() {
            self.emitter.summary.redundant.add(described.size());
        }
        let (signature, bytes) = (*signature, Bytes::Kept(content.clone()));
        let stored = StoredFile { target, before, described, signature, bytes, inconsistent: false, report };
        Ok(self.emitter.stored(stored)?)
    }

    fn small(&mut self, file: File, content: FrozenContent) -> Result<(), CommitError> {
        let size = content.size;
        let report = file.report(size, decide(&content, size, size, &self.context.policy.sfp));
        let reference = reference(&file, &content);
        let path = file.shown();
        let File { target, before, described, .. } = file;
        let name = target.name().to_vec();
        let source = Box::new(StagedSmall { content, described, path });
        self.summary.read_bytes += size;
        let small = SmallFile { source, name, before: reference };
        Ok(self.emitter.give_small(target, before, small, size, report)?)
    }

    fn large(&mut self, file: File, content: &FrozenContent) -> Result<(), CommitError> {
        self.emitter.flush()?;
        let shown = file.shown();
        let source = StagedLarge { content, path: &shown };
        let regions = match &content.base {
            Some(_) if content.trusted => Regions::of(content).map_err(refused(&shown))?,
            _ => Regions::default(),
        };
        let small_len = u64::from(self.context.repository.config().chunking.whole_file_bytes);
        let decision = decide(content, regions.written_len, small_len, &self.context.policy.sfp);
        if decision.0 == Method::Fda {
            return self.by_regions(file, content, &source, regions, decision);
        }
        let ranges = source.data_ranges(self.context.repository)?;
        if content.base.is_none()
            && !content.open_for_writing
            && self.is_redundant(&file, &source, &ranges)?
        {
            return Ok(());
        }
        let written = if regions.written_len > 0 { regions.written_len } else { content.size };
        let report = file.report(written, decision);
        self.by_content(file, content, &source, ranges, report)
    }

    // SFP: all of it is read and cut where its content says so.
    fn by_content(
        &mut self,
        file: File,
        content: &FrozenContent,
        source: &StagedLarge<'_>,
        ranges: Vec<FileRange>,
        report: Option<Box<FileReport>>,
    ) -> Result<(), CommitError> {
        let reference = reference(&file, content);
        let frame_len = self.context.repository.config().chunking.frame_bytes as usize;
        let first_task = self.emitter.next_task();
        self.summary.read_bytes += ranges.iter().map(|(_, len)| len).sum::<u64>();
        let ranges = ranges.into_iter().map(Ok);
        let (emitter, progress) = (&mut self.emitter, self.context.progress);
        let mut give = |task| {
            progress.check().map_err(StoreError::from)?;
            Ok(emitter.give(task)?)
        };
        let read = large::read(source, content.size, ranges, reference.as_ref(), frame_len, &mut give);
        let (len, signature) = read.map_err(stopped)?;
        let is_moved = len != content.size || self.is_moved(content, source.path)?;
        let bytes = Bytes::Extents(Vec::new());
        self.queue_large(file, len, signature, bytes, first_task, is_moved, report)
    }

    // FDA: what was written is read, the rest stays where it is.
    fn by_regions(
        &mut self,
        file: File,
        content: &FrozenContent,
        source: &StagedLarge<'_>,
        regions: Regions,
        decision: (Method, &'static str),
    ) -> Result<(), CommitError> {
        let Some(base) = &content.base else { return Err(StoreError::Worker.into()) };
        let report = file.report(regions.written_len, decision);
        let frame_len = self.context.repository.config().chunking.frame_bytes as usize;
        let first_task = self.emitter.next_task();
        let parts = regions.written.into_iter().map(Ok);
        let (emitter, progress) = (&mut self.emitter, self.context.progress);
        let mut give = |task| {
            progress.check().map_err(StoreError::from)?;
            Ok(emitter.give(task)?)
        };
        let read = large::read_parts(source, content.size, parts, frame_len, &mut give).map_err(stopped)?;
        self.summary.read_bytes += read;
        let is_moved = read != regions.written_len || self.is_moved(content, source.path)?;
        let is_whole = regions.covered.is_empty() && base.size == content.size;
        let signature = base.signature.filter(|_| is_whole);
        let bytes = Bytes::Over { base: base.content.clone(), covered: regions.covered, extents: Vec::new() };
        self.queue_large(file, content.size, signature, bytes, first_task, is_moved, report)
    }

    #[expect(clippy::too_many_arguments, reason = "each is one part of what becomes of the file")]
    fn queue_large(
        &mut self,
        mut file: File,
        len: u64,
        signature: Option<crate::id::Fingerprint>,
        bytes: Bytes,
        first_task: u64,
        is_moved: bool,
        report: Option<Box<FileReport>>,
    ) -> Result<(), CommitError> {
        if is_moved
            && self.context.policy.safe.inconsistent == Inconsistent::KeepLastSafe
            && file.before.is_some()
        {
            self.emitter.discard(first_task);
            return self.keep_back(&file.path, file.number);
        }
        if is_moved && !file.described.inode.inconsistent {
            file.described.inode.inconsistent = true;
            self.summary.inconsistent.note(file.shown(), "was written while it was read".to_owned());
        }
        let File { target, before, mut described, .. } = file;
        described.set_size(len);
        let tasks = first_task..self.emitter.next_task();
        let stored = StoredFile { target, before, described, signature, bytes, inconsistent: false, report };
        self.emitter.queue(Emission::Large { file: stored, tasks });
        Ok(self.emitter.poll()?)
    }

    // RFE: the index names candidates, the signature of the file's own data decides.
    fn is_redundant(
        &mut self,
        file: &File,
        source: &StagedLarge<'_>,
        ranges: &[FileRange],
    ) -> Result<bool, CommitError> {
        let (name, size, mtime) = (file.target.name(), file.described.size(), file.described.inode.mtime);
        let dedup = self.context.dedup;
        if name.is_empty() || !dedup.may_be_redundant(name, size, mtime)? {
            return Ok(false);
        }
        let all = ranges.iter().copied().map(Ok);
        let Some(signature) = large::signature(source, size, all).map_err(stopped)? else { return Ok(false) };
        self.summary.read_bytes += ranges.iter().map(|(_, len)| len).sum::<u64>();
        let Some(extents) = dedup.redundant_file(name, size, mtime, signature)? else { return Ok(false) };
        self.emitter.summary.redundant.add(size);
        let stored = StoredFile {
            target: Target::Entry { object: file.object(), name: name.to_vec() },
            before: file.before.clone(),
            described: file.described.clone(),
            signature: Some(signature),
            bytes: Bytes::Extents(extents),
            inconsistent: false,
            report: file.report(size, (Method::Rfe, "stored already")),
        };
        self.emitter.stored(stored)?;
        Ok(true)
    }

    fn is_moved(&self, content: &FrozenContent, path: &str) -> Result<bool, CommitError> {
        if !content.open_for_writing {
            return Ok(false);
        }
        Ok(content.is_moved().map_err(refused(path))?)
    }

    // Policy keep-last-safe: what is not safe stays as it is in the base.
    fn must_be_kept(
        &mut self,
        directory: u64,
        name: &[u8],
        object: &FrozenObject,
    ) -> Result<bool, CommitError> {
        let is_kept = self.context.policy.safe.inconsistent == Inconsistent::KeepLastSafe;
        Ok(is_kept && object.content.is_some() && self.is_unsafe(object.number, directory, name))
    }

    fn is_unsafe(&mut self, number: u64, directory: u64, name: &[u8]) -> bool {
        let unsafe_files = self.context.unsafe_files;
        unsafe_files.contains(number)
            || unsafe_files.has_groups() && unsafe_files.is_in_group(&self.paths.of(directory, name))
    }

    fn keep_back(&mut self, path: &[u8], number: u64) -> Result<(), CommitError> {
        let tree = self.context.tree;
        self.context.frozen.keep(number).map_err(|source| super::staging_error(tree, source))?;
        self.summary.kept_back.note(path::display(path), "was not safe, stays as it last was".to_owned());
        Ok(())
    }
}

impl File {
    fn object(&self) -> u64 {
        match &self.target {
            Target::Entry { object, .. } | Target::Linked { object, .. } => *object,
        }
    }
}

// Reading a frozen file never leaves it out.
fn stopped(problem: ReadProblem) -> StoreError {
    match problem {
        ReadProblem::Stop(error) => error,
        ReadProblem::Skip(error) => {
            StoreError::Read { path: error.path().to_owned(), source: Box::new(error) }
        }
    }
}

// The file whose chunks it is compressed against: what lies below what was written, or what had its name.
fn reference(file: &File, content: &FrozenContent) -> Option<Arc<Inode>> {
    let Some(base) = &content.base else { return file.before.clone() };
    let mut below = file.described.inode.clone();
    let content: Content = base.content.clone();
    below.detail = Detail::Regular { size: base.size, signature: base.signature, content };
    Some(Arc::new(below))
}
