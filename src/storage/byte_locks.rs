//! Locks of single bytes of a file. They belong to the open file, not to a process: a process that was given the
//! descriptor, and keeps it, keeps the locks of one that has died.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::StorageError;
use crate::path;

/// A file whose bytes are locked; none of them need be there.
#[derive(Debug)]
pub struct ByteLocks {
    file: File,
    path: String,
}

fn refused(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError { operation, path: path.to_owned(), source }
}

fn range(kind: i32, byte: u64) -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: libc::off_t::try_from(byte).unwrap_or(libc::off_t::MAX),
        l_len: 1,
        // Zero, as fcntl(2) wants it of locks that belong to the open file.
        l_pid: 0,
    }
}

impl ByteLocks {
    /// Opens a file, which is made if it is missing, mode 0600.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let shown = path::display(path.as_os_str().as_encoded_bytes());
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let opened = options.custom_flags(libc::O_NOFOLLOW).open(path);
        let file = opened.map_err(refused("open", &shown))?;
        Ok(Self { file, path: shown })
    }

    /// Opens a file that may be missing: then nothing of it is locked.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StorageError> {
        let shown = path::display(path.as_os_str().as_encoded_bytes());
        match File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => Ok(Some(Self { file, path: shown })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refused("open", &shown)(error)),
        }
    }

    /// Takes over the open file, and the locks, of another process; `path` is for messages.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd, path: String) -> Self {
        Self { file: descriptor.into(), path }
    }

    /// The open file, for another process.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }

    /// Locks a byte, unless another open file has it; returns whether it did. A byte that is locked by this open
    /// file stays so.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn lock(&self, byte: u64) -> Result<bool, StorageError> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK, byte))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(refused("lock", &self.path)(errno.into())),
        }
    }

    /// Unlocks a byte.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn unlock(&self, byte: u64) -> Result<(), StorageError> {
        let unlocked = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, byte)));
        unlocked.map(drop).map_err(|errno| refused("unlock", &self.path)(errno.into()))
    }

    /// Tells whether another open file has a byte locked.
    ///
    /// # Errors
    /// [`StorageError`] if the system does not tell.
    pub fn is_locked_elsewhere(&self, byte: u64) -> Result<bool, StorageError> {
        let mut found = range(libc::F_WRLCK, byte);
        let asked = fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut found));
        asked.map_err(|errno| refused("look for locks of", &self.path)(errno.into()))?;
        Ok(i32::from(found.l_type) != libc::F_UNLCK)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_lock_is_seen_by_others_only_and_lives_as_long_as_a_copy_of_the_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks");
        assert!(ByteLocks::open_existing(&path).unwrap().is_none());
        let first = ByteLocks::open(&path).unwrap();
        let copy = first.file.try_clone().unwrap();
        let other = ByteLocks::open(&path).unwrap();
        assert!(first.lock(7).unwrap() && first.lock(7).unwrap());
        assert!(!other.lock(7).unwrap() && other.lock(8).unwrap());
        assert!(!first.is_locked_elsewhere(7).unwrap() && first.is_locked_elsewhere(8).unwrap());
        drop(first);
        let reader = ByteLocks::open_existing(&path).unwrap().unwrap();
        assert!(reader.is_locked_elsewhere(7).unwrap());
        let next = ByteLocks::from_descriptor(copy.into(), String::new());
        assert!(!next.is_locked_elsewhere(7).unwrap());
        next.unlock(8).unwrap();
        assert!(reader.is_locked_elsewhere(8).unwrap(), "it is another's");
        drop(next.into_descriptor());
        assert!(!reader.is_locked_elsewhere(7).unwrap() && other.lock(7).unwrap());
    }
}
