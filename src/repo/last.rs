//! Marks of the last generation: `clients/<client>/<generation>.<ordinal>.last`, and `clients/<generation>.<ordinal>.last`
//! for the whole repository.
//!
//! An older generation that vanishes is missed by the one after it, whose footer names it. Nothing names the
//! newest but these empty files. They also keep its number from being given again, with which every inode number
//! and page reference would mean something else. A mark follows the DTF and is not waited for: it may
//! name an earlier generation after a crash, never one that does not exist yet.

use super::catalog::{self, CLIENTS, GenerationId};
use crate::id::{ClientName, Ordinal};
use crate::storage::{Storage, StorageError};

const SUFFIX: &str = ".last";
/// Suffixes of all files whose names keep an ordinal from being used again.
const ORDINAL_SUFFIXES: [&str; 5] = [".dtf", ".partial", ".damaged", REMOVED_SUFFIX, SUFFIX];
/// Suffix of a file that says that a generation was removed on purpose.
const REMOVED_SUFFIX: &str = ".removed";

/// The ordinal in the name of a file that keeps it from being used again.
pub(super) fn ordinal_of(name: &str) -> Option<Ordinal> {
    let mut found = ORDINAL_SUFFIXES.iter().filter_map(|suffix| catalog::parse_dtf_name(name, suffix));
    found.next().map(|id| id.ordinal)
}

/// The last generation that a client has had; of the whole repository if none is named.
///
/// # Errors
/// [`StorageError`] if the directory cannot be listed.
pub fn marked(
    storage: &dyn Storage,
    client: Option<&ClientName>,
) -> Result<Option<GenerationId>, StorageError> {
    Ok(with_suffix(storage, client, SUFFIX)?.max_by_key(|id| id.ordinal))
}

/// The generations of a client that were removed on purpose.
///
/// # Errors
/// [`StorageError`] if the directory cannot be listed.
pub fn removed(storage: &dyn Storage, client: &ClientName) -> Result<Vec<GenerationId>, StorageError> {
    Ok(with_suffix(storage, Some(client), REMOVED_SUFFIX)?.collect())
}

fn with_suffix(
    storage: &dyn Storage,
    client: Option<&ClientName>,
    suffix: &'static str,
) -> Result<impl Iterator<Item = GenerationId>, StorageError> {
    let entries = storage.list(&directory(client))?.into_iter();
    Ok(entries.filter_map(move |entry| catalog::parse_dtf_name(&entry.name, suffix)))
}

/// Marks a generation that exists now as the last one of its client and of the repository.
///
/// # Errors
/// [`StorageError`] if a mark cannot be set; the generation exists all the same.
pub(super) fn mark(
    storage: &dyn Storage,
    client: &ClientName,
    generation: GenerationId,
) -> Result<(), StorageError> {
    for client in [Some(client), None] {
        let name = |id: GenerationId| format!("{}/{}.{}{SUFFIX}", directory(client), id.time, id.ordinal);
        let old: Vec<_> = with_suffix(storage, client, SUFFIX)?.collect();
        match old.split_last() {
            None => drop(storage.create(&name(generation))?),
            Some((last, others)) => {
                storage.rename(&name(*last), &name(generation))?;
                // Somebody copied them here.
                for other in others.iter().filter(|other| **other != generation) {
                    storage.remove(&name(*other))?;
                }
            }
        }
    }
    Ok(())
}

fn directory(client: Option<&ClientName>) -> String {
    client.map_or_else(|| CLIENTS.to_owned(), catalog::client_directory)
}
