//! How each changed file is stored: whole and small, by content (SFP), by regions (FDA), or not at all.

use std::sync::Arc;

use super::content::{StagedLarge, StagedSmall, refused};
use super::damaged;
use super::driver::Driver;
use super::error::CommitError;
use super::method::{Regions, decide};
use crate::format::record::{Content, Detail, Inode};
use crate::format::staging_policy::Inconsistent;
use crate::id::Fingerprint;
use crate::job::store::large::{self, FileRange};
use crate::job::store::prepare::SmallFile;
use crate::job::store::queue::{Bytes, StoredFile, Target};
use crate::job::store::record::Described;
use crate::job::store::source::ReadProblem;
use crate::job::store::{FileReport, Method, StoreError};
use crate::path;
use crate::repo::extent_list::ExtentList;
use crate::repo::staging::{FrozenContent, StagingError};
use crate::repo::{ReadError, RepoError};

// A file on its way: where it goes, what stood there, and what it is.
pub(super) struct File {
    pub(super) target: Target,
    pub(super) before: Option<Arc<Inode>>,
    pub(super) number: u64,
    pub(super) described: Described,
    pub(super) path: Vec<u8>,
}

impl File {
    pub(super) fn shown(&self) -> String {
        path::display(&self.path)
    }

    fn report(
        &self,
        written_bytes: u64,
        (method, reason): (Method, &'static str),
    ) -> Option<Box<FileReport>> {
        let (path, size) = (self.path.clone(), self.described.size());
        let name_count = self.described.inode.link_count;
        Some(Box::new(FileReport { path, name_count, size, written_bytes, method, reason }))
    }

    pub(super) fn object(&self) -> u64 {
        match &self.target {
            Target::Entry { object, .. } | Target::Linked { object, .. } => *object,
        }
    }
}

impl Driver<'_, '_, '_> {
    // A file of which only attributes or names changed.
    pub(super) fn untouched(&mut self, file: File) -> Result<(), CommitError> {
        let report = file.report(0, (Method::Kept, "its content was not touched"));
        let File { target, before, described, .. } = file;
        let Detail::Regular { signature, content, .. } = &described.inode.detail else { return Ok(()) };
        if before.is_none() {
            self.emitter.summary.redundant.add_names(described.inode.link_count, described.size());
        }
        let (signature, bytes) = (*signature, Bytes::Kept(content.clone()));
        let stored = StoredFile { target, before, described, signature, bytes, inconsistent: false, report };
        Ok(self.emitter.stored(stored)?)
    }

    pub(super) fn small(&mut self, file: File, content: FrozenContent) -> Result<(), CommitError> {
        let size = content.size;
        let bytes = match &content.base {
            None => None,
            // Not by a worker: should it not be possible, pointers stay.
            Some(_) => match content.read(0, usize::try_from(size).unwrap_or(usize::MAX)) {
                Ok(bytes) => Some(bytes),
                Err(StagingError::Base(problem)) => return self.over_unreadable(file, &content, &problem),
                Err(error) => return Err(refused(&file.shown())(error).into()),
            },
        };
        let report = file.report(size, decide(&content, size, size, &self.context.policy.sfp));
        let reference = reference(&file, &content);
        let File { target, before, described, path, .. } = file;
        let source = Box::new(StagedSmall { content, bytes, described, path });
        self.summary.read_bytes += size;
        let small = SmallFile { source, before: reference };
        Ok(self.emitter.give_small(target, before, small, size, report)?)
    }

    pub(super) fn large(&mut self, file: File, content: &FrozenContent) -> Result<(), CommitError> {
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
        let ranges = match source.data_ranges(self.context.repository) {
            Err(StoreError::Repo(RepoError::Read(problem))) if problem.is_damage() => {
                return self.over_unreadable(file, content, &problem);
            }
            ranges => ranges?,
        };
        if content.base.is_none()
            && !content.open_for_writing
            && self.is_redundant(&file, &source, &ranges)?
        {
            return Ok(());
        }
        let written = if regions.written_len > 0 { regions.written_len } else { content.size };
        let report = file.report(written, decision);
        let (len, signature) = match self.cut(content, &source, ranges, reference(&file, content)) {
            Ok(whole) => whole,
            Err(problem) => match unreadable_base(&problem) {
                Some(unreadable) => return self.over_unreadable(file, content, unreadable),
                None => return Err(stopped(problem).into()),
            },
        };
        let is_moved = len != content.size || self.is_moved(content, source.path)?;
        let bytes = Bytes::Extents(ExtentList::default());
        self.queue_large(file, len, signature, bytes, is_moved, report)
    }

