//! Storage in memory that can lose power and refuse operations, for tests.

#![expect(clippy::indexing_slicing, reason = "only tests use it, and an index is never given away")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::memory_file::MemoryFile;
use super::{DirectoryEntry, ReadFile, Storage, StorageError, WriteFile};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The operation and all after it fail: the process was killed.
    Stop,
    /// The operation fails once with this errno, later ones succeed.
    Once(i32),
    /// The operation and all after it that need space fail with `ENOSPC`.
    Full,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    directories: BTreeSet<String>,
    operation_count: u64,
    fault: Option<(u64, Fault)>,
}

/// Storage in memory, with the promises of a disk and no more.
///
/// Every create, append, sync, rename, remove and directory sync counts as one operation; a fault
/// can be set for the n-th.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    state: Arc<Mutex<State>>,
}

impl MemoryStorage {
    /// Starts empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the fault for the operation with this number, counted from 1 from now on.
    pub fn set_fault(&self, operation: u64, fault: Fault) {
        let mut state = self.lock();
        state.operation_count = 0;
        state.fault = Some((operation, fault));
    }

    /// Takes the fault away.
    pub fn clear_fault(&self) {
        self.lock().fault = None;
    }

    /// Count of operations since the fault was set or since the start.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.lock().operation_count
    }

    /// The storage as it is found after the power was lost now: only what was synced.
    #[must_use]
    pub fn after_power_loss(&self) -> Self {
        let state = self.lock();
        let mut inodes = state.inodes.clone();
        for inode in &mut inodes {
            inode.live = inode.durable.clone();
        }
        Self::with(State {
            inodes,
            live: state.durable.clone(),
            durable: state.durable.clone(),
            directories: state.directories.clone(),
            ..State::default()
        })
    }

    /// The storage as it is found after the process was killed now: everything written.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = self.lock();
        Self::with(State {
            inodes: state.inodes.clone(),
            live: state.live.clone(),
            durable: state.durable.clone(),
            directories: state.directories.clone(),
            ..State::default()
        })
    }

    /// Names of all files.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().live.keys().cloned().collect()
    }

    /// The bytes of a file, if there is one.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.live.get(name)?;
        Some(state.inodes[*inode].live.clone())
    }

    /// Puts a file there as it is, durable at once.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock();
        let index = state.inodes.len();
        state.inodes.push(Inode { live: bytes.to_vec(), durable: bytes.to_vec() });
        state.live.insert(name.to_owned(), index);
        state.durable.insert(name.to_owned(), index);
    }

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test holds the lock while it panics")
    }

    fn operate(&self, operation: &'static str, name: &str) -> Result<MutexGuard<'_, State>, StorageError> {
        let mut state = self.lock();
        state.operation_count += 1;
        let now = state.operation_count;
        let errno = match state.fault {
            Some((at, Fault::Stop)) if now >= at => Some(libc::EIO),
            Some((at, Fault::Once(errno))) if now == at => Some(errno),
            Some((at, Fault::Full)) if now >= at && matches!(operation, "create" | "write") => {
                Some(libc::ENOSPC)
            }
            _ => None,
        };
        match errno {
            Some(errno) => Err(fail(operation, name, io::Error::from_raw_os_error(errno))),
            None => Ok(state),
        }
    }
}

fn fail(operation: &'static str, name: &str, source: io::Error) -> StorageError {
    StorageError { operation, path: name.to_owned(), source }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Storage for MemoryStorage {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        match self.contents(name) {
            Some(bytes) => Ok(Box::new(MemoryFile { name: name.to_owned(), bytes: bytes.into() })),
            None => Err(fail("open", name, io::ErrorKind::NotFound.into())),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError> {
        let mut state = self.operate("create", name)?;
        if state.live.contains_key(name) {
            return Err(fail("create", name, io::ErrorKind::AlreadyExists.into()));
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.live.insert(name.to_owned(), inode);
        drop(state);
        Ok(Box::new(MemoryWriteFile { storage: self.clone(), inode, len: 0, name: name.to_owned() }))
    }

    fn rename(&self, name: &str, new_name: &str) -> Result<(), StorageError> {
        let mut state = self.operate("rename", name)?;
        let inode =
            state.live.remove(name).ok_or_else(|| fail("rename", name, io::ErrorKind::NotFound.into()))?;
        state.live.insert(new_name.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let mut state = self.operate("remove", name)?;
        match state.live.remove(name) {
            Some(_) => Ok(()),
            None => Err(fail("remove", name, io::ErrorKind::NotFound.into())),
        }
    }

    fn create_directory(&self, name: &str) -> Result<(), StorageError> {
        let mut state = self.operate("create directory", name)?;
        let mut made = name;
        while !made.is_empty() {
            state.directories.insert(made.to_owned());
            made = parent(made);
        }
        Ok(())
    }

    fn sync_directory(&self, name: &str) -> Result<(), StorageError> {
        let mut state = self.operate("sync directory", name)?;
        state.durable.retain(|file, _| parent(file) != name);
        let synced: Vec<_> = state
            .live
            .iter()
            .filter(|(file, _)| parent(file) == name)
            .map(|(file, inode)| (file.clone(), *inode))
            .collect();
        state.durable.extend(synced);
        Ok(())
    }

    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError> {
        let state = self.lock();
        let child = |path: &String| path.rsplit_once('/').unwrap_or(("", path)).1.to_owned();
        let mut entries = Vec::new();
        for (paths, is_directory) in
            [(state.live.keys().collect::<Vec<_>>(), false), (state.directories.iter().collect(), true)]
        {
            entries.extend(
                paths
                    .into_iter()
                    .filter(|path| parent(path) == name)
                    .map(|path| DirectoryEntry { name: child(path), is_directory }),
            );
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        let state = self.lock();
        Ok(state.live.contains_key(name) || state.directories.contains(name))
    }
}

#[derive(Debug)]
struct MemoryWriteFile {
    storage: MemoryStorage,
    inode: usize,
    len: u64,
    name: String,
}

impl WriteFile for MemoryWriteFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.name
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let mut state = self.storage.operate("write", &self.name)?;
        state.inodes[self.inode].live.extend_from_slice(bytes);
        drop(state);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let mut state = self.storage.operate("sync", &self.name)?;
        let inode = &mut state.inodes[self.inode];
        inode.durable = inode.live.clone();
        Ok(())
    }
}
