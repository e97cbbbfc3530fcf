//! Lists of extended attributes that a tree does not hold itself, kept in the catalogue beside the trees: a question
//! about metadata moves no tape.
//!
//! ```text
//! <volume id>/lists/<2 digits>/<fingerprint>   the bytes of a chunk of a list
//! ```
//!
//! The name of such a file says what must be in it, so that one that power loss or a disk damaged counts as not there.
//! For this nothing is synced: what is lost is fetched again by the next scan.

use std::collections::BTreeMap;
use std::io;

use super::catalogue::Catalogue;
use super::closure::ListWalk;
use super::error::TapeJobError;
use crate::format::frame::ChunkPointer;
use crate::format::record::Extent;
use crate::id::{FileId, Fingerprint, Ordinal};
use crate::progress::Progress;
use crate::repo::{AttributeLists, Repository};
use crate::storage::{Storage, StorageError};

/// Most bytes of lists that are kept of a cartridge, if nothing else is said.
pub const LIST_BYTES_MAX: u64 = 256 << 20;

const LISTS: &str = "lists";
/// Chunks that are fetched at a time, in the order in which they are on the tape.
const BATCH: usize = 1 << 16;

/// The lists that are kept of a set's cartridges.
#[derive(Debug)]
pub struct KeptLists {
    catalogue: Catalogue,
    volumes: Vec<FileId>,
    // What messages begin with.
    shown: String,
}

impl KeptLists {
    /// Takes the cartridges of a set; `shown` names it in messages.
    #[must_use]
    pub fn new(catalogue: Catalogue, volumes: Vec<FileId>, shown: String) -> Self {
        Self { catalogue, volumes, shown }
    }
}

impl AttributeLists for KeptLists {
    fn chunk(&self, pointer: &ChunkPointer) -> Result<Vec<u8>, StorageError> {
        for volume in &self.volumes {
            if let Some(bytes) = self.catalogue.list_chunk(*volume, pointer)? {
                return Ok(bytes);
            }
        }
        let path = format!(
            "{}: a list of extended attributes that the catalogue lacks; 'reelfs tape scan' fetches it",
            self.shown
        );
        Err(StorageError { operation: "read", path, source: io::Error::from_raw_os_error(libc::ENOMEDIUM) })
    }
}

impl Catalogue {
    fn list_chunk(&self, volume: FileId, pointer: &ChunkPointer) -> Result<Option<Vec<u8>>, StorageError> {
        let file = match self.storage.open(&list_name(volume, pointer.fingerprint)) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.len() != u64::from(pointer.len) {
            return Ok(None);
        }
        let mut bytes = vec![0; pointer.len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok((Fingerprint::of(&bytes) == pointer.fingerprint).then_some(bytes))
    }

    fn put_list_chunk(
        &self,
        volume: FileId,
        fingerprint: Fingerprint,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let name = list_name(volume, fingerprint);
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        if !self.storage.exists(directory)? {
            self.create_root()?;
            self.storage.create_directory(directory)?;
        }
        self.write_unsynced(&name, bytes)
    }

    // Bytes of all lists that are kept of a cartridge.
    fn list_bytes(&self, volume: FileId) -> Result<u64, StorageError> {
        let top = format!("{volume}/{LISTS}");
        let mut bytes = 0;
        for directory in self.storage.list(&top)?.iter().filter(|entry| entry.is_directory) {
            let directory = format!("{top}/{}", directory.name);
            for entry in self.storage.list(&directory)? {
                bytes +=
                    self.storage.open(&format!("{directory}/{}", entry.name)).map_or(0, |file| file.len());
            }
        }
        Ok(bytes)
    }
}

fn list_name(volume: FileId, fingerprint: Fingerprint) -> String {
    let name = fingerprint.to_string();
    format!("{volume}/{LISTS}/{}/{name}", name.get(..2).unwrap_or_default())
}

/// What became of the lists of some generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListTotals {
    /// Chunks of lists that were taken in.
    pub kept: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Chunks that were left out: more is not kept of a cartridge.
    pub over_limit: u64,
    /// Chunks that could not be read.
    pub unread: u64,
    /// Chunks that are lacking and on other cartridges of the set.
    pub elsewhere: u64,
}

