//! Turns results into records, in the order in which the tree wants them.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::batch::Batch;
use super::claims::Claims;
use super::error::StoreError;
use super::large_file::LargeFile;
use super::names::Group;
use super::pipeline::Pipeline;
use super::prepare::{Outcome, PendingExtent, Prepared, SmallOutcome, Task};
use super::queue::{Bytes, Emission, StoredFile, Target};
use super::record;
use super::report::{FileReport, Method};
use super::spilling::SpillingMap;
use super::summary::{Summary, Unread};
use crate::chunk::compress::Compressor;
use crate::codec::len_u32;
use crate::format::frame::{ChunkInfo, ChunkPointer, Codec, Location};
use crate::format::record::{Detail, Extent, INLINE_XATTR_LEN_MAX, Inode, Record, XattrList, Xattrs};
use crate::id::Fingerprint;
use crate::live::LiveError;
use crate::path;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::bdf_writer::PreparedFrame;
use crate::repo::generation_writer::GenerationWriter;

// Records of objects that are not read pile up behind one that is.
const QUEUE_LEN_MAX: usize = 1 << 14;
// Records of files with several names, about 300 bytes each, in memory at once.
const GROUP_COUNT_MAX: usize = 1 << 14;
// Extents in memory of files that wait in the queue, about 90 bytes each.
const WAITING_EXTENT_COUNT_MAX: usize = 1 << 16;

#[derive(Debug)]
enum TaskResult {
    Small { outcomes: Vec<Option<Result<SmallOutcome, LiveError>>>, left: usize },
    Piece(Vec<PendingExtent>),
}

/// The queue of records, the results, and the writer that they go to.
#[derive(Debug)]
pub(in crate::job) struct Emitter<'a, 'r> {
    pub(in crate::job) writer: GenerationWriter<'r>,
    pub(in crate::job) summary: Summary,
    claims: &'a Claims<'a>,
    progress: &'a Progress,
    pub(super) pipeline: Pipeline,
    pub(in crate::job) queue: VecDeque<Emission>,
    results: HashMap<u64, TaskResult>,
    pub(super) groups: SpillingMap<'a, Group>,
    // Tasks of a file that was read again.
    discarded: Vec<Range<u64>>,
    pub(super) large: Option<LargeFile>,
    waiting_extent_count: usize,
    compressor: Compressor,
    /// What the process ran out of, which says nothing about the files that it could not open then.
    pub(super) exhausted: Option<StoreError>,
    /// A file differs in more than what every touch changes ([`record::is_alike`]).
    pub(in crate::job) has_news: bool,
    /// What was done with the files that were put last, of those that came with a report.
    pub(in crate::job) reports: Vec<FileReport>,
    pub(super) batch: Batch,
    pub(super) pack_len: u64,
}

impl<'a, 'r> Emitter<'a, 'r> {
    pub(in crate::job) fn new(
        repository: &Repository,
        claims: &'a Claims<'a>,
        progress: &'a Progress,
        writer: GenerationWriter<'r>,
        pipeline: Pipeline,
    ) -> Self {
        Self {
            writer,
            summary: Summary::default(),
            claims,
            progress,
            pipeline,
            queue: VecDeque::new(),
            results: HashMap::new(),
            groups: SpillingMap::new(b'o', claims.scratch(), GROUP_COUNT_MAX),
            discarded: Vec::new(),
            large: None,
            waiting_extent_count: 0,
            compressor: Compressor::new(repository.config().compression.level),
            exhausted: None,
            has_news: false,
            reports: Vec::new(),
            batch: Batch::default(),
            pack_len: repository.config().chunking.pack_bytes.into(),
        }
    }

    pub(in crate::job) fn next_task(&self) -> u64 {
        self.pipeline.next_task()
    }

    /// Gives a task to the workers; while all are busy, writes what they finished.
    pub(in crate::job) fn give(&mut self, task: Task) -> Result<(), StoreError> {
        let mut task = task;
        while let Some(back) = self.pipeline.try_give(task)? {
            task = back;
            if let Some((number, outcome)) = self.pipeline.wait()? {
                self.apply(number, outcome)?;
            }
        }
        self.poll()
    }

    /// Writes what the workers have finished by now.
    pub(in crate::job) fn poll(&mut self) -> Result<(), StoreError> {
        while let Some((number, outcome)) = self.pipeline.poll()? {
            self.apply(number, outcome)?;
        }
        self.exhausted.take().map_or(Ok(()), Err)?;
        self.emit()
    }

