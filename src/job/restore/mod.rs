//! Restore of a directory tree, or of one object, out of a generation.
//!
//! One thread, the walker, lists directories and makes them; workers write files, links and all else in
//! them. A directory gets its owner, permissions and times when everything below it is complete: whatever
//! is still at work in it holds a share of it, and the last one to let go does it.
//!
//! A file whose data is damaged does not appear under its name; what is damaged is in the summary, and
//! the restore goes on.

mod directory;
mod links;
mod walk;
mod write;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use self::links::Links;
use crate::format::record::ROOT_OBJECT;
use crate::id::Ordinal;
use crate::job::backup::Count;
use crate::job::problem::{PROBLEM_COUNT_MAX, Problems};
use crate::live::{LiveError, Overwrite, Shortfall, Target, TargetOptions};
use crate::path;
use crate::progress::{Cancelled, Progress};
use crate::repo::{Generation, ReadError, RepoError, Repository};

/// How a restore is made.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// What happens to objects that exist in the target.
    pub overwrite: Overwrite,
    /// Only count what would be written.
    pub dry_run: bool,
    /// Read every file back from the disk and compare it with what was backed up.
    pub verify: bool,
    /// Refuse to go down into other file systems that are mounted in the target.
    pub one_file_system: bool,
    /// Keep what is readable of a damaged file as `NAME.damaged`, with zeros in the place of the rest.
    pub salvage: bool,
    /// Worker threads; 0 for one per processor.
    pub worker_count: usize,
}

/// A file that could not be restored because stored data is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// Path in the generation, as people know it.
    pub path: String,
    /// The first damaged runs of bytes: offset and length.
    pub ranges: Vec<(u64, u64)>,
    /// Damaged bytes in all.
    pub bytes: u64,
    /// What is wrong at the first place, with its causes.
    pub reason: String,
    /// Name under which the rest was kept, if that was wished.
    pub salvaged: Option<String>,
}

/// What a restore did, or would do.
#[derive(Debug, Default)]
pub struct RestoreSummary {
    /// Regular files written.
    pub files: Count,
    /// Further names of files that have several.
    pub link_count: u64,
    /// Directories made or used.
    pub directory_count: u64,
    /// Symbolic links made.
    pub symlink_count: u64,
    /// Devices, FIFOs and sockets made.
    pub other_count: u64,
    /// Objects kept as they stood in the target.
    pub kept_count: u64,
    /// Objects that could not be restored.
    pub failed: Problems,
    /// Owners, attributes and the like that could not be restored of objects that otherwise were.
    pub shortfalls: Problems,
    /// Files whose data is damaged; at most [`PROBLEM_COUNT_MAX`] are kept.
    pub damaged: Vec<DamagedFile>,
    /// Count of all files whose data is damaged.
    pub damaged_count: u64,
}

impl RestoreSummary {
    /// Tells whether everything was restored as it was.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.shortfalls.is_empty() && self.damaged_count == 0
    }

    fn damaged(&mut self, file: DamagedFile) {
        self.damaged_count += 1;
        if self.damaged.len() < PROBLEM_COUNT_MAX {
            self.damaged.push(file);
        }
    }

    fn shortfalls(&mut self, shortfalls: &[Shortfall]) {
        for shortfall in shortfalls {
            self.shortfalls.note(shortfall.path.clone(), super::chain(shortfall));
        }
    }
}

/// Why a restore ended before its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The generation or the path in it cannot be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The target cannot be written, for this file or for any.
    #[error(transparent)]
    Target(#[from] LiveError),
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A worker thread ended before its work.
    #[error("a worker thread ended before its work")]
    Worker,
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        Self::Repo(error.into())
    }
}

/// What all threads share.
#[derive(Debug)]
struct Run<'a> {
    repository: &'a Repository,
    generation: &'a Generation,
    options: &'a RestoreOptions,
    progress: &'a Progress,
    target: Option<&'a Target>,
    links: Links,
    summary: Mutex<RestoreSummary>,
    fatal: Mutex<Option<RestoreError>>,
}

impl Run<'_> {
    fn summary(&self) -> MutexGuard<'_, RestoreSummary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Ends the whole restore; the first reason counts.
    fn abort(&self, error: RestoreError) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn is_over(&self) -> bool {
        self.progress.check().is_err() || self.fatal.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    // Tells of a refusal; one that every further file would meet too ends the restore.
    fn refused(&self, path: &[u8], error: LiveError) {
        let errno = match &error {
            LiveError::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        };
        if matches!(errno, Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS)) {
            return self.abort(error.into());
        }
        self.summary().failed.note(path::display(path), super::chain(&error));
    }
}

/// Restores what stands at `path` of a generation: the content of a directory into `target`, any other
/// object as an entry of `target`.
///
/// # Errors
/// [`RestoreError`] if the restore could not go on, such as for a full disk. What single objects refuse is
/// in the summary.
pub fn run(
    repository: &Repository,
    generation: Ordinal,
    path: &[u8],
    target: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoreSummary, RestoreError> {
    let generation = repository.generation(generation)?;
    let start = walk::find(repository, &generation, path)?;
    let target_options =
        TargetOptions { overwrite: options.overwrite, one_file_system: options.one_file_system };
    // A trial must not make the target.
    let target = match options.dry_run && !target.is_dir() {
        true => None,
        false => Some(Target::open(target, target_options)?),
    };
    if start.object == Some(ROOT_OBJECT) {
        let totals = generation.footer.totals;
        progress.add_total(totals.name_count(), totals.content_bytes);
    }
    let run = Run {
        repository,
        generation: &generation,
        options,
        progress,
        target: target.as_ref(),
        links: Links::default(),
        summary: Mutex::default(),
        fatal: Mutex::default(),
    };
    walk::run(&run, start)?;
    if let Some(error) = run.fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    progress.check()?;
    if let Some(target) = target.as_ref().filter(|_| !options.dry_run) {
        target.sync()?;
    }
    Ok(run.summary.into_inner().unwrap_or_else(PoisonError::into_inner))
}
