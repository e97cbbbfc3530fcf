//! Takes over a FUSE connection from a server that died.
//!
//! The kernel says INIT once, to the first server, and fuser's session insists on it. So the session gets a
//! socket from which it reads an INIT that was made up; then the live descriptor is put in the socket's
//! place, and the kernel is asked to send again what the dead server did not answer.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use fuser::{Config, Filesystem, Session, SessionACL};
use nix::fcntl::OFlag;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

const INIT_LEN: u32 = 104;
const INIT_OPCODE: u32 = 26;
const UNIQUE: u32 = 1;
const PROTOCOL: [u32; 2] = [7, 45];
const READ_AHEAD_LEN: u32 = 128 << 10;
// All but the reserved flag: what the kernel grants was settled with the first server.
const FLAGS: u32 = !(1 << 31);
const FLAGS_2: u32 = u32::MAX;
const HEADER_LEN: u32 = 16;
const NOTIFY_RESEND: u32 = 7;

/// Makes a session on a connection whose INIT was answered before, and asks for unanswered requests.
///
/// # Errors
/// The refusal of the kernel or of the session.
pub(crate) fn resume<F: Filesystem>(
    filesystem: F,
    live: BorrowedFd<'_>,
    config: &Config,
) -> io::Result<Session<F>> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // struct fuse_in_header: length, opcode, unique, node, user, group, process, padding.
    let header = [INIT_LEN, INIT_OPCODE, UNIQUE, 0, 0, 0, 0, 0, 0, 0];
    // struct fuse_init_in: version, read-ahead, flags, more flags, zeros.
    let body = [PROTOCOL[0], PROTOCOL[1], READ_AHEAD_LEN, FLAGS, FLAGS_2];
    let mut message = words(&header);
    message.extend(words(&body));
    message.resize(INIT_LEN as usize, 0);
    send(&ours, &message, SendFlags::empty())?;
    let session = Session::from_fd(filesystem, theirs, SessionACL::All, config.clone())?;
    drop(ours);
    replace(session.as_fd(), live)?;
    // struct fuse_out_header: length, code of the notification, unique 0.
    rustix::io::write(&session, &words(&[HEADER_LEN, NOTIFY_RESEND, 0, 0]))?;
    Ok(session)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Makes `target` a duplicate of `live`.
#[allow(unsafe_code, reason = "there is no safe way to replace a descriptor that another object owns")]
fn replace(target: BorrowedFd<'_>, live: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the number is that of an open descriptor, which the borrow keeps open. `ManuallyDrop` keeps
    // this second owner from closing it; `dup3` closes the socket and opens the duplicate under the same
    // number in one step, so that the session owns an open descriptor at every moment.
    let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(target.as_raw_fd()) });
    nix::unistd::dup3(live, &mut target, OFlag::O_CLOEXEC)?;
    Ok(())
}
