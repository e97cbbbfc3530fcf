//! Verification: every structure, every pointer and every byte of data, and who is affected by damage.
//!
//! Trees come first: each page once, however many generations share it, so that the cost follows what is
//! stored. Then the data that they point to, frame by frame on all processors. If anything is damaged,
//! the trees are walked again for the files that lie in it. Memory is about 200 bytes for each page.

mod affected;
mod bad;
mod data;
mod dtf;
mod elsewhere;
mod facts;
mod history;
mod pointers;
mod trees;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use self::bad::Bad;
use crate::format::bdf::Area;
use crate::id::{ClientName, FileId, GenerationTime};
use crate::index::{Index, IndexBatch, IndexError};
use crate::job::problem::PROBLEM_COUNT_MAX;
use crate::progress::{Cancelled, Progress};
use crate::repo::frames::{all_bdfs, bdf_name};
use crate::repo::{RepoError, Repository, catalog};
use crate::storage::StorageError;

/// How much is verified.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Read all data; else only that it is there is verified.
    pub read_data: bool,
    /// Worker threads; 0 for one per processor.
    pub worker_count: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { read_data: true, worker_count: 0 }
    }
}

/// A place that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, as people know it.
    pub file: String,
    /// Offset of the damaged structure.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// A file of a generation that cannot be read in whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffectedFile {
    /// The client.
    pub client: ClientName,
    /// Its generation.
    pub generation: GenerationTime,
    /// Path in the generation, as people know it.
    pub path: String,
    /// The first runs of bytes that cannot be read, offset and length; none if it is the tree that is
    /// damaged at this place.
    pub ranges: Vec<(u64, u64)>,
    /// Bytes that cannot be read in all.
    pub bytes: u64,
}

/// A generation of which files cannot be read in whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffectedGeneration {
    /// The client.
    pub client: ClientName,
    /// Its generation.
    pub generation: GenerationTime,
    /// It is the client's newest one.
    pub is_newest: bool,
    /// Count of the files.
    pub file_count: u64,
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct VerifySummary {
    /// Generations verified.
    pub generation_count: u64,
    /// Pages verified, each counted once.
    pub page_count: u64,
    /// BDFs verified.
    pub bdf_count: u64,
    /// Frames verified.
    pub frame_count: u64,
    /// Chunks verified.
    pub chunk_count: u64,
    /// Bytes of BDFs verified.
    pub data_bytes: u64,
    /// Damaged places; at most [`PROBLEM_COUNT_MAX`] are kept.
    pub damages: Vec<Damage>,
    /// Count of all damaged places.
    pub damage_count: u64,
    /// Files that cannot be read in whole; at most [`PROBLEM_COUNT_MAX`] are kept.
    pub affected: Vec<AffectedFile>,
    /// Count of all files that cannot be read in whole, each generation counted.
    pub affected_count: u64,
    /// Generations of which files cannot be read in whole, with the count of these files; at most
    /// [`PROBLEM_COUNT_MAX`] are kept.
    pub affected_generations: Vec<AffectedGeneration>,
    /// Count of damaged runs of bytes of which another copy can be read.
    pub healed_count: u64,
    /// BDFs that no generation points to: no damage, but space.
    pub unreferenced: Vec<String>,
    /// Files that a writer which was killed left behind: no damage.
    pub leftovers: Vec<String>,
    /// Chunks removed from the index so that the next backup stores them anew.
    pub removed_from_index: u64,
}

impl VerifySummary {
    /// Tells whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage_count == 0
    }
}

/// Why a verification could not be carried to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The directories of the repository cannot be listed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Damaged chunks cannot be removed from the index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// No thread could be started.
    #[error("cannot start worker threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<StorageError> for VerifyError {
    fn from(error: StorageError) -> Self {
        Self::Repo(error.into())
    }
}

/// What all parts share.
#[derive(Debug)]
struct Run<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    // Every client's generations are verified.
    is_all: bool,
    progress: &'a Progress,
    summary: Mutex<VerifySummary>,
    bad: Mutex<Bad>,
}

impl Run<'_> {
    fn summary(&self) -> MutexGuard<'_, VerifySummary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bad(&self) -> MutexGuard<'_, Bad> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damage(&self, file: &str, offset: u64, what: String) {
        let mut summary = self.summary();
        summary.damage_count += 1;
        if summary.damages.len() < PROBLEM_COUNT_MAX {
            summary.damages.push(Damage { file: file.to_owned(), offset, what });
        }
    }
}

/// Verifies the generations of these clients, or of all, and all data that they point to.
///
/// Damaged chunks are removed from the index, if there is one, so that a backup that meets their content
/// again stores it anew.
///
/// # Errors
/// [`VerifyError`] if the verification could not go on. Damage is in the summary.
pub fn run(
    repository: &Repository,
    index: Option<&Index>,
    clients: &[ClientName],
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<VerifySummary, VerifyError> {
    let all = clients.is_empty();
    let run =
        Run { repository, options, is_all: all, progress, summary: Mutex::default(), bad: Mutex::default() };
    let clients = if all { repository.clients()? } else { clients.to_vec() };
    let marks = history::Marks::read(&run, &clients, all)?;
    let mut generations = Vec::new();
    for client in &clients {
        for generation in repository.generations(client)? {
            generations.push((client.clone(), generation));
        }
        leftovers(&run, &catalog::client_directory(client))?;
        for area in Area::ALL {
            leftovers(&run, &format!("{}/{client}", area.directory()))?;
        }
    }
    let bdfs = all_bdfs(&**repository.storage())?;
    let present: HashSet<FileId> = bdfs.iter().map(|(file, _, _)| *file).collect();
    history::verify(&run, &marks, &clients, &generations)?;
    let trees::Verified { mut referenced, lacking } = trees::verify(&run, &generations)?;
    data::verify(&run, &bdfs, &mut referenced, all)?;
    if all {
        let unreferenced = bdfs.iter().filter(|(file, _, _)| !referenced.contains(file));
        let names = unreferenced.map(|(file, client, area)| bdf_name(*area, client.as_str(), *file));
        run.summary().unreferenced.extend(names);
    }
    if !run.bad().is_empty() || run.summary().damage_count > 0 {
        affected::find(&run, index, &generations, &lacking)?;
        if let Some(index) = index {
            remove_from_index(&run, index, &present)?;
        }
    } else {
        affected::forget_others(&run, &HashSet::new());
    }
    Ok(run.summary.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn leftovers(run: &Run<'_>, directory: &str) -> Result<(), VerifyError> {
    for entry in run.repository.storage().list(directory)? {
        if !entry.is_directory && entry.name.ends_with(".partial") {
            run.summary().leftovers.push(format!("{directory}/{}", entry.name));
        }
    }
    Ok(())
}

fn remove_from_index(run: &Run<'_>, index: &Index, present: &HashSet<FileId>) -> Result<(), VerifyError> {
    let bad = run.bad();
    let mut batch = IndexBatch::default();
    for chunk in index.chunks() {
        run.progress.check()?;
        let chunk = chunk?;
        if bad.is_bad(&chunk) || !present.contains(&chunk.location.file) {
            index.remove_chunk(&mut batch, &chunk.fingerprint);
            run.summary().removed_from_index += 1;
        }
        if batch.is_full() {
            index.write(std::mem::take(&mut batch))?;
        }
    }
    index.write(batch)?;
    index.sync()?;
    Ok(())
}
