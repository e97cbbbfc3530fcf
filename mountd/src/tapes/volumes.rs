//! The cartridges that are shown: those that the catalogue knows, each with the view of its set or of its scan, and those
//! that are in the library and were never scanned.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use reelfs::format::record::Time;
use reelfs::id::{FileId, Fingerprint, Ordinal};
use reelfs::job::chain;
use reelfs::job::tape::catalogue::Catalogue;
use reelfs::job::tape::lists::KeptLists;
use reelfs::job::tape::order::{KeptOrders, TapeOrder};
use reelfs::job::tape::sets::{MetadataFrom, VolumeSet};
use reelfs::job::tape::storage::BlockReader;
use reelfs::repo::{CacheBytes, Repository};
use reelfs::tape::archive::ForeignDescription;

use super::empty::EmptyView;
use super::foreign::ForeignView;
use crate::attributes::{Attributes, OwnerMap};
use crate::errno::ViewError;
use crate::shown::Shown;
use crate::view::{CLIENTS, Root, View};

/// Number of a cartridge's own directory in its view, and the first one of those that a view makes up.
pub(super) const MADE_FIRST: u64 = CLIENTS;
/// What `user.reelfs.state` says of a cartridge that was never scanned.
const UNSCANNED: &str = "unscanned";
/// What it says of one of another program that cannot be read.
const FOREIGN: &str = "foreign";
/// What it says of one of a set whose beginning was never scanned.
const INCOMPLETE: &str = "incomplete";

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
    /// Its barcode, as it says itself, or as it stands on the outside.
    pub(super) barcode: String,
    /// When it was labelled, or scanned.
    pub(super) created: Time,
    holds: Holds,
    is_numbered: OnceLock<()>,
}

#[derive(Debug)]
enum Holds {
    // Generations of ours.
    Set(Arc<Set>),
    // Ours, and nothing was archived to its set yet.
    Prepared(EmptyView),
    // Ours, of a set whose beginning the catalogue does not know: nothing says how to read it.
    Incomplete,
    // Archives of another program.
    Archives(ForeignDescription, OnceLock<Option<Arc<ForeignView>>>),
    // Something of another program that is not read.
    Other(ForeignDescription),
    // Nobody knows.
    Unscanned,
}

#[derive(Debug)]
struct Set {
    content: VolumeSet,
    view: OnceLock<Option<Arc<View>>>,
}

impl Volume {
    /// What it holds.
    ///
    /// # Errors
    /// [`ViewError`] if that is not known or cannot be shown; why is in the log.
    pub(super) fn view(&self, inputs: &Inputs) -> Result<&dyn Shown, ViewError> {
        match &self.holds {
            Holds::Set(set) => {
                let view = self.set_view(set, inputs);
                view.map(|view| &**view as &dyn Shown).ok_or(ViewError::NoCatalogue)
            }
            Holds::Prepared(view) => Ok(view),
            Holds::Incomplete => Err(ViewError::Incomplete),
            Holds::Archives(description, view) => {
                let view = view.get_or_init(|| self.open_foreign(description, inputs)).as_ref();
                view.map(|view| &**view as &dyn Shown).ok_or(ViewError::NoCatalogue)
            }
            Holds::Other(_) => Err(ViewError::Foreign),
            Holds::Unscanned => Err(ViewError::Unscanned),
        }
    }

