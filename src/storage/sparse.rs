//! Sparse files with numbers for names, whose own map of data and holes is a record of what was written.
//!
//! File `id` is `id / 1024 / id % 1024` in hexadecimal: files made one after the other lie together.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{StorageError, openers};
use crate::path;

const IDS_PER_DIRECTORY: u64 = 1024;
/// Threads that remove files. A file system that tells its disk of each block that becomes free may wait for the
/// disk each time, milliseconds if that is busy; it waits for several at once just as well.
const REMOVER_COUNT: usize = 4;
/// Files that one thread removes at a time.
const REMOVED_COUNT: usize = 128;
/// `f_type` of a file system in user space, as in statfs(2).
const FUSE: rustix::fs::FsWord = 0x6573_5546;

/// A directory of sparse files.
#[derive(Debug)]
pub struct SparseDirectory {
    directory: OwnedFd,
    path: PathBuf,
    // Groups whose names this process has made or synced.
    groups: Mutex<HashMap<u64, GroupNames>>,
}

/// Names of a group, counted as they are made. Of a group that was not synced yet nothing is known: a process
/// that was killed may have made names in it.
#[derive(Debug, Clone, Copy, Default)]
struct GroupNames {
    made: u64,
    /// So many had been made when a sync began that ended well.
    synced: Option<u64>,
}

impl GroupNames {
    fn is_synced(self) -> bool {
        self.synced == Some(self.made)
    }
}

/// What the system tells of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseStatus {
    /// Length in bytes.
    pub len: u64,
    /// Bytes that take space.
    pub allocated: u64,
    /// Last change of content: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Last change of anything: seconds since 1970, and nanoseconds.
    pub ctime: (i64, u32),
}

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that this process may still take.
    pub available: u64,
    /// Files that may still be made.
    pub free_files: u64,
}

