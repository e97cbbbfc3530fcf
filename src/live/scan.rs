//! Listing directories and looking at what is in them.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Statx, StatxAttributes, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use super::names::{NameSorter, SortedNames};
use super::source::{self, SourceFile};
use super::xattr::{self, XattrPlace};
use super::{LiveError, attempt, joined};
use crate::format::record::{FileKind, Time, XattrList};
use crate::path;

/// Bytes of directory entries taken from the kernel in one call.
const LISTING_LEN: usize = 32 << 10;

/// A device or file system by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// What tells an object from all others of a running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file system.
    pub device: Device,
    /// Inode number in it.
    pub inode: u64,
}

/// What one `statx` tells about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Kind of the object.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits: 07777 at most.
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of attributes.
    pub ctime: Time,
    /// Last access.
    pub atime: Time,
    /// Inode number.
    pub source_inode: u64,
    /// Length in bytes; of a symbolic link that of its target.
    pub size: u64,
    /// Space on the disk in units of 512 bytes; a file with fewer bytes than its size has holes.
    pub blocks: u64,
    /// Names that the object has; 0 if the last one was removed meanwhile.
    pub link_count: u32,
    /// File system of the object. On an overlay that of a directory differs from that of its files.
    pub device: Device,
    /// Numbers of a character or block device; zero for all else.
    pub special: Device,
    /// Marked as not worth a dump (`chattr +d`).
    pub is_nodump: bool,
}

impl Attributes {
    /// What tells the object from all others.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { device: self.device, inode: self.source_inode }
    }

    /// Tells whether fewer bytes are on the disk than the size says.
    #[must_use]
    pub fn may_have_holes(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }

    /// Tells whether content and attributes are still those of `earlier`, as far as times can tell.
    #[must_use]
    pub fn is_unchanged_since(&self, earlier: &Self) -> bool {
        self.identity() == earlier.identity()
            && (self.size, self.mtime, self.ctime) == (earlier.size, earlier.mtime, earlier.ctime)
    }
}

fn time(stamp: StatxTimestamp) -> Time {
    // A file system in user space can answer anything; the record takes no more than this.
    Time { seconds: stamp.tv_sec, nanoseconds: stamp.tv_nsec.min(999_999_999) }
}

fn kind(mode: u16) -> Option<FileKind> {
    Some(match u32::from(mode) & libc::S_IFMT {
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFREG => FileKind::Regular,
        libc::S_IFLNK => FileKind::Symlink,
        libc::S_IFCHR => FileKind::CharacterDevice,
        libc::S_IFBLK => FileKind::BlockDevice,
        libc::S_IFIFO => FileKind::Fifo,
        libc::S_IFSOCK => FileKind::Socket,
        _ => return None,
    })
}

fn attributes(answer: &Statx) -> Option<Attributes> {
    Some(Attributes {
        kind: kind(answer.stx_mode)?,
        permissions: answer.stx_mode & 0o7777,
        uid: answer.stx_uid,
        gid: answer.stx_gid,
        mtime: time(answer.stx_mtime),
        ctime: time(answer.stx_ctime),
        atime: time(answer.stx_atime),
        source_inode: answer.stx_ino,
        size: answer.stx_size,
        blocks: answer.stx_blocks,
        link_count: answer.stx_nlink,
        device: Device { major: answer.stx_dev_major, minor: answer.stx_dev_minor },
        special: Device { major: answer.stx_rdev_major, minor: answer.stx_rdev_minor },
        is_nodump: answer.stx_attributes.contains(StatxAttributes::NODUMP),
    })
}

/// Looks at an entry of a directory, or at the open object itself if the name is empty.
pub(super) fn attributes_at(
    directory: BorrowedFd<'_>,
    directory_path: &[u8],
    name: &[u8],
) -> Result<Attributes, LiveError> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    let answer = attempt("look at", directory_path, name, || {
        rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)
    })?;
    attributes(&answer).ok_or_else(|| LiveError::Kind {
        path: path::display(&joined(directory_path, name)),
        actual: answer.stx_mode,
    })
}

