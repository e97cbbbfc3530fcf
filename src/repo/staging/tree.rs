//! The staging tree of one client: opening and closing it, and what all its parts share.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use super::attributes::Caller;
use super::base::{Base, FIRST_NUMBER};
use super::claims::Claim;
use super::content::OpenFiles;
use super::damage::{self, DATA};
use super::direct::DirectFiles;
use super::directory;
use super::directory_names::DirectoryNames;
use super::error::StagingError;
use super::nodes::Nodes;
use super::objects::{CachedRow, Edit};
use super::options::{Limits, OpenMode, StagingOptions};
use super::removed::RemovedNames;
use super::space::SpaceGuard;
use super::unsynced::FailedSyncs;
use crate::format::record::{ROOT_OBJECT, Time, Xattrs};
use crate::id::{ClientName, Ordinal};
use crate::index::staging::{ObjectState, RowDetail, StagingBatch, StagingStore, TreeState};
use crate::repo::Repository;
use crate::storage::sparse::SparseDirectory;

/// Numbers that are taken from a counter at once: so many are skipped after a kill.
const COUNTER_STEP: u64 = 1024;
/// Unit in which written regions are told apart, in bytes.
pub(super) const BLOCK: u64 = 4096;

#[derive(Debug, Clone)]
pub(super) struct RowWeight;

impl Weighter<u64, Arc<CachedRow>> for RowWeight {
    fn weight(&self, _: &u64, row: &Arc<CachedRow>) -> u64 {
        row.memory_len
    }
}

pub(super) type RowCache = Cache<u64, Arc<CachedRow>, RowWeight>;

fn row_cache(bytes: u64) -> RowCache {
    let options = OptionsBuilder::new()
        .weight_capacity(bytes)
        .estimated_items_capacity(usize::try_from(bytes / 400).unwrap_or(1024))
        .build()
        .expect("both capacities are set");
    Cache::with_options(options, RowWeight, Default::default(), Default::default())
}

/// The staging tree of one client; shared by threads.
///
/// Locks are taken in this order: `core`, `gate`, one file's state.
#[derive(Debug)]
pub struct StagingTree {
    pub(super) repository: Arc<Repository>,
    client: ClientName,
    path: PathBuf,
    slot: u16,
    pub(super) claim: Claim,
    pub(super) mode: OpenMode,
    pub(super) store: StagingStore,
    pub(super) data: SparseDirectory,
    /// The file system keeps account of holes well enough to be the record of written regions.
    pub(super) keeps_holes: bool,
    /// The system tells who has a backing file open.
    pub(super) tells_openers: bool,
    pub(super) core: RwLock<Core>,
    /// Held while content is written, so that a freeze is of one moment.
    pub(super) gate: RwLock<()>,
    frozen: Arc<AtomicU32>,
    pub(super) rows: RowCache,
    pub(super) nodes: Nodes,
    pub(super) removed: RemovedNames,
    pub(super) directory_names: DirectoryNames,
    pub(super) files: OpenFiles,
    pub(super) direct: DirectFiles,
    pub(super) missing: Mutex<HashSet<u64>>,
    pub(super) space: SpaceGuard,
    pub(super) failed_syncs: FailedSyncs,
    /// Records of the base that were looked at in searches.
    pub(super) searched_count: AtomicU64,
    change_count: AtomicU64,
    /// Changes were dropped, or another base was put below, since the tree was opened.
    pub(super) has_discarded: AtomicBool,
    /// Backing files of no use any more, and those that a running commit may still read.
    pub(super) garbage: Mutex<Vec<u64>>,
    pub(super) deferred: Mutex<Vec<u64>>,
    /// Held by who removes what is of no use any more.
    pub(super) reclaiming: Mutex<()>,
}

/// What metadata operations change.
#[derive(Debug)]
pub(super) struct Core {
    /// As in the database, but for the counters, which are ahead there.
    pub(super) state: TreeState,
    pub(super) base: Base,
    pub(super) next_number: u64,
    pub(super) next_directory: u64,
    pub(super) next_linked: u64,
    /// There may be valid rows.
    pub(super) is_changed: bool,
    /// There may be valid rows of epochs after the frozen one.
    pub(super) is_changed_since: bool,
    /// Where to go on looking for void rows; none when all is clean.
    pub(super) reclaim: super::reclaim::Reclaim,
}

