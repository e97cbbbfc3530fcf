//! Receives requests and has them answered, until staging is unmounted.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reelfs::repo::Repository;
use reelfs::repo::staging::{MountClaims, OpenMode};

use crate::bell::Bell;
use crate::handover;
use crate::pool::Pool;
use crate::spin::{self, Gate};
use crate::staging::adapter::Adapter;
use crate::staging::backing::Backings;
use crate::staging::clients::Clients;
use crate::staging::commands::Commands;
use crate::staging::counts::Counts;
use crate::staging::directories::Directories;
use crate::staging::handles::Handles;
use crate::staging::renewal::Renewal;
use crate::staging::write_back::KernelWriteBack;
use crate::wire::channel::{Channel, Received, Reply};
use crate::wire::init::Agreed;
use crate::wire::request::{Operation, decode};

const WORKER_COUNT: usize = 4;
// Who gives up the processor for a moment and gets it back later than this does not share it with a client alone, which
// uses it for less until its next request: there is more than one other. A thread that sleeps is then served before one
// that was always there. To find that out anew costs so much that it is done seldom.
const CROWDED: Duration = Duration::from_millis(4);
const CROWDED_PERIOD: Duration = Duration::from_secs(1);

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
    /// Rung when a generation was made.
    pub(crate) bell: Arc<Bell>,
    /// Another server began the connection.
    pub(crate) is_resumed: bool,
    /// Where staging is mounted.
    pub(crate) path: PathBuf,
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
    // Absent if another process answers.
    commands: Option<Commands>,
}

impl Session {
    /// Begins a connection, or takes over one that a server before this one began.
    ///
    /// # Errors
    /// The refusal of the kernel.
    pub(crate) fn start(inputs: Inputs, handed: handover::Staging) -> io::Result<Self> {
        spin::set_blocking(&handed.fuse, true);
        let channel = Channel::new(handed.fuse);
        let (handles, agreed) = Handles::open(handed.handles)?;
        let directories = Directories::open(handed.listings, handles.era())?;
        let agreed = match agreed {
            Some(agreed) if inputs.is_resumed => agreed,
            _ => {
                let agreed = agree(&channel, inputs.passthrough)?;
                handles.agree(agreed)?;
                agreed
            }
        };
        let mode = if inputs.is_resumed { OpenMode::Takeover } else { OpenMode::Fresh };
        let claims = MountClaims::from_descriptor(handed.claims);
        let clients = Clients::new(inputs.repository, mode, claims, KernelWriteBack::new(&inputs.path));
        let backings = Backings::start(&channel, agreed.has_passthrough())?;
        clients.let_go_by(backings.let_go());
        let pool = Pool::start(WORKER_COUNT)?;
        let renewal = Renewal::start(&channel, &inputs.path)?;
        let adapter =
            Adapter::new(Arc::clone(&channel), clients, (handles, directories), (backings, renewal), pool);
        adapter.clients.start_reclaiming()?;
        adapter.clients.start_watching_space()?;
        if inputs.is_resumed {
            adapter.restore();
            channel.ask_again()?;
        }
        let commands = match Commands::start(adapter.control(inputs.bell)) {
            Ok(commands) => Some(commands),
            Err(error) => {
                log::warn!("commands of staging are not answered: {error}");
                None
            }
        };
        Ok(Self { channel, adapter, gate: inputs.gate, counts: inputs.counts, commands })
    }

    /// Answers until staging is unmounted.
    ///
    /// # Errors
    /// What ended the connection, if not that.
    pub(crate) fn run(self) -> io::Result<()> {
        let mut buffer = Channel::buffer();
        let mut wait = Wait {
            channel: &self.channel,
            gate: self.gate.as_deref(),
            is_spinning: false,
            last: now(),
            crowded: None,
        };
        loop {
            match self.channel.receive(&mut buffer)? {
                Received::Message(len) => {
                    let message = buffer.get(..len).unwrap_or_default();
                    wait.came(self.answer(message));
                }
                Received::Nothing => wait.nothing(),
                Received::End => break,
            }
        }
        wait.rest();
        if let Some(commands) = self.commands {
            commands.end();
        }
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

// Waits for the next request, without sleeping as long as that pays.
struct Wait<'a> {
    channel: &'a Channel,
    gate: Option<&'a Gate>,
    is_spinning: bool,
    last: Instant,
    // Until when others need the processors more.
    crowded: Option<Instant>,
}

impl Wait<'_> {
    fn came(&mut self, pace: Pace) {
        if pace == Pace::Rest {
            return self.rest();
        }
        let Some(gate) = self.gate else { return };
        self.last = now();
        if self.crowded.is_some_and(|end| self.last < end) {
            return;
        }
        if !self.is_spinning && gate.enter() {
            self.is_spinning = true;
            spin::set_blocking(self.channel.as_fd(), false);
        }
    }

    fn rest(&mut self) {
        if std::mem::take(&mut self.is_spinning)
            && let Some(gate) = self.gate
        {
            spin::set_blocking(self.channel.as_fd(), true);
            gate.leave();
        }
    }

    // There was no request; at rest, to receive one waits for it.
    fn nothing(&mut self) {
        let begun = now();
        if !self.is_spinning || begun.duration_since(self.last) >= spin::PAUSE {
            return self.rest();
        }
        // The client, or a thread that makes files, may need this processor.
        thread::yield_now();
        let back = now();
        if back.duration_since(begun) > CROWDED {
            self.crowded = Some(back + CROWDED_PERIOD);
            self.rest();
        }
    }
}