/// One entry of a directory.
#[derive(Debug)]
pub struct Scanned {
    /// Its name.
    pub name: Vec<u8>,
    /// What is known about it, or why nothing is.
    pub attributes: Result<Attributes, LiveError>,
}

/// A directory that is open for a backup.
#[derive(Debug)]
pub struct SourceDirectory {
    directory: OwnedFd,
    path: Vec<u8>,
    root_len: usize,
}

impl SourceDirectory {
    /// Opens the root of a tree; symbolic links in `path` itself are followed.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if there is no such directory or it cannot be read.
    pub fn open_root(path: &Path) -> Result<Self, LiveError> {
        let path = path.as_os_str().as_bytes();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            attempt("open", path, b"", || rustix::fs::open(OsStr::from_bytes(path), flags, Mode::empty()))?;
        Ok(Self { directory, path: path.to_vec(), root_len: path.len() })
    }

    /// Path as people know it.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Path below the root of the tree, without a leading `/`; empty for the root.
    #[must_use]
    pub fn relative_path(&self) -> &[u8] {
        let below = self.path.get(self.root_len..).unwrap_or_default();
        below.strip_prefix(b"/").unwrap_or(below)
    }

    /// Lists the directory in ascending order of names. What vanishes meanwhile is left out; an entry
    /// that cannot be looked at has its error beside its name. Names that do not fit into a bounded piece of
    /// memory wait in a file without a name in the directory `work`, if there is one; what that file refuses
    /// comes out of the iterator.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the directory cannot be listed.
    pub fn scan(&self, work: Option<&Path>) -> Result<Scan<'_>, LiveError> {
        let mut sorter = NameSorter::new(work);
        let refusal = self.names(&mut sorter)?.err();
        Ok(Scan { directory: self, names: sorter.sorted(), batch: Vec::new().into_iter(), refusal })
    }

    // The inner result is that of the file of names.
    fn names(&self, sorter: &mut NameSorter<'_>) -> Result<io::Result<()>, LiveError> {
        let refused = |errno: Errno| LiveError::refused("list", &self.path, errno);
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); LISTING_LEN];
        // The offset belongs to the open file: without this, a second scan would find nothing.
        rustix::fs::seek(&self.directory, rustix::fs::SeekFrom::Start(0)).map_err(refused)?;
        let mut listing = RawDir::new(&self.directory, &mut buffer);
        while let Some(entry) = listing.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"."
                        && name != b".."
                        && let Err(error) = sorter.push(entry.ino(), name)
                    {
                        return Ok(Err(error));
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(errno)),
            }
        }
        Ok(Ok(()))
    }

    fn checked<'a>(&self, name: &'a [u8]) -> Result<&'a [u8], LiveError> {
        super::checked_name(&self.path, name)
    }

    /// Looks at the directory itself.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the system does not tell.
    pub fn attributes(&self) -> Result<Attributes, LiveError> {
        attributes_at(self.directory.as_fd(), &self.path, b"")
    }

    /// Looks at an entry, without following it.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if there is none, [`LiveError::Kind`] if it is of unknown kind,
    /// [`LiveError::Name`] if the name is not valid.
    pub fn attributes_of(&self, name: &[u8]) -> Result<Attributes, LiveError> {
        attributes_at(self.directory.as_fd(), &self.path, self.checked(name)?)
    }

    /// Opens a directory in this one, never through a symbolic link.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if there is none or it cannot be read.
    pub fn open_directory(&self, name: &[u8]) -> Result<Self, LiveError> {
        let name = self.checked(name)?;
        let directory = source::open(self.directory.as_fd(), &self.path, name, OFlags::DIRECTORY)?;
        Ok(Self { directory, path: joined(&self.path, name), root_len: self.root_len })
    }

    /// Opens a regular file that was found to be `expected`.
    ///
    /// # Errors
    /// [`LiveError::Replaced`] if it is another one now, [`LiveError::Refused`] if it cannot be read.
    pub fn open_file(&self, name: &[u8], expected: &Attributes) -> Result<SourceFile, LiveError> {
        let file = SourceFile::open(self.directory.as_fd(), &self.path, self.checked(name)?)?;
        let actual = file.attributes();
        if actual.kind == FileKind::Regular && actual.identity() == expected.identity() {
            return Ok(file);
        }
        Err(LiveError::Replaced { path: path::display(file.path()) })
    }

    /// Reads where a symbolic link points to.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if it is not a symbolic link any more.
    pub fn read_symlink(&self, name: &[u8]) -> Result<Vec<u8>, LiveError> {
        let name = self.checked(name)?;
        let target =
            attempt("read", &self.path, name, || rustix::fs::readlinkat(&self.directory, name, Vec::new()))?;
        Ok(target.into_bytes())
    }

    /// Reads the extended attributes of the directory itself.
    ///
    /// # Errors
    /// [`LiveError::Refused`] or [`LiveError::Xattrs`].
    pub fn xattrs(&self) -> Result<XattrList, LiveError> {
        xattr::read(&XattrPlace::Open(self.directory.as_fd()), &self.path)
    }

    /// Reads the extended attributes of an entry of any kind, without following it. Of what is open
    /// already, [`SourceFile::xattrs`] and [`SourceDirectory::xattrs`] read them at less cost.
    ///
    /// # Errors
    /// [`LiveError::Refused`] or [`LiveError::Xattrs`].
    pub fn xattrs_of(&self, name: &[u8]) -> Result<XattrList, LiveError> {
        let name = self.checked(name)?;
        xattr::read(&XattrPlace::entry(self.directory.as_fd(), name), &joined(&self.path, name))
    }

    /// Tells whether the directory is marked as not worth a dump; false where the file system has no
    /// such mark.
    #[must_use]
    pub fn is_nodump(&self) -> bool {
        source::is_nodump(self.directory.as_fd())
    }

    /// Tells whether the directory holds a file `CACHEDIR.TAG` that begins with the right signature
    /// (Cache Directory Tagging Specification 0.6).
    #[must_use]
    pub fn is_cache_directory(&self) -> bool {
        const SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";
        // Looked at first: most directories have none, and a device must not be opened.
        let Ok(expected) = self.attributes_of(b"CACHEDIR.TAG") else { return false };
        if expected.kind != FileKind::Regular || expected.size < SIGNATURE.len() as u64 {
            return false;
        }
        let mut start = [0; SIGNATURE.len()];
        let read = self.open_file(b"CACHEDIR.TAG", &expected).and_then(|tag| tag.read_at(&mut start, 0));
        read.is_ok_and(|len| len == SIGNATURE.len()) && start == *SIGNATURE
    }
}

