//! What only raw descriptors can do: put one in the place of another, and register backing files.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::OFlag;

/// Makes `target` a duplicate of `live`.
///
/// # Errors
/// The refusal of the kernel.
#[allow(unsafe_code, reason = "there is no safe way to replace a descriptor that another object owns")]
pub(crate) fn replace(target: BorrowedFd<'_>, live: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number is that of an open descriptor, which the borrow keeps open. `ManuallyDrop` keeps
    // this second owner from closing it; `dup3` closes the socket and opens the duplicate under the same
    // number in one step, so that the session owns an open descriptor at every moment.
    let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(target.as_raw_fd()) });
    nix::unistd::dup3(live, &mut target, OFlag::O_CLOEXEC)?;
    Ok(())
}

// struct fuse_backing_map: the descriptor, flags, padding; FUSE_DEV_IOC_BACKING_OPEN and _CLOSE, Linux 6.9.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

const BACKING_OPEN: libc::c_ulong = 0x4010_e501;
const BACKING_CLOSE: libc::c_ulong = 0x4004_e502;

/// Registers a file that the kernel may read and write itself, and returns its number in the connection.
///
/// # Errors
/// The refusal of the kernel: `EPERM` if this process may not, or passthrough was not agreed on.
#[allow(unsafe_code, reason = "the request has no safe binding")]
pub(crate) fn open_backing(connection: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<u32> {
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: both descriptors are open as long as they are borrowed, and the request reads exactly one
    // `BackingMap`, which lives until it returns.
    let number = unsafe { libc::ioctl(connection.as_raw_fd(), BACKING_OPEN, &raw const map) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Takes back the registration of a backing file; open files keep theirs.
///
/// # Errors
/// The refusal of the kernel.
#[allow(unsafe_code, reason = "the request has no safe binding")]
pub(crate) fn close_backing(connection: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed, and the request reads exactly one `u32`.
    let result = unsafe { libc::ioctl(connection.as_raw_fd(), BACKING_CLOSE, &raw const number) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
