//! Space that staging leaves free, and how much it may take.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::error::StagingError;
use super::options::Limits;
use super::terms::Space;
use super::tree::StagingTree;

/// What a new name takes in the database, about.
const ROW_BYTES: u64 = 1024;
/// Bytes that are taken without looking at the file system again, at most.
const CREDIT_BYTES_MAX: u64 = 64 << 20;

/// Refuses what would eat into the reserve or beyond the cap.
#[derive(Debug)]
pub(super) struct SpaceGuard {
    reserve_bytes: AtomicU64,
    cap_bytes: AtomicU64,
    /// Bytes that may be taken before the file system is asked again.
    credit: AtomicI64,
}

impl SpaceGuard {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            reserve_bytes: AtomicU64::new(limits.reserve_bytes),
            cap_bytes: AtomicU64::new(limits.cap_bytes),
            credit: AtomicI64::new(0),
        }
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.reserve_bytes.store(limits.reserve_bytes, Ordering::Relaxed);
        self.cap_bytes.store(limits.cap_bytes, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
    }

    /// Something was removed: what was refused may be possible now.
    pub(super) fn freed(&self) {
        self.credit.store(0, Ordering::Relaxed);
    }

    pub(super) fn check_row(&self, tree: &StagingTree) -> Result<(), StagingError> {
        self.check_bytes(tree, ROW_BYTES)
    }

    pub(super) fn check_bytes(&self, tree: &StagingTree, len: u64) -> Result<(), StagingError> {
        let taken = i64::try_from(len).unwrap_or(i64::MAX);
        if self.credit.fetch_sub(taken, Ordering::Relaxed) >= taken {
            return Ok(());
        }
        let reserve = self.reserve_bytes.load(Ordering::Relaxed);
        let available = tree.data.space()?.available;
        let left = available.checked_sub(reserve.saturating_add(len));
        let left = left.ok_or(StagingError::NoSpace { what: "reserve" });
        let left = left.and_then(|left| Ok(left.min(self.left_of_cap(tree, len)?)));
        // Close to the bound each call asks.
        let credit = left.as_ref().map_or(0, |left| (left / 4).min(CREDIT_BYTES_MAX));
        self.credit.store(i64::try_from(credit).unwrap_or(0), Ordering::Relaxed);
        left.map(drop)
    }

    fn left_of_cap(&self, tree: &StagingTree, len: u64) -> Result<u64, StagingError> {
        let cap = self.cap_bytes.load(Ordering::Relaxed);
        if cap == u64::MAX {
            return Ok(u64::MAX);
        }
        let used = tree.backing_bytes()?;
        cap.checked_sub(used.saturating_add(len)).ok_or(StagingError::NoSpace { what: "cap" })
    }
}

impl StagingTree {
    /// Bytes that backing files take; looks at each.
    pub(super) fn backing_bytes(&self) -> Result<u64, StagingError> {
        let mut bytes = 0_u64;
        for group in self.data.groups()? {
            for id in self.data.ids(group)? {
                // Removed meanwhile, or it would have been counted.
                bytes += self.data.status(id).map_or(0, |status| status.allocated);
            }
        }
        Ok(bytes)
    }

    /// Space as `statvfs` tells it.
    ///
    /// # Errors
    /// [`StagingError`] if the file system does not tell.
    pub fn space(&self) -> Result<Space, StagingError> {
        let space = self.data.space()?;
        let reserve = self.space.reserve_bytes.load(Ordering::Relaxed);
        let cap = self.space.cap_bytes.load(Ordering::Relaxed);
        let mut available_bytes = space.available.saturating_sub(reserve);
        if cap < u64::MAX {
            available_bytes = available_bytes.min(cap.saturating_sub(self.backing_bytes()?));
        }
        let core = self.core();
        let totals = core.base.generation().map(|generation| generation.footer.totals);
        let below = totals.map_or(0, |totals| {
            totals.file_count + totals.directory_count + totals.symlink_count + totals.other_count
        });
        Ok(Space {
            total_bytes: space.total,
            available_bytes,
            object_count: below.saturating_add(self.store.estimated_count() / 2),
            free_object_count: space.free_files,
        })
    }
}
