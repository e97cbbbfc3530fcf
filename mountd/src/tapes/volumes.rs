//! The cartridges that the catalogue knows, each with the view of its set.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use reelfs::format::record::Time;
use reelfs::id::FileId;
use reelfs::job::chain;
use reelfs::job::tape::catalogue::Catalogue;
use reelfs::job::tape::sets::VolumeSet;
use reelfs::job::tape::storage::BlockReader;
use reelfs::repo::{CacheBytes, Repository};

use crate::attributes::OwnerMap;
use crate::view::{Root, View};

/// What is needed to show a set.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) catalogue: Catalogue,
    pub(super) reader: Arc<dyn BlockReader>,
    pub(super) owners: OwnerMap,
    pub(super) cache: CacheBytes,
    pub(super) started: Time,
}

/// A cartridge.
#[derive(Debug)]
pub(super) struct Volume {
    /// Its id.
    pub(super) id: FileId,
    /// Its barcode, as it says itself.
    pub(super) barcode: String,
    /// When it was labelled.
    pub(super) created: Time,
    set: Arc<Set>,
}

#[derive(Debug)]
struct Set {
    content: VolumeSet,
    view: OnceLock<Option<Arc<View>>>,
}

impl Volume {
    /// The view of its set; `None`, and the reason in the log, if the set cannot be opened.
    pub(super) fn view(&self, inputs: &Inputs) -> Option<&Arc<View>> {
        self.set.view.get_or_init(|| self.open(inputs)).as_ref()
    }

    fn open(&self, inputs: &Inputs) -> Option<Arc<View>> {
        let reader = Arc::clone(&inputs.reader);
        let repository = match self.set.content.clone().open(&inputs.catalogue, reader, inputs.cache) {
            Ok(repository) => repository,
            Err(error) => {
                log::warn!("cartridge {}: {}", self.barcode, chain(&error));
                return None;
            }
        };
        let view = |repository: Repository| {
            View::new(Arc::new(repository), Root::All, inputs.owners, inputs.started)
        };
        match view(repository) {
            Ok(view) => Some(Arc::new(view)),
            Err(error) => {
                log::warn!("cartridge {}: {}", self.barcode, chain(&error));
                None
            }
        }
    }
}

/// All cartridges at one time, by the names under which they are shown.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    volumes: BTreeMap<String, Arc<Volume>>,
    names: HashMap<FileId, String>,
}

impl Snapshot {
    /// Reads the catalogue; a cartridge that did not change since `before` keeps its view.
    pub(super) fn read(catalogue: &Catalogue) -> Self {
        let sets = VolumeSet::all(catalogue, &mut |error| log::warn!("{}", chain(&error)));
        let sets = match sets {
            Ok(sets) => sets,
            Err(error) => {
                log::warn!("the catalogue of cartridges cannot be read: {}", chain(&error));
                return Self::default();
            }
        };
        let mut snapshot = Self::default();
        for content in sets {
            let set = Arc::new(Set { content, view: OnceLock::new() });
            for known in &set.content.volumes {
                let description = &known.description;
                snapshot.add(Volume {
                    id: description.volume,
                    barcode: description.barcode.clone(),
                    created: Time { seconds: description.created_seconds, nanoseconds: 0 },
                    set: Arc::clone(&set),
                });
            }
        }
        snapshot
    }

    // Of two cartridges with one barcode the newer has the plain name: it is the one with that label on it.
    fn add(&mut self, volume: Volume) {
        let name = file_name(&volume.barcode, volume.id);
        let volume = Arc::new(volume);
        if let Some(other) = self.volumes.insert(name.clone(), Arc::clone(&volume)) {
            let (newer, older) = if other.created > volume.created {
                (other, Arc::clone(&volume))
            } else {
                (Arc::clone(&volume), other)
            };
            let id = older.id.to_string();
            let second = format!("{name}~{}", id.get(..8).unwrap_or_default());
            self.names.insert(older.id, second.clone());
            self.volumes.insert(second, older);
            self.names.insert(newer.id, name.clone());
            self.volumes.insert(name, newer);
            return;
        }
        self.names.insert(volume.id, name);
    }

    /// The cartridge with this name.
    pub(super) fn named(&self, name: &[u8]) -> Option<&Arc<Volume>> {
        self.volumes.get(std::str::from_utf8(name).ok()?)
    }

    /// The cartridge with this id.
    pub(super) fn get(&self, id: FileId) -> Option<&Arc<Volume>> {
        self.volumes.get(self.names.get(&id)?)
    }

    /// All, by name, those after `last` if it is given.
    pub(super) fn after<'a>(
        &'a self,
        last: Option<&str>,
    ) -> impl Iterator<Item = (&'a String, &'a Arc<Volume>)> {
        let last = last.map(str::to_owned);
        self.volumes.iter().filter(move |(name, _)| last.as_ref().is_none_or(|last| *name > last))
    }
}

// A barcode is what a label says: it may hold anything.
fn file_name(barcode: &str, id: FileId) -> String {
    let name: String = barcode
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' })
        .collect();
    if name.is_empty() || name.starts_with('.') { id.to_string() } else { name }
}

/// When the catalogue was changed last, of each cartridge.
pub(super) type Times = BTreeMap<String, Option<SystemTime>>;

/// Looks when the catalogue was changed.
pub(super) fn times(catalogue: &Catalogue) -> Times {
    let modified = |path: &std::path::Path| path.metadata().and_then(|found| found.modified()).ok();
    let mut times = Times::new();
    times.insert(String::new(), modified(catalogue.root()));
    for entry in std::fs::read_dir(catalogue.root()).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.parse::<FileId>().is_ok() {
            times.insert(name, modified(&entry.path()));
        }
    }
    times
}
