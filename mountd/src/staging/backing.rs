//! Files made ahead, which the kernel then writes itself.
//!
//! To make a file and register it with the kernel takes longer than all else that creating a name takes, so a
//! thread keeps some ready for each client whose tree grows. The same thread takes registrations back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use reelfs::repo::staging::{LetGo, PreparedFile, StagingTree};

use crate::errno::chain;
use crate::fuse_fd;
use crate::staging::handles::make_table;
use crate::wire::channel::Channel;

const READY_COUNT_MAX: usize = 96;
const READY_COUNT_LOW: usize = 48;
const CLOSED_COUNT_MAX: usize = 64;
// More than are ready or closed and not taken back, for some clients.
const LOST_COUNT_MAX: u32 = 1024;
// What is told of an inode in this time makes it needless that the kernel asks again.
const FORGET_PAUSE: Duration = Duration::from_millis(5);
// A client that makes no files for so long has none kept ready.
const IDLE: Duration = Duration::from_secs(3);

/// A file that is ready, and its number in the connection.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The file.
    pub(crate) file: PreparedFile,
    /// Number of its registration; 0 if it has none.
    pub(crate) backing: u32,
}

#[derive(Debug)]
struct Stock {
    tree: Weak<StagingTree>,
    ready: VecDeque<Ready>,
    used: Instant,
}

#[derive(Debug, Default)]
struct State {
    stocks: HashMap<u16, Stock>,
    closed: Vec<u32>,
    forgotten: HashSet<u64>,
    // When the first of them came.
    forgotten_since: Option<Instant>,
    is_over: bool,
}

struct Work {
    closed: Vec<u32>,
    forgotten: HashSet<u64>,
    // A client of which too little is ready.
    short: Option<(u16, Weak<StagingTree>)>,
}

#[derive(Debug)]
struct Shared {
    channel: Arc<Channel>,
    is_enabled: AtomicBool,
    has_forgotten: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
}

/// The files that are ready.
#[derive(Debug)]
pub(crate) struct Backings(Arc<Shared>);

impl Drop for Backings {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.wake.notify_all();
    }
}