/// Takes lists into the catalogue.
#[derive(Debug)]
pub(super) struct ListKeeper<'a> {
    catalogue: &'a Catalogue,
    // The cartridge under which they are kept, and all of its set.
    volume: FileId,
    set: &'a [FileId],
    // Where BDFs begin on the cartridge, if they come from there; those that do not are left to other cartridges.
    places: Option<&'a BTreeMap<FileId, u64>>,
    room_bytes: u64,
    batch: BTreeMap<(u64, FileId, u64, u32), ChunkPointer>,
    totals: ListTotals,
}

impl<'a> ListKeeper<'a> {
    /// Keeps lists under `volume`, of the set `set`, up to `bytes_max` with those that are there.
    ///
    /// # Errors
    /// [`TapeJobError`] if the catalogue cannot be read.
    pub(super) fn new(
        catalogue: &'a Catalogue,
        volume: FileId,
        set: &'a [FileId],
        bytes_max: u64,
    ) -> Result<Self, TapeJobError> {
        let room_bytes = bytes_max.saturating_sub(catalogue.list_bytes(volume)?);
        let totals = ListTotals::default();
        Ok(Self { catalogue, volume, set, places: None, room_bytes, batch: BTreeMap::new(), totals })
    }

    /// Takes only what is in these BDFs, in the order of their places.
    pub(super) fn in_order_of(mut self, places: &'a BTreeMap<FileId, u64>) -> Self {
        self.places = Some(places);
        self
    }

    /// Keeps the lists of these generations. A tree that cannot be read costs its own lists only.
    ///
    /// # Errors
    /// [`TapeJobError`] if the catalogue cannot be written, or the operation is asked to stop.
    pub(super) fn run(
        mut self,
        repository: &Repository,
        generations: &[Ordinal],
        progress: &Progress,
    ) -> Result<ListTotals, TapeJobError> {
        let mut walk = ListWalk::new(repository, progress);
        for ordinal in generations {
            let walked = walk.generation(*ordinal, &mut |extent| self.take(repository, extent));
            if let Err(error) = walked {
                progress.check()?;
                let TapeJobError::Repo(error) = error else { return Err(error) };
                log::warn!("generation {ordinal}: {}", crate::job::chain(&error));
            }
        }
        self.fetch(repository)?;
        Ok(self.totals)
    }

    fn take(&mut self, repository: &Repository, extent: &Extent) -> Result<(), TapeJobError> {
        let pointer = extent.chunk;
        let location = pointer.location;
        let place = match self.places {
            None => 0,
            Some(places) => match places.get(&location.file) {
                Some(place) => *place,
                None => {
                    self.totals.elsewhere += u64::from(!self.is_kept(&pointer)?);
                    return Ok(());
                }
            },
        };
        self.batch.insert((place, location.file, location.frame, location.start), pointer);
        if self.batch.len() >= BATCH {
            self.fetch(repository)?;
        }
        Ok(())
    }

    fn fetch(&mut self, repository: &Repository) -> Result<(), TapeJobError> {
        for pointer in std::mem::take(&mut self.batch).into_values() {
            if self.is_kept(&pointer)? {
                continue;
            }
            let Some(left) = self.room_bytes.checked_sub(u64::from(pointer.len)) else {
                self.totals.over_limit += 1;
                continue;
            };
            match repository.frames().chunk(&pointer) {
                Ok(chunk) => {
                    self.catalogue.put_list_chunk(self.volume, pointer.fingerprint, chunk.bytes())?;
                    self.room_bytes = left;
                    self.totals.kept += 1;
                    self.totals.bytes += u64::from(pointer.len);
                }
                Err(error) => {
                    log::warn!("{}", crate::job::chain(&error));
                    self.totals.unread += 1;
                }
            }
        }
        Ok(())
    }

    fn is_kept(&self, pointer: &ChunkPointer) -> Result<bool, TapeJobError> {
        for volume in self.set {
            if self.catalogue.list_chunk(*volume, pointer)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
