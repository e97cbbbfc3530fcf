//! The lister: a process that asks the mount for what its server wants to be asked for.
//!
//! It lists directories of staging, so that the kernel has the attributes of what is in them again before anybody asks
//! for each, and makes the kernel write back what programs have written through mappings of files.
//!
//! It is a process of its own because a process that waits for an answer of the mount cannot end before it comes:
//! a server that was killed while one of its threads listed would never be gone, and never be replaced.
//!
//! Standard input is a sequence of batches: a count as `u32`, whose highest bit tells files from directories; then for
//! each its inode number as `u64` and, of a directory, how many entries to list at most as `u64`, of a file 0; all in
//! the order of the machine's bytes. When a batch is done, one byte goes to standard output. The process ends with its
//! input.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};

use crate::fuse_fd;

// As much as the kernel asks a server for at once.
const BUFFER_LEN: usize = 64 << 10;
// Length of a directory or file in a batch.
const ITEM_LEN: usize = 16;
// In a count: these are files.
const ARE_FILES: u32 = 1 << 31;

/// Lists what standard input names below the mount at `path`, until the input ends.
///
/// # Errors
/// The refusal of the system, if it holds for all directories.
pub(crate) fn run(path: &Path) -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_LEN];
    let mut count = [0; 4];
    while input.read_exact(&mut count).is_ok() {
        // Held for one batch only: it keeps the mount busy.
        let mount = open_mount(path)?;
        let count = u32::from_ne_bytes(count);
        for _ in 0..count & !ARE_FILES {
            let mut item = [0; ITEM_LEN];
            input.read_exact(&mut item)?;
            let (node, entry_count) = parse(item);
            if count & ARE_FILES != 0 {
                write_back(mount.as_fd(), node)?;
                continue;
            }
            match fuse_fd::open_directory(mount.as_fd(), node) {
                Ok(directory) => {
                    list(directory.as_fd(), entry_count, &mut buffer);
                    look_up(&directory);
                }
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Err(error),
                // It was removed, or the kernel has forgotten it: nobody needs its attributes.
                Err(error) => log::trace!("directory {node:x}: {error}"),
            }
        }
        drop(mount);
        output.write_all(&[0])?;
    }
    Ok(())
}

/// A batch of directories to be listed: inode numbers, and how many entries of each at most.
pub(crate) fn list_batch(directories: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    batch(directories, 0)
}

/// A batch of files to be written back: inode numbers.
pub(crate) fn write_back_batch(files: impl Iterator<Item = u64>) -> Vec<u8> {
    batch(files.map(|node| (node, 0)), ARE_FILES)
}

fn batch(items: impl Iterator<Item = (u64, u64)>, kind: u32) -> Vec<u8> {
    let mut batch = vec![0; size_of::<u32>()];
    let mut count = kind;
    for (node, entry_count) in items {
        batch.extend_from_slice(&node.to_ne_bytes());
        batch.extend_from_slice(&entry_count.to_ne_bytes());
        count += 1;
    }
    for (place, byte) in batch.iter_mut().zip(count.to_ne_bytes()) {
        *place = byte;
    }
    batch
}

fn parse(item: [u8; ITEM_LEN]) -> (u64, u64) {
    let (node, count) = item.split_at(ITEM_LEN / 2);
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    (number(node), number(count))
}

fn write_back(mount: BorrowedFd<'_>, node: u64) -> io::Result<()> {
    match fuse_fd::open_file(mount, node).and_then(|file| fuse_fd::write_back(file.as_fd())) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(error),
        Err(error) => {
            log::trace!("file {node:x}: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn open_mount(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn list(directory: BorrowedFd<'_>, entry_count: u64, buffer: &mut [MaybeUninit<u8>]) {
    let mut listing = RawDir::new(directory, buffer);
    let mut count = 0;
    while let Some(entry) = listing.next() {
        let Ok(entry) = entry else { return };
        count += 1;
        if count > entry_count {
            return;
        }
        let name = entry.file_name().to_owned();
        if listing.is_buffer_empty() {
            // The kernel goes on to ask for attributes if somebody uses those that it was told.
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
            let _used = rustix::fs::statx(directory, name, flags, StatxFlags::TYPE);
        }
    }
}

// The kernel does not trust its name for a directory that was opened by number: it looks it up once more, which
// is better done now.
fn look_up(directory: &OwnedFd) {
    if let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())) {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let _known = rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE);
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_directory_in_a_batch_is_read_as_it_was_put() {
        let batch = list_batch([(0x0010_0000_0000_0005, 7)].into_iter());
        let (count, item) = batch.split_at(size_of::<u32>());
        assert_eq!(count, 1_u32.to_ne_bytes());
        assert_eq!(parse(item.try_into().unwrap()), (0x0010_0000_0000_0005, 7));
        let files = write_back_batch([1, 2].into_iter());
        assert_eq!(files[..4], (ARE_FILES | 2).to_ne_bytes());
    }
}
