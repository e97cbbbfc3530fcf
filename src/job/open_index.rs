//! Opens the index for writing; one that is missing or damaged is made again first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::index::{Index, IndexError};
use crate::job::index::{IndexingError, RebuildSummary, rebuild};
use crate::progress::Progress;
use crate::repo::repository::INDEX;
use crate::repo::{RepoError, Repository};

// An index while it is made.
const INDEX_PARTIAL: &str = "index.partial";

/// What people should know of an index that was not simply opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexNews {
    /// It is missing and is made again.
    Missing,
    /// It is damaged and is made again; what is wrong, and where the old one is kept.
    Damaged(String),
    /// Something that could not be read is not in it.
    Left(String),
}

/// Opens the index; the caller is the writer. `now_seconds` names what is set aside. A repository that is in
/// no directory has none.
///
/// # Errors
/// [`IndexingError`] if it cannot be opened or made again; [`IndexError::is_locked`] if another process has it.
pub fn open_index(
    repository: &Repository,
    now_seconds: i64,
    progress: &Progress,
    tell: &mut dyn FnMut(IndexNews),
) -> Result<Option<Index>, IndexingError> {
    let Some(root) = repository.root() else { return Ok(None) };
    let path = root.join(INDEX);
    if !path.join("CURRENT").exists() {
        if has_generations(repository)? {
            tell(IndexNews::Missing);
            rebuild_index(repository, &path, progress, tell)?;
        }
        return Ok(Some(Index::open(&path)?));
    }
    let error = match Index::open(&path) {
        Ok(index) => return Ok(Some(index)),
        Err(error) => error,
    };
    if error.is_locked() || !error.is_damage() {
        return Err(error.into());
    }
    let aside = set_aside(&path, now_seconds).map_err(|source| IndexingError::Replace { source })?;
    tell(IndexNews::Damaged(damage(&error, &aside)));
    rebuild_index(repository, &path, progress, tell)?;
    Ok(Some(Index::open(&path)?))
}

fn damage(error: &IndexError, aside: &Path) -> String {
    let aside = crate::path::display(aside.as_os_str().as_encoded_bytes());
    format!("{}; it is kept as {aside} and made again", super::chain(error))
}

/// Makes the index again beside the old one, which stays until the new one is whole. The caller is the
/// writer.
///
/// # Errors
/// [`IndexingError`] if it cannot be made.
pub fn rebuild_index(
    repository: &Repository,
    path: &Path,
    progress: &Progress,
    tell: &mut dyn FnMut(IndexNews),
) -> Result<RebuildSummary, IndexingError> {
    let partial = path.with_file_name(INDEX_PARTIAL);
    let refused = |source| IndexingError::Replace { source };
    remove_directory(&partial).map_err(refused)?;
    let index = Index::open(&partial)?;
    let summary = rebuild(repository, &index, progress)?;
    for failed in &summary.failed {
        tell(IndexNews::Left(failed.clone()));
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

fn set_aside(path: &Path, now_seconds: i64) -> io::Result<PathBuf> {
    let aside = path.with_file_name(format!("{INDEX}.damaged-{now_seconds}"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn has_generations(repository: &Repository) -> Result<bool, RepoError> {
    for client in repository.clients()? {
        if !repository.generations(&client)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
