//! Open directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reelfs::repo::staging::Listing;

/// Where listings stand, by handle. A handle of a dead server is not known, and its listing begun anew.
#[derive(Debug)]
pub(crate) struct Directories {
    open: Mutex<HashMap<u64, Arc<Mutex<Listing>>>>,
    next: AtomicU64,
}

impl Directories {
    /// Begins with handles that no server before has given out.
    pub(crate) fn new(era: u32) -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(u64::from(era) << 32 | 1) }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mutex<Listing>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a listing and returns its handle.
    pub(crate) fn put(&self, listing: Listing) -> u64 {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(handle, Arc::new(Mutex::new(listing)));
        handle
    }

    /// The listing of a handle; `begin` makes it if it is not known.
    ///
    /// # Errors
    /// That of `begin`.
    pub(crate) fn get<E>(
        &self,
        handle: u64,
        begin: impl FnOnce() -> Result<Listing, E>,
    ) -> Result<Arc<Mutex<Listing>>, E> {
        if let Some(listing) = self.open().get(&handle) {
            return Ok(Arc::clone(listing));
        }
        let listing = Arc::new(Mutex::new(begin()?));
        self.open().insert(handle, Arc::clone(&listing));
        Ok(listing)
    }

    /// Forgets a listing.
    pub(crate) fn remove(&self, handle: u64) {
        self.open().remove(&handle);
    }
}
