//! The clients' trees, opened when they are needed.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use reelfs::id::ClientName;
use reelfs::job::control::ControlClient;
use reelfs::repo::Repository;
use reelfs::repo::staging::{
    Caller, LetGo, Limits, MountClaims, OpenMode, StagingError, StagingOptions, StagingTree,
};

use crate::staging::write_back::KernelWriteBack;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

// How often what a commit left is looked for.
const RECLAIM_PERIOD: Duration = Duration::from_millis(500);
// A server that ends more often is given up by its supervisor, and with it what can still be read.
const LIFE_MIN: Duration = Duration::from_secs(10);
// A disk takes less meanwhile than is kept clear of the reserve.
const SPACE_PERIOD: Duration = Duration::from_millis(100);
// Another process may need so long to close a tree.
const OPEN_ATTEMPT_COUNT: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(100);
const ALONE_ATTEMPT_COUNT: u32 = 100;
const ALONE_PAUSE: Duration = Duration::from_millis(5);

/// The trees of all clients.
#[derive(Debug)]
pub(crate) struct Clients {
    repository: Arc<Repository>,
    options: StagingOptions,
    // This process answers the commands of the repository's staging.
    is_answering: AtomicBool,
    let_go: OnceLock<LetGo>,
    write_back: Arc<KernelWriteBack>,
    open: RwLock<HashMap<u16, Arc<StagingTree>>>,
}

impl Clients {
    pub(crate) fn new(
        repository: Arc<Repository>,
        mode: OpenMode,
        mount: MountClaims,
        write_back: Arc<KernelWriteBack>,
    ) -> Self {
        // Without it each start counts as one after a loss of power, which is safe.
        let boot = std::fs::read(BOOT_ID).unwrap_or_default();
        let mount = Some(Arc::new(mount));
        let options = StagingOptions { mount, ..StagingOptions::new(mode, boot) };
        let (is_answering, let_go, open) = (AtomicBool::new(false), OnceLock::new(), RwLock::default());
        Self { repository, options, is_answering, let_go, write_back, open }
    }

    /// Says how to let go of backing files that nobody uses any more; for all trees that are opened from now on.
    pub(crate) fn let_go_by(&self, let_go: LetGo) {
        let _known = self.let_go.set(let_go);
    }

    fn ready(&self, tree: StagingTree) -> Arc<StagingTree> {
        if let Some(let_go) = self.let_go.get() {
            tree.let_go_by(let_go.clone());
        }
        tree.write_back_by(self.write_back.of(tree.slot()));
        Arc::new(tree)
    }

    /// Notes that this process answers commands now: no other daemon serves the repository.
    pub(crate) fn set_answering(&self) {
        self.is_answering.store(true, Ordering::Release);
    }

    /// The repository.
    pub(crate) fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// Names of all clients with staging, in order.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be listed.
    pub(crate) fn names(&self) -> Result<Vec<ClientName>, StagingError> {
        StagingTree::clients(&self.repository)
    }

    /// Slots and names of all clients with staging, in order of slots.
    ///
    /// # Errors
    /// [`StagingError`] if they cannot be listed.
    pub(crate) fn slots(&self) -> Result<Vec<(u16, ClientName)>, StagingError> {
        StagingTree::slots(&self.repository)
    }

    // With the bounds of the client's policy; the schedule looks whether they change.
    fn options(&self, name: &ClientName) -> StagingOptions {
        let limits = match self.repository.read_config() {
            Ok(config) => Limits::of(&config.staging_policy(name).space),
            Err(error) => {
                log::warn!("{name}: default bounds: {}", crate::errno::chain(&error));
                Limits::default()
            }
        };
        StagingOptions { limits, ..self.options.clone() }
    }

    // By a process that is not about to end.
    fn is_served_elsewhere(&self) -> bool {
        !self.is_answering.load(Ordering::Acquire)
            && self.repository.root().is_some_and(ControlClient::is_answered)
    }

