//! What a read-only connection shows: the seam between the requests of the kernel and a tree.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;

use reelfs::format::record::XattrList;

use crate::attributes::Attributes;
use crate::errno::ViewError;
use crate::reading::{Disk, Seek};
use crate::view::{Lifetime, ListEntry, View};

/// A read-only tree.
pub(crate) trait Shown: fmt::Debug + Send + Sync {
    /// Attributes of the object with this inode number.
    ///
    /// # Errors
    /// [`ViewError`] if there is none or it cannot be read.
    fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError>;

    /// Finds a name in a directory.
    ///
    /// # Errors
    /// [`ViewError`] if there is none or it cannot be read.
    fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError>;

    /// Tells whether the kernel may keep that a name is not there.
    fn keeps_missing_names(&self, parent: u64) -> bool;

    /// Lists a directory after the entry with the cookie `after`, 0 from the start, until `take` returns `false`.
    ///
    /// # Errors
    /// [`ViewError`] if it is no directory or cannot be read.
    fn list(
        &self,
        number: u64,
        after: u64,
        with_attributes: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError>;

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`ViewError`] if it is no link or cannot be read.
    fn target(&self, number: u64) -> Result<Vec<u8>, ViewError>;

    /// Reads up to `len` bytes of a file for the process `pid`, or returns `None` if that would take long and
    /// `only_ready` is set.
    ///
    /// # Errors
    /// [`ViewError`] if it is no file or a byte of the range cannot be read.
    fn read(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        only_ready: bool,
        pid: u32,
    ) -> Result<Option<Vec<u8>>, ViewError>;

    /// Finds the next data or hole of a file.
    ///
    /// # Errors
    /// [`ViewError`] if there is none.
    fn seek(&self, number: u64, offset: u64, seek: Seek) -> Result<u64, ViewError>;

    /// An extended attribute of an object.
    ///
    /// # Errors
    /// [`ViewError`] if there is none or it cannot be read.
    fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, ViewError>;

    /// Extended attributes of an object.
    ///
    /// # Errors
    /// [`ViewError`] if they cannot be read.
    fn xattrs(&self, number: u64) -> Result<XattrList, ViewError>;

    /// Tells whether asking for this extended attribute may take long.
    fn is_slow_xattr(&self, name: &[u8]) -> bool;

    /// Tells whether nothing that is shown can have extended attributes.
    fn is_without_xattrs(&self) -> bool;

    /// The disk, as `df` shows it.
    ///
    /// # Errors
    /// The refusal of the kernel.
    fn disk(&self) -> io::Result<Disk>;
}

impl Shown for View {
    fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError> {
        self.counters.attributes.fetch_add(1, Ordering::Relaxed);
        Self::attributes(self, number)
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        Self::lookup(self, parent, name)
    }

    fn keeps_missing_names(&self, parent: u64) -> bool {
        Self::keeps_missing_names(self, parent)
    }

    fn list(
        &self,
        number: u64,
        after: u64,
        with_attributes: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        Self::list(self, number, after, with_attributes, take)
    }

    fn target(&self, number: u64) -> Result<Vec<u8>, ViewError> {
        Self::target(self, number)
    }

    fn read(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        only_ready: bool,
        _: u32,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        Self::read(self, number, offset, len, only_ready)
    }

    fn seek(&self, number: u64, offset: u64, seek: Seek) -> Result<u64, ViewError> {
        Self::seek(self, number, offset, seek)
    }

    fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        Self::xattr(self, number, name)
    }

    fn xattrs(&self, number: u64) -> Result<XattrList, ViewError> {
        Self::xattrs(self, number)
    }

    fn is_slow_xattr(&self, _: &[u8]) -> bool {
        false
    }

    fn is_without_xattrs(&self) -> bool {
        Self::is_without_xattrs(self)
    }

    fn disk(&self) -> io::Result<Disk> {
        Self::disk(self)
    }
}