    // SFP: all of it is read and cut where its content says so.
    fn cut(
        &mut self,
        content: &FrozenContent,
        source: &StagedLarge<'_>,
        ranges: Vec<FileRange>,
        reference: Option<Arc<Inode>>,
    ) -> Result<(u64, Option<Fingerprint>), ReadProblem> {
        let frame_len = self.context.repository.config().chunking.frame_bytes as usize;
        self.emitter.begin_large();
        self.summary.read_bytes += ranges.iter().map(|(_, len)| len).sum::<u64>();
        let ranges = ranges.into_iter().map(Ok);
        let (emitter, progress) = (&mut self.emitter, self.context.progress);
        let mut give = |task| {
            progress.check().map_err(StoreError::from)?;
            Ok(emitter.give(task)?)
        };
        large::read(source, content.size, ranges, reference.as_ref(), frame_len, &mut give)
    }

    // What lies below a file is damaged. That is where it was, and what was written is as good as ever.
    fn over_unreadable(
        &mut self,
        file: File,
        content: &FrozenContent,
        problem: &ReadError,
    ) -> Result<(), CommitError> {
        self.emitter.discard_large();
        self.emitter.flush()?;
        let shown = file.shown();
        let regions = Regions::of(content).map_err(refused(&shown))?;
        if let Some(base) = &content.base
            && let Err(problem) = damaged::check_list(self.context.repository, base, &regions.covered)
        {
            return self.unlisted(file, problem);
        }
        let remark = format!("only what was written could be read: {}", crate::job::chain(problem));
        let named = self.shown(&file)?;
        self.summary.unreadable.note(named, remark);
        let decision = (Method::Fda, "what lies below cannot be read");
        self.by_regions(file, content, &StagedLarge { content, path: &shown }, regions, decision)
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
        if let Err(problem) = damaged::check_list(self.context.repository, base, &regions.covered) {
            return self.unlisted(file, problem);
        }
        let report = file.report(regions.written_len, decision);
        let frame_len = self.context.repository.config().chunking.frame_bytes as usize;
        self.emitter.begin_large();
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
        let (base, covered) = (base.content.clone(), regions.covered);
        let bytes = Bytes::Over { base, covered, extents: ExtentList::default() };
        self.queue_large(file, content.size, signature, bytes, is_moved, report)
    }

    fn queue_large(
        &mut self,
        mut file: File,
        len: u64,
        signature: Option<Fingerprint>,
        bytes: Bytes,
        is_moved: bool,
        report: Option<Box<FileReport>>,
    ) -> Result<(), CommitError> {
        if is_moved && self.can_keep_back(&file)? {
            self.emitter.discard_large();
            self.stays_uncounted(&file);
            self.staying.insert(file.number);
            let path = self.path(file.object(), file.target.name())?;
            return self.keep_back(path, file.number, true);
        }
        if is_moved && !file.described.inode.inconsistent {
            file.described.inode.inconsistent = true;
            let named = self.shown(&file)?;
            self.summary.inconsistent.note(named, "was written while it was read".to_owned());
        }
        let File { target, before, mut described, .. } = file;
        described.set_size(len);
        let stored = StoredFile { target, before, described, signature, bytes, inconsistent: false, report };
        self.emitter.queue_large(stored)?;
        Ok(self.emitter.poll()?)
    }

    // It was counted and is to stay as it is in the base.
    pub(super) fn stays_uncounted(&mut self, file: &File) {
        let Some(before) = &file.before else { return };
        let is_linked = file.target.name().is_empty();
        if is_linked {
            // Its names come later, and wait with it.
            self.kept_linked.insert(file.object());
        }
        self.counts.stays(if is_linked { before.link_count.into() } else { 1 }, before.size());
    }

    // By policy what the base has at the name stays, if that is the same file: one that was moved would be nowhere.
    fn can_keep_back(&self, file: &File) -> Result<bool, CommitError> {
        if self.context.policy.safe.inconsistent != Inconsistent::KeepLastSafe || file.before.is_none() {
            return Ok(false);
        }
        match &file.target {
            Target::Entry { object, name } if !name.is_empty() => {
                Ok(self.number_before(*object, name)? == Some(file.number))
            }
            _ => Ok(!self.displaced.contains(&file.number)),
        }
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
        let writer = &mut self.emitter.writer;
        let mut new_list = || writer.extent_list();
        let found = dedup.redundant_file(name, size, mtime, signature, &mut new_list)?;
        let Some(extents) = found else { return Ok(false) };
        self.emitter.summary.redundant.add_names(file.described.inode.link_count, size);
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

    /// Tells whether a file, if it has content of its own, was written since the freeze.
    pub(super) fn has_moved(
        &self,
        content: Option<&FrozenContent>,
        path: &[u8],
    ) -> Result<bool, CommitError> {
        content.map_or(Ok(false), |content| self.is_moved(content, &path::display(path)))
    }

    fn is_moved(&self, content: &FrozenContent, path: &str) -> Result<bool, CommitError> {
        Ok(content.is_moved().map_err(refused(path))?)
    }
}

// What is wrong with what lies below a file, if that is why it could not be read.
fn unreadable_base(problem: &ReadProblem) -> Option<&ReadError> {
    let ReadProblem::Stop(StoreError::Read { source, .. }) = problem else { return None };
    match source.downcast_ref() {
        Some(StagingError::Base(unreadable)) => Some(unreadable),
        _ => None,
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
