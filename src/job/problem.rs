//! What went wrong with single files while the rest of an operation went on.

/// Most problems that a summary lists.
pub const PROBLEM_COUNT_MAX: usize = 1000;

/// Something that could not be saved or restored, or not as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path as people know it.
    pub path: String,
    /// What happened, with its causes.
    pub reason: String,
}

/// A list of problems that has a bound, and the count of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// The first [`PROBLEM_COUNT_MAX`].
    pub listed: Vec<Problem>,
    /// Count of all.
    pub count: u64,
}

impl Problems {
    /// Adds a problem.
    pub fn note(&mut self, path: String, reason: String) {
        self.count += 1;
        if self.listed.len() < PROBLEM_COUNT_MAX {
            self.listed.push(Problem { path, reason });
        }
    }

    /// Tells whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
