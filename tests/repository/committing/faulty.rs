//! Storage that stops at a given operation that changes something, as a full or dead disk does, and keeps an
//! image of the repository at that moment, as a killed process leaves it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reelfs::storage::{DirectoryEntry, LocalStorage, ReadFile, Storage, StorageError, WriteFile};

/// When to stop.
#[derive(Debug)]
pub(super) struct Stop {
    root: PathBuf,
    image: PathBuf,
    count: AtomicU64,
    at: AtomicU64,
    data_read: AtomicU64,
}

impl Stop {
    /// Counts operations from now on and stops at this one, the first being 1.
    pub(super) fn set(&self, at: u64) {
        self.count.store(0, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes read from BDFs so far.
    pub(super) fn data_read(&self) -> u64 {
        self.data_read.load(Ordering::Relaxed)
    }

    fn check(&self, operation: &'static str, path: &str) -> Result<(), StorageError> {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let at = self.at.load(Ordering::Relaxed);
        if number == at {
            copy(&self.root, &self.image);
        }
        if number < at {
            return Ok(());
        }
        let source = std::io::Error::from_raw_os_error(libc::EIO);
        Err(StorageError { operation, path: path.to_owned(), source })
    }
}

/// Copies a directory with all that is in it, holes as holes.
pub(super) fn copy(from: &Path, to: &Path) {
    let copy = || {
        let mut copy = std::process::Command::new("cp");
        copy.args(["-a", "--sparse=always", "-T", "--"]).arg(from).arg(to).status().unwrap().success()
    };
    // A database may remove a file of its own just then.
    let is_copied = (0..10).any(|_| {
        let is_copied = copy();
        if !is_copied {
            fs::remove_dir_all(to).unwrap_or_default();
        }
        is_copied
    });
    assert!(is_copied, "{} cannot be copied", from.display());
    // A socket or lock of a running process means nothing in the image.
    fs::remove_file(to.join("lock")).unwrap_or_default();
}

#[derive(Debug)]
pub(super) struct FaultyStorage {
    below: LocalStorage,
    stop: Arc<Stop>,
}

impl FaultyStorage {
    /// Storage of the repository at `root`; the image goes to `image`.
    pub(super) fn new(root: &Path, image: &Path) -> (Arc<Self>, Arc<Stop>) {
        let (count, at) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (root_path, image) = (root.to_owned(), image.to_owned());
        let stop = Arc::new(Stop { root: root_path, image, count, at, data_read: AtomicU64::new(0) });
        (Arc::new(Self { below: LocalStorage::new(root), stop: Arc::clone(&stop) }), stop)
    }
}

impl Storage for FaultyStorage {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        let file = self.below.open(name)?;
        if !name.ends_with(".bdf") {
            return Ok(file);
        }
        Ok(Box::new(CountedFile { file, stop: Arc::clone(&self.stop) }))
    }

    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError> {
        self.stop.check("create", name)?;
        let file = self.below.create(name)?;
        Ok(Box::new(FaultyFile { file, stop: Arc::clone(&self.stop) }))
    }

    fn rename(&self, name: &str, new_name: &str) -> Result<(), StorageError> {
        self.stop.check("rename", name)?;
        self.below.rename(name, new_name)
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.stop.check("remove", name)?;
        self.below.remove(name)
    }

    fn create_directory(&self, name: &str) -> Result<(), StorageError> {
        self.stop.check("create", name)?;
        self.below.create_directory(name)
    }

    fn sync_directory(&self, name: &str) -> Result<(), StorageError> {
        self.stop.check("sync", name)?;
        self.below.sync_directory(name)
    }

    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError> {
        self.below.list(name)
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        self.below.exists(name)
    }
}

#[derive(Debug)]
struct CountedFile {
    file: Box<dyn ReadFile>,
    stop: Arc<Stop>,
}

impl ReadFile for CountedFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn path(&self) -> &str {
        self.file.path()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.stop.data_read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_exact_at(buffer, offset)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn WriteFile>,
    stop: Arc<Stop>,
}

impl WriteFile for FaultyFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn path(&self) -> &str {
        self.file.path()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.stop.check("write", self.file.path())?;
        self.file.append(bytes)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.stop.check("sync", self.file.path())?;
        self.file.sync()
    }
}
