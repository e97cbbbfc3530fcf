//! Names that were removed lately. A listing goes on behind a name, and is asked to by the cookie of the name, which
//! does not tell it: of names that are there one is found that has the cookie, of those that are gone a row tells.
//!
//! The rows outlive the process, as listings do: a kernel that waits for the next one, and clients of a file server,
//! keep their cookies. Of a directory that nobody has listed no cookies were given out, and no names are noted.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StagingError;
use super::listing::cookie_of;
use super::options::OpenMode;
use crate::index::staging::{RemovedKey, StagingBatch, StagingStore};

/// Names that are remembered, of all directories. More than `rm -r` reads of a directory (10 000) before it removes
/// them all and reads on.
const COUNT_MAX: usize = 1 << 15;

/// Directories of which it is known that they were listed. When there are more, all count as listed.
const LISTED_COUNT_MAX: usize = 1 << 12;

/// Which rows there are, the oldest first. One of a name that was removed again is here twice, and goes with the
/// later.
#[derive(Debug, Default)]
struct Order {
    keys: VecDeque<RemovedKey>,
    next: u64,
}

/// Directories that were listed; nothing if any may have been.
type Listed = Option<HashSet<u64>>;

/// Names that were removed lately.
#[derive(Debug)]
pub(super) struct RemovedNames {
    order: Mutex<Order>,
    listed: Mutex<Listed>,
}

impl RemovedNames {
    /// Takes up what the process before this one noted.
    pub(super) fn open(store: &StagingStore, mode: OpenMode) -> Result<Self, StagingError> {
        let keys: Result<Vec<RemovedKey>, _> = store.all_removed().collect();
        let mut keys = keys?;
        keys.sort_unstable();
        let next = keys.last().map_or(0, |last| last.sequence.saturating_add(1));
        let listed = (mode == OpenMode::Fresh).then(HashSet::new);
        Ok(Self { order: Mutex::new(Order { keys: keys.into(), next }), listed: Mutex::new(listed) })
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory is listed: cookies of its names are given out.
    pub(super) fn listed(&self, directory: u64) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.as_ref().is_some_and(|listed| listed.len() >= LISTED_COUNT_MAX) {
            *listed = None;
        }
        if let Some(listed) = &mut *listed {
            listed.insert(directory);
        }
    }

    fn is_listed(&self, directory: u64) -> bool {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.as_ref().is_none_or(|listed| listed.contains(&directory))
    }

    /// Rows that there are, about.
    pub(super) fn count(&self) -> u64 {
        self.order().keys.len() as u64
    }

    /// Adds to a batch what notes that a name is removed, if a listing may have to go on behind it. A batch that is not written costs a few old names.
    pub(super) fn note(
        &self,
        store: &StagingStore,
        batch: &mut StagingBatch,
        directory: u64,
        name: &[u8],
    ) -> Result<(), StagingError> {
        if !self.is_listed(directory) {
            return Ok(());
        }
        let mut order = self.order();
        while order.keys.len() >= COUNT_MAX
            && let Some(RemovedKey { sequence, directory, cookie }) = order.keys.pop_front()
        {
            // It may have been removed again since.
            if store.removed_name(directory, cookie)?.is_some_and(|removed| removed.sequence == sequence) {
                batch.delete_removed(directory, cookie);
            }
        }
        let key = RemovedKey { sequence: order.next, directory, cookie: cookie_of(name) };
        order.next = order.next.saturating_add(1);
        order.keys.push_back(key);
        batch.put_removed(key, name);
        Ok(())
    }
}
