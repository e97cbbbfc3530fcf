//! The staging tree of one client.

use std::sync::Arc;

use super::attributes::{Attributes, Caller, Entry, SetAttributes};
use super::error::StagingError;
use super::frozen::FrozenEpoch;
use super::handle::{FileHandle, PreparedFile};
use super::listing::{Listed, Listing};
use super::options::{Limits, StagingOptions};
use crate::format::record::{FileKind, XattrList};
use crate::id::{ClientName, Ordinal};
use crate::repo::Repository;

/// What a rename does with a name that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Takes its place.
    Replace,
    /// Fails with `EEXIST` (`RENAME_NOREPLACE`).
    NoReplace,
    /// Changes places with it (`RENAME_EXCHANGE`).
    Exchange,
}

/// What `fallocate` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocateMode {
    /// Reserves space; the file grows to the end of the range unless `keep_size`.
    Reserve {
        /// Leave the length as it is.
        keep_size: bool,
    },
    /// Makes a hole; the length stays.
    Punch,
    /// Makes the range zeros.
    Zero {
        /// Leave the length as it is.
        keep_size: bool,
    },
}

/// What `lseek` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekFrom {
    /// Data (`SEEK_DATA`).
    Data(u64),
    /// A hole (`SEEK_HOLE`).
    Hole(u64),
}

/// Whether an extended attribute may or must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// It may.
    Either,
    /// It must not (`XATTR_CREATE`).
    Create,
    /// It must (`XATTR_REPLACE`).
    Replace,
}

/// How much of a file `fsync` makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// Content, and what is needed to read it (`fdatasync`).
    Data,
    /// Attributes too.
    All,
}

/// Space as `statvfs` tells it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that staging may still take: less the reserve, within the cap.
    pub available_bytes: u64,
    /// Objects in the tree, as far as known.
    pub object_count: u64,
    /// Objects that may still be made.
    pub free_object_count: u64,
}

/// What a commit would have to do, as far as it is known without looking at each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Rows of entries that changed; an estimate.
    pub entry_count: u64,
    /// Rows of objects that changed; an estimate.
    pub object_count: u64,
    /// Bytes in backing files.
    pub backing_bytes: u64,
}

/// The staging tree of one client; shared by threads.
#[derive(Debug)]
pub struct StagingTree {
    repository: Arc<Repository>,
}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc, clippy::missing_panics_doc)]
impl StagingTree {
    /// All clients that have a staging directory, in order of names.
    pub fn clients(repository: &Repository) -> Result<Vec<ClientName>, StagingError> {
        unimplemented!()
    }

    /// Makes an empty staging tree for a client, on its latest generation if it has one, and opens it
    /// (`mkdir staging/CLIENT`). [`StagingError::Exists`] if there is one.
    pub fn create(
        repository: Arc<Repository>,
        client: &ClientName,
        options: &StagingOptions,
        caller: Caller,
        permissions: u16,
    ) -> Result<Self, StagingError> {
        unimplemented!()
    }

    /// Opens a client's staging tree. One that has no changes moves on to the client's latest generation.
    /// [`StagingError::NotFound`] if there is none, [`StagingError::Locked`] if another process has it.
    pub fn open(
        repository: Arc<Repository>,
        client: &ClientName,
        options: &StagingOptions,
    ) -> Result<Self, StagingError> {
        unimplemented!()
    }

    /// Removes a client's staging tree with all that is pending; its generations stay.
    pub fn remove(self) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Says that nothing more will be written: the next opening need not mistrust anything. Dropping a tree
    /// without it is what a kill does.
    pub fn close(self) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// The repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The client.
    pub fn client(&self) -> &ClientName {
        unimplemented!()
    }

    /// Number of the client among those with staging, 1 to 4095: the upper 12 bits of its node ids.
    pub fn slot(&self) -> u16 {
        unimplemented!()
    }

    /// The generation that the tree stands on.
    pub fn base(&self) -> Option<Ordinal> {
        unimplemented!()
    }

    /// Changes the bounds.
    pub fn set_limits(&self, limits: Limits) {
        unimplemented!()
    }

    // ---- names. Each that returns an `Entry` counts one look-up of its object, to be given back by `forget`.

    pub fn lookup(&self, directory: u64, name: &[u8]) -> Result<Entry, StagingError> {
        unimplemented!()
    }

    /// Gives back look-ups of an object.
    pub fn forget(&self, number: u64, count: u64) {
        unimplemented!()
    }

    /// Number of the directory above; the root's own for the root.
    pub fn parent(&self, directory: u64) -> Result<u64, StagingError> {
        unimplemented!()
    }

    pub fn make_directory(
        &self,
        directory: u64,
        name: &[u8],
        permissions: u16,
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        unimplemented!()
    }

    /// Creates a regular file and opens it for reading and writing; it must not exist. `prepared` saves
    /// the time that making a backing file takes.
    pub fn create_file(
        &self,
        directory: u64,
        name: &[u8],
        permissions: u16,
        caller: Caller,
        prepared: Option<PreparedFile>,
    ) -> Result<(Entry, FileHandle), StagingError> {
        unimplemented!()
    }

    /// Creates a regular file without a name (`O_TMPFILE`), which `link` can give one.
    pub fn create_unnamed(
        &self,
        directory: u64,
        permissions: u16,
        caller: Caller,
    ) -> Result<(Entry, FileHandle), StagingError> {
        unimplemented!()
    }

    /// A number and a backing file for a later [`StagingTree::create_file`].
    pub fn prepare_file(&self) -> Result<PreparedFile, StagingError> {
        unimplemented!()
    }

    /// Makes a regular file (not opened), device, FIFO or socket.
    pub fn make_node(
        &self,
        directory: u64,
        name: &[u8],
        kind: FileKind,
        device: (u32, u32),
        permissions: u16,
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        unimplemented!()
    }

