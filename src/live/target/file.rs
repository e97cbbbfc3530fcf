//! A regular file on its way into the target.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::AtFlags;

use super::directory::{Placed, TargetDirectory};
use crate::format::record::FileKind;
use crate::live::LiveError;
use crate::live::metadata::{Metadata, Object};
use crate::live::scan::attributes_at;

/// A regular file that has no name of its own yet; dropped, it leaves nothing behind. What is never
/// written stays a hole.
#[derive(Debug)]
pub struct PendingFile {
    directory: TargetDirectory,
    path: Vec<u8>,
    name: Vec<u8>,
    temporary: Option<Vec<u8>>,
    file: File,
}

impl PendingFile {
    pub(super) fn new(directory: TargetDirectory, name: &[u8], temporary: Vec<u8>, file: File) -> Self {
        let path = directory.path_of(name);
        Self { directory, path, name: name.to_vec(), temporary: Some(temporary), file }
    }

    /// Path, as people know it, that the file will have.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Writes all of `bytes` at `offset`; threads may write different parts at once.
    ///
    /// # Errors
    /// [`LiveError::Refused`], such as for a full disk.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), LiveError> {
        self.file.write_all_at(bytes, offset).map_err(|error| LiveError::refused("write", &self.path, error))
    }

    /// Reads back what was written, for a restore that verifies; fewer bytes only at the file's end.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LiveError> {
        crate::live::source::read_at(&self.file, &self.path, buffer, offset)
    }

    /// Writes everything to the disk and has it forgotten, so that what is read back comes from there.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the disk refuses.
    pub fn forget_cached(&self) -> Result<(), LiveError> {
        self.file.sync_data().map_err(|error| LiveError::refused("sync", &self.path, error))?;
        // A file system that cannot forget gives back what it holds in memory.
        let _kept = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    }

    /// Chooses another name than the one that the file was begun for.
    ///
    /// # Errors
    /// [`LiveError::Name`] if the name is not valid.
    pub fn set_name(&mut self, name: &[u8]) -> Result<(), LiveError> {
        self.name = self.directory.checked(name)?.to_vec();
        self.path = self.directory.path_of(name);
        Ok(())
    }

    /// Sets the length; needed for a file that ends with a hole.
    ///
    /// # Errors
    /// [`LiveError::Refused`], such as for a length that the file system does not allow.
    pub fn set_len(&self, len: u64) -> Result<(), LiveError> {
        self.file.set_len(len).map_err(|error| LiveError::refused("set the length of", &self.path, error))
    }

    /// Gives the file its metadata and then its name, in place of what may have it. The file is seen
    /// under its name only complete.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if that is refused, [`LiveError::InTheWay`] for a directory that is not empty
    /// or if nothing may be overwritten; the file is then removed.
    pub fn commit(mut self, metadata: &Metadata<'_>) -> Result<Placed, LiveError> {
        let shortfalls = Object::new(&self.file, FileKind::Regular, &self.path).apply(metadata);
        let identity = attributes_at(self.file.as_fd(), &self.path, b"")?.identity();
        if let Some(temporary) = &self.temporary {
            self.directory.move_into_place(temporary, &self.name)?;
        }
        self.temporary = None;
        Ok(Placed { identity: Some(identity), shortfalls })
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Nobody is left to tell; what stays is a file with a telling name.
            let _left_behind = self.directory.remove(&temporary, AtFlags::empty());
        }
    }
}