    fn find(&self, is_it: impl Fn(&StagingTree) -> bool) -> Option<Arc<StagingTree>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().find(|tree| is_it(tree)).cloned()
    }

    /// The client's tree, if it is open.
    pub(crate) fn opened(&self, name: &ClientName) -> Option<Arc<StagingTree>> {
        self.find(|tree| tree.client() == name)
    }

    /// All trees that are open.
    pub(crate) fn all_opened(&self) -> Vec<Arc<StagingTree>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The client's tree. A daemon that was unmounted a moment ago may have it open still, and one of another mount be
    /// away: it is waited for, for some seconds.
    ///
    /// # Errors
    /// [`StagingError::NotFound`] if it has none, or why it cannot be opened.
    pub(crate) fn by_name(&self, name: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        for _ in 0..OPEN_ATTEMPT_COUNT {
            match self.by_name_now(name) {
                Err(error) if self.may_come(&error) => thread::sleep(OPEN_PAUSE),
                found => return found,
            }
        }
        self.by_name_now(name)
    }

    /// The same without waiting for others.
    ///
    /// # Errors
    /// As for [`Clients::by_name`].
    pub(crate) fn by_name_now(&self, name: &ClientName) -> Result<Arc<StagingTree>, StagingError> {
        if let Some(tree) = self.opened(name) {
            return Ok(tree);
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = open.values().find(|tree| tree.client() == name) {
            return Ok(Arc::clone(tree));
        }
        let tree = StagingTree::open(Arc::clone(&self.repository), name, &self.options(name))?;
        let tree = self.ready(tree);
        open.insert(tree.slot(), Arc::clone(&tree));
        Ok(tree)
    }

    /// Tells whether a tree that could not be opened may let itself be opened soon.
    pub(crate) fn may_come(&self, error: &StagingError) -> bool {
        matches!(error, StagingError::Locked { .. } | StagingError::Mounted) && !self.is_served_elsewhere()
    }

    /// The tree whose inode numbers have this slot.
    ///
    /// # Errors
    /// [`StagingError::Stale`] if there is none, or why it cannot be opened.
    pub(crate) fn by_slot(&self, slot: u16) -> Result<Arc<StagingTree>, StagingError> {
        if let Some(tree) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&slot) {
            return Ok(Arc::clone(tree));
        }
        // The kernel knows it from the server before this one.
        if let Some((_, name)) = self.slots()?.into_iter().find(|(known, _)| *known == slot) {
            return self.by_name(&name);
        }
        Err(StagingError::Stale { number: slot.into() })
    }

    /// Makes a client's tree.
    ///
    /// # Errors
    /// [`StagingError`] if there is one, or why it cannot be made.
    pub(crate) fn create(
        &self,
        name: &ClientName,
        caller: Caller,
        permissions: u16,
    ) -> Result<Arc<StagingTree>, StagingError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.values().any(|tree| tree.client() == name) {
            return Err(StagingError::Exists);
        }
        let repository = Arc::clone(&self.repository);
        let tree = StagingTree::create(repository, name, &self.options(name), caller, permissions)?;
        let tree = self.ready(tree);
        open.insert(tree.slot(), Arc::clone(&tree));
        Ok(tree)
    }

    /// Removes a client's tree, which `tree` was the last to use.
    ///
    /// # Errors
    /// [`StagingError::Busy`] if others use it, or why it cannot be removed.
    pub(crate) fn remove(&self, tree: Arc<StagingTree>) -> Result<(), StagingError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let slot = tree.slot();
        open.remove(&slot);
        match alone(tree) {
            Ok(tree) => tree.remove(),
            Err(used) => {
                open.insert(slot, used);
                Err(StagingError::Busy { what: "files of it are open" })
            }
        }
    }

    /// Starts the thread that removes what is of no use any more; it ends with the last other user.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn start_reclaiming(self: &Arc<Self>) -> io::Result<()> {
        let (clients, started) = (Arc::downgrade(self), Instant::now());
        thread::Builder::new().name("reclaim".to_owned()).spawn(move || {
            while let Some(trees) = clients.upgrade().map(|clients| clients.all_opened()) {
                for tree in trees {
                    if tree.has_stopped() && started.elapsed() >= LIFE_MIN {
                        start_again(&tree);
                    }
                    reclaim(&tree);
                }
                thread::sleep(RECLAIM_PERIOD);
            }
        })?;
        Ok(())
    }

    /// Starts the thread that watches the space on the disk; it ends with the last other user.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn start_watching_space(self: &Arc<Self>) -> io::Result<()> {
        let clients = Arc::downgrade(self);
        thread::Builder::new().name("space".to_owned()).spawn(move || {
            let mut failed = false;
            while let Some(trees) = clients.upgrade().map(|clients| clients.all_opened()) {
                for tree in trees {
                    let watched = tree.watch_space();
                    if let (Err(error), false) = (&watched, failed) {
                        let name = tree.client();
                        log::warn!("staging of {name}: space: {}", crate::errno::chain(error));
                    }
                    failed = watched.is_err();
                }
                thread::sleep(SPACE_PERIOD);
            }
        })?;
        Ok(())
    }

    /// Closes all trees of which nobody has anything open.
    pub(crate) fn close(&self) {
        let trees = std::mem::take(&mut *self.open.write().unwrap_or_else(PoisonError::into_inner));
        for tree in trees.into_values() {
            let name = tree.client().clone();
            let closed = alone(tree).map_or(Ok(()), StagingTree::close);
            if let Err(error) = closed {
                log::warn!("staging of {name} was not closed: {}", crate::errno::chain(&error));
            }
        }
    }
}

// Open files and requests outlive the server; the next one opens the database anew.
fn start_again(tree: &StagingTree) {
    let name = tree.client();
    log::error!("staging of {name}: the disk refused to write its database; the server starts again");
    std::process::abort();
}

// What runs in the background may have it in use for an instant.
fn alone(mut tree: Arc<StagingTree>) -> Result<StagingTree, Arc<StagingTree>> {
    for _ in 0..ALONE_ATTEMPT_COUNT {
        match Arc::try_unwrap(tree) {
            Ok(tree) => return Ok(tree),
            Err(used) => tree = used,
        }
        thread::sleep(ALONE_PAUSE);
    }
    Err(tree)
}

fn reclaim(tree: &StagingTree) {
    if tree.has_stopped() {
        return;
    }
    loop {
        match tree.reclaim() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let name = tree.client();
                return log::warn!(
                    "staging of {name}: what is of no use stays: {}",
                    crate::errno::chain(&error)
                );
            }
        }
    }
}
