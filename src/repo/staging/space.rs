//! Space that staging leaves free, and how much it may take.
//!
//! A write that comes through here is refused when it would eat into the reserve or go beyond the cap. One that the
//! kernel makes to a backing file by itself is not seen. So the kernel is let write by itself only where no cap
//! is set and the disk is far from the reserve; and when those who were let before come near it, the reserve
//! is held by a file ([`super::ballast`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::ballast::{Ballast, Room};
use super::error::StagingError;
use super::handle::FileHandle;
use super::options::Limits;
use super::terms::{Looks, Space};
use super::tree::{BLOCK, StagingTree};
use super::usage::Usage;
use super::watching::is_written_directly;

/// What a new name takes in the database, about.
const ROW_BYTES: u64 = 1024;
/// Bytes that are taken without looking at the file system again, at most.
const CREDIT_BYTES_MAX: u64 = 64 << 20;

/// The part of a disk, above the reserve, in which the kernel is not let write by itself any more.
const NEAR_SHARE: u64 = 16;
/// No more than that much of it: what a fast disk takes within seconds.
const NEAR_BYTES_MAX: u64 = 8 << 30;

/// So much above the reserve is written before the thread in the background has removed what is of no use any more.
const TIGHT_BYTES: u64 = 2 << 30;
/// The part of what is free from which on files that are to be removed are worth being removed first.
const GARBAGE_SHARE: u64 = 8;

/// Refuses what would eat into the reserve or beyond the cap.
#[derive(Debug)]
pub(super) struct SpaceGuard {
    reserve_bytes: AtomicU64,
    cap_bytes: AtomicU64,
    /// Bytes that may be taken before the file system is asked again.
    credit: AtomicI64,
    /// All writes must come through here.
    is_bounded: Arc<AtomicBool>,
    ballast: Ballast,
    /// Little is free, as of the last look.
    is_tight: AtomicBool,
    /// Bytes that are free once files are removed that nobody needs; counted while little is free.
    garbage_bytes: AtomicU64,
    pub(super) usage: Usage,
}

impl SpaceGuard {
    pub(super) fn new(limits: Limits, ballast: PathBuf) -> Self {
        Self {
            is_bounded: Arc::new(AtomicBool::new(limits.cap_bytes < u64::MAX)),
            ballast: Ballast::open(ballast),
            reserve_bytes: AtomicU64::new(limits.reserve_bytes),
            cap_bytes: AtomicU64::new(limits.cap_bytes),
            credit: AtomicI64::new(0),
            is_tight: AtomicBool::new(true),
            garbage_bytes: AtomicU64::new(0),
            usage: Usage::default(),
        }
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        let reserve = self.reserve_bytes.swap(limits.reserve_bytes, Ordering::Relaxed);
        let cap = self.cap_bytes.swap(limits.cap_bytes, Ordering::Relaxed);
        if (reserve, cap) == (limits.reserve_bytes, limits.cap_bytes) {
            return;
        }
        self.credit.store(0, Ordering::Relaxed);
        // Without a cap nothing was added up.
        self.usage.forget();
        if self.has_cap() {
            self.is_bounded.store(true, Ordering::Release);
        }
    }

    pub(super) fn has_cap(&self) -> bool {
        self.cap_bytes.load(Ordering::Relaxed) < u64::MAX
    }