impl SparseDirectory {
    /// Opens a directory, which is made if it is missing, mode 0700.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let shown = path::display(path.as_os_str().as_encoded_bytes());
        let refused = |source| StorageError { operation: "open", path: shown, source };
        let open = || -> io::Result<OwnedFd> {
            match fs::DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
        };
        let directory = open().map_err(refused)?;
        Ok(Self { directory, path: path.to_owned(), groups: Mutex::default() })
    }

    fn known<T>(&self, what: impl FnOnce(&mut HashMap<u64, GroupNames>) -> T) -> T {
        what(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn refused(&self, operation: &'static str, id: u64) -> impl FnOnce(Errno) -> StorageError {
        move |errno| StorageError { operation, path: self.shown(id), source: errno.into() }
    }

    /// Path of a file as people know it.
    #[must_use]
    pub fn shown(&self, id: u64) -> String {
        path::display(self.path.join(name(id)).as_os_str().as_encoded_bytes())
    }

    /// Creates an empty file for reading and writing; one that exists is emptied.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn create(&self, id: u64) -> Result<File, StorageError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let create = || self.open_quietly(id, flags, mode);
        let created = match create() {
            Err(Errno::NOENT) => {
                let above = format!("{:x}", id / IDS_PER_DIRECTORY);
                match rustix::fs::mkdirat(&self.directory, above, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => create(),
                    Err(errno) => Err(errno),
                }
            }
            created => created,
        };
        let file = created.map_err(self.refused("create", id))?;
        self.known(|groups| groups.entry(id / IDS_PER_DIRECTORY).or_default().made += 1);
        Ok(file.into())
    }

    /// Creates an empty file without a name for reading and writing: it goes when it is closed.
    ///
    /// # Errors
    /// If that is refused; `Unsupported` if the file system has no such files.
    pub fn create_unnamed(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, ".", flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`StorageError`] if there is none.
    pub fn open_file(&self, id: u64) -> Result<File, StorageError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(self.open_quietly(id, flags, Mode::empty()).map_err(self.refused("open", id))?.into())
    }

    // Nobody asks for the access times of these files, and each new one has an inode written.
    fn open_quietly(&self, id: u64, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        match rustix::fs::openat(&self.directory, name(id), flags | OFlags::NOATIME, mode) {
            // Only the owner may keep the access time.
            Err(Errno::PERM) => rustix::fs::openat(&self.directory, name(id), flags, mode),
            opened => opened,
        }
    }

    /// What the system tells of a file.
    ///
    /// # Errors
    /// [`StorageError`] if there is none.
    pub fn status(&self, id: u64) -> Result<SparseStatus, StorageError> {
        let stat = rustix::fs::statat(&self.directory, name(id), AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(self.refused("look up", id))?;
        let time = |seconds: i64, nanoseconds: u64| (seconds, u32::try_from(nanoseconds).unwrap_or_default());
        Ok(SparseStatus {
            len: u64::try_from(stat.st_size).unwrap_or_default(),
            allocated: u64::try_from(stat.st_blocks).unwrap_or_default() * 512,
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        })
    }

    /// Removes a file; one that is gone is no error.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn remove(&self, id: u64) -> Result<(), StorageError> {
        match rustix::fs::unlinkat(&self.directory, name(id), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.refused("remove", id)(errno)),
        }
    }

    /// Removes files, several at once, and the directories that are empty then. Those that are gone are no
    /// error. No file is made any more with an id below `next_id`, but for one that is being made just now.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused; some of the files are gone then, and it can be tried again.
    pub fn remove_all(&self, ids: &[u64], next_id: u64) -> Result<(), StorageError> {
        let parts: Vec<&[u64]> = ids.chunks(REMOVED_COUNT).collect();
        side_by_side(&parts, |part| part.iter().try_for_each(|id| self.remove(*id)))?;
        let mut groups: Vec<u64> = ids.iter().map(|id| id / IDS_PER_DIRECTORY).collect();
        groups.sort_unstable();
        groups.dedup();
        let is_past = |group: &u64| (group + 2).saturating_mul(IDS_PER_DIRECTORY) <= next_id;
        groups.into_iter().filter(is_past).for_each(|group| self.remove_group(group));
        Ok(())
    }

    /// Makes the name of a file durable.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn sync_name(&self, id: u64) -> Result<(), StorageError> {
        self.sync_group(id / IDS_PER_DIRECTORY).map_err(self.refused("sync the name of", id))
    }

    // Who finds it synced may rely on it: it is noted when it is done, not when it begins.
    fn sync_group(&self, group: u64) -> Result<(), Errno> {
        let names = self.known(|groups| *groups.entry(group).or_default());
        if names.is_synced() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.directory, format!("{group:x}"), flags, Mode::empty());
        let directory = match opened {
            // It went with its last file.
            Err(Errno::NOENT) => return Ok(()),
            opened => opened?,
        };
        rustix::fs::fsync(&directory)?;
        rustix::fs::fsync(&self.directory)?;
        self.known(|groups| {
            let known = groups.entry(group).or_default();
            known.synced = known.synced.max(Some(names.made));
        });
        Ok(())
    }

    /// Makes all files of the directory, and their names, durable.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn sync(&self) -> Result<(), StorageError> {
        // The kernel takes syncfs(2) no further than the caches of a file system in user space.
        let kind = rustix::fs::fstatfs(&self.directory).map_err(self.refused("look up", 0))?.f_type;
        if kind != FUSE {
            return rustix::fs::syncfs(&self.directory).map_err(self.refused("sync", 0));
        }
        for group in self.groups()? {
            for id in self.ids(group)? {
                match self.open_file(id) {
                    Ok(file) => rustix::fs::fsync(&file).map_err(self.refused("sync", id))?,
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
            self.sync_name(group * IDS_PER_DIRECTORY)?;
        }
        Ok(())
    }

    /// Space of the file system.
    ///
    /// # Errors
    /// [`StorageError`] if that is refused.
    pub fn space(&self) -> Result<FileSystemSpace, StorageError> {
        let space = rustix::fs::fstatvfs(&self.directory).map_err(self.refused("look up", 0))?;
        Ok(FileSystemSpace {
            total: space.f_blocks.saturating_mul(space.f_frsize),
            available: space.f_bavail.saturating_mul(space.f_frsize),
            free_files: space.f_favail,
        })
    }

    /// Groups of files that there are, for [`SparseDirectory::ids`].
    ///
    /// # Errors
    /// [`StorageError`] if the directory cannot be listed.
    pub fn groups(&self) -> Result<Vec<u64>, StorageError> {
        self.hexadecimal_names(&self.path)
    }

    /// Ids of the files of a group; none if the group went with its last file.
    ///
    /// # Errors
    /// [`StorageError`] if the directory cannot be listed.
    pub fn ids(&self, group: u64) -> Result<Vec<u64>, StorageError> {
        let low = match self.hexadecimal_names(&self.path.join(format!("{group:x}"))) {
            Err(error) if error.is_not_found() => Vec::new(),
            listed => listed?,
        };
        Ok(low
            .into_iter()
            .filter(|low| *low < IDS_PER_DIRECTORY)
            .filter_map(|low| group.checked_mul(IDS_PER_DIRECTORY)?.checked_add(low))
            .collect())
    }

    /// Removes the directory of a group if it is empty.
    pub fn remove_group(&self, group: u64) {
        if rustix::fs::unlinkat(&self.directory, format!("{group:x}"), AtFlags::REMOVEDIR).is_ok() {
            self.known(|groups| groups.remove(&group));
        }
    }

    fn hexadecimal_names(&self, path: &Path) -> Result<Vec<u64>, StorageError> {
        let shown = || path::display(path.as_os_str().as_encoded_bytes());
        let refused = |source| StorageError { operation: "list", path: shown(), source };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(path).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name();
            let number = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Finds out whether the file system keeps account of holes in units of `block` bytes: whether what was
    /// not written, was only reserved, or was punched is a hole, and what was written is not.
    ///
    /// # Errors
    /// [`StorageError`] if no file can be made.
    pub fn keeps_holes(&self, id: u64, block: u64) -> Result<bool, StorageError> {
        let file = self.create(id)?;
        let probe = || -> io::Result<bool> {
            file.set_len(8 * block)?;
            file.write_all_at(&[1], 2 * block)?;
            file.write_all_at(&[1], 4 * block)?;
            rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 6 * block, block)?;
            rustix::fs::fallocate(
                &file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                4 * block,
                block,
            )?;
            Ok(seek_data(&file, 0)? == Some(2 * block)
                && seek_hole(&file, 2 * block)? == 3 * block
                && seek_data(&file, 3 * block)?.is_none())
        };
        let kept = probe().unwrap_or(false);
        self.remove(id)?;
        Ok(kept)
    }
}

