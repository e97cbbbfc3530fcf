//! What the backing files of a tree take on the disk, without looking at each of them for who asks: a thread looks at
//! some at a time, and what was taken and given back since is added up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StagingError;
use super::tree::StagingTree;
use crate::storage::sparse;

/// Files that one step looks at, about.
const STEP: usize = 2048;
/// What was written since the last look at all files may have taken less than that: the part of a bound from which
/// on that is worth another look.
const DRIFT_SHARE: u64 = 64;

/// Bytes taken and given back so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flow {
    taken: u64,
    given: u64,
}

#[derive(Debug, Default)]
struct Counted {
    /// Sum of the last look at all files, and the flow when it began.
    known: Option<(u64, Flow)>,
    round: Option<Round>,
}

/// A look at all files that is not over.
#[derive(Debug)]
struct Round {
    groups: Vec<u64>,
    bytes: u64,
    begun: Flow,
}

/// How much backing files take.
#[derive(Debug, Default)]
pub(super) struct Usage {
    taken: AtomicU64,
    given: AtomicU64,
    counted: Mutex<Counted>,
    look_count: AtomicU64,
}

impl Usage {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flow(&self) -> Flow {
        Flow { taken: self.taken.load(Ordering::Relaxed), given: self.given.load(Ordering::Relaxed) }
    }

    pub(super) fn take(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.given.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was known holds no more.
    pub(super) fn forget(&self) {
        *self.counted() = Counted::default();
    }

    /// Backing files that were looked at for their sum.
    pub(super) fn look_count(&self) -> u64 {
        self.look_count.load(Ordering::Relaxed)
    }

    /// Bytes taken, about; all files are looked at if that was never done.
    pub(super) fn bytes(&self, tree: &StagingTree) -> Result<u64, StagingError> {
        let known = self.counted().known;
        let Some((bytes, then)) = known else { return self.look(tree) };
        let now = self.flow();
        let taken = bytes.saturating_add(now.taken.wrapping_sub(then.taken));
        Ok(taken.saturating_sub(now.given.wrapping_sub(then.given)))
    }

    /// The same for who would be refused: all files are looked at if the bytes may be much fewer.
    pub(super) fn exact_bytes(&self, tree: &StagingTree, cap: u64) -> Result<u64, StagingError> {
        let (known, now) = (self.counted().known, self.flow());
        let drift = known.map_or(u64::MAX, |(_, then)| now.taken.wrapping_sub(then.taken));
        if drift <= cap / DRIFT_SHARE { self.bytes(tree) } else { self.look(tree) }
    }

    /// Tells whether [`Usage::exact_bytes`] would look at all files for so many more bytes.
    pub(super) fn must_look(&self, cap: u64, len: u64) -> bool {
        let (known, now) = (self.counted().known, self.flow());
        let Some((bytes, then)) = known else { return true };
        let drift = now.taken.wrapping_sub(then.taken);
        let used = bytes.saturating_add(drift).saturating_sub(now.given.wrapping_sub(then.given));
        used.saturating_add(len) > cap && drift > cap / DRIFT_SHARE
    }

    /// Looks at all files.
    pub(super) fn look(&self, tree: &StagingTree) -> Result<u64, StagingError> {
        let begun = self.flow();
        let mut bytes = 0;
        for group in tree.data.groups()? {
            bytes += self.group(tree, group)?.0;
        }
        let mut counted = self.counted();
        *counted = Counted { known: Some((bytes, begun)), round: None };
        Ok(bytes)
    }

    /// Looks at some of the files, if anything was taken or given back since they were looked at, or may be unseen.
    pub(super) fn step(&self, tree: &StagingTree, is_unseen: bool) -> Result<(), StagingError> {
        let (round, known) = {
            let mut counted = self.counted();
            (counted.round.take(), counted.known)
        };
        let mut round = match round {
            Some(round) => round,
            None if !is_unseen && known.is_some_and(|(_, then)| then == self.flow()) => return Ok(()),
            None => Round { groups: tree.data.groups()?, bytes: 0, begun: self.flow() },
        };
        let mut count = 0;
        while count < STEP
            && let Some(group) = round.groups.pop()
        {
            let (bytes, files) = self.group(tree, group)?;
            (round.bytes, count) = (round.bytes + bytes, count + files);
        }
        let mut counted = self.counted();
        if round.groups.is_empty() {
            counted.known = Some((round.bytes, round.begun));
        } else if counted.known == known {
            counted.round = Some(round);
        }
        Ok(())
    }

    // Bytes and count of the files of a group.
    fn group(&self, tree: &StagingTree, group: u64) -> Result<(u64, usize), StagingError> {
        let ids = tree.data.ids(group)?;
        self.look_count.fetch_add(ids.len() as u64, Ordering::Relaxed);
        // One that was removed meanwhile takes nothing.
        let bytes = ids.iter().map(|id| tree.data.status(*id).map_or(0, |status| status.allocated)).sum();
        Ok((bytes, ids.len()))
    }
}

impl StagingTree {
    /// Bytes that backing files take, which are about to be removed.
    pub(super) fn give_back_files(&self, ids: &[u64]) {
        if self.space.has_cap() {
            let bytes = ids.iter().map(|id| self.data.status(*id).map_or(0, |status| status.allocated)).sum();
            self.space.usage.give_back(bytes);
        }
    }

    /// Does what may make a backing file take less.
    pub(super) fn shrink<T>(
        &self,
        file: &std::fs::File,
        shrink: impl FnOnce() -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        if !self.space.has_cap() {
            return shrink();
        }
        let before = sparse::status(file)?.allocated;
        let done = shrink()?;
        self.space.usage.give_back(before.saturating_sub(sparse::status(file)?.allocated));
        Ok(done)
    }
}
