//! What only raw descriptors can do: put one in the place of another, register backing files, open an inode by
//! its number.

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

// struct file_handle of name_to_handle_at(2) with what fuse_encode_fh() of Linux puts into it: the upper and the
// lower half of the inode number, and its generation.
#[repr(C)]
struct NodeHandle {
    len_bytes: u32,
    kind: i32,
    upper: u32,
    lower: u32,
    generation: u32,
}

// FILEID_INO64_GEN.
const NODE_HANDLE_KIND: i32 = 0x81;

/// Opens the directory with an inode number that the kernel has in memory; generation 0, as all of ours have.
///
/// # Errors
/// The refusal of the kernel: `ESTALE` if it knows no such inode, `EPERM` if this process may not.
pub(crate) fn open_directory(mount: BorrowedFd<'_>, node: u64) -> io::Result<OwnedFd> {
    open(mount, node, libc::O_DIRECTORY)
}

/// Opens the regular file with an inode number in the same way, for reading.
///
/// # Errors
/// As for [`open_directory`].
pub(crate) fn open_file(mount: BorrowedFd<'_>, node: u64) -> io::Result<OwnedFd> {
    open(mount, node, libc::O_NONBLOCK)
}

#[allow(unsafe_code, reason = "there is no safe binding")]
fn open(mount: BorrowedFd<'_>, node: u64, flags: i32) -> io::Result<OwnedFd> {
    let lower = u32::try_from(node & u64::from(u32::MAX)).unwrap_or_default();
    let upper = u32::try_from(node >> 32).unwrap_or_default();
    let mut handle = NodeHandle { len_bytes: 12, kind: NODE_HANDLE_KIND, upper, lower, generation: 0 };
    let flags = flags | libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is open as long as it is borrowed; the handle has the length that it says, twelve
    // bytes behind the two fields, and lives until the call returns.
    let fd = unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes back what the kernel has of a file in memory, and waits until the server has it; not until it is on a disk.
///
/// # Errors
/// The refusal of the kernel, or of the server.
#[allow(unsafe_code, reason = "there is no safe binding")]
pub(crate) fn write_back(file: BorrowedFd<'_>) -> io::Result<()> {
    let all =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes numbers only; the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, all) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
