//! Sets of cartridges as repositories that can be read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::catalogue::{Catalogue, KnownVolume, SetContent};
use super::error::TapeJobError;
use super::storage::{BlockReader, SetStorage};
use crate::format::config;
use crate::id::{ClientName, FileId};
use crate::repo::catalog::{client_directory, parse_dtf_name};
use crate::repo::{CacheBytes, GenerationId, RepoError, Repository};

pub use super::storage::MetadataFrom;

/// What a set of cartridges lacks of the generations that were archived to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetLacks {
    /// Names of files that could not be read when they were to be archived.
    pub names: BTreeSet<String>,
    /// Number of others, whose names are not known.
    pub more_count: u64,
    /// Whether that is all. It is not known of a set that was archived by an earlier version and scanned, or that goes on
    /// with a cartridge which was not scanned.
    pub is_known: bool,
}

/// A set of cartridges, as far as the catalogue knows it.
#[derive(Debug, Clone)]
pub struct VolumeSet {
    /// Its id.
    pub id: FileId,
    /// Its cartridges, in order of their numbers.
    pub volumes: Vec<KnownVolume>,
    /// What they hold together.
    pub content: SetContent,
}

impl VolumeSet {
    /// All sets, the oldest first; a cartridge whose index is damaged is told to `damaged`.
    ///
    /// # Errors
    /// [`TapeJobError`] if the catalogue cannot be read.
    pub fn all(
        catalogue: &Catalogue,
        damaged: &mut dyn FnMut(super::catalogue::CatalogueError),
    ) -> Result<Vec<Self>, TapeJobError> {
        let mut sets: BTreeMap<FileId, Vec<KnownVolume>> = BTreeMap::new();
        for known in catalogue.volumes(damaged)? {
            sets.entry(known.description.set).or_default().push(known);
        }
        let mut all = Vec::new();
        for (id, volumes) in sets {
            let ids: Vec<FileId> = volumes.iter().map(|known| known.description.volume).collect();
            match SetContent::read(catalogue, &ids) {
                Ok(content) => all.push(Self { id, volumes, content }),
                Err(error) => damaged(error),
            }
        }
        all.sort_by_key(|set| set.created_seconds());
        Ok(all)
    }

    /// Time at which its first cartridge was labelled, seconds since 1970.
    #[must_use]
    pub fn created_seconds(&self) -> i64 {
        self.volumes.iter().map(|known| known.description.created_seconds).min().unwrap_or_default()
    }

    /// Barcodes of its cartridges, in order.
    #[must_use]
    pub fn barcodes(&self) -> Vec<String> {
        self.volumes.iter().map(|known| known.description.barcode.clone()).collect()
    }

    /// What it lacks.
    ///
    /// # Errors
    /// [`TapeJobError`] if the catalogue cannot be read.
    pub fn lacks(&self, catalogue: &Catalogue) -> Result<SetLacks, TapeJobError> {
        lacks(catalogue, &self.volumes, &self.content)
    }

    /// Whether it holds the repository's configuration, without which nothing of it can be read; it is at the beginning.
    #[must_use]
    pub fn has_configuration(&self) -> bool {
        self.content.complete(config::FILE_NAME).is_some()
    }

