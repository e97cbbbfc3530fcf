//! Opens the repository, becomes its writer, and finds or makes its index.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use reelfs::format::frame::ChunkPointer;
use reelfs::id::Fingerprint;
use reelfs::index::Index;
use reelfs::job;
use reelfs::repo::locator::ChunkLocator;
use reelfs::repo::repository::{INDEX, WriterLock};
use reelfs::repo::{CacheBytes, RepoError, Repository};

use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Kind};

// An index while it is made.
const INDEX_PARTIAL: &str = "index.partial";

/// Where the repository is.
pub(crate) fn directory(context: &Context) -> Result<PathBuf, Failure> {
    context.global.repo.clone().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
        Failure::usage("no repository was named")
            .hint("give --repo DIR, or set REELFS_REPO in the environment: export REELFS_REPO=/srv/backup")
    })
}

/// Opens the repository; the index is asked for another place of a chunk that is damaged.
pub(crate) fn open(context: &Context) -> Result<Repository, Failure> {
    let repository = Repository::open(&directory(context)?, CacheBytes::default())?;
    if let Some(root) = repository.root() {
        repository
            .set_chunk_locator(Arc::new(IndexOnDemand { path: root.join(INDEX), index: OnceLock::new() }));
    }
    Ok(repository)
}

/// The index, opened for reading when it is first asked: most commands never meet damage.
#[derive(Debug)]
struct IndexOnDemand {
    path: PathBuf,
    index: OnceLock<Option<Index>>,
}

impl ChunkLocator for IndexOnDemand {
    fn locate(&self, fingerprint: &Fingerprint) -> Option<ChunkPointer> {
        let open =
            || self.path.join("CURRENT").exists().then(|| Index::open_read_only(&self.path).ok()).flatten();
        self.index.get_or_init(open).as_ref()?.locate(fingerprint)
    }
}

/// Opens the repository and becomes its writer.
pub(crate) fn open_for_writing(context: &Context) -> Result<(Repository, Option<WriterLock>), Failure> {
    let repository = open(context)?;
    let lock = repository.lock()?;
    Ok((repository, lock))
}

/// Opens the index; one that is missing or damaged is made again. The caller is the writer.
pub(crate) fn open_index(context: &Context, repository: &Repository) -> Result<Option<Index>, Failure> {
    let Some(root) = repository.root() else { return Ok(None) };
    let path = root.join(INDEX);
    if !path.join("CURRENT").exists() {
        if has_generations(repository)? {
            context.note("the index is missing and is made again");
            rebuild_index(context, repository, &path)?;
        }
        return Ok(Some(Index::open(&path)?));
    }
    let error = match Index::open(&path) {
        Ok(index) => return Ok(Some(index)),
        Err(error) => error,
    };
    if error.is_locked() {
        return Err(
            Failure::new(Kind::Locked, error).hint("another process uses the index; wait for its end")
        );
    }
    if !error.is_damage() {
        return Err(error.into());
    }
    let aside = set_aside(&path)?;
    let (error, aside) = (job::chain(&error), reelfs::path::display(aside.as_os_str().as_encoded_bytes()));
    context.warn(&format!("{error}; it is kept as {aside} and made again"));
    rebuild_index(context, repository, &path)?;
    Ok(Some(Index::open(&path)?))
}

/// Makes the index again beside the old one, which stays until the new one is whole. The caller is the
/// writer.
pub(crate) fn rebuild_index(
    context: &Context,
    repository: &Repository,
    path: &Path,
) -> Result<job::index::RebuildSummary, Failure> {
    let partial = path.with_file_name(INDEX_PARTIAL);
    let refused = |source| Failure::failed(IndexChange { source });
    remove_directory(&partial).map_err(refused)?;
    let index = Index::open(&partial)?;
    let display = context.show_progress("rebuild");
    let summary = job::index::rebuild(repository, &index, &context.progress)?;
    drop(display);
    for failed in &summary.failed {
        context.warn(&format!("not in the index: {failed}"));
    }
    drop(index);
    remove_directory(path).map_err(refused)?;
    fs::rename(&partial, path).map_err(refused)?;
    repository.storage().sync_directory("").map_err(RepoError::from)?;
    Ok(summary)
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The new index cannot take the place of the old one.
#[derive(Debug, thiserror::Error)]
#[error("cannot replace the old index")]
struct IndexChange {
    source: io::Error,
}

fn set_aside(path: &Path) -> Result<PathBuf, Failure> {
    let aside = path.with_file_name(format!("{INDEX}.damaged-{}", clock::now_seconds()));
    std::fs::rename(path, &aside).map_err(|error| {
        Failure::failed(std::io::Error::other(format!("the damaged index cannot be set aside: {error}")))
    })?;
    Ok(aside)
}

fn has_generations(repository: &Repository) -> Result<bool, Failure> {
    for client in repository.clients()? {
        if !repository.generations(&client)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