impl Backings {
    /// Starts the thread.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn start(channel: &Arc<Channel>, is_enabled: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            channel: Arc::clone(channel),
            is_enabled: AtomicBool::new(is_enabled),
            has_forgotten: AtomicBool::new(false),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        thread::Builder::new().name("backing".to_owned()).spawn(move || worker.work())?;
        Ok(Self(shared))
    }

    /// Takes a file that is ready for a new name in a tree, if there is one.
    pub(crate) fn take(&self, tree: &Arc<StagingTree>) -> Option<Ready> {
        let mut state = self.0.state();
        let stock = state.stocks.entry(tree.slot()).or_insert_with(|| Stock {
            tree: Arc::downgrade(tree),
            ready: VecDeque::new(),
            used: now(),
        });
        stock.used = now();
        let mut taken = stock.ready.pop_front();
        if stock.ready.len() < READY_COUNT_LOW {
            self.0.wake.notify_one();
        }
        drop(state);
        // Since it was made ready the disk may have become full: the kernel would not heed the reserve.
        if let Some(ready) = taken.as_mut().filter(|ready| ready.backing != 0)
            && !tree.lets_kernel_write()
        {
            self.close(std::mem::take(&mut ready.backing));
        }
        taken
    }

    /// Registers a file that the kernel shall read and write itself; 0 if it will not.
    pub(crate) fn register(&self, file: &std::fs::File) -> u32 {
        self.0.register(file)
    }

    /// Takes back what servers before this one had registered and not taken back yet when they died, as far as it was
    /// registered lately: otherwise the kernel would have these files open until it is unmounted.
    pub(crate) fn take_back_lost(&self, is_used: impl Fn(u32) -> bool) {
        let Ok(any) = make_table("reelfs-last") else { return };
        // Numbers are given in order.
        let last = self.0.register(&any.into());
        for number in last.saturating_sub(LOST_COUNT_MAX).max(1)..=last {
            if !is_used(number) {
                // Most are of none.
                let _closed = fuse_fd::close_backing(self.0.channel.as_fd(), number);
            }
        }
    }

    /// Takes a registration back, some time.
    pub(crate) fn close(&self, backing: u32) {
        if backing == 0 {
            return;
        }
        let mut state = self.0.state();
        state.closed.push(backing);
        if state.closed.len() >= CLOSED_COUNT_MAX {
            self.0.wake.notify_one();
        }
    }

    /// Takes all registrations back that are to be taken back, at once.
    pub(crate) fn let_go(&self) -> LetGo {
        let shared = Arc::downgrade(&self.0);
        LetGo::new(move || {
            if let Some(shared) = shared.upgrade() {
                let closed = std::mem::take(&mut shared.state().closed);
                shared.take_back(&closed);
            }
        })
    }

    /// Makes the kernel ask again for the attributes of an inode, soon.
    pub(crate) fn forget_attributes(&self, node: u64) {
        let mut state = self.0.state();
        state.forgotten.insert(node);
        self.0.has_forgotten.store(true, Ordering::Release);
        if state.forgotten_since.is_none() {
            state.forgotten_since = Some(now());
            self.0.wake.notify_one();
        }
    }

    /// The kernel is told attributes of an inode: it need not ask again.
    pub(crate) fn told(&self, node: u64) {
        if self.0.has_forgotten.load(Ordering::Acquire) {
            self.0.state().forgotten.remove(&node);
        }
    }

    /// Gives up what is ready for a client.
    pub(crate) fn forget(&self, slot: u16) {
        let stock = self.0.state().stocks.remove(&slot);
        for ready in stock.into_iter().flat_map(|stock| stock.ready) {
            self.close(ready.backing);
        }
    }
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "the daemon is the edge at which time comes in")]
    Instant::now()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, file: &std::fs::File) -> u32 {
        if !self.is_enabled.load(Ordering::Relaxed) {
            return 0;
        }
        match fuse_fd::open_backing(self.channel.as_fd(), file.as_fd()) {
            Ok(number) => number,
            Err(error) => {
                // It will refuse the next one too; all goes through this process then, and works the same.
                log::info!("the kernel does not write files of staging itself: {error}");
                self.is_enabled.store(false, Ordering::Relaxed);
                0
            }
        }
    }

    fn work(&self) {
        while let Some(work) = self.next() {
            for node in work.forgotten {
                self.channel.forget(node, false);
            }
            self.take_back(&work.closed);
            if let Some((slot, tree)) = work.short {
                self.fill(slot, &tree);
            }
        }
    }

    fn take_back(&self, closed: &[u32]) {
        for backing in closed {
            if let Err(error) = fuse_fd::close_backing(self.channel.as_fd(), *backing) {
                log::debug!("backing file {backing}: {error}");
            }
        }
    }

    // Waits for something to do.
    fn next(&self) -> Option<Work> {
        let mut state = self.state();
        let mut is_idle = false;
        while !state.is_over {
            state.stocks.retain(|_, stock| stock.used.elapsed() < IDLE);
            let short = state.short();
            let is_due = is_idle || state.closed.len() >= CLOSED_COUNT_MAX;
            let are_forgotten_due = state.are_forgotten_due();
            if short.is_some() || are_forgotten_due || (is_due && !state.closed.is_empty()) {
                let closed = std::mem::take(&mut state.closed);
                let forgotten = if are_forgotten_due { state.take_forgotten() } else { HashSet::new() };
                self.has_forgotten.store(!state.forgotten.is_empty(), Ordering::Release);
                return Some(Work { closed, forgotten, short });
            }
            let pause = if state.forgotten_since.is_some() { FORGET_PAUSE } else { IDLE };
            let waited = self.wake.wait_timeout(state, pause);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            (state, is_idle) = (next, pause == IDLE && timeout.timed_out());
        }
        None
    }

    fn fill(&self, slot: u16, tree: &Weak<StagingTree>) {
        let Some(tree) = tree.upgrade() else {
            self.state().stocks.remove(&slot);
            return;
        };
        loop {
            let file = match tree.prepare_file() {
                Ok(file) => file,
                Err(error) => {
                    log::debug!("no file can be made ahead: {}", chain(&error));
                    // Creating says why; try again when the client comes again after a pause.
                    self.state().stocks.remove(&slot);
                    return;
                }
            };
            let backing = if tree.lets_kernel_write() { self.register(file.file()) } else { 0 };
            let mut state = self.state();
            let Some(stock) = state.stocks.get_mut(&slot) else {
                state.closed.push(backing);
                return;
            };
            stock.ready.push_back(Ready { file, backing });
            let is_full = stock.ready.len() >= READY_COUNT_MAX;
            if is_full || state.is_over || state.are_forgotten_due() {
                return;
            }
        }
    }
}

impl State {
    fn are_forgotten_due(&self) -> bool {
        self.forgotten_since.is_some_and(|since| since.elapsed() >= FORGET_PAUSE)
    }

    fn take_forgotten(&mut self) -> HashSet<u64> {
        self.forgotten_since = None;
        std::mem::take(&mut self.forgotten)
    }

    fn short(&self) -> Option<(u16, Weak<StagingTree>)> {
        let short = self.stocks.iter().find(|(_, stock)| stock.ready.len() < READY_COUNT_LOW);
        short.map(|(slot, stock)| (*slot, Weak::clone(&stock.tree)))
    }
}
