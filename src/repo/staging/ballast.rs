//! Space that is held with a file while the kernel writes to backing files by itself: such writes are refused
//! by the disk only, when it is full, and the file then has what a commit or a discard needs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::StagingError;
use crate::storage::{StorageError, sparse};

// Taken at once, so that a disk that is nearly full gives what it has.
const STEP_LEN: u64 = 16 << 20;

/// The file; it is there only while space is held.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    len_bytes: AtomicU64,
    // How many need the space just now.
    users: Mutex<usize>,
}

/// While it lives no space is held ([`super::StagingTree::make_room`]).
#[derive(Debug)]
#[must_use]
pub struct Room<'a>(&'a Ballast);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.0.users.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

impl Ballast {
    /// Takes up what a process before this one held.
    pub(super) fn open(path: PathBuf) -> Self {
        let len_bytes = fs::metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
        Self { path, len_bytes: AtomicU64::new(len_bytes), users: Mutex::new(0) }
    }

    /// Bytes that are held.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes.load(Ordering::Relaxed)
    }

    fn refused(&self, operation: &'static str) -> impl FnOnce(io::Error) -> StagingError {
        let path = crate::path::display(self.path.as_os_str().as_encoded_bytes());
        move |source| StorageError { operation, path, source }.into()
    }

    /// Gives the space back for as long as the result lives.
    pub(super) fn make_room(&self) -> Result<Room<'_>, StagingError> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove()?;
        *users += 1;
        Ok(Room(self))
    }

    /// Holds so many bytes, or as many as there are; 0 for none.
    pub(super) fn hold(&self, len_bytes: u64) -> Result<(), StagingError> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if *users > 0 || len_bytes == 0 {
            return self.remove();
        }
        if self.len_bytes() >= len_bytes {
            return Ok(());
        }
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        let file = opened.map_err(self.refused("open"))?;
        let mut held = self.len_bytes();
        while held < len_bytes {
            let step = STEP_LEN.min(len_bytes - held);
            match sparse::reserve(&file, held, step) {
                Ok(()) => held += step,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(self.refused("reserve space in")(error)),
            }
        }
        self.len_bytes.store(held, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self) -> Result<(), StagingError> {
        if self.len_bytes() == 0 {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.refused("remove")(error)),
            _ => {
                self.len_bytes.store(0, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn space_is_held_given_back_while_it_is_needed_and_taken_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        let ballast = Ballast::open(path.clone());
        ballast.hold(20 << 20).unwrap();
        assert_eq!((ballast.len_bytes(), fs::metadata(&path).unwrap().len()), (20 << 20, 0));
        let again = Ballast::open(path.clone());
        assert!(again.len_bytes() >= 20 << 20);
        let room = again.make_room().unwrap();
        assert!(!path.exists());
        again.hold(1 << 20).unwrap();
        assert!(!path.exists(), "somebody needs the space");
        drop(room);
        again.hold(1 << 20).unwrap();
        assert!(path.exists());
        again.hold(0).unwrap();
        assert!(!path.exists());
    }
}
