//! The lister: a process that lists directories of staging, so that the kernel has the attributes of what is in
//! them again before anybody asks for each.
//!
//! It is a process of its own because a process that waits for an answer of the mount cannot end before it comes:
//! a server that was killed while one of its threads listed would never be gone, and never be replaced.
//!
//! Standard input is a sequence of batches: a count of directories as `u32`, then for each its inode number as
//! `u64` and how many entries to list at most as `u64`, all in the order of the machine's bytes. When a batch is
//! done, one byte goes to standard output. The process ends with its input.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};

use crate::fuse_fd;

// As much as the kernel asks a server for at once.
const BUFFER_LEN: usize = 64 << 10;
/// Length of one directory in a batch.
pub(crate) const ITEM_LEN: usize = 16;

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
        for _ in 0..u32::from_ne_bytes(count) {
            let mut item = [0; ITEM_LEN];
            input.read_exact(&mut item)?;
            let (node, entry_count) = parse(item);
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

/// Appends a directory to a batch.
pub(crate) fn put(batch: &mut Vec<u8>, node: u64, entry_count: u64) {
    batch.extend_from_slice(&node.to_ne_bytes());
    batch.extend_from_slice(&entry_count.to_ne_bytes());
}

fn parse(item: [u8; ITEM_LEN]) -> (u64, u64) {
    let (node, count) = item.split_at(ITEM_LEN / 2);
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    (number(node), number(count))
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
        let mut batch = Vec::new();
        put(&mut batch, 0x0010_0000_0000_0005, 7);
        assert_eq!(parse(batch.try_into().unwrap()), (0x0010_0000_0000_0005, 7));
    }
}
