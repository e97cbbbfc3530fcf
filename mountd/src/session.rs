//! The connection to the kernel: begun by the first server, taken over by those after it.
//!
//! The kernel says INIT once, to the first server, and fuser's session insists on it. So a later session gets
//! a socket from which it reads an INIT that was made up; then the live descriptor is put in the socket's
//! place, and the kernel is asked to send again what the dead server did not answer.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use crate::filesystem::ReelFilesystem;
use crate::fuse_fd;

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
fn resume(
    filesystem: ReelFilesystem,
    live: BorrowedFd<'_>,
    config: &Config,
) -> io::Result<Session<ReelFilesystem>> {
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
    fuse_fd::replace(session.as_fd(), live)?;
    // struct fuse_out_header: length, code of the notification, unique 0.
    rustix::io::write(&session, &words(&[HEADER_LEN, NOTIFY_RESEND, 0, 0]))?;
    Ok(session)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A connection on which requests are answered.
#[derive(Debug)]
pub(crate) struct Connection(Session<ReelFilesystem>);

impl Connection {
    /// Begins a connection, or takes over one that another server left.
    ///
    /// # Errors
    /// The refusal of the kernel or of the session.
    pub(crate) fn new(filesystem: ReelFilesystem, fuse: &OwnedFd, is_resumed: bool) -> io::Result<Self> {
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(1);
        let session = if is_resumed {
            resume(filesystem, fuse.as_fd(), &config)
        } else {
            Session::from_fd(filesystem, fuse.try_clone()?, SessionACL::All, config)
        };
        Ok(Self(session?))
    }

    /// What tells the kernel of changes.
    pub(crate) fn notices(&self) -> Notices {
        Notices(self.0.notifier())
    }

    /// Answers until the mount is gone.
    ///
    /// # Errors
    /// What ended the connection, if not that.
    pub(crate) fn run(self) -> io::Result<()> {
        self.0.run()
    }
}

/// Tells the kernel what it must no longer keep; not from the thread that answers requests.
///
/// It fails when the kernel does not know the inode; then there is nothing to forget.
#[derive(Debug)]
pub(crate) struct Notices(Notifier);

impl Notices {
    /// Makes the kernel forget attributes and content of an inode.
    pub(crate) fn forget(&self, number: u64) {
        if let Err(error) = self.0.inval_inode(INodeNo(number), 0, 0) {
            log::debug!("inode {number}: {error}");
        }
    }

    /// Makes the kernel forget what a name leads to, or that there is none.
    pub(crate) fn forget_name(&self, parent: u64, name: &str) {
        if let Err(error) = self.0.inval_entry(INodeNo(parent), OsStr::new(name)) {
            log::debug!("inode {parent}, name {name}: {error}");
        }
    }
}
