//! What became of bytes that the system holds in memory to write later.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

// cachestat(2); its number is the same on all machines that Linux runs on with 64 bits but Alpha and MIPS.
const CACHESTAT: libc::c_long = 451;

/// Tells whether the system failed to write bytes of a file to the disk: by itself, some time after they were
/// written, or when somebody synced the file. Nothing is written or waited for. Each failure is told once to each
/// open file, and to one that is opened later only if it was told to nobody before.
///
/// # Errors
/// The failure, `EIO` or `ENOSPC` mostly.
#[allow(unsafe_code, reason = "the call has no safe binding")]
pub fn check(file: &File) -> io::Result<()> {
    // The first page, should it be on its way to the disk, is waited for; no other is looked at.
    // SAFETY: the call takes numbers only; the descriptor is open for as long as `file` is borrowed.
    let refused = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 1, libc::SYNC_FILE_RANGE_WAIT_BEFORE) };
    if refused == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // This file system does not tell.
        Some(libc::EINVAL | libc::ESPIPE | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}

/// Tells whether the system holds bytes of a file in memory that are not on the disk yet, or on their way there;
/// `true` where it does not tell (before Linux 6.5).
#[must_use]
pub fn is_pending(file: &File) -> bool {
    // A length of 0 is the rest of the file.
    is_range_pending(file, 0, 0)
}

/// The same of `len` bytes from `offset` on.
#[must_use]
#[allow(unsafe_code, reason = "the call has no binding")]
pub fn is_range_pending(file: &File, offset: u64, len: u64) -> bool {
    let range = [offset, len];
    // Pages in memory, of these dirty and on their way to the disk; pages that were in memory, and a while ago.
    let mut found = [0_u64; 5];
    // SAFETY: the kernel reads two and writes five integers of 64 bits, both of which live until it returns; the
    // descriptor is open for as long as `file` is borrowed.
    let refused =
        unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), found.as_mut_ptr(), 0_u32) };
    let [_, dirty, on_their_way, ..] = found;
    refused != 0 || dirty > 0 || on_their_way > 0
}

#[cfg(test)]
mod test {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_is_said_of_a_file_that_can_be_written() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"written later").unwrap();
        check(&file).unwrap();
        file.sync_all().unwrap();
        check(&file).unwrap();
    }

    #[test]
    fn what_was_written_is_pending() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"written later").unwrap();
        assert!(is_pending(&file));
    }
}