impl SparseDirectory {
    /// Finds out whether it can be told of a file here whether somebody else has it open ([`openers`]).
    ///
    /// # Errors
    /// [`StorageError`] if no file can be made.
    pub fn tells_openers(&self, id: u64) -> Result<bool, StorageError> {
        let file = self.create(id)?;
        let is_alone = openers::is_open_elsewhere(&file).is_ok_and(|is_open| !is_open);
        let is_seen = self.open_file(id).is_ok_and(|other| {
            let seen = openers::is_open_elsewhere(&file).unwrap_or(false);
            drop(other);
            seen
        });
        self.remove(id)?;
        Ok(is_alone && is_seen)
    }
}

// Does the work with all parts, several at once; ends with the first refusal.
fn side_by_side<T: Sync>(
    parts: &[T],
    work: impl Fn(&T) -> Result<(), StorageError> + Sync,
) -> Result<(), StorageError> {
    let next = AtomicUsize::new(0);
    let take = || {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(part)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("remove".to_owned()).spawn_scoped(scope, take).ok();
        let others: Vec<_> = (1..REMOVER_COUNT.min(parts.len())).map_while(start).collect();
        let own = take();
        others.into_iter().fold(own, |done, other| match other.join() {
            Ok(other) => done.and(other),
            Err(panicked) => std::panic::resume_unwind(panicked),
        })
    })
}

fn name(id: u64) -> String {
    format!("{:x}/{:x}", id / IDS_PER_DIRECTORY, id % IDS_PER_DIRECTORY)
}

/// What the system tells of an open file.
///
/// # Errors
/// If that is refused.
pub fn status(file: &File) -> io::Result<SparseStatus> {
    let metadata = file.metadata()?;
    let time = |seconds, nanoseconds: i64| (seconds, u32::try_from(nanoseconds).unwrap_or_default());
    Ok(SparseStatus {
        len: metadata.len(),
        allocated: metadata.blocks() * 512,
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Makes an empty file share all that is in another one of the same file system, as it is at one moment, which those
/// who write it wait for.
///
/// # Errors
/// If that is refused; `Unsupported` if the file system cannot.
pub fn clone(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

/// The next offset from `offset` on that holds data, if there is any.
///
/// # Errors
/// If that is refused.
pub fn seek_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The next offset from `offset` on that is in a hole; the end of the file counts as one.
///
/// # Errors
/// If `offset` is not in the file.
pub fn seek_hole(file: &File, offset: u64) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, SeekFrom::Hole(offset))?)
}

/// Reserves space for a range, which stays a hole, without changing the length.
///
/// # Errors
/// If there is no space, or the file system cannot.
pub fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, offset, len)?)
}

