//! Puts one descriptor in the place of another that somebody else owns.

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
