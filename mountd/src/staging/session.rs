//! Receives requests and has them answered, until staging is unmounted.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use reelfs::repo::Repository;
use reelfs::repo::staging::OpenMode;

use crate::pool::Pool;
use crate::spin::{self, Gate};
use crate::staging::adapter::Adapter;
use crate::staging::backing::Backings;
use crate::staging::clients::Clients;
use crate::staging::control::Control;
use crate::staging::counts::Counts;
use crate::staging::handles::Handles;
use crate::wire::channel::{Channel, Received, Reply};
use crate::wire::init::Agreed;
use crate::wire::request::{Operation, decode};

const WORKER_COUNT: usize = 4;

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The repository.
    pub(crate) repository: Arc<Repository>,
    /// The kernel may write files itself.
    pub(crate) passthrough: bool,
    /// Whose turn it is to spin; absent: nobody spins.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Counts the requests.
    pub(crate) counts: Arc<Counts>,
    /// Another server began the connection.
    pub(crate) is_resumed: bool,
}

/// How the next request is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It will come soon.
    Spin,
    /// Other threads have work that needs the processor.
    Rest,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Session {
    channel: Arc<Channel>,
    adapter: Adapter,
    gate: Option<Arc<Gate>>,
    counts: Arc<Counts>,
}

impl Session {
    /// Begins a connection, or takes over one that a server before this one began.
    ///
    /// # Errors
    /// The refusal of the kernel.
    pub(crate) fn start(inputs: Inputs, fuse: OwnedFd, table: OwnedFd) -> io::Result<Self> {
        spin::set_blocking(&fuse, true);
        let channel = Channel::new(fuse);
        let (handles, agreed) = Handles::open(table)?;
        let agreed = match agreed {
            Some(agreed) if inputs.is_resumed => agreed,
            _ => {
                let agreed = agree(&channel, inputs.passthrough)?;
                handles.agree(agreed)?;
                agreed
            }
        };
        spin::set_blocking(channel.as_fd(), false);
        let mode = if inputs.is_resumed { OpenMode::Takeover } else { OpenMode::Fresh };
        let clients = Clients::new(inputs.repository, mode);
        let backings = Backings::start(&channel, agreed.has_passthrough())?;
        let pool = Pool::start(WORKER_COUNT)?;
        let adapter = Adapter::new(Arc::clone(&channel), clients, handles, backings, pool);
        adapter.clients.start_reclaiming()?;
        if inputs.is_resumed {
            adapter.restore();
            channel.ask_again()?;
        }
        Ok(Self { channel, adapter, gate: inputs.gate, counts: inputs.counts })
    }

    /// What other threads may do with the trees.
    pub(crate) fn control(&self) -> Control {
        self.adapter.control()
    }

    /// Answers until staging is unmounted.
    ///
    /// # Errors
    /// What ended the connection, if not that.
    pub(crate) fn run(self) -> io::Result<()> {
        let mut buffer = Channel::buffer();
        let mut wait = Wait { gate: self.gate.as_deref(), is_spinning: false, last: now() };
        loop {
            match self.channel.receive(&mut buffer)? {
                Received::Message(len) => {
                    let message = buffer.get(..len).unwrap_or_default();
                    wait.came(self.answer(message));
                }
                Received::Nothing => wait.wait(&self.channel),
                Received::End => break,
            }
        }
        wait.rest();
        self.adapter.close();
        Ok(())
    }

    fn answer(&self, message: &[u8]) -> Pace {
        match decode(message) {
            Ok((header, operation)) => {
                self.counts.count(header.opcode);
                let reply = Reply::new(&self.channel, header.unique);
                self.adapter.handle(&header, operation, reply)
            }
            Err(unique) => {
                log::error!("a message of {} bytes from the kernel is not understood", message.len());
                if let Some(unique) = unique {
                    Reply::new(&self.channel, unique).error(libc::EIO);
                }
                Pace::Spin
            }
        }
    }
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "the daemon is the edge at which time comes in")]
    Instant::now()
}

fn agree(channel: &Arc<Channel>, passthrough: bool) -> io::Result<Agreed> {
    let mut buffer = Channel::buffer();
    let len = match channel.receive(&mut buffer)? {
        Received::Message(len) => len,
        _ => return Err(io::ErrorKind::NotConnected.into()),
    };
    let Ok((header, Operation::Init { minor, read_ahead_len, flags })) =
        decode(buffer.get(..len).unwrap_or_default())
    else {
        return Err(io::Error::other("the kernel did not begin the connection"));
    };
    let reply = Reply::new(channel, header.unique);
    match Agreed::new(flags, passthrough) {
        Some(agreed) => {
            reply.body(&agreed.answer(minor, read_ahead_len));
            Ok(agreed)
        }
        None => {
            reply.error(libc::EPROTO);
            Err(io::Error::other("the kernel is too old for a writable mount; Linux 5.13 is needed"))
        }
    }
}

struct Wait<'a> {
    gate: Option<&'a Gate>,
    is_spinning: bool,
    last: Instant,
}

impl Wait<'_> {
    fn came(&mut self, pace: Pace) {
        match pace {
            Pace::Spin => self.last = now(),
            Pace::Rest => self.rest(),
        }
        if pace == Pace::Spin && !self.is_spinning {
            self.is_spinning = self.gate.is_some_and(Gate::enter);
        }
    }

    fn rest(&mut self) {
        if std::mem::take(&mut self.is_spinning)
            && let Some(gate) = self.gate
        {
            gate.leave();
        }
    }

    fn wait(&mut self, channel: &Channel) {
        if self.is_spinning && self.last.elapsed() < spin::PAUSE {
            // The client, or a thread that makes files, may need this processor.
            return thread::yield_now();
        }
        self.rest();
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        if let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
            log::debug!("poll: {errno}");
        }
    }
}
