//! One archive at a time writes to a pool of cartridges.
//!
//! Two would go on with the same cartridge, or give the same number to two of them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::time::Duration;

use super::catalogue::Catalogue;
use super::error::TapeJobError;
use crate::clock::Clock;
use crate::id::{FileId, Fingerprint};
use crate::path;
use crate::progress::Progress;
use crate::storage::StorageError;

/// Time between two looks whether the other archive has ended.
const LOOK: Duration = Duration::from_millis(200);

/// The right to write to a pool, until it is dropped or the process ends, however it does.
#[derive(Debug)]
pub struct PoolLock {
    _file: File,
}

impl PoolLock {
    /// Takes the pool of a repository; while another process has it, waits, and calls `waiting` once.
    ///
    /// # Errors
    /// [`TapeJobError`] if the catalogue cannot be written, or the operation is asked to stop.
    pub fn acquire(
        catalogue: &Catalogue,
        repository: FileId,
        pool: &str,
        clock: &dyn Clock,
        waiting: &mut dyn FnMut(),
        progress: &Progress,
    ) -> Result<Self, TapeJobError> {
        let key = Fingerprint::of(format!("{repository} {pool}").as_bytes()).to_string();
        let file = catalogue.root().join(format!("pool-{}.lock", key.get(..16).unwrap_or(&key)));
        let refused = |source| {
            let path = path::display(file.as_os_str().as_encoded_bytes());
            TapeJobError::from(StorageError { operation: "lock", path, source })
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(catalogue.root()).map_err(refused)?;
        let mut options = OpenOptions::new();
        // A planted link must not make a file elsewhere.
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let opened = options.open(&file).map_err(refused)?;
        let mut is_told = false;
        loop {
            match opened.try_lock() {
                Ok(()) => return Ok(Self { _file: opened }),
                Err(TryLockError::WouldBlock) => {
                    if !is_told {
                        is_told = true;
                        waiting();
                    }
                    progress.check()?;
                    clock.sleep(LOOK);
                }
                Err(TryLockError::Error(source)) => return Err(refused(source)),
            }
        }
    }
}
