//! Reading files of a live tree.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{IFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::scan::{Attributes, attributes_at};
use super::xattr::{self, XattrPlace};
use super::{LiveError, attempt, joined};
use crate::format::record::XattrList;

/// Opens an entry for reading, without following it, without waiting for the other end of a FIFO, and
/// without leaving a new access time behind where that is allowed.
pub(super) fn open(
    directory: BorrowedFd<'_>,
    directory_path: &[u8],
    name: &[u8],
    extra: OFlags,
) -> Result<OwnedFd, LiveError> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | extra;
    attempt("open", directory_path, name, || {
        match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            // Only the owner may keep the access time.
            Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
            other => other,
        }
    })
}

pub(super) fn is_nodump(object: BorrowedFd<'_>) -> bool {
    rustix::fs::ioctl_getflags(object).is_ok_and(|flags| flags.contains(IFlags::NODUMP))
}

/// Fills `buffer` from `offset` on as far as the file goes.
pub(super) fn read_at(file: &File, path: &[u8], buffer: &mut [u8], offset: u64) -> Result<usize, LiveError> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(len as u64)) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LiveError::refused("read", path, error)),
        }
    }
    Ok(len)
}

/// A regular file that is open for a backup.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    attributes: Attributes,
    path: Vec<u8>,
}

impl SourceFile {
    pub(super) fn open(
        directory: BorrowedFd<'_>,
        directory_path: &[u8],
        name: &[u8],
    ) -> Result<Self, LiveError> {
        let file = open(directory, directory_path, name, OFlags::empty())?;
        let path = joined(directory_path, name);
        let attributes = attributes_at(file.as_fd(), &path, b"")?;
        Ok(Self { file: file.into(), attributes, path })
    }

    /// Path as people know it.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What the file was when it was opened.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// What the file is now.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the system does not tell.
    pub fn attributes_now(&self) -> Result<Attributes, LiveError> {
        attributes_at(self.file.as_fd(), &self.path, b"")
    }

    /// Fills `buffer` from `offset` on and tells how many bytes that were; fewer only at the file's end.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the file cannot be read.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, LiveError> {
        read_at(&self.file, &self.path, buffer, offset)
    }

    /// Lists the parts of the file that are not holes. Worth the calls only if
    /// [`Attributes::may_have_holes`].
    #[must_use]
    pub fn data_ranges(&self) -> DataRanges<'_> {
        DataRanges { file: self, offset: 0, size: self.attributes.size }
    }

    /// Reads the file's extended attributes; one system call if it has none.
    ///
    /// # Errors
    /// [`LiveError::Refused`] or [`LiveError::Xattrs`].
    pub fn xattrs(&self) -> Result<XattrList, LiveError> {
        xattr::read(&XattrPlace::Open(self.file.as_fd()), &self.path)
    }

    /// Tells whether the file is marked as not worth a dump; false where the file system has no such
    /// mark.
    #[must_use]
    pub fn is_nodump(&self) -> bool {
        is_nodump(self.file.as_fd())
    }
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The parts of a file that are not holes, as offset and length in ascending order, never empty. Where
/// the file system knows no holes, the whole file is one part.
#[derive(Debug)]
pub struct DataRanges<'a> {
    file: &'a SourceFile,
    offset: u64,
    size: u64,
}

impl DataRanges<'_> {
    fn seek(&self, position: SeekFrom) -> Result<Option<u64>, LiveError> {
        match rustix::fs::seek(&self.file.file, position) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(self.offset)),
            Err(errno) => Err(LiveError::refused("find holes in", &self.file.path, errno)),
        }
    }
}

impl Iterator for DataRanges<'_> {
    type Item = Result<(u64, u64), LiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.size {
            return None;
        }
        let found = self.seek(SeekFrom::Data(self.offset)).and_then(|start| match start {
            // An answer below the question would make an endless list.
            Some(start) => Ok(Some((start.max(self.offset), self.seek(SeekFrom::Hole(start))?))),
            None => Ok(None),
        });
        match found {
            Ok(Some((start, end))) if start < self.size => {
                // A hole made between the two calls: what is left counts as data, which is never wrong.
                let end = end.filter(|end| *end > start).map_or(self.size, |end| end.min(self.size));
                self.offset = end;
                Some(Ok((start, end - start)))
            }
            Ok(_) => {
                self.offset = self.size;
                None
            }
            Err(error) => {
                self.offset = self.size;
                Some(Err(error))
            }
        }
    }
}