impl StagingTree {
    /// All clients that have a staging directory, in order of names.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be listed.
    pub fn clients(repository: &Repository) -> Result<Vec<ClientName>, StagingError> {
        directory::clients(repository)
    }

    /// The same with their slots ([`StagingTree::slot`]), in order of slots.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be listed.
    pub fn slots(repository: &Repository) -> Result<Vec<(u16, ClientName)>, StagingError> {
        directory::slots(repository)
    }

    /// Makes an empty staging tree for a client, on its latest generation if it has one, and opens it
    /// (`mkdir staging/CLIENT`). Without a generation the root belongs to `caller`.
    ///
    /// # Errors
    /// [`StagingError::Exists`] if there is one.
    pub fn create(
        repository: Arc<Repository>,
        client: &ClientName,
        options: &StagingOptions,
        caller: Caller,
        permissions: u16,
    ) -> Result<Self, StagingError> {
        directory::create(&repository, client)?;
        Self::open_with(repository, client, options, caller, permissions)
    }

    /// Opens a client's staging tree. One that has no changes moves on to the client's latest generation, unless
    /// [`StagingTree::restage`] put it on another one.
    ///
    /// # Errors
    /// [`StagingError::NotFound`] if there is none, [`StagingError::Locked`] if another process has it,
    /// [`StagingError::Mounted`] if another mount serves it.
    pub fn open(
        repository: Arc<Repository>,
        client: &ClientName,
        options: &StagingOptions,
    ) -> Result<Self, StagingError> {
        let caller = Caller { uid: 0, gid: 0, umask: 0, now: Time::default() };
        Self::open_with(repository, client, options, caller, 0o755)
    }

    fn open_with(
        repository: Arc<Repository>,
        client: &ClientName,
        options: &StagingOptions,
        caller: Caller,
        permissions: u16,
    ) -> Result<Self, StagingError> {
        let path = directory::path(&repository, client)?;
        let slot = directory::slot(&path)?;
        let claim = Claim::take(options, slot)?;
        let store = damage::open_store(&path)?;
        claim.check(&repository)?;
        let known = damage::state(&path, &store)?;
        let data = SparseDirectory::open(&path.join(DATA))?;
        // What is synced in either is there only if their own names are.
        directory::sync(&path)?;
        let keeps_holes = data.keeps_holes(0, BLOCK)?;
        if !keeps_holes {
            log::warn!(
                "the file system of {} keeps no exact holes: files are copied at their first change",
                crate::path::display(path.as_os_str().as_encoded_bytes())
            );
        }
        let is_new = known.is_none();
        let state = known.map_or_else(|| first_state(options), Ok::<_, StagingError>)?;
        let base = Base::open(&repository, state.base)?;
        let core = Core {
            next_number: state.next_number,
            next_directory: state.next_directory,
            next_linked: state.next_linked,
            state,
            base,
            is_changed: true,
            is_changed_since: false,
            reclaim: super::reclaim::Reclaim::default(),
        };
        let mut tree = Self {
            claim,
            removed: RemovedNames::open(&store, options.mode)?,
            failed_syncs: FailedSyncs::open(path.join("unsynced"))?,
            space: SpaceGuard::new(options.limits, path.join("reserve")),
            client: client.clone(),
            path,
            slot,
            mode: options.mode,
            store,
            tells_openers: data.tells_openers(0)?,
            data,
            keeps_holes,
            core: RwLock::new(core),
            gate: RwLock::default(),
            frozen: Arc::default(),
            rows: row_cache(options.cache_bytes),
            nodes: Nodes::default(),
            directory_names: DirectoryNames::default(),
            files: OpenFiles::default(),
            direct: DirectFiles::default(),
            missing: Mutex::default(),
            searched_count: AtomicU64::new(0),
            change_count: AtomicU64::new(0),
            has_discarded: AtomicBool::new(false),
            garbage: Mutex::default(),
            deferred: Mutex::default(),
            reclaiming: Mutex::default(),
            repository,
        };
        tree.begin(is_new, options, caller, permissions)?;
        tree.claim.keep();
        Ok(tree)
    }