    /// Tells whether so many records wait that they should be written before more come.
    pub(in crate::job) fn is_behind(&self) -> bool {
        self.queue.len() >= QUEUE_LEN_MAX || self.waiting_extent_count >= WAITING_EXTENT_COUNT_MAX
    }

    /// Queues a record that waits for a result.
    pub(in crate::job) fn queue(&mut self, emission: Emission) {
        if let Emission::Large { file, .. } = &emission {
            self.waiting_extent_count += file.bytes.memory_count();
        }
        self.queue.push_back(emission);
    }

    /// Queues a record that is complete.
    pub(in crate::job) fn put(
        &mut self,
        object: u64,
        name: Vec<u8>,
        record: Record,
    ) -> Result<(), StoreError> {
        if self.queue.is_empty() {
            return Ok(self.writer.put(object, &name, &record)?);
        }
        self.queue.push_back(Emission::Ready { object, name, record });
        Ok(())
    }

    /// Removes a record of the generation before.
    pub(in crate::job) fn remove(&mut self, object: u64, name: &[u8]) {
        if !name.is_empty() {
            self.summary.removed_count += 1;
        }
        self.writer.remove(object, name);
    }

    /// Takes a file over without reading it.
    pub(in crate::job) fn unchanged(
        &mut self,
        target: Target,
        before: &Arc<Inode>,
    ) -> Result<(), StoreError> {
        self.summary.unchanged.add(before.size());
        self.progress.add(1, before.size());
        if let Target::Linked { object, is_new_object, .. } = target {
            self.linked(object, is_new_object, Some(Arc::clone(before)), (**before).clone())?;
        }
        Ok(())
    }

    /// Takes a file whose content is stored already.
    pub(in crate::job) fn stored(&mut self, file: StoredFile) -> Result<(), StoreError> {
        if self.queue.is_empty() {
            return self.file(file);
        }
        let next = self.next_task();
        self.queue(Emission::Large { file: Box::new(file), tasks: next..next });
        Ok(())
    }

    /// Notes that an object could not be saved; one that vanished meanwhile need not be.
    pub(in crate::job) fn failed(&mut self, error: &LiveError, what_becomes: Unread) {
        if error.is_not_found() {
            return;
        }
        let reason = crate::job::chain(error);
        if error.is_exhaustion() {
            let path = error.path().to_owned();
            self.exhausted.get_or_insert(StoreError::Read { path, source: reason.clone().into() });
        }
        self.summary.failed_count += 1;
        let reason = format!("{reason}; {}", what_becomes.as_str());
        Summary::note(&mut self.summary.failed, error.path().to_owned(), reason);
    }

    /// Leaves a file that cannot be read as the generation before has it, or out if that has none.
    pub(in crate::job) fn give_up(
        &mut self,
        target: Target,
        before: Option<&Inode>,
        error: &LiveError,
    ) -> Result<(), StoreError> {
        self.progress.add(1, 0);
        match target {
            Target::Entry { .. } if before.is_some() && !error.is_not_found() => {
                self.failed(error, Unread::Kept);
            }
            Target::Entry { object, name, .. } => {
                self.failed(error, Unread::LeftOut);
                if !self.writer.is_new_directory(object) {
                    self.writer.remove(object, &name);
                }
            }
            Target::Linked { object, .. } => {
                self.failed(error, Unread::LeftOut);
                self.group_failed(object)?;
            }
        }
        Ok(())
    }

    /// Forgets the results of all tasks from `first` on.
    pub(super) fn discard(&mut self, first: u64) {
        self.discarded.push(first..self.next_task());
        self.results.retain(|number, _| *number < first);
    }

    /// Keeps extended attributes in the record, or in a BDF if they are long.
    pub(in crate::job) fn xattrs(&mut self, list: XattrList) -> Result<Xattrs, StoreError> {
        let bytes = Xattrs::encode_list(&list);
        if bytes.len() <= INLINE_XATTR_LEN_MAX {
            return Ok(Xattrs::Inline(list));
        }
        let fingerprint = Fingerprint::of(&bytes);
        let len = len_u32(bytes.len());
        let chunk = match self.claims.find(&fingerprint)? {
            Some(chunk) => chunk,
            None => {
                let compressed = self.compressor.compress(&bytes, &[])?;
                let codec = if compressed.is_some() { Codec::Zstd } else { Codec::Raw };
                let stored = compressed.unwrap_or(bytes);
                let chunks = vec![ChunkInfo { len, fingerprint }];
                self.write(&PreparedFrame { codec, stored, plain_len: len, chunks, bases: Vec::new() })?;
                self.claims.resolve(&fingerprint).ok_or(StoreError::Worker)?
            }
        };
        let extents = vec![Extent { offset: 0, len: len.into(), skip: 0, chunk }];
        Ok(Xattrs::Stored { len: len.into(), extents })
    }

