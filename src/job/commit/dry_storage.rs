//! A repository's storage that can be read and takes everything written without keeping it: what a preview
//! writes to. Only work files of a writer, which it reads again, are kept for as long as they are used, in
//! files of the repository's disk that never have a name.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::repo::catalog::CLIENTS;
use crate::storage::{DirectoryEntry, ReadFile, Storage, StorageError, WriteFile};

/// The storage below, not written to.
#[derive(Debug)]
pub(super) struct DryStorage {
    below: Arc<dyn Storage>,
    // Where work files may be; absent: in memory.
    directory: Option<PathBuf>,
    work: Mutex<HashMap<String, Arc<WorkFile>>>,
}

impl DryStorage {
    /// Above a storage; `directory` is on the disk of the repository.
    pub(super) fn new(below: Arc<dyn Storage>, directory: Option<&Path>) -> Self {
        Self { below, directory: directory.map(Path::to_owned), work: Mutex::default() }
    }

    fn work(&self) -> MutexGuard<'_, HashMap<String, Arc<WorkFile>>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for DryStorage {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        match self.work().get(name) {
            Some(file) => Ok(Box::new(WorkReader { len: file.len(), file: Arc::clone(file) })),
            None => self.below.open(name),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError> {
        // What is stored for good is in other directories.
        if !name.starts_with(CLIENTS) {
            return Ok(Box::new(DryFile { path: name.to_owned(), len: 0 }));
        }
        let file = Arc::new(WorkFile::new(name, self.directory.as_deref()));
        self.work().insert(name.to_owned(), Arc::clone(&file));
        Ok(Box::new(WorkWriter(file)))
    }

    fn rename(&self, name: &str, new_name: &str) -> Result<(), StorageError> {
        let mut work = self.work();
        if let Some(file) = work.remove(name) {
            work.insert(new_name.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        self.work().remove(name);
        Ok(())
    }

    fn create_directory(&self, _name: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync_directory(&self, _name: &str) -> Result<(), StorageError> {
        Ok(())
    }

    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError> {
        self.below.list(name)
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        self.below.exists(name)
    }
}

#[derive(Debug)]
struct DryFile {
    path: String,
    len: u64,
}

impl WriteFile for DryFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// A file that is read again.
#[derive(Debug)]
struct WorkFile {
    path: String,
    len: AtomicU64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Disk(File),
    Memory(Mutex<Vec<u8>>),
}

impl WorkFile {
    fn new(name: &str, directory: Option<&Path>) -> Self {
        let nameless = |directory: &Path| {
            File::options().read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(directory)
        };
        // Not every file system has files without a name.
        let place = match directory.map(nameless) {
            Some(Ok(file)) => Place::Disk(file),
            _ => Place::Memory(Mutex::default()),
        };
        Self { path: name.to_owned(), len: AtomicU64::new(0), place }
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn refused(&self, operation: &'static str) -> impl FnOnce(io::Error) -> StorageError {
        let path = self.path.clone();
        move |source| StorageError { operation, path, source }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.place {
            Place::Disk(file) => file.write_all_at(bytes, self.len())?,
            Place::Memory(all) => {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            }
        }
        self.len.fetch_add(bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.place {
            Place::Disk(file) => file.read_exact_at(buffer, offset),
            Place::Memory(all) => {
                let all = all.lock().unwrap_or_else(PoisonError::into_inner);
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let upto = from.saturating_add(buffer.len());
                buffer.copy_from_slice(all.get(from..upto).ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

#[derive(Debug)]
struct WorkWriter(Arc<WorkFile>);

impl WriteFile for WorkWriter {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn path(&self) -> &str {
        &self.0.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.append(bytes).map_err(self.0.refused("write"))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[derive(Debug)]
struct WorkReader {
    len: u64,
    file: Arc<WorkFile>,
}

impl ReadFile for WorkReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.file.path
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.file.read_exact_at(buffer, offset).map_err(self.file.refused("read"))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn work_files_are_read_again_and_nothing_reaches_the_storage_below() {
        let directory = tempfile::tempdir().expect("a directory");
        let below = MemoryStorage::new();
        for place in [None, Some(directory.path())] {
            let dry = DryStorage::new(Arc::new(below.clone()), place);
            let name = format!("{CLIENTS}/web1/x.extents-0.partial");
            let mut file = dry.create(&name).expect("creates");
            file.append(b"abc").expect("appends");
            file.append(b"def").expect("appends");
            let reader = dry.open(&name).expect("opens");
            let mut bytes = [0; 4];
            reader.read_exact_at(&mut bytes, 1).expect("reads");
            assert_eq!((&bytes, reader.len(), file.len()), (b"bcde", 6, 6));
            assert!(reader.read_exact_at(&mut bytes, 3).is_err());
            dry.create("full/web1/y.partial").expect("creates").append(b"data").expect("appends");
            assert!(dry.open("full/web1/y.partial").is_err());
            dry.remove(&name).expect("removes");
            assert!(dry.open(&name).is_err());
        }
        assert_eq!(below.names(), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(directory.path()).expect("lists").count(), 0);
    }
}
