//! What was stored, in figures.

use crate::job::problem::{PROBLEM_COUNT_MAX, Problem};
use crate::repo::generation_writer::Committed;

/// Files and bytes of one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Files.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}

impl Count {
    pub(in crate::job) fn add(&mut self, bytes: u64) {
        self.add_names(1, bytes);
    }

    /// Adds a file with so many names.
    pub(in crate::job) fn add_names(&mut self, name_count: u32, bytes: u64) {
        self.files += u64::from(name_count);
        self.bytes += bytes;
    }
}

/// What becomes of an object that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::job) enum Unread {
    /// It stays as the generation before has it.
    Kept,
    /// The new generation does not have it.
    LeftOut,
}

impl Unread {
    /// As people read it.
    pub(in crate::job) fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept as it was in the generation before",
            Self::LeftOut => "left out",
        }
    }
}

/// What a backup or a commit did.
#[derive(Debug, Default)]
pub struct Summary {
    /// The generation; `None` if nothing changed.
    pub committed: Option<Committed>,
    /// Files that the generation before did not have, read and stored.
    pub new: Count,
    /// Files that differ from the generation before.
    pub modified: Count,
    /// Files taken over without being read.
    pub unchanged: Count,
    /// Of the new and modified ones, those found stored already by RFE.
    pub redundant: Count,
    /// Entries of the generation before that are gone.
    pub removed_count: u64,
    /// Entries left out by a pattern or option.
    pub excluded_count: u64,
    /// What could not be read, with what became of it; at most [`PROBLEM_COUNT_MAX`] are kept.
    pub failed: Vec<Problem>,
    /// Count of all that could not be read.
    pub failed_count: u64,
    /// Files that changed while they were read, twice, and were kept as they were read.
    pub inconsistent: Vec<Problem>,
    /// Count of all inconsistent files.
    pub inconsistent_count: u64,
    /// The index could not be used or brought up to date; the reason.
    pub index_problem: Option<String>,
    /// The tree of the generation before is damaged, so that this one stands alone; the reason.
    pub baseline_reason: Option<String>,
}

impl Summary {
    // Adds a problem to a list that has a bound.
    pub(in crate::job) fn note(list: &mut Vec<Problem>, path: String, reason: String) {
        if list.len() < PROBLEM_COUNT_MAX {
            list.push(Problem { path, reason });
        }
    }

    /// Tells whether everything was saved as it should be.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed_count == 0 && self.inconsistent_count == 0
    }
}
