//! An iSCSI target (RFC 7143) in front of a library: one target, logical unit 0 the changer, 1 and up the drives.
//!
//! Sessions have one connection and error recovery level 0. A connection has a thread that reads, and one for
//! each logical unit that works: a drive that winds its tape keeps neither pings nor the changer waiting. What
//! an initiator can make the target hold is bounded: connections, commands, and bytes of data of all together.

mod connection;
mod login;
mod negotiation;
mod session;
mod task;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::error::EmulatorError;
use super::library::EmulatedLibrary;
use crate::scsi::iscsi::chap::Credentials;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Most bytes of data that all connections together may hold.
const DATA_LEN_MAX: usize = 256 << 20;

/// Random bytes, for challenges.
pub type RandomBytes = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// How a library shows itself.
#[derive(Clone)]
pub struct TargetSettings {
    /// Name of the target, an IQN.
    pub name: String,
    /// Who may log in, and the proof that is asked for; nobody is asked for any if there is none.
    pub initiator: Option<Credentials>,
    /// How the target proves itself to initiators that ask for it.
    pub target: Option<Credentials>,
    /// Where challenges come from.
    pub random: RandomBytes,
}

impl fmt::Debug for TargetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetSettings")
            .field("name", &self.name)
            .field("initiator", &self.initiator)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    library: EmulatedLibrary,
    settings: TargetSettings,
    is_stopping: AtomicBool,
    /// Bytes of data that connections hold.
    held_len: AtomicUsize,
    next_connection: AtomicU64,
    /// Sockets of connections, to close them from outside.
    sockets: Mutex<HashMap<u64, TcpStream>>,
    /// Connection of each session, by initiator.
    sessions: Mutex<HashMap<String, u64>>,
}

impl Shared {
    fn sockets(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, connection: u64) {
        if let Some(socket) = self.sockets().get(&connection) {
            // The other end may have closed it already.
            socket.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    /// A new session of an initiator takes the place of its old one (RFC 7143, section 6.3.5).
    fn begin_session(&self, initiator: &str, connection: u64) {
        let old = self.sessions().insert(initiator.to_owned(), connection);
        if let Some(old) = old.filter(|old| *old != connection) {
            self.close(old);
        }
    }

    /// A session has ended, by a logout or because its connection is gone; what it prevented or had reserved by RESERVE
    /// is free (SAM-5, section 6.3.4), unless a new session of the initiator has taken its place.
    fn end_session(&self, initiator: &str, connection: u64) {
        // A new session waits until this is done.
        let mut sessions = self.sessions();
        if sessions.get(initiator) != Some(&connection) {
            return;
        }
        sessions.remove(initiator);
        for lun in 0..=self.library.last_lun() {
            let lost = self.library.transport_as(lun, initiator).and_then(|mut unit| unit.lose_nexus());
            if let Err(error) = lost {
                log::warn!("{initiator}: cannot end its session with logical unit {lun}: {error}");
            }
        }
    }

    /// Takes room for data; false if there is none.
    fn hold(&self, len: usize) -> bool {
        let held = self.held_len.fetch_add(len, Ordering::Relaxed);
        let fits = held.saturating_add(len) <= DATA_LEN_MAX;
        if !fits {
            self.held_len.fetch_sub(len, Ordering::Relaxed);
        }
        fits
    }

    fn release(&self, len: usize) {
        self.held_len.fetch_sub(len, Ordering::Relaxed);
    }
}

/// A target at work; dropping it ends all sessions.
#[derive(Debug)]
pub struct IscsiTarget {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
    _lock: File,
}

impl IscsiTarget {
    /// Begins to serve a library on a socket that listens. Sessions that an earlier target left behind are over.
    ///
    /// # Errors
    /// [`EmulatorError::Served`] if another target serves it; [`EmulatorError`] if the socket does not listen, a file of
    /// the library cannot be used, or there can be no more threads.
    pub fn start(
        library: EmulatedLibrary,
        settings: TargetSettings,
        listener: TcpListener,
    ) -> Result<Self, EmulatorError> {
        let failed = |source| EmulatorError::Target { source };
        let address = listener.local_addr().map_err(failed)?;
        let lock = library.lock_target()?;
        for lun in 0..=library.last_lun() {
            library.transport(lun)?.lose_sessions()?;
        }
        let shared = Arc::new(Shared {
            library,
            settings,
            is_stopping: AtomicBool::new(false),
            held_len: AtomicUsize::new(0),
            next_connection: AtomicU64::new(0),
            sockets: Mutex::default(),
            sessions: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let accept = move || accept_all(&accepting, &listener);
        let acceptor =
            thread::Builder::new().name("iscsi-accept".to_owned()).spawn(accept).map_err(failed)?;
        Ok(Self { shared, address, acceptor: Some(acceptor), _lock: lock })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections at present.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.shared.sockets().len()
    }
}

impl Drop for IscsiTarget {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap_or_default();
        }
        for socket in self.shared.sockets().values() {
            socket.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

fn accept_all(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if shared.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = begin(shared, stream, peer) {
                    log::warn!("{peer}: cannot serve the connection: {error}");
                }
            }
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                thread::yield_now();
            }
        }
    }
}

fn begin(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    if shared.sockets().len() >= CONNECTIONS_MAX {
        log::warn!("{peer}: refused, there are {CONNECTIONS_MAX} connections already");
        return Ok(());
    }
    stream.set_nodelay(true)?;
    let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
    shared.sockets().insert(number, stream.try_clone()?);
    let serving = Arc::clone(shared);
    let serve = move || {
        match connection::serve(&serving, number, stream) {
            Ok(()) => log::info!("{peer}: closed"),
            Err(error) => log::info!("{peer}: {error}"),
        }
        serving.close(number);
        serving.sockets().remove(&number);
    };
    let started = thread::Builder::new().name(format!("iscsi-{number}")).spawn(serve);
    if started.is_err() {
        shared.sockets().remove(&number);
    }
    started.map(drop)
}
