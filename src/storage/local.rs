//! Storage in a directory of the local file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{DirectoryEntry, ReadFile, Storage, StorageError, WriteFile};
use crate::path;

/// Storage below one directory of the local file system.
#[derive(Debug, Clone)]
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    /// Takes the directory that names are relative to.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory that names are relative to.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes of the file system that are free for us, and all of them.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn space(&self) -> Result<(u64, u64), StorageError> {
        let space = rustix::fs::statvfs(&self.root)
            .map_err(|errno| error("look up", &self.root)(io::Error::from(errno)))?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok((bytes(space.f_bavail), bytes(space.f_blocks)))
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

fn shown(path: &Path) -> String {
    path::display(path.as_os_str().as_encoded_bytes())
}

fn error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = shown(path);
    move |source| StorageError { operation, path, source }
}

impl Storage for LocalStorage {
    fn open(&self, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        let path = self.path(name);
        let open = || -> io::Result<LocalReadFile> {
            // A planted symbolic link or FIFO must neither lead elsewhere nor block.
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            Ok(LocalReadFile { file, len: metadata.len(), path: shown(&path) })
        };
        match open() {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(error("open", &path)(source)),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn WriteFile>, StorageError> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(error("create", &path))?;
        Ok(Box::new(LocalWriteFile { file, len: 0, path: shown(&path) }))
    }

    fn rename(&self, name: &str, new_name: &str) -> Result<(), StorageError> {
        let path = self.path(name);
        fs::rename(&path, self.path(new_name)).map_err(error("rename", &path))
    }

    fn remove(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(error("remove", &path))
    }

    fn create_directory(&self, name: &str) -> Result<(), StorageError> {
        let mut made = String::new();
        for part in name.split('/') {
            let above = made.clone();
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(part);
            let path = self.path(&made);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
                    return Err(error("create directory", &path)(source));
                }
                // One that is there may have been made by a process that was killed before it synced.
                _ => self.sync_directory(&above)?,
            }
        }
        Ok(())
    }

    fn sync_directory(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name);
        File::open(&path).and_then(|directory| directory.sync_all()).map_err(error("sync directory", &path))
    }

    fn list(&self, name: &str) -> Result<Vec<DirectoryEntry>, StorageError> {
        let path = self.path(name);
        let listing = match fs::read_dir(&path) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing.map_err(error("list", &path))?,
        };
        let read = || -> io::Result<Vec<DirectoryEntry>> {
            let mut entries = Vec::new();
            for entry in listing {
                let entry = entry?;
                let is_directory = match entry.file_type() {
                    Ok(kind) => kind.is_dir(),
                    // Removed since it was listed; the others are there all the same.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                if let Ok(name) = entry.file_name().into_string() {
                    entries.push(DirectoryEntry { name, is_directory });
                }
            }
            entries.sort();
            Ok(entries)
        };
        read().map_err(error("list", &path))
    }

    fn exists(&self, name: &str) -> Result<bool, StorageError> {
        let path = self.path(name);
        path.try_exists().map_err(error("look up", &path))
    }
}

#[derive(Debug)]
struct LocalReadFile {
    file: File,
    len: u64,
    path: String,
}

impl ReadFile for LocalReadFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.file.read_exact_at(buffer, offset).map_err(|source| StorageError {
            operation: "read",
            path: self.path.clone(),
            source,
        })
    }
}

#[derive(Debug)]
struct LocalWriteFile {
    file: File,
    len: u64,
    path: String,
}

impl LocalWriteFile {
    fn error(&self, operation: &'static str) -> impl FnOnce(io::Error) -> StorageError {
        let path = self.path.clone();
        move |source| StorageError { operation, path, source }
    }
}

impl WriteFile for LocalWriteFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(bytes).map_err(self.error("write"))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_all().map_err(self.error("sync"))
    }
}
