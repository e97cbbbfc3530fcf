//! A directory of the target and what is made in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::file::PendingFile;
use super::{Overwrite, Shared};
use crate::format::record::{FileKind, Inode};
use crate::live::metadata::{Metadata, Object, Shortfall};
use crate::live::scan::{Attributes, Device, Identity, attributes_at};
use crate::live::{LiveError, attempt, checked_name, joined};
use crate::path;

/// Tries before somebody who keeps changing the target is given in to.
const ATTEMPT_COUNT_MAX: usize = 100;
/// What Linux can keep of a device number: 12 bits of major, 20 bits of minor number.
const DEVICE_MAX: Device = Device { major: (1 << 12) - 1, minor: (1 << 20) - 1 };

/// What is to be done about an object of the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is to be written.
    Write,
    /// What stands in its place already is kept.
    Keep(Attributes),
}

/// A kind of object that has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Character device.
    CharacterDevice(Device),
    /// Block device.
    BlockDevice(Device),
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

impl Node {
    fn parts(self) -> (FileKind, FileType, Option<Device>) {
        match self {
            Self::CharacterDevice(device) => {
                (FileKind::CharacterDevice, FileType::CharacterDevice, Some(device))
            }
            Self::BlockDevice(device) => (FileKind::BlockDevice, FileType::BlockDevice, Some(device)),
            Self::Fifo => (FileKind::Fifo, FileType::Fifo, None),
            Self::Socket => (FileKind::Socket, FileType::Socket, None),
        }
    }
}

/// What came of restoring an object.
#[derive(Debug)]
#[must_use]
pub struct Placed {
    /// The new object, for hard links to it; none if it could not be made at all.
    pub identity: Option<Identity>,
    /// What could not be restored of it.
    pub shortfalls: Vec<Shortfall>,
}

#[derive(Debug)]
struct Inner {
    directory: OwnedFd,
    path: Vec<u8>,
    shared: Arc<Shared>,
}

/// A directory that is written; clones share one descriptor, and any number of threads may use it.
#[derive(Debug, Clone)]
pub struct TargetDirectory(Arc<Inner>);

