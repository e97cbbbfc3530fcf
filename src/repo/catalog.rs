//! Which generations there are: the names of DTFs, read from the clients' directories.
//!
//! A DTF is `clients/<client>/<generation>.<ordinal>.dtf`. While it is written it is
//! `clients/<client>/<generation>.<ordinal>.partial`, and the rename is what makes the generation exist.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use crate::id::{ClientName, GenerationTime, Ordinal};
use crate::storage::{DirectoryEntry, Storage, StorageError};

/// Directory of the clients' directories.
pub const CLIENTS: &str = "clients";

/// A generation by its name and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId {
    /// Time, which is the name.
    pub time: GenerationTime,
    /// Number, unique in the repository.
    pub ordinal: Ordinal,
}

/// Directory of a client's DTFs.
#[must_use]
pub fn client_directory(client: &ClientName) -> String {
    format!("{CLIENTS}/{client}")
}

/// Name of a DTF.
#[must_use]
pub fn dtf_name(client: &ClientName, generation: GenerationId) -> String {
    format!("{CLIENTS}/{client}/{}.{}.dtf", generation.time, generation.ordinal)
}

/// Name of a DTF while it is written.
#[must_use]
pub fn partial_name(client: &ClientName, generation: GenerationId) -> String {
    format!("{CLIENTS}/{client}/{}.{}.partial", generation.time, generation.ordinal)
}

/// What the names of other files begin with that are needed while a DTF is written.
#[must_use]
pub(super) fn work_prefix(client: &ClientName, generation: GenerationId) -> String {
    format!("{CLIENTS}/{client}/{}.{}", generation.time, generation.ordinal)
}

/// Reads the file name of a DTF or, with another suffix, of a partial one.
#[must_use]
pub fn parse_dtf_name(name: &str, suffix: &str) -> Option<GenerationId> {
    let (time, rest) = name.strip_suffix(suffix)?.split_once('.')?;
    let ordinal = Ordinal::new(rest.parse().ok()?)?;
    // One spelling only: no leading zeros or signs.
    if ordinal.to_string() != rest {
        return None;
    }
    Some(GenerationId { time: time.parse().ok()?, ordinal })
}

/// All clients that have a directory, in order of names.
///
/// # Errors
/// [`StorageError`] if it cannot be listed or does not exist, as when its disk is not mounted.
pub fn clients(storage: &dyn Storage) -> Result<Vec<ClientName>, StorageError> {
    let entries = storage.list(CLIENTS)?;
    // Every repository has the directory: without it generations are out of reach, not gone.
    if entries.is_empty() && !storage.exists(CLIENTS)? {
        let (path, source) = (CLIENTS.to_owned(), io::Error::from_raw_os_error(libc::ENOENT));
        return Err(StorageError { operation: "list", path, source });
    }
    Ok(entries
        .into_iter()
        .filter(|entry| entry.is_directory)
        .filter_map(|entry| entry.name.parse().ok())
        .collect())
}

/// What lies among the clients' directories and is neither one of them nor a mark of the last generation, by name,
/// in order.
///
/// # Errors
/// [`StorageError`] if it cannot be listed.
pub fn strays(storage: &dyn Storage) -> Result<Vec<String>, StorageError> {
    let is_client = |entry: &DirectoryEntry| entry.is_directory && entry.name.parse::<ClientName>().is_ok();
    let entries = storage.list(CLIENTS)?;
    let is_stray =
        |entry: &DirectoryEntry| !is_client(entry) && super::last::ordinal_of(&entry.name).is_none();
    Ok(entries.into_iter().filter(is_stray).map(|entry| entry.name).collect())
}

/// All generations of a client, oldest first.
///
/// # Errors
/// [`StorageError`] if they cannot be listed.
pub fn generations(storage: &dyn Storage, client: &ClientName) -> Result<Vec<GenerationId>, StorageError> {
    let entries = storage.list(&client_directory(client))?;
    let mut found: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.is_directory)
        .filter_map(|entry| parse_dtf_name(&entry.name, ".dtf"))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Which client and time an ordinal belongs to; looks again when it meets an unknown one.
///
/// A file that was copied under another name makes two of one ordinal; its header tells which one it is.
#[derive(Debug)]
pub struct Catalog {
    storage: Arc<dyn Storage>,
    known: RwLock<BTreeMap<Ordinal, Vec<Named>>>,
}

/// Client and name of a DTF.
pub type Named = (Arc<ClientName>, GenerationId);

impl Catalog {
    /// Starts with nothing; reads the directories when first asked.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, known: RwLock::default() }
    }

    /// Finds the DTFs that have this number in their names; one, unless someone copied files.
    ///
    /// # Errors
    /// [`StorageError`] if the directories cannot be listed.
    pub fn find(&self, ordinal: Ordinal) -> Result<Vec<Named>, StorageError> {
        let found = self.lookup(ordinal);
        if !found.is_empty() {
            return Ok(found);
        }
        self.refresh()?;
        Ok(self.lookup(ordinal))
    }

    /// Reads all directories again.
    ///
    /// # Errors
    /// [`StorageError`] if they cannot be listed.
    pub fn refresh(&self) -> Result<(), StorageError> {
        let mut known: BTreeMap<_, Vec<Named>> = BTreeMap::new();
        for client in clients(&*self.storage)? {
            let client = Arc::new(client);
            for generation in generations(&*self.storage, &client)? {
                known.entry(generation.ordinal).or_default().push((Arc::clone(&client), generation));
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// The highest number that was in use when the directories were read last.
    #[must_use]
    pub fn highest(&self) -> Option<Ordinal> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).last_key_value().map(|(last, _)| *last)
    }

    fn lookup(&self, ordinal: Ordinal) -> Vec<Named> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&ordinal).cloned().unwrap_or_default()
    }
}