    /// Whether all writes must come through here, as it is at any time.
    pub(super) fn bounded_mark(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_bounded)
    }

    // Bytes free on the disk, those that are held included.
    fn available(&self, tree: &StagingTree) -> Result<u64, StagingError> {
        Ok(tree.data.space()?.available.saturating_add(self.ballast.len_bytes()))
    }

    /// Files are to be removed.
    pub(super) fn discarded(&self, tree: &StagingTree, files: &[u64]) {
        if self.is_tight.load(Ordering::Relaxed) {
            let bytes =
                files.iter().map(|id| tree.data.status(*id).map_or(0, |status| status.allocated)).sum();
            self.garbage_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Something was removed: what was refused may be possible now.
    pub(super) fn freed(&self) {
        self.garbage_bytes.store(0, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
    }

    /// Refuses a new row. What is of no use any more goes first; so no lock of the tree may be held. Nobody looks at all
    /// files for a row: where the cap is near and nobody knows how near, it is taken, and a thread looks soon.
    pub(super) fn check_row(&self, tree: &StagingTree) -> Result<(), StagingError> {
        self.check_reclaimed(tree, ROW_BYTES, false)
    }

    /// The same for content, for whose room all files may be looked at.
    pub(super) fn check_free_bytes(&self, tree: &StagingTree, len: u64) -> Result<(), StagingError> {
        self.check_reclaimed(tree, len, true)
    }

    fn check_reclaimed(&self, tree: &StagingTree, len: u64, is_exact: bool) -> Result<(), StagingError> {
        match self.check(tree, len, is_exact) {
            Err(StagingError::NoSpace { .. }) => {
                tree.reclaim_all()?;
                self.check(tree, len, is_exact)
            }
            checked => checked,
        }
    }

    /// The same for a write: of a file that nothing lies below it takes the blocks that begin in it, of another one
    /// all that it touches.
    pub(super) fn check_write(
        &self,
        tree: &StagingTree,
        handle: &FileHandle,
        (offset, end): (u64, u64),
    ) -> Result<(), StagingError> {
        if !self.has_cap() || offset == end {
            return self.check_free_bytes(tree, end - offset);
        }
        let from = if handle.is_direct() { offset.next_multiple_of(BLOCK) } else { offset - offset % BLOCK };
        self.check_free_bytes(tree, end.next_multiple_of(BLOCK).saturating_sub(from))
    }

    /// The same for who may hold locks: what is of no use any more stays.
    pub(super) fn check_bytes(&self, tree: &StagingTree, len: u64) -> Result<(), StagingError> {
        self.check(tree, len, true)
    }

    fn check(&self, tree: &StagingTree, len: u64, is_exact: bool) -> Result<(), StagingError> {
        let taken = i64::try_from(len).unwrap_or(i64::MAX);
        if self.credit.fetch_sub(taken, Ordering::Relaxed) < taken {
            self.ask(tree, len, is_exact)?;
        }
        if self.has_cap() {
            self.usage.take(len);
        }
        Ok(())
    }

    fn ask(&self, tree: &StagingTree, len: u64, is_exact: bool) -> Result<(), StagingError> {
        let reserve = self.reserve_bytes.load(Ordering::Relaxed);
        let available = self.available(tree)?;
        let left = available.checked_sub(reserve.saturating_add(len));
        let left = left.ok_or(StagingError::NoSpace { what: "reserve" });
        let left = left.and_then(|left| Ok(left.min(self.left_of_cap(tree, len, is_exact)?)));
        // Close to the bound each call asks.
        let credit = left.as_ref().map_or(0, |left| (left / 4).min(CREDIT_BYTES_MAX));
        self.credit.store(i64::try_from(credit).unwrap_or(0), Ordering::Relaxed);
        left.map(drop)
    }

    fn left_of_cap(&self, tree: &StagingTree, len: u64, is_exact: bool) -> Result<u64, StagingError> {
        if !self.has_cap() {
            return Ok(u64::MAX);
        }
        let cap = self.cap_bytes.load(Ordering::Relaxed);
        if !is_exact && self.usage.must_look(cap, len) {
            return Ok(0);
        }
        let left = |used: u64| cap.checked_sub(used.saturating_add(len));
        match left(self.usage.bytes(tree)?) {
            Some(left) => Ok(left),
            None => left(self.usage.exact_bytes(tree, cap)?).ok_or(StagingError::NoSpace { what: "cap" }),
        }
    }
}

impl StagingTree {
    /// Tells whether the kernel may be let write new backing files by itself; looks at the disk, which others
    /// may have filled since the last time. Never where nobody can tell who still has such a file mapped.
    #[must_use]
    pub fn lets_kernel_write(&self) -> bool {
        if let Err(error) = self.reclaim_much() {
            log::debug!("{}: what is of no use stays: {error}", self.client());
        }
        if self.is_near_reserve().unwrap_or(true) {
            self.space.is_bounded.store(true, Ordering::Release);
            self.space.credit.store(0, Ordering::Relaxed);
        }
        self.tells_openers && !self.space.is_bounded.load(Ordering::Acquire)
    }

    // Nobody asks here for room when the kernel writes, so it is made before, if that makes a difference.
    fn reclaim_much(&self) -> Result<(), StagingError> {
        if !self.space.is_tight.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.release_dropped()?;
        let free = self.space.available(self)?;
        let free = free.saturating_sub(self.space.reserve_bytes.load(Ordering::Relaxed));
        let garbage = self.space.garbage_bytes.load(Ordering::Relaxed);
        if garbage > free / GARBAGE_SHARE { self.reclaim_all() } else { Ok(()) }
    }

    /// Removes what is of no use any more before a commit, if little is free.
    ///
    /// # Errors
    /// [`StagingError`] if the disk refuses.
    pub fn reclaim_if_tight(&self) -> Result<(), StagingError> {
        if self.is_tight()? { self.reclaim_all() } else { Ok(()) }
    }

    fn is_tight(&self) -> Result<bool, StagingError> {
        let reserve = self.space.reserve_bytes.load(Ordering::Relaxed);
        Ok(self.space.available(self)? < reserve.saturating_add(TIGHT_BYTES))
    }

    fn is_near_reserve(&self) -> Result<bool, StagingError> {
        let reserve = self.space.reserve_bytes.load(Ordering::Relaxed);
        let near = (self.data.space()?.total / NEAR_SHARE).min(NEAR_BYTES_MAX);
        Ok(self.space.available(self)? < reserve.saturating_add(near))
    }

    /// Gives what is held of the disk back for as long as the result lives: a commit or a discard needs it.
    ///
    /// # Errors
    /// [`StagingError::Backing`] if the system refuses.
    pub fn make_room(&self) -> Result<Room<'_>, StagingError> {
        self.space.ballast.make_room()
    }

    /// Looks at the disk and decides whether the kernel may write by itself, and whether the reserve must be
    /// held against those that it has let. For a thread in the background, several times a second.
    ///
    /// # Errors
    /// [`StagingError::Backing`] if the system refuses.
    pub fn watch_space(&self) -> Result<(), StagingError> {
        let guard = &self.space;
        let reserve = guard.reserve_bytes.load(Ordering::Relaxed);
        if guard.has_cap() {
            guard.usage.step(self, self.has_direct_writers())?;
        }
        guard.is_tight.store(self.is_tight()?, Ordering::Relaxed);
        let is_near = self.is_near_reserve()?;
        guard.is_bounded.store(is_near || guard.has_cap(), Ordering::Release);
        if is_near {
            // What was granted before may be what the kernel has written since.
            guard.credit.store(0, Ordering::Relaxed);
        }
        let is_held = is_near && self.frozen_epoch() == 0 && self.has_direct_writers();
        guard.ballast.hold(if is_held { reserve } else { 0 })
    }

    fn has_direct_writers(&self) -> bool {
        self.files.all().iter().any(|file| is_written_directly(file)) || self.direct.has_unseen()
    }

    /// Tells whether to take so many bytes, or to tell what space there is, takes long, because all backing files are
    /// looked at for it.
    #[must_use]
    pub fn must_look(&self, len: u64) -> bool {
        let guard = &self.space;
        let has_credit = i64::try_from(len).is_ok_and(|len| guard.credit.load(Ordering::Relaxed) >= len);
        let cap = guard.cap_bytes.load(Ordering::Relaxed);
        guard.has_cap() && !has_credit && guard.usage.must_look(cap, len)
    }

    /// Counts of what was looked at one by one, for who watches what that costs.
    #[must_use]
    pub fn looks(&self) -> Looks {
        Looks {
            backing_files: self.space.usage.look_count(),
            base_records: self.searched_count.load(Ordering::Relaxed),
        }
    }

    /// Bytes that are free on the disk, the reserve included.
    ///
    /// # Errors
    /// [`StagingError`] if the file system does not tell.
    pub fn disk_free_bytes(&self) -> Result<u64, StagingError> {
        self.space.available(self)
    }

    /// Space as `statvfs` tells it.
    ///
    /// # Errors
    /// [`StagingError`] if the file system does not tell.
    pub fn space(&self) -> Result<Space, StagingError> {
        let space = self.data.space()?;
        let reserve = self.space.reserve_bytes.load(Ordering::Relaxed);
        let cap = self.space.cap_bytes.load(Ordering::Relaxed);
        let mut available_bytes = self.space.available(self)?.saturating_sub(reserve);
        if self.space.has_cap() {
            available_bytes = available_bytes.min(cap.saturating_sub(self.space.usage.bytes(self)?));
        }
        let core = self.core();
        let totals = core.base.generation().map(|generation| generation.footer.totals);
        let below = totals.map_or(0, |totals| {
            totals.file_count + totals.directory_count + totals.symlink_count + totals.other_count
        });
        // What is remembered of names and nodes is no object.
        let remembered_count = self.removed.count() + self.nodes.row_count();
        let row_count = self.store.estimated_count().saturating_sub(remembered_count);
        Ok(Space {
            total_bytes: space.total,
            available_bytes,
            object_count: below.saturating_add(row_count / 2),
            free_object_count: space.free_files,
        })
    }
}
