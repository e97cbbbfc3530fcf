//! Files that are not in a safe state: being written, or in a group with one that is (row H2).

use std::collections::HashSet;

use super::groups::Groups;

/// What was not safe at the freeze.
#[derive(Debug, Default)]
pub(super) struct UnsafeFiles {
    numbers: HashSet<u64>,
    unsynced: HashSet<u64>,
    groups: Groups,
}

impl UnsafeFiles {
    /// Takes those that are being written, those of which a sync failed, and the groups of the former.
    pub(super) fn new(numbers: HashSet<u64>, unsynced: HashSet<u64>, groups: Groups) -> Self {
        Self { numbers, unsynced, groups }
    }

    /// Tells whether a sync of this object failed: what was written to it may be lost.
    pub(super) fn is_unsynced(&self, number: u64) -> bool {
        self.unsynced.contains(&number)
    }

    /// Tells whether this object was being written, or could not be synced.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number) || self.is_unsynced(number)
    }

    /// Tells whether everything was safe.
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.unsynced.is_empty() && self.groups.is_empty()
    }

    /// Tells whether any group was not safe.
    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Tells whether the file at this path belongs to a group that was not safe.
    pub(super) fn is_in_group(&self, path: &[u8]) -> bool {
        self.groups.contains(path)
    }
}