    fn write(&mut self, frame: &PreparedFrame) -> Result<(), StoreError> {
        let place = self.writer.append_frame(frame)?;
        let mut start = 0;
        for info in &frame.chunks {
            let location = Location { file: place.file, frame: place.offset, start };
            self.claims.stored(ChunkPointer { fingerprint: info.fingerprint, len: info.len, location });
            start += info.len;
        }
        Ok(())
    }

    fn apply(&mut self, number: u64, outcome: Outcome) -> Result<(), StoreError> {
        for frame in &outcome.frames {
            self.write(frame)?;
        }
        if self.claims.is_full() {
            self.resolve_results();
            self.claims.forget_older()?;
        }
        self.discarded.retain(|range| range.end > number);
        if self.discarded.iter().any(|range| range.contains(&number)) {
            return Ok(());
        }
        let result = match outcome.prepared {
            Prepared::Small(outcomes) => {
                let left = outcomes.len();
                TaskResult::Small { outcomes: outcomes.into_iter().map(Some).collect(), left }
            }
            Prepared::Piece(extents) => TaskResult::Piece(extents),
        };
        self.results.insert(number, result);
        self.gather_large()
    }

    /// Takes the extents of a task of a large file, if all places are known.
    pub(super) fn take_piece(&mut self, task: u64) -> Result<Option<Vec<Extent>>, StoreError> {
        match self.results.get(&task) {
            Some(TaskResult::Piece(pending)) if self.is_known(pending) => {
                let extents = self.resolve(pending)?;
                self.results.remove(&task);
                Ok(Some(extents))
            }
            _ => Ok(None),
        }
    }

    // Fills in all places that are known, before some of them are forgotten.
    fn resolve_results(&mut self) {
        let claims = self.claims;
        let resolve = |pending: &mut PendingExtent| {
            if let PendingExtent::Waiting(offset, len, fingerprint) = *pending
                && let Some(chunk) = claims.resolve(&fingerprint)
            {
                *pending = PendingExtent::Ready(Extent { offset, len: len.into(), skip: 0, chunk });
            }
        };
        for result in self.results.values_mut() {
            match result {
                TaskResult::Piece(extents) => extents.iter_mut().for_each(resolve),
                TaskResult::Small { outcomes, .. } => {
                    let read = outcomes.iter_mut().flatten().flatten();
                    read.flat_map(|outcome| &mut outcome.extents).for_each(resolve);
                }
            }
        }
    }

    /// Waits until the workers have answered all tasks.
    pub(in crate::job) fn wait_for_all(&mut self) -> Result<(), StoreError> {
        while let Some((number, outcome)) = self.pipeline.wait()? {
            self.apply(number, outcome)?;
        }
        self.emit()
    }

    // Puts the records at the head of the queue whose results and places are known.
    fn emit(&mut self) -> Result<(), StoreError> {
        while let Some(first) = self.queue.front() {
            if !self.is_ready(first) {
                return Ok(());
            }
            match self.queue.pop_front() {
                None => return Ok(()),
                Some(Emission::Ready { object, name, record }) => self.writer.put(object, &name, &record)?,
                Some(Emission::Name(name)) => self.name(name)?,
                Some(Emission::Small { target, before, task, slot, report }) => {
                    match self.take_small(task, slot)? {
                        Ok(outcome) => self.small(target, before, outcome, report)?,
                        Err(error) => self.give_up(target, before.as_deref(), &error)?,
                    }
                }
                Some(Emission::Large { mut file, tasks }) => {
                    self.waiting_extent_count -= file.bytes.memory_count();
                    self.add_pieces(&mut file, tasks)?;
                    self.file(*file)?;
                }
            }
        }
        Ok(())
    }

    fn is_known(&self, extents: &[PendingExtent]) -> bool {
        extents.iter().all(|extent| match extent {
            PendingExtent::Ready(_) => true,
            PendingExtent::Waiting(_, _, fingerprint) => self.claims.resolve(fingerprint).is_some(),
        })
    }

    fn is_ready(&self, emission: &Emission) -> bool {
        match emission {
            Emission::Ready { .. } | Emission::Name(_) => true,
            Emission::Small { task, slot, .. } => match self.results.get(task) {
                Some(TaskResult::Small { outcomes, .. }) => match outcomes.get(*slot) {
                    Some(Some(Ok(outcome))) => self.is_known(&outcome.extents),
                    _ => true,
                },
                _ => false,
            },
            Emission::Large { tasks, .. } => tasks.clone().all(|task| match self.results.get(&task) {
                Some(TaskResult::Piece(extents)) => self.is_known(extents),
                _ => false,
            }),
        }
    }

