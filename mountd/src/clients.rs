//! The clients and generations that the mount shows now.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use reelfs::id::{ClientName, Fingerprint, GenerationTime, Ordinal};
use reelfs::repo::{GenerationId, RepoError, Repository};

// Inode numbers of clients' directories and of `latest` have this bit; it is the highest of 40.
const CLIENT_BIT: u64 = 1 << 39;

/// A client, as shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Client {
    /// Name.
    pub name: ClientName,
    /// Inode number of its directory.
    pub number: u64,
    /// Inode number of its `latest`.
    pub latest_number: u64,
    /// Generations, oldest first.
    pub generations: Vec<GenerationId>,
}

impl Client {
    /// The generation with this name.
    #[must_use]
    pub fn find(&self, time: GenerationTime) -> Option<GenerationId> {
        let index = self.generations.binary_search_by_key(&time, |generation| generation.time).ok()?;
        self.generations.get(index).copied()
    }

    /// The last generation.
    #[must_use]
    pub fn latest(&self) -> Option<GenerationId> {
        self.generations.last().copied()
    }
}

/// All clients at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    by_name: BTreeMap<ClientName, Arc<Client>>,
    by_number: HashMap<u64, ClientName>,
}

impl Snapshot {
    /// Clients in order of names.
    pub fn clients(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.by_name.values()
    }

    /// The client with this name.
    #[must_use]
    pub fn get(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.by_name.get(name)
    }

    /// The client whose directory or `latest` has this inode number.
    #[must_use]
    pub fn by_number(&self, number: u64) -> Option<&Arc<Client>> {
        self.by_name.get(self.by_number.get(&number)?)
    }

    /// The generation with this number.
    #[must_use]
    pub fn find(&self, ordinal: Ordinal) -> Option<GenerationId> {
        let all = self.clients().flat_map(|client| &client.generations);
        all.copied().find(|generation| generation.ordinal == ordinal)
    }

    /// Time of the last generation of all.
    #[must_use]
    pub fn latest_time(&self) -> Option<GenerationTime> {
        self.clients().filter_map(|client| client.latest()).map(|generation| generation.time).max()
    }

    fn number(&self, text: &str) -> u64 {
        let fingerprint = Fingerprint::of(text.as_bytes());
        let bytes = fingerprint.0.first_chunk().copied().unwrap_or_default();
        let mut number = (u64::from_le_bytes(bytes) % CLIENT_BIT) | CLIENT_BIT;
        while self.by_number.contains_key(&number) {
            number = ((number + 1) % CLIENT_BIT) | CLIENT_BIT;
        }
        number
    }

    fn read(repository: &Repository) -> Result<Self, RepoError> {
        let mut snapshot = Self::default();
        for name in repository.clients()? {
            let generations = repository.generations(&name)?;
            let number = snapshot.number(name.as_str());
            snapshot.by_number.insert(number, name.clone());
            let latest_number = snapshot.number(&format!("{name}/latest"));
            snapshot.by_number.insert(latest_number, name.clone());
            let client = Client { name: name.clone(), number, latest_number, generations };
            snapshot.by_name.insert(name, Arc::new(client));
        }
        Ok(snapshot)
    }
}

/// The clients, read again when something may have changed.
#[derive(Debug, Default)]
pub struct Clients {
    now: RwLock<Arc<Snapshot>>,
}

impl Clients {
    /// What was last read.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the directories again.
    ///
    /// # Errors
    /// [`RepoError`] if they cannot be listed; what was read before then stays.
    pub fn refresh(&self, repository: &Repository) -> Result<Arc<Snapshot>, RepoError> {
        let read = Arc::new(Snapshot::read(repository)?);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read);
        Ok(read)
    }

    /// Lists the clients, and reads all directories again only if there are others than before.
    ///
    /// # Errors
    /// As [`Clients::refresh`].
    pub fn refresh_names(&self, repository: &Repository) -> Result<Arc<Snapshot>, RepoError> {
        let known = self.snapshot();
        let is_known = known.by_name.keys().eq(&repository.clients()?);
        if is_known { Ok(known) } else { self.refresh(repository) }
    }

    /// Lists a client's generations, and reads all directories again only if there are others than before.
    ///
    /// # Errors
    /// As [`Clients::refresh`].
    pub fn refresh_client(
        &self,
        repository: &Repository,
        name: &ClientName,
    ) -> Result<Arc<Snapshot>, RepoError> {
        let known = self.snapshot();
        let generations = repository.generations(name)?;
        let is_known = known.get(name).is_some_and(|client| client.generations == generations);
        if is_known { Ok(known) } else { self.refresh(repository) }
    }
}
