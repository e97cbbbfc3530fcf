//! The tables in the catalogue: made when a cartridge is archived or scanned of each client's newest generation, of
//! others when somebody first goes into one.
//!
//! ```text
//! orders/<set id>-<ordinal>   the table of a generation on a set of cartridges
//! orders/lock                 held by who makes one
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::builder::Builder;
use super::table::{OrderError, TapeOrder};
use super::walk::walk;
use crate::id::{FileId, Ordinal};
use crate::job::chain;
use crate::job::tape::catalogue::Catalogue;
use crate::job::tape::error::TapeJobError;
use crate::job::tape::sets::{MetadataFrom, VolumeSet};
use crate::job::tape::storage::BlockReader;
use crate::progress::Progress;
use crate::repo::{CacheBytes, Repository};
use crate::storage::{LocalStorage, ReadFile, Storage, StorageError};
use crate::tape::archive::BlockAddress;

const ORDERS: &str = "orders";
const LOCK: &str = "lock";
/// Tables that are open at a time.
const OPEN_COUNT_MAX: usize = 16;
/// Bytes of all tables of a catalogue; those that were not read for longest go first.
const TABLE_BYTES_MAX: u64 = 1 << 30;
/// Bytes that a name needs while a table is made, on disk.
const NAME_BYTES: u64 = 128;
/// Part of the disk that stays free.
const FREE_PART: u64 = 20;
/// Names that are tried for a private table.
const NAME_TRIES: u32 = 100;

/// The tables of a set of cartridges.
#[derive(Debug)]
pub struct KeptOrders {
    catalogue: Catalogue,
    set: FileId,
    places: HashMap<FileId, u64>,
    scratch: PathBuf,
    // Those used last at the end; absent if one cannot be made.
    open: Mutex<Vec<(Ordinal, Option<Arc<TapeOrder>>)>>,
}

impl KeptOrders {
    /// The tables of a set; where the catalogue cannot be written they are made in `scratch` and have no name.
    #[must_use]
    pub fn new(catalogue: Catalogue, set: &VolumeSet, scratch: &Path) -> Self {
        let (places, scratch) = (set.data_places(), scratch.to_owned());
        Self { catalogue, set: set.id, places, scratch, open: Mutex::default() }
    }

    /// The table of a generation of the set, which is open as `repository`; `None` if none can be made, as of a damaged
    /// tree: why is in the log.
    pub fn order(&self, repository: &Repository, ordinal: Ordinal) -> Option<Arc<TapeOrder>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = open.iter().position(|(known, _)| *known == ordinal) {
            if let Some(used) = open.get_mut(index..) {
                used.rotate_left(1);
            }
            return open.last().and_then(|(_, order)| order.clone());
        }
        let made = self.open(repository, ordinal);
        let order = made.inspect_err(|error| log::info!("generation {ordinal}: {}", chain(error))).ok();
        if open.len() >= OPEN_COUNT_MAX {
            open.remove(0);
        }
        let order = order.map(Arc::new);
        open.push((ordinal, order.clone()));
        order
    }

    fn open(&self, repository: &Repository, ordinal: Ordinal) -> Result<TapeOrder, TapeJobError> {
        if let Some(order) = self.known(repository, ordinal)? {
            return Ok(order);
        }
        let progress = Progress::default();
        match self.keep(repository, ordinal, &progress) {
            Ok(order) => Ok(order),
            Err(error) => {
                log::debug!("orders: {}", chain(&error));
                self.make_private(repository, ordinal, &progress)
            }
        }
    }

    fn place(&self, bdf: FileId) -> u64 {
        self.places.get(&bdf).copied().unwrap_or(u64::MAX)
    }

    fn name(&self, ordinal: Ordinal) -> String {
        format!("{ORDERS}/{}-{}", self.set, ordinal.get())
    }

    // The table that is there, if it is of this tree and whole.
    fn known(&self, repository: &Repository, ordinal: Ordinal) -> Result<Option<TapeOrder>, TapeJobError> {
        let dtf = repository.generation(ordinal)?.header.file;
        let file = match self.catalogue.storage.open(&self.name(ordinal)) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => {
                log::info!("{}", chain(&error));
                return Ok(None);
            }
        };
        match TapeOrder::open(file) {
            Ok(order) => Ok(Some(order).filter(|order| order.is_of(dtf, ordinal, &|bdf| self.place(bdf)))),
            Err(error) => {
                log::info!("made again: {}", chain(&error));
                Ok(None)
            }
        }
    }

    /// Makes a table in the catalogue if it is not there.
    ///
    /// # Errors
    /// [`TapeJobError`] if the catalogue cannot be written, or a part of the tree cannot be read.
    pub fn keep(
        &self,
        repository: &Repository,
        ordinal: Ordinal,
        progress: &Progress,
    ) -> Result<TapeOrder, TapeJobError> {
        self.catalogue.create_root()?;
        self.catalogue.storage.create_directory(ORDERS)?;
        let directory = self.catalogue.root().join(ORDERS);
        let refused = |source| StorageError { operation: "lock", path: ORDERS.to_owned(), source };
        let lock = File::create(directory.join(LOCK)).map_err(refused)?;
        lock.lock().map_err(refused)?;
        // Another process may have made it meanwhile.
        if let Some(order) = self.known(repository, ordinal)? {
            return Ok(order);
        }
        self.check_room(repository, ordinal)?;
        let mut builder = Builder::new(&directory);
        let of = walk(repository, ordinal, &|bdf| self.place(bdf), &mut builder, progress)?;
        let name = self.name(ordinal);
        self.catalogue.write(&name, |file| builder.finish(&of, file))?;
        remove_oldest(&directory, &name, TABLE_BYTES_MAX);
        opened(self.catalogue.storage.open(&name)?)
    }

    fn check_room(&self, repository: &Repository, ordinal: Ordinal) -> Result<(), TapeJobError> {
        let totals = repository.generation(ordinal)?.footer.totals;
        let counts = [totals.file_count, totals.directory_count, totals.symlink_count, totals.other_count];
        let names = counts.into_iter().fold(0, u64::saturating_add);
        let (free_bytes, total_bytes) = self.catalogue.space()?;
        if free_bytes.saturating_sub(names.saturating_mul(NAME_BYTES)) >= total_bytes / FREE_PART {
            return Ok(());
        }
        let source = io::ErrorKind::StorageFull.into();
        Err(StorageError { operation: "make", path: self.name(ordinal), source }.into())
    }

    fn make_private(
        &self,
        repository: &Repository,
        ordinal: Ordinal,
        progress: &Progress,
    ) -> Result<TapeOrder, TapeJobError> {
        let mut builder = Builder::new(&self.scratch);
        let of = walk(repository, ordinal, &|bdf| self.place(bdf), &mut builder, progress)?;
        let storage = LocalStorage::new(&self.scratch);
        let mut failed = None;
        for number in 0..NAME_TRIES {
            let name = format!("reelfs-order-{number}");
            match storage.create(&name) {
                Ok(mut file) => {
                    let written = builder.finish(&of, &mut *file);
                    let reading = written.and_then(|()| storage.open(&name));
                    storage.remove(&name)?;
                    return opened(reading?);
                }
                Err(error) => failed = Some(error),
            }
        }
        let nothing = || StorageError {
            operation: "make",
            path: self.name(ordinal),
            source: io::ErrorKind::Other.into(),
        };
        Err(failed.unwrap_or_else(nothing).into())
    }
}