    // What became of a small file.
    fn take_small(&mut self, task: u64, slot: usize) -> Result<Result<SmallOutcome, LiveError>, StoreError> {
        let Some(TaskResult::Small { outcomes, left }) = self.results.get_mut(&task) else {
            return Err(StoreError::Worker);
        };
        let outcome = outcomes.get_mut(slot).and_then(Option::take).ok_or(StoreError::Worker)?;
        *left -= 1;
        if *left == 0 {
            self.results.remove(&task);
        }
        Ok(outcome)
    }

    fn small(
        &mut self,
        target: Target,
        before: Option<Arc<Inode>>,
        outcome: SmallOutcome,
        mut report: Option<Box<FileReport>>,
    ) -> Result<(), StoreError> {
        let bytes = Bytes::Extents(self.resolve(&outcome.extents)?.into());
        if outcome.redundant {
            let described = &outcome.described;
            self.summary.redundant.add_names(described.inode.link_count, described.size());
            if let Some(report) = &mut report {
                (report.method, report.reason) = (Method::Rfe, "stored already");
            }
        }
        let SmallOutcome { described, signature, inconsistent, .. } = outcome;
        self.file(StoredFile { target, before, described, signature, bytes, inconsistent, report })
    }

    // A place that is missing must stop the backup: left out, it would be read as zeros.
    fn resolve(&self, pending: &[PendingExtent]) -> Result<Vec<Extent>, StoreError> {
        let extents = pending.iter().map(|extent| match extent {
            PendingExtent::Ready(extent) => Some(*extent),
            PendingExtent::Waiting(offset, len, fingerprint) => {
                let chunk = self.claims.resolve(fingerprint)?;
                Some(Extent { offset: *offset, len: u64::from(*len), skip: 0, chunk })
            }
        });
        extents.collect::<Option<_>>().ok_or(StoreError::Worker)
    }

    fn file(&mut self, file: StoredFile) -> Result<(), StoreError> {
        let StoredFile { target, before, described, signature, bytes, inconsistent, report } = file;
        self.reports.extend(report.map(|report| *report));
        let size = described.size();
        self.progress.add(1, size);
        let xattrs = match &described.xattrs {
            Xattrs::Inline(list) => self.xattrs(list.clone())?,
            stored @ Xattrs::Stored { .. } => stored.clone(),
        };
        let content = match bytes {
            Bytes::Extents(extents) => {
                let content_before = match before.as_deref().map(|before| &before.detail) {
                    Some(Detail::Regular { content, .. }) => Some(content),
                    _ => None,
                };
                self.writer.content(extents, content_before)?
            }
            Bytes::Over { base, covered, extents } => {
                self.writer.spliced_content(&base, &covered, extents)?
            }
            Bytes::Kept(content) => content,
        };
        let inode = described.with_content(xattrs, signature, content, inconsistent);
        if inconsistent {
            self.summary.inconsistent_count += 1;
            let reason = "changed while it was read".to_owned();
            Summary::note(&mut self.summary.inconsistent, path::display(target.name()), reason);
        }
        let is_same = before
            .as_deref()
            .is_some_and(|before| record::is_same(before, &inode) && before.link_count == inode.link_count);
        self.has_news |= !before.as_deref().is_some_and(|before| record::is_alike(before, &inode));
        let count = match &before {
            None => &mut self.summary.new,
            Some(_) if is_same => &mut self.summary.unchanged,
            Some(_) => &mut self.summary.modified,
        };
        count.add_names(counted_names(&target, before.as_deref()), size);
        match target {
            Target::Entry { .. } if is_same => Ok(()),
            Target::Entry { object, name, .. } => {
                Ok(self.writer.put(object, &name, &Record::Inode(inode))?)
            }
            Target::Linked { object, is_new_object, .. } => self.linked(object, is_new_object, before, inode),
        }
    }

    pub(in crate::job) fn finish(self) -> (GenerationWriter<'r>, Summary) {
        (self.writer, self.summary)
    }

    pub(in crate::job) fn abandon(self) -> Result<(), crate::repo::RepoError> {
        drop(self.pipeline);
        self.writer.abandon()
    }
}

// An object of which all names are known is counted by those that it had: names that came and went are counted one by one.
fn counted_names(target: &Target, before: Option<&Inode>) -> u32 {
    match target {
        Target::Entry { name, .. } if name.is_empty() => before.map_or(0, |before| before.link_count),
        Target::Entry { .. } | Target::Linked { .. } => 1,
    }
}