impl TargetDirectory {
    pub(super) fn new(directory: OwnedFd, path: Vec<u8>, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner { directory, path, shared }))
    }

    /// Path as people know it.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.0.path
    }

    fn never_overwrites(&self) -> bool {
        self.0.shared.overwrite == Overwrite::Never
    }

    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        joined(self.path(), name)
    }

    fn in_the_way(&self, name: &[u8], found: &'static str) -> LiveError {
        LiveError::InTheWay { path: path::display(&self.path_of(name)), found }
    }

    pub(super) fn checked<'a>(&self, name: &'a [u8]) -> Result<&'a [u8], LiveError> {
        checked_name(self.path(), name)
    }

    pub(super) fn attempt<T>(
        &self,
        operation: &'static str,
        name: &[u8],
        call: impl FnMut() -> rustix::io::Result<T>,
    ) -> Result<T, LiveError> {
        attempt(operation, self.path(), name, call)
    }

    pub(super) fn open_beneath(&self, name: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut attempt_count = 0;
        loop {
            attempt_count += 1;
            match rustix::fs::openat2(self, name, flags, mode, self.0.shared.resolve) {
                // A rename anywhere else kept the kernel from being sure.
                Err(Errno::AGAIN | Errno::INTR) if attempt_count < ATTEMPT_COUNT_MAX => {}
                answer => return answer,
            }
        }
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the system does not tell.
    pub fn attributes(&self) -> Result<Attributes, LiveError> {
        attributes_at(self.as_fd(), self.path(), b"")
    }

    /// Looks at an entry, without following it; none if there is none.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the system does not tell, [`LiveError::Name`] if the name is not valid.
    pub fn attributes_of(&self, name: &[u8]) -> Result<Option<Attributes>, LiveError> {
        match attributes_at(self.as_fd(), self.path(), self.checked(name)?) {
            Ok(attributes) => Ok(Some(attributes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells whether an object of the backup is to be written, by the target's [`Overwrite`] policy.
    /// Directories are not asked about.
    ///
    /// # Errors
    /// As [`TargetDirectory::attributes_of`].
    pub fn decide(&self, name: &[u8], inode: &Inode) -> Result<Decision, LiveError> {
        let overwrite = self.0.shared.overwrite;
        if overwrite == Overwrite::Always {
            return Ok(Decision::Write);
        }
        let Some(existing) = self.attributes_of(name)? else { return Ok(Decision::Write) };
        let is_kept = match overwrite {
            Overwrite::Always => false,
            Overwrite::IfChanged => {
                (existing.kind, existing.mtime) == (inode.kind(), inode.mtime)
                    && existing.size == inode.size()
            }
            Overwrite::IfNewer => existing.mtime >= inode.mtime,
            Overwrite::Never => true,
        };
        Ok(if is_kept { Decision::Keep(existing) } else { Decision::Write })
    }

    /// Opens a directory in this one that exists.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if there is none, or anything but a directory.
    pub fn open_directory(&self, name: &[u8]) -> Result<Self, LiveError> {
        let name = self.checked(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.attempt("open", name, || self.open_beneath(name, flags, Mode::empty()))?;
        Ok(Self::new(directory, self.path_of(name), Arc::clone(&self.0.shared)))
    }

    /// Makes a directory that only its owner can enter until it gets its metadata, or opens the one that
    /// exists. Anything else of that name is removed first.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if that is refused, [`LiveError::InTheWay`] if there is something else and
    /// nothing may be overwritten, [`LiveError::Replaced`] if somebody keeps putting other things there.
    pub fn create_directory(&self, name: &[u8]) -> Result<Self, LiveError> {
        let name = self.checked(name)?;
        for _ in 0..ATTEMPT_COUNT_MAX {
            let is_new = match rustix::fs::mkdirat(self, name, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(LiveError::refused("create", &self.path_of(name), errno)),
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            match self.open_beneath(name, flags, Mode::empty()) {
                Ok(directory) => {
                    let directory = Self::new(directory, self.path_of(name), Arc::clone(&self.0.shared));
                    if !is_new {
                        directory.make_writable();
                    }
                    return Ok(directory);
                }
                Err(Errno::NOTDIR | Errno::LOOP) if self.never_overwrites() => {
                    return Err(self.in_the_way(name, "it is no directory"));
                }
                Err(Errno::NOTDIR | Errno::LOOP) => self.remove(name, AtFlags::empty())?,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(LiveError::refused("open", &self.path_of(name), errno)),
            }
        }
        Err(LiveError::Replaced { path: path::display(&self.path_of(name)) })
    }

    /// A directory that exists may keep its own owner from writing, until it gets its metadata.
    fn make_writable(&self) {
        let Ok(attributes) = self.attributes() else { return };
        let is_owner = attributes.uid == rustix::process::geteuid().as_raw();
        if is_owner && attributes.permissions & 0o700 != 0o700 {
            let mode = Mode::from_bits_truncate(u32::from(attributes.permissions | 0o700));
            // If that is refused, making the first entry is refused too, and told.
            let _unchanged = rustix::fs::fchmod(self, mode);
        }
    }

    /// Gives the directory its metadata: to be done when everything in it is complete, or its times change
    /// again.
    #[must_use]
    pub fn set_metadata(&self, metadata: &Metadata<'_>) -> Vec<Shortfall> {
        Object::new(self, FileKind::Directory, self.path()).apply(metadata)
    }

    /// Starts a regular file under a temporary name; [`PendingFile::commit`] gives it its own.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if that is refused, [`LiveError::Name`] if the name is not valid.
    pub fn create_file(&self, name: &[u8]) -> Result<PendingFile, LiveError> {
        let name = self.checked(name)?;
        let (temporary, file) = self.create_temporary(|temporary| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            self.attempt("create", name, || self.open_beneath(temporary, flags, Mode::RUSR | Mode::WUSR))
        })?;
        Ok(PendingFile::new(self.clone(), name, temporary, file.into()))
    }

    /// Makes a symbolic link in place of what may have its name.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if that is refused, [`LiveError::InTheWay`] for a directory that is not empty.
    pub fn create_symlink(
        &self,
        name: &[u8],
        target: &[u8],
        metadata: &Metadata<'_>,
    ) -> Result<Placed, LiveError> {
        let name = self.checked(name)?;
        self.place(name, |place| {
            self.attempt("create", name, || rustix::fs::symlinkat(target, self, place))
        })?;
        self.finish(name, FileKind::Symlink, metadata)
    }

    /// Makes a device, FIFO or socket in place of what may have its name. What the user may not make is
    /// a shortfall.
    ///
    /// # Errors
    /// As [`TargetDirectory::create_symlink`].
    pub fn create_node(&self, name: &[u8], node: Node, metadata: &Metadata<'_>) -> Result<Placed, LiveError> {
        let name = self.checked(name)?;
        let (kind, file_type, device) = node.parts();
        let missing = |source: io::Error| {
            let shortfalls = vec![Shortfall::new(&self.path_of(name), "device", source)];
            Ok(Placed { identity: None, shortfalls })
        };
        let device = device.unwrap_or_default();
        if device.major > DEVICE_MAX.major || device.minor > DEVICE_MAX.minor {
            // The kernel would cut the numbers off and make another device.
            return missing(Errno::INVAL.into());
        }
        let number: Dev = rustix::fs::makedev(device.major, device.minor);
        let placed = self.place(name, |place| {
            self.attempt("create", name, || {
                rustix::fs::mknodat(self, place, file_type, Mode::RUSR | Mode::WUSR, number)
            })
        });
        match placed {
            Ok(()) => self.finish(name, kind, metadata),
            Err(LiveError::Refused { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
                missing(source)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a file that was restored before another name here, in place of what may have it.
    ///
    /// # Errors
    /// [`LiveError::Replaced`] if `source_name` is not the file `expected` any more, otherwise as
    /// [`TargetDirectory::create_symlink`].
    pub fn link(
        &self,
        name: &[u8],
        source: &Self,
        source_name: &[u8],
        expected: Identity,
    ) -> Result<(), LiveError> {
        let (name, source_name) = (self.checked(name)?, source.checked(source_name)?);
        if self.attributes_of(name)?.is_some_and(|existing| existing.identity() == expected) {
            return Ok(());
        }
        self.place(name, |place| {
            self.attempt("link", name, || {
                rustix::fs::linkat(source, source_name, self, place, AtFlags::empty())
            })?;
            if self.attributes_of(place)?.is_some_and(|made| made.identity() == expected) {
                return Ok(());
            }
            self.remove(place, AtFlags::empty())?;
            Err(LiveError::Replaced { path: path::display(&source.path_of(source_name)) })
        })
    }

    /// Makes an object at its name, or, if something is there, beside it and then moves it there.
    fn place(&self, name: &[u8], create: impl Fn(&[u8]) -> Result<(), LiveError>) -> Result<(), LiveError> {
        match create(name) {
            Err(error) if is_already_there(&error) => {}
            other => return other,
        }
        if self.never_overwrites() {
            return Err(self.in_the_way(name, "it exists"));
        }
        let (temporary, ()) = self.create_temporary(create)?;
        let moved = self.move_into_place(&temporary, name);
        // A rename to another name of the same file does nothing and leaves both names.
        let removed = self.remove(&temporary, AtFlags::empty());
        moved.and(removed)
    }

    fn create_temporary<T>(
        &self,
        create: impl Fn(&[u8]) -> Result<T, LiveError>,
    ) -> Result<(Vec<u8>, T), LiveError> {
        let mut attempt_count = 0;
        loop {
            attempt_count += 1;
            let temporary = self.0.shared.temporary_name();
            match create(&temporary) {
                Ok(made) => return Ok((temporary, made)),
                Err(error) if is_already_there(&error) && attempt_count < ATTEMPT_COUNT_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Renames what is complete to its own name in place of what may have it: a file, a symbolic link, an
    /// empty directory.
    pub(super) fn move_into_place(&self, temporary: &[u8], name: &[u8]) -> Result<(), LiveError> {
        let rename = |flags| rustix::fs::renameat_with(self, temporary, self, name, flags);
        if self.never_overwrites() {
            return match rustix::io::retry_on_intr(|| rename(RenameFlags::NOREPLACE)) {
                Err(Errno::EXIST) => Err(self.in_the_way(name, "it exists")),
                // A file system without this flag leaves a moment between looking and renaming.
                Err(Errno::INVAL) if self.attributes_of(name)?.is_none() => {
                    self.attempt("rename", name, || rename(RenameFlags::empty()))
                }
                other => other.map_err(|errno| LiveError::refused("rename", &self.path_of(name), errno)),
            };
        }
        match rustix::io::retry_on_intr(|| rename(RenameFlags::empty())) {
            Err(Errno::ISDIR) => {
                match rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {
                        return Err(self.in_the_way(name, "it is a directory that is not empty"));
                    }
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(LiveError::refused("remove", &self.path_of(name), errno)),
                }
                self.attempt("rename", name, || rename(RenameFlags::empty()))
            }
            other => other.map_err(|errno| LiveError::refused("rename", &self.path_of(name), errno)),
        }
    }

    /// Removes an entry; one that is gone already, or is a directory now, is no error.
    pub(super) fn remove(&self, name: &[u8], flags: AtFlags) -> Result<(), LiveError> {
        match rustix::fs::unlinkat(self, name, flags) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(LiveError::refused("remove", &self.path_of(name), errno)),
        }
    }

    /// Gives metadata to an object that was just made and cannot be opened.
    fn finish(&self, name: &[u8], kind: FileKind, metadata: &Metadata<'_>) -> Result<Placed, LiveError> {
        let object = self.attempt("open", name, || self.open_beneath(name, OFlags::PATH, Mode::empty()))?;
        let path = self.path_of(name);
        let attributes = attributes_at(object.as_fd(), &path, b"")?;
        // Another name of the object would mean that it is not the one just made, but one that somebody
        // linked here to have its owner changed.
        if attributes.kind != kind || attributes.link_count != 1 {
            return Err(LiveError::Replaced { path: path::display(&path) });
        }
        let shortfalls = Object::new(&object, kind, &path).apply(metadata);
        Ok(Placed { identity: Some(attributes.identity()), shortfalls })
    }
}

impl AsFd for TargetDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.directory.as_fd()
    }
}

fn is_already_there(error: &LiveError) -> bool {
    matches!(error, LiveError::Refused { source, .. } if source.raw_os_error() == Some(libc::EEXIST))
}
