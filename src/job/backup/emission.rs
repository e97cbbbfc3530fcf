//! Turns results into records, in the order in which the tree wants them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::BackupSummary;
use super::claims::Claims;
use super::error::BackupError;
use super::names::Group;
use super::pipeline::Pipeline;
use super::prepare::{Outcome, PendingExtent, Prepared, SmallOutcome, Task};
use super::queue::{Emission, Target};
use super::record;
use crate::chunk::compress::Compressor;
use crate::codec::len_u32;
use crate::format::frame::{ChunkInfo, ChunkPointer, Codec, Location};
use crate::format::record::{
    Content, Detail, Extent, INLINE_XATTR_LEN_MAX, Inode, Record, XattrList, Xattrs,
};
use crate::id::Fingerprint;
use crate::live::Attributes;
use crate::live::LiveError;
use crate::path;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::bdf_writer::PreparedFrame;
use crate::repo::generation_writer::GenerationWriter;

// Records of objects that are not read pile up behind one that is.
const QUEUE_LEN_MAX: usize = 1 << 14;

#[derive(Debug)]
enum TaskResult {
    Small { outcomes: Vec<Option<Result<SmallOutcome, LiveError>>>, left: usize },
    Piece(Vec<PendingExtent>),
}

/// The queue of records, the results, and the writer that they go to.
#[derive(Debug)]
pub(super) struct Emitter<'a> {
    pub(super) writer: GenerationWriter<'a>,
    pub(super) summary: BackupSummary,
    claims: &'a Claims,
    progress: &'a Progress,
    pipeline: Pipeline,
    pub(super) queue: VecDeque<Emission>,
    results: HashMap<u64, TaskResult>,
    pub(super) groups: BTreeMap<u64, Group>,
    // Tasks of a file that was read again.
    discarded: Vec<Range<u64>>,
    compressor: Compressor,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        claims: &'a Claims,
        progress: &'a Progress,
        writer: GenerationWriter<'a>,
        pipeline: Pipeline,
    ) -> Self {
        Self {
            writer,
            summary: BackupSummary::default(),
            claims,
            progress,
            pipeline,
            queue: VecDeque::new(),
            results: HashMap::new(),
            groups: BTreeMap::new(),
            discarded: Vec::new(),
            compressor: Compressor::new(repository.config().compression.level),
        }
    }

    pub(super) fn next_task(&self) -> u64 {
        self.pipeline.next_task()
    }

    /// Gives a task to the workers; while all are busy, writes what they finished.
    pub(super) fn give(&mut self, task: Task) -> Result<(), BackupError> {
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
    pub(super) fn poll(&mut self) -> Result<(), BackupError> {
        while let Some((number, outcome)) = self.pipeline.poll()? {
            self.apply(number, outcome)?;
        }
        self.emit()
    }

    /// Tells whether so many records wait that they should be written before more come.
    pub(super) fn is_behind(&self) -> bool {
        self.queue.len() >= QUEUE_LEN_MAX
    }

    /// Queues a record that waits for a result.
    pub(super) fn queue(&mut self, emission: Emission) {
        self.queue.push_back(emission);
    }

    /// Queues a record that is complete.
    pub(super) fn put(&mut self, object: u64, name: Vec<u8>, record: Record) -> Result<(), BackupError> {
        if self.queue.is_empty() {
            return Ok(self.writer.put(object, &name, &record)?);
        }
        self.queue.push_back(Emission::Ready { object, name, record });
        Ok(())
    }

    /// Removes a record of the generation before.
    pub(super) fn remove(&mut self, object: u64, name: &[u8]) {
        if !name.is_empty() {
            self.summary.removed_count += 1;
        }
        self.writer.remove(object, name);
    }

    /// Takes a file over without reading it.
    pub(super) fn unchanged(&mut self, target: Target, before: &Arc<Inode>) -> Result<(), BackupError> {
        self.summary.unchanged.add(before.size());
        self.progress.add(1, before.size());
        if let Target::Linked { object, is_new_object, .. } = target {
            self.linked(object, is_new_object, Some(Arc::clone(before)), (**before).clone());
        }
        Ok(())
    }

    /// Keeps what has several names until they are all known.
    pub(super) fn linked(
        &mut self,
        object: u64,
        is_new_object: bool,
        before: Option<Arc<Inode>>,
        inode: Inode,
    ) {
        let group = self.groups.entry(object).or_default();
        group.before = before;
        group.inode = Some(inode);
        group.is_new_object = is_new_object;
    }

    /// Takes a file whose content RFE found stored already.
    pub(super) fn redundant(
        &mut self,
        target: Target,
        before: Option<Arc<Inode>>,
        attributes: &Attributes,
        xattrs: XattrList,
        signature: Fingerprint,
        extents: Vec<Extent>,
    ) -> Result<(), BackupError> {
        self.summary.redundant.add(attributes.size);
        // Its place in the order is after all that waits.
        self.wait_for_all()?;
        if !self.queue.is_empty() {
            return Err(BackupError::Worker);
        }
        self.file(target, before, attributes, xattrs, Some(signature), extents, false)
    }

    /// Notes that an object could not be saved; one that vanished meanwhile need not be.
    pub(super) fn failed(&mut self, error: &LiveError) {
        if error.is_not_found() {
            return;
        }
        self.summary.failed_count += 1;
        let reason = crate::job::chain(error);
        BackupSummary::note(&mut self.summary.failed, error.path().to_owned(), reason);
    }

    /// Leaves a file out of the generation.
    pub(super) fn give_up(&mut self, target: Target) {
        self.progress.add(1, 0);
        match target {
            Target::Entry { object, name } if !self.writer.is_new_directory(object) => {
                self.writer.remove(object, &name);
            }
            Target::Entry { .. } => {}
            Target::Linked { object, .. } => self.groups.entry(object).or_default().is_failed = true,
        }
    }

    /// Forgets the results of all tasks from `first` on.
    pub(super) fn discard(&mut self, first: u64) {
        self.discarded.push(first..self.next_task());
        self.results.retain(|number, _| *number < first);
    }

    /// Keeps extended attributes in the record, or in a BDF if they are long.
    pub(super) fn xattrs(&mut self, list: XattrList) -> Result<Xattrs, BackupError> {
        let bytes = Xattrs::encode_list(&list);
        if bytes.len() <= INLINE_XATTR_LEN_MAX {
            return Ok(Xattrs::Inline(list));
        }
        let fingerprint = Fingerprint::of(&bytes);
        let len = len_u32(bytes.len());
        let chunk = match self.claims.resolve(&fingerprint) {
            Some(chunk) => chunk,
            None => {
                let compressed = self.compressor.compress(&bytes, &[])?;
                let codec = if compressed.is_some() { Codec::Zstd } else { Codec::Raw };
                let stored = compressed.unwrap_or(bytes);
                let chunks = vec![ChunkInfo { len, fingerprint }];
                self.write(&PreparedFrame { codec, stored, plain_len: len, chunks, bases: Vec::new() })?;
                self.claims.resolve(&fingerprint).ok_or(BackupError::Worker)?
            }
        };
        let extents = vec![Extent { offset: 0, len: len.into(), skip: 0, chunk }];
        Ok(Xattrs::Stored { len: len.into(), extents })
    }

    fn write(&mut self, frame: &PreparedFrame) -> Result<(), BackupError> {
        let place = self.writer.append_frame(frame)?;
        let mut start = 0;
        for info in &frame.chunks {
            let location = Location { file: place.file, frame: place.offset, start };
            self.claims.stored(ChunkPointer { fingerprint: info.fingerprint, len: info.len, location });
            start += info.len;
        }
        Ok(())
    }

    fn apply(&mut self, number: u64, outcome: Outcome) -> Result<(), BackupError> {
        for frame in &outcome.frames {
            self.write(frame)?;
        }
        if self.claims.is_full() {
            self.resolve_results();
            self.claims.forget_older();
        }
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
        Ok(())
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
    pub(super) fn wait_for_all(&mut self) -> Result<(), BackupError> {
        while let Some((number, outcome)) = self.pipeline.wait()? {
            self.apply(number, outcome)?;
        }
        self.emit()
    }

    // Puts the records at the head of the queue whose results and places are known.
    fn emit(&mut self) -> Result<(), BackupError> {
        while let Some(first) = self.queue.front() {
            if !self.is_ready(first) {
                return Ok(());
            }
            match self.queue.pop_front() {
                None => return Ok(()),
                Some(Emission::Ready { object, name, record }) => self.writer.put(object, &name, &record)?,
                Some(Emission::Name(name)) => self.name(name)?,
                Some(Emission::Small { target, before, task, slot }) => {
                    self.small(target, before, task, slot)?
                }
                Some(Emission::Large {
                    target,
                    before,
                    tasks,
                    attributes,
                    xattrs,
                    signature,
                    inconsistent,
                }) => {
                    let mut extents = Vec::new();
                    for task in tasks {
                        let Some(TaskResult::Piece(pending)) = self.results.remove(&task) else {
                            return Err(BackupError::Worker);
                        };
                        extents.extend(self.resolve(&pending)?);
                    }
                    self.file(target, before, &attributes, xattrs, signature, extents, inconsistent)?;
                }
            }
        }
        Ok(())
    }

    fn is_ready(&self, emission: &Emission) -> bool {
        let known = |extents: &[PendingExtent]| {
            extents.iter().all(|extent| match extent {
                PendingExtent::Ready(_) => true,
                PendingExtent::Waiting(_, _, fingerprint) => self.claims.resolve(fingerprint).is_some(),
            })
        };
        match emission {
            Emission::Ready { .. } | Emission::Name(_) => true,
            Emission::Small { task, slot, .. } => match self.results.get(task) {
                Some(TaskResult::Small { outcomes, .. }) => match outcomes.get(*slot) {
                    Some(Some(Ok(outcome))) => known(&outcome.extents),
                    _ => true,
                },
                _ => false,
            },
            Emission::Large { tasks, .. } => tasks.clone().all(|task| match self.results.get(&task) {
                Some(TaskResult::Piece(extents)) => known(extents),
                _ => false,
            }),
        }
    }

    fn small(
        &mut self,
        target: Target,
        before: Option<Arc<Inode>>,
        task: u64,
        slot: usize,
    ) -> Result<(), BackupError> {
        let Some(TaskResult::Small { outcomes, left }) = self.results.get_mut(&task) else {
            return Err(BackupError::Worker);
        };
        let outcome = outcomes.get_mut(slot).and_then(Option::take).ok_or(BackupError::Worker)?;
        *left -= 1;
        if *left == 0 {
            self.results.remove(&task);
        }
        match outcome {
            Err(error) => {
                self.failed(&error);
                self.give_up(target);
                Ok(())
            }
            Ok(outcome) => {
                let extents = self.resolve(&outcome.extents)?;
                if outcome.redundant {
                    self.summary.redundant.add(outcome.attributes.size);
                }
                let SmallOutcome { attributes, xattrs, signature, inconsistent, .. } = outcome;
                self.file(target, before, &attributes, xattrs, signature, extents, inconsistent)
            }
        }
    }

    // A place that is missing must stop the backup: left out, it would be read as zeros.
    fn resolve(&self, pending: &[PendingExtent]) -> Result<Vec<Extent>, BackupError> {
        let extents = pending.iter().map(|extent| match extent {
            PendingExtent::Ready(extent) => Some(*extent),
            PendingExtent::Waiting(offset, len, fingerprint) => {
                let chunk = self.claims.resolve(fingerprint)?;
                Some(Extent { offset: *offset, len: u64::from(*len), skip: 0, chunk })
            }
        });
        extents.collect::<Option<_>>().ok_or(BackupError::Worker)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part of the record, and the callers have them apart"
    )]
    fn file(
        &mut self,
        target: Target,
        before: Option<Arc<Inode>>,
        attributes: &Attributes,
        xattrs: XattrList,
        signature: Option<Fingerprint>,
        extents: Vec<Extent>,
        inconsistent: bool,
    ) -> Result<(), BackupError> {
        self.progress.add(1, attributes.size);
        let xattrs = self.xattrs(xattrs)?;
        let content_before = match before.as_deref().map(|before| &before.detail) {
            Some(Detail::Regular { content, .. }) => Some(content),
            _ => None,
        };
        let content: Content = self.writer.content(extents, content_before)?;
        let detail = record::regular(attributes.size, signature, content);
        let inode = record::inode(attributes, xattrs, inconsistent, detail);
        if inconsistent {
            self.summary.inconsistent_count += 1;
            let reason = "changed while it was read".to_owned();
            BackupSummary::note(&mut self.summary.inconsistent, path::display(target.name()), reason);
        }
        let count = match &before {
            None => &mut self.summary.new,
            Some(before) if record::is_same(before, &inode) => &mut self.summary.unchanged,
            Some(_) => &mut self.summary.modified,
        };
        count.add(attributes.size);
        match target {
            Target::Entry { object, name } => {
                if before.is_some_and(|before| record::is_same(&before, &inode)) {
                    return Ok(());
                }
                Ok(self.writer.put(object, &name, &Record::Inode(inode))?)
            }
            Target::Linked { object, is_new_object, .. } => {
                self.linked(object, is_new_object, before, inode);
                Ok(())
            }
        }
    }

    /// Waits for all workers, puts all records, and removes objects that lost all their names.
    pub(super) fn drain(&mut self, gone: &[u64]) -> Result<(), BackupError> {
        self.wait_for_all()?;
        self.pipeline.close();
        if !self.queue.is_empty() {
            return Err(BackupError::Worker);
        }
        for (object, group) in std::mem::take(&mut self.groups) {
            let Some(mut inode) = group.inode else {
                self.writer.remove(object, b"");
                continue;
            };
            inode.link_count = group.name_count;
            let before = group.before.as_deref();
            let same = before.is_some_and(|before| {
                record::is_same(before, &inode) && before.link_count == inode.link_count
            });
            if group.is_new_object || !same {
                self.writer.put(object, b"", &Record::Inode(inode))?;
            }
        }
        for object in gone {
            self.writer.remove(*object, b"");
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (GenerationWriter<'a>, BackupSummary) {
        (self.writer, self.summary)
    }

    pub(super) fn abandon(self) -> Result<(), crate::repo::RepoError> {
        drop(self.pipeline);
        self.writer.abandon()
    }
}