/// Makes a hole.
///
/// # Errors
/// If the file system cannot.
pub fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
}

/// Makes content durable, with attributes if `all`.
///
/// # Errors
/// If the disk refuses; what was written since the last time is then unknown.
pub fn sync(file: &File, all: bool) -> io::Result<()> {
    if all { file.sync_all() } else { file.sync_data() }
}

/// Copies bytes between files within the kernel; returns how many, 0 at the end of the source.
///
/// # Errors
/// If that is refused.
pub fn copy_range(source: (&File, u64), target: (&File, u64), len: u64) -> io::Result<u64> {
    let (mut from, mut to) = (source.1, target.1);
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 30);
    let copied =
        rustix::fs::copy_file_range(source.0.as_fd(), Some(&mut from), target.0.as_fd(), Some(&mut to), len)?;
    Ok(copied as u64)
}

#[cfg(test)]
mod test {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const FIRST: u64 = 7 * IDS_PER_DIRECTORY;

    fn directory(count: u64) -> (tempfile::TempDir, SparseDirectory, Vec<u64>) {
        let place = tempfile::tempdir().expect("a directory");
        let directory = SparseDirectory::open(&place.path().join("data")).expect("opens");
        let ids: Vec<u64> = (FIRST..FIRST + count).collect();
        for id in &ids {
            directory.create(*id).expect("creates");
        }
        (place, directory, ids)
    }

    #[test]
    fn files_that_are_removed_together_go_with_their_directories_but_not_with_the_last_ones() {
        let (_place, directory, mut ids) = directory(3 * IDS_PER_DIRECTORY);
        let kept = ids.remove(5);
        directory.remove(ids[0]).expect("one that is gone already is no error");
        directory.remove_all(&ids, FIRST + 3 * IDS_PER_DIRECTORY).expect("removes");
        assert_eq!(directory.groups().expect("lists"), [7, 8 + 1], "7 has a file, in 9 some may be made");
        assert_eq!(directory.ids(7).expect("lists"), [kept]);
        assert_eq!(directory.ids(9).expect("lists"), [0; 0]);
        assert_eq!(directory.ids(8).expect("lists what is gone"), [0; 0]);
        directory.sync_name(8 * IDS_PER_DIRECTORY).expect("what is gone has no name to sync");
        directory.create(8 * IDS_PER_DIRECTORY).expect("makes the directory again");
    }

    #[test]
    fn who_reads_a_file_leaves_no_access_time_behind() {
        let (_place, directory, ids) = directory(1);
        let flags = [directory.create(ids[0]).expect("creates"), directory.open_file(ids[0]).expect("opens")]
            .map(|file| rustix::fs::fcntl_getfl(file).expect("tells"));
        assert!(flags.into_iter().all(|flags| flags.contains(OFlags::NOATIME)), "{flags:?}");
    }

    #[test]
    fn who_removes_many_files_waits_for_several_of_them_at_once() {
        let (met, others) = mpsc::sync_channel(0);
        let others = Mutex::new(others);
        // The first of two ends only after the second has begun.
        side_by_side(&[0, 1], |part| {
            match part {
                0 => others.lock().expect("one").recv_timeout(Duration::from_secs(60)).expect("two at once"),
                _ => met.send(()).expect("the first one waits"),
            }
            Ok(())
        })
        .expect("both end");
    }

    #[test]
    fn a_file_that_cannot_be_removed_is_told_and_can_be_tried_again() {
        let (place, directory, ids) = directory(600);
        let path = place.path().join("data/7/200");
        std::fs::remove_file(&path).expect("removes");
        std::fs::create_dir(&path).expect("something that is no file");
        let refused = directory.remove_all(&ids, FIRST + 600).expect_err("a directory is in the way");
        assert!(refused.path.ends_with("data/7/200"), "{refused}");
        std::fs::remove_dir(&path).expect("removes");
        directory.remove_all(&ids, FIRST + 600).expect("removes the rest");
        assert_eq!(directory.ids(7).expect("lists"), [0; 0]);
    }
}
