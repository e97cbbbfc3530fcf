//! The descriptor of a connection: requests come from it, answers and notices go to it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::wire::answer::Body;
use crate::wire::init::CONTENT_LEN_MAX;
use crate::wire::opcode;

// The kernel asks for room for the headers of a write besides its content.
const BUFFER_LEN: usize = CONTENT_LEN_MAX as usize + 4096;
const HEADER_LEN: u32 = 16;

/// Something that came from the descriptor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message of this length is in the buffer.
    Message(usize),
    /// There is none; the descriptor does not wait.
    Nothing,
    /// The file system was unmounted or the connection ended.
    End,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Channel {
    pub(crate) fn new(fd: OwnedFd) -> Arc<Self> {
        Arc::new(Self { fd })
    }

    /// A buffer for every message.
    pub(crate) fn buffer() -> Vec<u8> {
        vec![0; BUFFER_LEN]
    }

    /// Receives a message.
    ///
    /// # Errors
    /// What the kernel says, unless it is that there is no more.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        match rustix::io::read(&self.fd, buffer) {
            Ok(0) | Err(Errno::NODEV) => Ok(Received::End),
            Ok(len) => Ok(Received::Message(len)),
            // The request was taken back before it could be read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => Ok(Received::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    fn send(&self, unique: u64, code: i32, parts: &[&[u8]]) -> Result<(), Errno> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).ok().and_then(|len| len.checked_add(HEADER_LEN)).ok_or(Errno::TOOBIG)?;
        let mut header = [0; HEADER_LEN as usize];
        let fields = len.to_ne_bytes().into_iter().chain(code.to_ne_bytes()).chain(unique.to_ne_bytes());
        for (place, byte) in header.iter_mut().zip(fields) {
            *place = byte;
        }
        let mut slices = [IoSlice::new(&header), IoSlice::new(&[]), IoSlice::new(&[])];
        for (slice, part) in slices.iter_mut().skip(1).zip(parts) {
            *slice = IoSlice::new(part);
        }
        let count = 1 + parts.len();
        rustix::io::writev(&self.fd, slices.get(..count).unwrap_or(&slices)).map(|_| ())
    }

    /// Asks for the requests that a dead server left unanswered.
    ///
    /// # Errors
    /// The refusal of the kernel.
    pub(crate) fn ask_again(&self) -> io::Result<()> {
        Ok(self.notify(opcode::NOTIFY_RESEND, &[&[]])?)
    }

    /// Makes the kernel forget the attributes of an inode, and if `with_content` what it has read of it.
    pub(crate) fn forget(&self, number: u64, with_content: bool) {
        let mut body = Body::default();
        body.u64(number);
        // Before the beginning: no content.
        body.i64(if with_content { 0 } else { -1 });
        body.i64(0);
        self.tell(opcode::NOTIFY_INVALIDATE_INODE, &[body.bytes()]);
    }

    /// Makes the kernel forget what a name leads to, or that there is none.
    pub(crate) fn forget_name(&self, parent: u64, name: &[u8]) {
        let mut body = Body::default();
        body.u64(parent);
        body.u32(u32::try_from(name.len()).unwrap_or_default());
        body.u32(0);
        let mut name = name.to_vec();
        name.push(0);
        self.tell(opcode::NOTIFY_INVALIDATE_ENTRY, &[body.bytes(), &name]);
    }

    /// Makes the kernel look up each name again before it is used next. Kernels before Linux 6.16 cannot.
    pub(crate) fn look_up_all_again(&self) {
        self.tell(opcode::NOTIFY_NEW_EPOCH, &[&[]]);
    }

    // The kernel may not know the object, and then has nothing to forget.
    fn tell(&self, code: u32, parts: &[&[u8]]) {
        if let Err(errno) = self.notify(code, parts) {
            log::trace!("notice {code}: {errno}");
        }
    }

    fn notify(&self, code: u32, parts: &[&[u8]]) -> Result<(), Errno> {
        self.send(0, i32::try_from(code).unwrap_or_default(), parts)
    }
}

/// Answers one request, from any thread; dropped without an answer it says EIO.
#[derive(Debug)]
pub(crate) struct Reply {
    channel: Arc<Channel>,
    unique: u64,
    is_answered: bool,
}

impl Reply {
    pub(crate) fn new(channel: &Arc<Channel>, unique: u64) -> Self {
        Self { channel: Arc::clone(channel), unique, is_answered: false }
    }

    fn send(&mut self, code: i32, parts: &[&[u8]]) {
        self.is_answered = true;
        match self.channel.send(self.unique, code, parts) {
            Ok(()) => {}
            // Nobody waits for it any more.
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => log::warn!("cannot answer the kernel: {errno}"),
        }
    }

    /// Says that it is done.
    pub(crate) fn done(mut self) {
        self.send(0, &[]);
    }

    /// Says what is asked for.
    pub(crate) fn body(mut self, body: &Body) {
        self.send(0, &[body.bytes()]);
    }

    /// Says what is asked for, in bytes.
    pub(crate) fn bytes(mut self, bytes: &[u8]) {
        self.send(0, &[bytes]);
    }

    /// Says an error number.
    pub(crate) fn error(mut self, errno: i32) {
        self.send(-errno.abs(), &[]);
    }

    /// Needs no answer.
    pub(crate) fn none(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_answered {
            self.send(-libc::EIO, &[]);
        }
    }
}