    /// Whether nothing was archived to it yet: its cartridges are labelled, and no index is on them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.volumes.iter().all(|known| known.header.is_none()) && self.content.names().next().is_none()
    }

    /// Generations whose tree it holds, by client, oldest first.
    #[must_use]
    pub fn generations(&self) -> BTreeMap<ClientName, Vec<GenerationId>> {
        let mut found: BTreeMap<ClientName, Vec<GenerationId>> = BTreeMap::new();
        for name in self.content.names() {
            let Some((directory, file)) = name.rsplit_once('/') else { continue };
            let client = directory.rsplit_once('/').and_then(|(_, client)| client.parse::<ClientName>().ok());
            let (Some(client), Some(id)) = (client, parse_dtf_name(file, ".dtf")) else { continue };
            if client_directory(&client) == directory && self.content.complete(name).is_some() {
                found.entry(client).or_default().push(id);
            }
        }
        for generations in found.values_mut() {
            generations.sort_unstable();
        }
        found
    }

    /// Where its BDFs begin, along its cartridges in their order.
    #[must_use]
    pub fn data_places(&self) -> HashMap<FileId, u64> {
        // A cartridge has fewer blocks than that.
        const CARTRIDGE_SHIFT: u32 = 40;
        let numbers: HashMap<FileId, u64> =
            (0..).zip(&self.volumes).map(|(number, known)| (known.description.volume, number)).collect();
        let place = |name: &Arc<str>| {
            let (_, file) = name.rsplit_once('/')?;
            let file = file.strip_suffix(".bdf")?.parse().ok()?;
            let first = self.content.first(name)?;
            let number = numbers.get(&first.volume).copied().unwrap_or_default();
            Some((file, number << CARTRIDGE_SHIFT | first.segment.address.loi))
        };
        self.content.names().filter_map(place).collect()
    }

    /// Opens the set as a repository: trees come from the catalogue, data by `reader`.
    ///
    /// # Errors
    /// [`TapeJobError`] if the repository's configuration is not on the cartridges at hand.
    pub fn open(
        self,
        catalogue: &Catalogue,
        reader: Arc<dyn BlockReader>,
        cache: CacheBytes,
        metadata: MetadataFrom,
    ) -> Result<Repository, TapeJobError> {
        let shown = self.barcodes().join("+");
        if !self.has_configuration() {
            let what = format!("{} (the beginning of set {shown} is missing)", config::FILE_NAME);
            return Err(TapeJobError::NotOnTape { what });
        }
        let storage = SetStorage::new(catalogue.clone(), self.content, reader, shown, metadata);
        Ok(Repository::open_storage(Arc::new(storage), cache)?)
    }
}

/// What a set lacks, by the newest of its indexes and by what archives noted in this catalogue.
pub(super) fn lacks(
    catalogue: &Catalogue,
    volumes: &[KnownVolume],
    content: &SetContent,
) -> Result<SetLacks, TapeJobError> {
    let mut found = SetLacks::default();
    let newest = volumes.iter().filter(|known| known.header.is_some());
    let newest = newest.max_by_key(|known| known.description.sequence);
    let header = newest.and_then(|known| known.header.as_ref());
    if let Some(lacking) = header.and_then(|header| header.lacking.as_ref()) {
        found.names.extend(lacking.names.iter().cloned());
        found.more_count = lacking.more_count;
        found.is_known = true;
    }
    for known in volumes {
        let mut noted = catalogue.lacking(known.description.volume)?;
        found.is_known |= !noted.is_empty();
        found.names.append(&mut noted);
    }
    found.names.retain(|name| content.complete(name).is_none());
    // To a set that was only prepared nothing was archived yet.
    found.is_known = header.is_none_or(|header| found.is_known && !header.is_continued);
    Ok(found)
}

/// Finds the set that has a generation: of several the newest; `barcode` chooses one.
///
/// # Errors
/// [`TapeJobError`] if none has it.
pub fn find(
    sets: Vec<VolumeSet>,
    client: &ClientName,
    wanted: &str,
    barcode: Option<&str>,
) -> Result<(VolumeSet, GenerationId), TapeJobError> {
    let mut best: Option<(VolumeSet, GenerationId)> = None;
    for set in sets {
        if barcode.is_some_and(|barcode| !set.barcodes().iter().any(|own| own == barcode)) {
            continue;
        }
        let generations = set.generations().remove(client).unwrap_or_default();
        let Some(id) = choose(client, &generations, wanted)? else { continue };
        if best.as_ref().is_none_or(|(_, known)| *known <= id) {
            best = Some((set, id));
        }
    }
    best.ok_or_else(|| TapeJobError::NotOnTape { what: format!("{client}@{wanted}") })
}

fn choose(
    client: &ClientName,
    generations: &[GenerationId],
    wanted: &str,
) -> Result<Option<GenerationId>, TapeJobError> {
    if wanted == "latest" {
        return Ok(generations.last().copied());
    }
    if let Some(back) = wanted.strip_prefix('-').and_then(|back| back.parse::<usize>().ok()) {
        return Ok(generations.len().checked_sub(back).and_then(|index| generations.get(index)).copied());
    }
    let mut matching = generations.iter().filter(|id| id.time.to_string().starts_with(wanted));
    let first = matching.next().copied();
    match (first, matching.next()) {
        (Some(first), Some(second)) => Err(RepoError::Ambiguous {
            client: client.clone(),
            prefix: wanted.to_owned(),
            first: first.time,
            second: second.time,
        }
        .into()),
        (first, _) => Ok(first),
    }
}
