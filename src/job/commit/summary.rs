//! What a commit did, in figures.

use std::time::Duration;

use crate::job::problem::Problems;
use crate::job::store::{Count, FileReport, Method, Summary};
use crate::repo::Generation;

/// What a commit did, or a preview found that one would do.
#[derive(Debug, Default)]
pub struct CommitSummary {
    /// New, modified, unchanged and redundant files; the generation if one was made.
    pub stored: Summary,
    /// Names of files and other objects that are gone.
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
    // Files of the base that have changes.
    pub(super) touched: Count,
}

impl CommitSummary {
    pub(super) fn count(&mut self, report: &FileReport) {
        match report.method {
            Method::Rfe => {}
            Method::Fda => self.fda.add(report.written_bytes),
            Method::Sfp => self.sfp.add(report.size),
            Method::Kept => self.kept.add(report.size),
        }
    }

    // Files of the base without a change are never looked at.
    pub(super) fn add_unchanged(&mut self, base: Option<&Generation>) {
        let Some(totals) = base.map(|base| base.footer.totals) else { return };
        self.stored.unchanged.files += totals.file_count.saturating_sub(self.touched.files);
        self.stored.unchanged.bytes += totals.content_bytes.saturating_sub(self.touched.bytes);
    }

    /// Tells whether everything was taken as it should be.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.inconsistent.is_empty() && self.kept_back.is_empty() && self.unreadable.is_empty()
    }
}
