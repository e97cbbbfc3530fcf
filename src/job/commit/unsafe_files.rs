//! Files that are not in a safe state: being written, or in a group with one that is (row H2).

use std::collections::HashSet;

use super::groups::Groups;

/// What was not safe at the freeze.
#[derive(Debug, Default)]
pub(super) struct UnsafeFiles {
    numbers: HashSet<u64>,
    groups: Groups,
}

impl UnsafeFiles {
    pub(super) fn new(numbers: HashSet<u64>, groups: Groups) -> Self {
        Self { numbers, groups }
    }

    /// Tells whether this object was being written.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number)
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