/// The entries of a directory in ascending order of names.
///
/// Names and attributes of only so many entries are in memory as a bounded piece of it holds. An error is
/// that of the file in which names wait, and the last item.
#[derive(Debug)]
pub struct Scan<'a> {
    directory: &'a SourceDirectory,
    names: SortedNames,
    refusal: Option<io::Error>,
    batch: std::vec::IntoIter<Scanned>,
}

impl Iterator for Scan<'_> {
    type Item = io::Result<Scanned>;

    fn next(&mut self) -> Option<Self::Item> {
        const BATCH_LEN: usize = 4096;
        while self.batch.len() == 0 {
            if let Some(refusal) = self.refusal.take() {
                self.names = NameSorter::new(None).sorted();
                return Some(Err(refusal));
            }
            let names: io::Result<Vec<_>> = self.names.by_ref().take(BATCH_LEN).collect();
            let mut names = match names {
                Ok(names) => names,
                Err(error) => return Some(Err(error)),
            };
            if names.is_empty() {
                return None;
            }
            // In order of inode numbers, neighbours on the disk are looked at together.
            names.sort_unstable_by_key(|(inode, _)| *inode);
            let mut batch = Vec::with_capacity(names.len());
            for (_, name) in names {
                match self.directory.attributes_of(&name) {
                    Err(error) if error.is_not_found() => {}
                    attributes => batch.push(Scanned { name, attributes }),
                }
            }
            batch.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            self.batch = batch.into_iter();
        }
        self.batch.next().map(Ok)
    }
}

impl AsFd for SourceDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
