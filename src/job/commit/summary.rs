//! What a commit did, in figures.

use std::time::Duration;

use crate::job::problem::Problems;
use crate::job::store::{Count, FileReport, Method, Summary};

/// What a commit did, or a preview found that one would do. Files are names of regular files, bytes those of their
/// content, of several names once: new, modified and unchanged files are all that the generation holds, and files of
/// the base less removed and with new ones are as many.
#[derive(Debug, Default)]
pub struct CommitSummary {
    /// New, modified, unchanged and redundant files; the generation if one was made.
    pub stored: Summary,
    /// Names that lead to no regular file any more; bytes of files of which none does.
    pub removed: Count,
    /// Files whose bytes were found by FDA; bytes of them that were written.
    pub fda: Count,
    /// Files that were cut anew by content.
    pub sfp: Count,
    /// Files of which only attributes or names changed.
    pub kept: Count,
    /// Bytes read from staged files, and from below them for SFP.
    pub read_bytes: u64,
    /// Bytes that the generation adds or would add to BDFs, compressed.
    pub added_bytes: u64,
    /// Files that were not safe, and are marked so in the generation.
    pub inconsistent: Problems,
    /// Files that were not safe, and stay in the generation as they were before; their changes stay pending.
    pub kept_back: Problems,
    /// Files whose record of written regions was not trusted.
    pub untrusted: Problems,
    /// Files of which what was written was taken, but what lies below it cannot be read, and stays as it is.
    pub unreadable: Problems,
    /// Time spent on waiting for files to become safe.
    pub waited: Duration,
}

impl CommitSummary {
    pub(super) fn count(&mut self, report: &FileReport) {
        match report.method {
            Method::Rfe => {}
            Method::Fda => self.fda.add_names(report.name_count, report.written_bytes),
            Method::Sfp => self.sfp.add_names(report.name_count, report.size),
            Method::Kept => self.kept.add_names(report.name_count, report.size),
        }
    }

    /// What the generation holds, or would hold.
    #[must_use]
    pub fn held_files(&self) -> Count {
        let kept = [self.stored.new, self.stored.modified, self.stored.unchanged];
        Count {
            files: kept.iter().map(|count| count.files).sum(),
            bytes: kept.iter().map(|count| count.bytes).sum(),
        }
    }

    /// Tells whether everything was taken as it should be.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.inconsistent.is_empty() && self.kept_back.is_empty() && self.unreadable.is_empty()
    }
}