    pub fn make_symlink(
        &self,
        directory: u64,
        name: &[u8],
        target: &[u8],
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        unimplemented!()
    }

    /// Gives an object, but no directory, another name.
    pub fn link(
        &self,
        number: u64,
        directory: u64,
        name: &[u8],
        caller: Caller,
    ) -> Result<Entry, StagingError> {
        unimplemented!()
    }

    /// Removes a name of anything but a directory; returns the number of what had it.
    pub fn unlink(&self, directory: u64, name: &[u8], caller: Caller) -> Result<u64, StagingError> {
        unimplemented!()
    }

    /// Removes an empty directory; returns its number.
    pub fn remove_directory(&self, directory: u64, name: &[u8], caller: Caller) -> Result<u64, StagingError> {
        unimplemented!()
    }

    /// Moves a name; returns the number of the object that lost its name for it, if there was one.
    pub fn rename(
        &self,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
        mode: RenameMode,
        caller: Caller,
    ) -> Result<Option<u64>, StagingError> {
        unimplemented!()
    }

    pub fn read_link(&self, number: u64) -> Result<Vec<u8>, StagingError> {
        unimplemented!()
    }

    /// Begins to list a directory.
    pub fn open_directory(&self, directory: u64) -> Result<Listing, StagingError> {
        unimplemented!()
    }

    /// Hands over the entries after `cookie` (0 for the start) until `take` returns `false`, which says that
    /// it did not take that one. With `plus` each comes with attributes, and each taken counts a look-up.
    pub fn list(
        &self,
        listing: &mut Listing,
        cookie: u64,
        plus: bool,
        take: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), StagingError> {
        unimplemented!()
    }

    // ---- objects

    pub fn attributes(&self, number: u64) -> Result<Attributes, StagingError> {
        unimplemented!()
    }

    /// Sets attributes and length.
    pub fn set_attributes(
        &self,
        number: u64,
        set: &SetAttributes,
        caller: Caller,
    ) -> Result<Attributes, StagingError> {
        unimplemented!()
    }

    pub fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, StagingError> {
        unimplemented!()
    }

    /// Names and values of all extended attributes in order of names.
    pub fn xattrs(&self, number: u64) -> Result<XattrList, StagingError> {
        unimplemented!()
    }

    pub fn set_xattr(
        &self,
        number: u64,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        caller: Caller,
    ) -> Result<(), StagingError> {
        unimplemented!()
    }

    pub fn remove_xattr(&self, number: u64, name: &[u8], caller: Caller) -> Result<(), StagingError> {
        unimplemented!()
    }

    // ---- content

    /// Opens a regular file. With `truncate` it is emptied (`O_TRUNC`).
    pub fn open_file(
        &self,
        number: u64,
        writable: bool,
        truncate: bool,
        caller: Caller,
    ) -> Result<FileHandle, StagingError> {
        unimplemented!()
    }

    /// Reads up to `len` bytes; fewer only at the end of the file.
    pub fn read(&self, handle: &FileHandle, offset: u64, len: usize) -> Result<Vec<u8>, StagingError> {
        unimplemented!()
    }

    /// Writes all of `data`. With `kill_privileges` set-id bits and capabilities go.
    pub fn write(
        &self,
        handle: &FileHandle,
        offset: u64,
        data: &[u8],
        kill_privileges: bool,
        caller: Caller,
    ) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Sets the length (also `set_attributes` with a size).
    pub fn truncate(&self, number: u64, size: u64, caller: Caller) -> Result<Attributes, StagingError> {
        unimplemented!()
    }

    pub fn allocate(
        &self,
        handle: &FileHandle,
        offset: u64,
        len: u64,
        mode: AllocateMode,
        caller: Caller,
    ) -> Result<(), StagingError> {
        unimplemented!()
    }

    pub fn seek(&self, handle: &FileHandle, from: SeekFrom) -> Result<u64, StagingError> {
        unimplemented!()
    }

    /// Copies up to `len` bytes between files; returns how many.
    pub fn copy_range(
        &self,
        source: (&FileHandle, u64),
        target: (&FileHandle, u64),
        len: u64,
        caller: Caller,
    ) -> Result<u64, StagingError> {
        unimplemented!()
    }

    /// Makes an object durable: content and rows. Also for directories.
    pub fn sync_object(&self, number: u64, synced: Synced) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Makes everything durable.
    pub fn sync(&self) -> Result<(), StagingError> {
        unimplemented!()
    }

    pub fn space(&self) -> Result<Space, StagingError> {
        unimplemented!()
    }

    // ---- epochs

    /// Grows with each change that goes through here (not with passthrough writes).
    pub fn change_count(&self) -> u64 {
        unimplemented!()
    }

    /// Tells whether anything was changed since the base.
    pub fn is_changed(&self) -> Result<bool, StagingError> {
        unimplemented!()
    }

    pub fn pending(&self) -> Result<Pending, StagingError> {
        unimplemented!()
    }

    /// Freezes what was changed so far; whatever comes belongs to the next epoch.
    /// [`StagingError::Busy`] while another freeze is not finished or abandoned.
    pub fn freeze(&self) -> Result<FrozenEpoch<'_>, StagingError> {
        unimplemented!()
    }

    /// Drops all changes. Open files become stale.
    pub fn discard(&self) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Stands the tree on another generation; [`StagingError::Busy`] if changes are pending.
    pub fn restage(&self, base: Option<Ordinal>) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Removes what is of no use any more (rows and backing files of committed epochs, files that a crash
    /// left behind) for a while; returns whether anything is left to do. For a thread in the background.
    pub fn reclaim(&self) -> Result<bool, StagingError> {
        unimplemented!()
    }
}