    // Takes up what the last process left.
    fn begin(
        &self,
        is_new: bool,
        options: &StagingOptions,
        caller: Caller,
        permissions: u16,
    ) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        let was_closed = core.state.closed;
        let boot = options.boot.get(..128.min(options.boot.len())).unwrap_or_default();
        if !is_new && !was_closed && core.state.boot != boot {
            log::warn!("{}: staging was not closed before the machine stopped", self.client);
            core.state.untrusted_epoch = core.state.epoch;
            self.restore_lengths()?;
        }
        core.state.epoch += 1;
        core.state.closed = false;
        core.state.boot = boot.to_vec();
        core.reclaim.is_sweep_due = !was_closed;
        core.reclaim.sweep_below = core.next_number;
        core.reclaim.restart();
        self.write_state(&mut core)?;
        self.nodes.clear_places(&self.store);
        if is_new {
            let latest = self.latest()?;
            self.stand_on(&mut core, latest)?;
            if latest.is_none() {
                self.make_root(&mut core, caller, permissions)?;
            }
            return Ok(());
        }
        self.end_last_commit(&mut core)?;
        self.begin_direct()?;
        if options.mode == OpenMode::Fresh {
            self.purge_unnamed(&mut core)?;
        }
        core.is_changed = self.has_valid_rows(&core)?;
        if !core.is_changed && !core.state.is_base_chosen {
            let latest = self.latest()?;
            if latest.is_some() && latest != core.state.base {
                self.stand_on(&mut core, latest)?;
            }
        }
        Ok(())
    }

    fn make_root(&self, core: &mut Core, caller: Caller, permissions: u16) -> Result<(), StagingError> {
        let mut edit = Edit::new(self, core);
        let root = ObjectState {
            permissions: permissions & 0o7777,
            uid: caller.uid,
            gid: caller.gid,
            mtime: caller.now,
            ctime: caller.now,
            atime: caller.now,
            link_count: 1,
            home: None,
            xattrs: Xattrs::NONE,
            detail: RowDetail::Directory { parent: ROOT_OBJECT },
        };
        edit.put(ROOT_OBJECT, None, None, root)?;
        edit.apply()
    }

    /// The client's latest generation.
    pub(super) fn latest(&self) -> Result<Option<Ordinal>, StagingError> {
        Ok(self.repository.generations(&self.client)?.last().map(|last| last.ordinal))
    }

    /// Removes a client's staging tree with all that is pending; its generations stay.
    ///
    /// # Errors
    /// [`StagingError`] if something cannot be removed; it is then not a staging tree any more all the same.
    pub fn remove(self) -> Result<(), StagingError> {
        let path = self.path.clone();
        self.claim.release();
        drop(self);
        directory::remove(&path)
    }

    /// Says that nothing more will be written: the next opening need not mistrust anything. Dropping a tree
    /// without it is what a kill does.
    ///
    /// # Errors
    /// [`StagingError`] if something could not be made durable.
    pub fn close(self) -> Result<(), StagingError> {
        self.release_dropped()?;
        while self.reclaim()? {}
        self.data.sync()?;
        let mut core = self.core_mut();
        core.state.closed = true;
        (core.state.next_number, core.state.next_directory, core.state.next_linked) =
            (core.next_number, core.next_directory, core.next_linked);
        let mut batch = StagingBatch::default();
        batch.put_state(&core.state);
        self.store.write_durable(batch)?;
        self.store.note_closed();
        self.claim.release();
        Ok(())
    }

    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &ClientName {
        &self.client
    }

    /// Number of the client among those with staging, 1 to 4095: the upper 12 bits of its node ids.
    #[must_use]
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// The generation that the tree stands on.
    #[must_use]
    pub fn base(&self) -> Option<Ordinal> {
        self.core().state.base
    }

    /// Tells whether somebody set the tree to a generation that was not the latest, and it stands on that still.
    #[must_use]
    pub fn is_base_chosen(&self) -> bool {
        self.core().state.is_base_chosen
    }

    /// Changes the bounds.
    pub fn set_limits(&self, limits: Limits) {
        self.space.set_limits(limits);
    }

    /// Grows with each change that goes through here (not with passthrough writes).
    #[must_use]
    pub fn change_count(&self) -> u64 {
        self.change_count.load(Ordering::Relaxed)
    }

    pub(super) fn count_change(&self) {
        self.change_count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn core(&self) -> RwLockReadGuard<'_, Core> {
        self.core.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn core_mut(&self) -> RwLockWriteGuard<'_, Core> {
        self.core.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch that a commit is reading; 0 if none is running.
    pub(super) fn frozen_epoch(&self) -> u32 {
        self.frozen.load(Ordering::Acquire)
    }

    pub(super) fn frozen_mark(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.frozen)
    }

    /// Handles may be held whose opening this process has not seen.
    pub(super) fn is_taken_over(&self) -> bool {
        self.mode == OpenMode::Takeover
    }

    /// Numbers of all objects that were looked up since this process opened the tree, and not forgotten.
    #[must_use]
    pub fn held(&self) -> Vec<u64> {
        self.nodes.held()
    }

    /// Tells whether content was discarded that somebody may hold whom this process does not know: after a
    /// takeover not all who hold objects are known.
    #[must_use]
    pub fn has_unknown_holders(&self) -> bool {
        self.is_taken_over() && self.has_discarded.load(Ordering::Acquire)
    }

    pub(super) fn set_frozen_epoch(&self, epoch: u32) {
        self.frozen.store(epoch, Ordering::Release);
    }

    /// Writes where the tree stands, with counters far enough ahead.
    pub(super) fn write_state(&self, core: &mut Core) -> Result<(), StagingError> {
        let mut batch = StagingBatch::default();
        batch.put_state(&core.state);
        Ok(self.store.write(batch)?)
    }

    fn take(
        &self,
        core: &mut Core,
        counter: impl Fn(&mut Core) -> &mut u64,
        bound: impl Fn(&mut TreeState) -> &mut u64,
    ) -> Result<u64, StagingError> {
        let number = *counter(core);
        if number >= *bound(&mut core.state) {
            *bound(&mut core.state) = number + COUNTER_STEP;
            self.write_state(core)?;
        }
        *counter(core) = number + 1;
        Ok(number)
    }

    /// A number that no object and no backing file has or had.
    pub(super) fn new_number(&self, core: &mut Core) -> Result<u64, StagingError> {
        self.take(core, |core| &mut core.next_number, |state| &mut state.next_number)
    }

    /// A directory's object id.
    pub(super) fn new_directory(&self, core: &mut Core) -> Result<u64, StagingError> {
        self.take(core, |core| &mut core.next_directory, |state| &mut state.next_directory)
    }

    /// Object id of a file with several names.
    pub(super) fn new_linked(&self, core: &mut Core) -> Result<u64, StagingError> {
        self.take(core, |core| &mut core.next_linked, |state| &mut state.next_linked)
    }

    /// Removes backing files when it is safe: not while a commit may read them, and not before the rows
    /// that did without them are durable.
    pub(super) fn discard_files(&self, files: Vec<u64>) {
        if files.is_empty() {
            return;
        }
        self.space.discarded(self, &files);
        let list = if self.frozen_epoch() > 0 { &self.deferred } else { &self.garbage };
        list.lock().unwrap_or_else(PoisonError::into_inner).extend(files);
    }
}

fn first_state(options: &StagingOptions) -> Result<TreeState, StagingError> {
    let (next_linked, next_directory) =
        (crate::format::record::FIRST_LINKED_OBJECT, crate::format::record::FIRST_DIRECTORY_OBJECT);
    Ok(TreeState {
        base: None,
        epoch: 0,
        committed_epoch: 0,
        untrusted_epoch: 0,
        next_number: FIRST_NUMBER,
        next_directory,
        next_linked,
        announced: None,
        closed: true,
        is_base_chosen: false,
        boot: options.boot.clone(),
    })
}