    fn set_view<'a>(&self, set: &'a Set, inputs: &Inputs) -> Option<&'a Arc<View>> {
        set.view.get_or_init(|| self.open(set, inputs)).as_ref()
    }

    /// The order on tape of a generation of ours; `None` if it cannot be known.
    pub(super) fn order(&self, inputs: &Inputs, ordinal: Ordinal) -> Option<Arc<TapeOrder>> {
        match &self.holds {
            Holds::Set(set) => self.set_view(set, inputs)?.order(ordinal),
            Holds::Prepared(_)
            | Holds::Incomplete
            | Holds::Archives(..)
            | Holds::Other(_)
            | Holds::Unscanned => None,
        }
    }

    /// Calls `reserve` once with the ordinals of its generations, ascending: in the order in which they were written.
    ///
    /// # Errors
    /// What `reserve` returned.
    pub(super) fn number_once(
        &self,
        reserve: impl FnOnce(&[u32]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        if self.is_numbered.get().is_some() {
            return Ok(());
        }
        reserve(&self.ordinals())?;
        // Who was faster did the same.
        let _set = self.is_numbered.set(());
        Ok(())
    }

    fn ordinals(&self) -> Vec<u32> {
        let Holds::Set(set) = &self.holds else { return Vec::new() };
        let generations = set.content.generations();
        let mut ordinals: Vec<u32> = generations.values().flatten().map(|id| id.ordinal.get()).collect();
        ordinals.sort_unstable();
        ordinals
    }

    /// Whose it is, in a word or two; `None` if that is not known.
    pub(super) fn kind(&self) -> Option<&str> {
        match &self.holds {
            Holds::Set(_) | Holds::Prepared(_) | Holds::Incomplete => Some("reelfs"),
            Holds::Archives(description, _) | Holds::Other(description) => Some(&description.kind),
            Holds::Unscanned => None,
        }
    }

    /// What keeps it from being read, in a word, wherever it is.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        match &self.holds {
            Holds::Set(_) | Holds::Prepared(_) | Holds::Archives(..) => None,
            Holds::Incomplete => Some(INCOMPLETE),
            Holds::Other(_) => Some(FOREIGN),
            Holds::Unscanned => Some(UNSCANNED),
        }
    }

    fn open(&self, set: &Set, inputs: &Inputs) -> Option<Arc<View>> {
        let reader = Arc::clone(&inputs.reader);
        let volumes = set.content.volumes.iter().map(|known| known.description.volume).collect();
        let lists = KeptLists::new(inputs.catalogue.clone(), volumes, set.content.barcodes().join("+"));
        let content = set.content.clone();
        let repository = match content.open(&inputs.catalogue, reader, inputs.cache, MetadataFrom::Kept) {
            Ok(repository) => repository,
            Err(error) => {
                log::warn!("cartridge {}: {}", self.barcode, chain(&error));
                return None;
            }
        };
        repository.set_attribute_lists(Arc::new(lists));
        let orders = KeptOrders::new(inputs.catalogue.clone(), &set.content, &std::env::temp_dir());
        let view = |repository: Repository| {
            let view = View::new(Arc::new(repository), Root::All, inputs.owners, inputs.started);
            view.map(|view| View { orders: Some(orders), ..view })
        };
        let view =
            view(repository).inspect_err(|error| log::warn!("cartridge {}: {}", self.barcode, chain(error)));
        view.ok().map(Arc::new)
    }

    fn open_foreign(&self, description: &ForeignDescription, inputs: &Inputs) -> Option<Arc<ForeignView>> {
        let view = ForeignView::open(&inputs.catalogue, description, inputs);
        let view = view.inspect_err(|error| log::warn!("cartridge {}: {}", self.barcode, chain(error)));
        view.ok().map(Arc::new)
    }
}

/// All cartridges at one time, by the names under which they are shown.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    volumes: BTreeMap<String, Arc<Volume>>,
    names: HashMap<FileId, String>,
}

impl Snapshot {
    /// Reads the catalogue; `present` are the barcodes in the library.
    pub(super) fn read(catalogue: &Catalogue, present: &[String]) -> Self {
        let mut snapshot = Self::default();
        let mut warn = |error| log::warn!("{}", chain(&error));
        match VolumeSet::all(catalogue, &mut warn) {
            Ok(sets) => sets.into_iter().for_each(|set| snapshot.add_set(set)),
            Err(error) => log::warn!("the catalogue of cartridges cannot be read: {}", chain(&error)),
        }
        match catalogue.foreign_volumes(&mut warn) {
            Ok(found) => found.into_iter().for_each(|description| snapshot.add_foreign(description)),
            Err(error) => log::info!("{}", chain(&error)),
        }
        for barcode in present {
            let is_known = snapshot.volumes.values().any(|volume| volume.barcode == *barcode);
            if !is_known {
                let id = Fingerprint::of(format!("unscanned {barcode}").as_bytes());
                let id = FileId(id.0.first_chunk().copied().unwrap_or_default());
                let (barcode, created) = (barcode.clone(), Time::default());
                snapshot.add(Volume {
                    id,
                    barcode,
                    created,
                    holds: Holds::Unscanned,
                    is_numbered: OnceLock::new(),
                });
            }
        }
        snapshot
    }

    fn add_set(&mut self, content: VolumeSet) {
        let set = Arc::new(Set { content, view: OnceLock::new() });
        for known in &set.content.volumes {
            let description = &known.description;
            let created = Time { seconds: description.created_seconds, nanoseconds: 0 };
            let holds = if set.content.has_configuration() {
                Holds::Set(Arc::clone(&set))
            } else if set.content.is_empty() {
                Holds::Prepared(EmptyView(Attributes::directory(MADE_FIRST, 0o755, created)))
            } else {
                Holds::Incomplete
            };
            self.add(Volume {
                id: description.volume,
                barcode: description.barcode.clone(),
                created,
                holds,
                is_numbered: OnceLock::new(),
            });
        }
    }

    fn add_foreign(&mut self, description: ForeignDescription) {
        let (id, barcode) = (description.volume, description.barcode.clone());
        let created = Time { seconds: description.scanned_seconds, nanoseconds: 0 };
        let has_archives = description.files.iter().any(|file| file.entry_count > 0);
        let holds = if has_archives {
            Holds::Archives(description, OnceLock::new())
        } else {
            Holds::Other(description)
        };
        self.add(Volume { id, barcode, created, holds, is_numbered: OnceLock::new() });
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
