//! Backup of a directory tree as the next generation of a client.
//!
//! The driver walks the source depth first and compares it with the generation before; what did not
//! change is a pointer into earlier pages and is not read. How the rest is stored is told in
//! `job/store`.

mod driver;
mod error;
mod frontier;
mod objects;
mod open_directories;
mod selection;
mod source;
mod unreadable;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::ClientName;
use crate::index::Index;
use crate::job::index::index_generation;
use crate::job::store::claims::Claims;
use crate::job::store::dedup::Dedup;
use crate::job::store::pipeline;
use crate::job::store::prepare::Worker;
use crate::job::store::spilling;
use crate::live::Exclusions;
use crate::live::SourceDirectory;
use crate::progress::Progress;
use crate::repo::generation_writer::{Base, GenerationWriter, WriterInputs};
use crate::repo::{RepoError, Repository};

pub use crate::job::problem::{PROBLEM_COUNT_MAX, Problem};
pub use crate::job::store::{Count, StoreError, Summary as BackupSummary};
pub use error::BackupError;

/// How a backup is made.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// Pattern lists in gitignore syntax, each with where it came from; later ones win.
    pub exclude: Vec<(String, Vec<String>)>,
    /// Do not go into other file systems; the directories they are mounted on are kept, empty.
    pub one_file_system: bool,
    /// Leave out what is in a directory with a valid `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out what is marked as not worth a dump (`chattr +d`).
    pub exclude_nodump: bool,
    /// Read all files, also those that did not change by size, times and inode number.
    pub checksum: bool,
    /// Do not compare inode numbers, which some file systems make up anew at each mount.
    pub ignore_inode: bool,
    /// Begin a new baseline that shares no page with the generation before.
    pub full: bool,
    /// Make a generation even if nothing changed.
    pub always: bool,
    /// What the user says of the generation, at most 4096 bytes.
    pub message: String,
    /// Worker threads; 0 for one per processor.
    pub worker_count: usize,
}

/// Backs up the tree at `source` as the next generation of `client`; the caller holds the writer lock.
///
/// If the tree of the generation before is damaged, a new baseline is made, as [`BackupOptions::full`] asks for.
///
/// # Errors
/// [`BackupError`] if no generation was made. What single files refuse is in the summary.
pub fn run(
    repository: &Repository,
    index: Option<&Index>,
    client: &ClientName,
    source: &Path,
    options: &BackupOptions,
    inputs: WriterInputs,
    progress: &Progress,
) -> Result<BackupSummary, BackupError> {
    let WriterInputs { now, new_id } = inputs;
    let new_id = Arc::new(Mutex::new(new_id));
    let inputs = || {
        let new_id = Arc::clone(&new_id);
        let new_id = Box::new(move || new_id.lock().unwrap_or_else(PoisonError::into_inner)());
        WriterInputs { now, new_id }
    };
    let error = match attempt(repository, index, client, source, options, inputs(), progress) {
        Err(BackupError::Store(StoreError::Repo(RepoError::Read(error))))
            if error.is_damage() && !options.full =>
        {
            error
        }
        other => return other,
    };
    progress.restart();
    let full = BackupOptions { full: true, ..options.clone() };
    let mut summary = attempt(repository, index, client, source, &full, inputs(), progress)?;
    summary.baseline_reason = Some(crate::job::chain(&error));
    Ok(summary)
}

fn attempt(
    repository: &Repository,
    index: Option<&Index>,
    client: &ClientName,
    source: &Path,
    options: &BackupOptions,
    inputs: WriterInputs,
    progress: &Progress,
) -> Result<BackupSummary, BackupError> {
    let root = SourceDirectory::open_root(source).map_err(BackupError::Source)?;
    let mut lists = vec![("reelfs.toml".to_owned(), repository.config().policy.exclude.clone())];
    lists.extend(options.exclude.iter().cloned());
    let exclusions = Exclusions::new(&lists)?;
    let base = if options.full { Base::Nothing } else { Base::Latest };
    let writer = GenerationWriter::begin(repository, client, inputs, base)?;
    if let Some(previous) = writer.previous() {
        // The walk goes on while files are saved: what it has found says nothing of what is left.
        let totals = previous.footer.totals;
        progress.add_total(totals.name_count(), totals.content_bytes);
    }
    let dedup = Dedup::new(repository, index);
    let source_bytes = root.path().to_vec();
    let (writer, mut summary) = save(&dedup, &exclusions, repository, options, progress, writer, root)?;
    if !writer.has_changes() && !options.always {
        writer.abandon()?;
        return Ok(summary);
    }
    if let Err(cancelled) = progress.check() {
        writer.abandon()?;
        return Err(cancelled.into());
    }
    let message = options.message.as_bytes();
    let committed = writer.commit(message, &source_bytes)?;
    if let Some(index) = index
        && let Err(error) = index_generation(repository, index, client, committed.id, &committed.bdfs)
    {
        // The generation exists; an index that lags behind costs space, not data.
        summary.index_problem = Some(crate::job::chain(&error));
    }
    summary.committed = Some(committed);
    if let Err(error) = dedup.forget_healed() {
        log::warn!("the record of damaged chunks stays as it is: {}", crate::job::chain(&error));
    }
    Ok(summary)
}

// Walks the source; what that needs of memory is free again when the tree is written and indexed.
fn save<'r>(
    dedup: &Dedup<'r>,
    exclusions: &Exclusions,
    repository: &'r Repository,
    options: &BackupOptions,
    progress: &Progress,
    writer: GenerationWriter<'r>,
    root: SourceDirectory,
) -> Result<(GenerationWriter<'r>, BackupSummary), BackupError> {
    let scratch = spilling::scratch(repository).map_err(StoreError::from)?;
    let claims = Claims::new(scratch.as_ref());
    let config = repository.config();
    let worker_count = match options.worker_count {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        count => count,
    };
    let make_worker = || Worker::new(dedup, &claims, config);
    pipeline::run(worker_count, make_worker, |pipeline| {
        let context = driver::Context { repository, options, exclusions, progress, dedup, claims: &claims };
        driver::Driver::new(context, writer, pipeline).run(root)
    })
}