fn opened(file: Box<dyn ReadFile>) -> Result<TapeOrder, TapeJobError> {
    TapeOrder::open(file).map_err(|error| match error {
        OrderError::Storage(error) => error.into(),
        damaged @ OrderError::Damaged { .. } => {
            let source = io::Error::new(io::ErrorKind::InvalidData, damaged);
            StorageError { operation: "read", path: ORDERS.to_owned(), source }.into()
        }
    })
}

// Who has one of them open still reads it. What cannot be removed now is tried again with the next one.
fn remove_oldest(directory: &Path, newest: &str, bytes_max: u64) {
    let mut bytes = 0;
    let mut known: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
        bytes += found.len();
        let is_kept = newest.ends_with(&*entry.file_name().to_string_lossy()) || entry.file_name() == LOCK;
        if let (Ok(used), false) = (found.accessed(), is_kept) {
            known.push((used, found.len(), path));
        }
    }
    known.sort_unstable();
    for (_, len, path) in known {
        if bytes <= bytes_max {
            break;
        }
        match fs::remove_file(&path) {
            Ok(()) => bytes -= len,
            Err(error) => log::info!("{}: {error}", path.display()),
        }
    }
}

#[derive(Debug)]
struct NoTape;

impl BlockReader for NoTape {
    fn read(&self, _: FileId, _: BlockAddress, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::ENOMEDIUM))
    }
}

/// Makes the tables of each client's newest generation on a set, as far as its trees are kept: what is most likely
/// to be looked at first.
///
/// # Errors
/// [`TapeJobError`] if the catalogue cannot be read, or the operation is asked to stop.
pub fn make_newest(catalogue: &Catalogue, set: FileId, progress: &Progress) -> Result<(), TapeJobError> {
    let sets = VolumeSet::all(catalogue, &mut |error| log::warn!("{}", chain(&error)))?;
    let Some(set) = sets.into_iter().find(|known| known.id == set) else { return Ok(()) };
    let orders = KeptOrders::new(catalogue.clone(), &set, catalogue.root());
    let newest: Vec<Ordinal> =
        set.generations().into_values().filter_map(|all| all.last().map(|id| id.ordinal)).collect();
    let repository = match set.open(catalogue, Arc::new(NoTape), CacheBytes::default(), MetadataFrom::Kept) {
        // A set whose beginning was not scanned cannot be read at all.
        Err(TapeJobError::NotOnTape { .. }) => return Ok(()),
        other => other?,
    };
    for ordinal in newest {
        if let Err(error) = orders.keep(&repository, ordinal, progress) {
            progress.check()?;
            log::info!("generation {ordinal}: {}", chain(&error));
        }
    }
    Ok(())
}
