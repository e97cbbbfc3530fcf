//! Attributes that the kernel threw away, told again directory by directory.
//!
//! A rename changes the ctime of what is renamed, and its answer has no room for attributes: the kernel asks for
//! them when somebody looks. rsync renames each file that it writes, and looks at each when it comes again. A
//! listing tells the attributes of a hundred files in one answer, so directories in which much was renamed are
//! listed, when they have come to rest, by a process of its own ([`crate::lister`]).

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lister;
use crate::staging::lister_process::Lister;
use crate::wire::channel::Channel;

// Nothing was renamed in a directory for so long.
const REST: Duration = Duration::from_millis(50);
// For one file it takes more requests to list the directory than to ask for the file.
const RENAMED_COUNT_MIN: u64 = 2;
// Of a directory with many other entries so many are listed for each that was renamed: what it costs follows
// what was changed.
const LISTED_PER_RENAMED: u64 = 4;
const LISTED_COUNT_MIN: u64 = 64;
const DIRECTORY_COUNT_MAX: usize = 4096;
const BATCH_LEN_MAX: usize = 64;

#[derive(Debug)]
struct Renamed {
    count: u64,
    last: Instant,
}

#[derive(Debug, Default)]
struct State {
    directories: HashMap<u64, Renamed>,
    // While directories are listed: what changed meanwhile, of which a listing may have told how it was before.
    changed: Option<HashSet<u64>>,
    is_over: bool,
}

#[derive(Debug)]
struct Shared {
    channel: Arc<Channel>,
    path: PathBuf,
    state: Mutex<State>,
    wake: Condvar,
}

/// The directories to be listed, and the thread that has them listed.
#[derive(Debug)]
pub(crate) struct Renewal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        let is_listing = {
            let mut state = self.shared.state();
            state.is_over = true;
            state.changed.is_some()
        };
        self.shared.wake.notify_all();
        // A listing that nobody answers any more ends when another server does; this one must not wait for it.
        if !is_listing && self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that has directories listed failed");
        }
    }
}

impl Renewal {
    /// Starts the thread for the staging that is mounted at `path`.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn start(channel: &Arc<Channel>, path: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            channel: Arc::clone(channel),
            path: path.to_owned(),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new().name("renewal".to_owned()).spawn(move || worker.work())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Something got a name in the directory with this inode number.
    pub(crate) fn renamed(&self, directory: u64) {
        let mut state = self.shared.state();
        if let Some(renamed) = state.directories.get_mut(&directory) {
            renamed.count += 1;
            renamed.last = now();
            return;
        }
        // What is one too many is asked for file by file.
        if state.directories.len() < DIRECTORY_COUNT_MAX {
            if state.directories.is_empty() {
                self.shared.wake.notify_one();
            }
            state.directories.insert(directory, Renamed { count: 1, last: now() });
        }
    }

    /// Tells whether directories are being listed.
    pub(crate) fn is_listing(&self) -> bool {
        self.shared.state().changed.is_some()
    }

    /// Attributes of an inode changed, and the kernel does not notice that what a listing told was before that.
    pub(crate) fn changed(&self, node: u64) {
        if let Some(changed) = &mut self.shared.state().changed {
            changed.insert(node);
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

    fn work(&self) {
        let mut lister = None;
        while let Some(batch) = self.next() {
            let listed = list(&mut lister, &self.path, &batch);
            for node in self.state().changed.take().into_iter().flatten() {
                self.channel.forget(node, false);
            }
            if let Err(error) = listed {
                // It would fail again: each file is then asked for.
                return log::info!("directories of staging are not listed ahead: {error}");
            }
        }
    }

    // Waits for directories that came to rest.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        while !state.is_over {
            if state.directories.is_empty() {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let due = state.take_due();
            if !due.is_empty() {
                state.changed = Some(HashSet::new());
                return Some(batch(&due));
            }
            let waited = self.wake.wait_timeout(state, REST);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }
}

impl State {
    fn take_due(&mut self) -> Vec<(u64, u64)> {
        let mut due = Vec::new();
        self.directories.retain(|directory, renamed| {
            if due.len() >= BATCH_LEN_MAX || renamed.last.elapsed() < REST {
                return true;
            }
            if renamed.count >= RENAMED_COUNT_MIN {
                due.push((*directory, renamed.count));
            }
            false
        });
        due
    }
}

fn batch(due: &[(u64, u64)]) -> Vec<u8> {
    let listed = |count: u64| LISTED_COUNT_MIN.saturating_add(count.saturating_mul(LISTED_PER_RENAMED));
    lister::list_batch(due.iter().map(|(directory, count)| (*directory, listed(*count))))
}

fn list(lister: &mut Option<Lister>, path: &Path, batch: &[u8]) -> io::Result<()> {
    match lister {
        Some(lister) => lister.run(batch),
        None => lister.insert(Lister::start(path)?).run(batch),
    }
}
