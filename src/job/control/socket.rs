//! The control sockets: `staging/.control` in the repository, and `.control-2` and so on for further mounts, which only
//! its owner may use.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::Answer;
use super::request::Request;
use crate::repo::staging::{MOUNTED, STAGING};
use crate::storage::byte_locks::ByteLocks;

/// Name of the socket in the directory of staging; no client has such a name.
pub const CONTROL: &str = ".control";
// A line is a request or an answer; a remark has a path, and a summary at most 3000 of them.
const LINE_LEN_MAX: u64 = 32 << 20;

const SOCKET_COUNT_MAX: u32 = 64;
// No client has this slot: its byte is locked while sockets are made.
const MAKING: u64 = 0;

// A socket's path has at most 107 bytes; that of the directory goes by its descriptor.
fn open_directory(root: &Path) -> io::Result<fs::File> {
    fs::File::open(root.join(STAGING))
}

fn short_path(directory: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

fn name_of(number: u32) -> String {
    match number {
        1 => CONTROL.to_owned(),
        _ => format!("{CONTROL}-{number}"),
    }
}

/// Names of all sockets that there are, answered or not; the one that all commands know is the first.
pub(super) fn sockets(root: &Path) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(root.join(STAGING)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let name = entry?.file_name();
        let known =
            name.to_str().filter(|name| (1..=SOCKET_COUNT_MAX).any(|number| name_of(number) == *name));
        names.extend(known.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The side that answers.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    name: String,
    path: PathBuf,
}

impl ControlListener {
    /// Makes the socket of the repository at `root` that all commands know, in place of one that nobody answers.
    ///
    /// # Errors
    /// `AddrInUse` if another process answers, or is making one; else what the system refuses.
    pub fn bind(root: &Path) -> io::Result<Self> {
        Self::make(root, 1..2)
    }

    /// The same with one that is found by its name only, beside that of another process.
    ///
    /// # Errors
    /// `AddrInUse` if another process is making one, or all are answered; else what the system refuses.
    pub fn bind_another(root: &Path) -> io::Result<Self> {
        Self::make(root, 2..SOCKET_COUNT_MAX + 1)
    }

    fn make(root: &Path, numbers: Range<u32>) -> io::Result<Self> {
        // A repository gets the directory with its first client, or its first server.
        match fs::DirBuilder::new().mode(0o700).create(root.join(STAGING)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Of two that find the same socket dead the later would remove that of the other.
        let making = ByteLocks::open(&root.join(STAGING).join(MOUNTED)).map_err(|error| error.source)?;
        if !making.lock(MAKING).map_err(|error| error.source)? {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let directory = open_directory(root)?;
        let mut taken = Vec::new();
        for name in sockets(root)? {
            match UnixStream::connect(short_path(&directory, &name)) {
                Ok(_) => taken.push(name),
                // Of a process that was killed.
                Err(_) => fs::remove_file(short_path(&directory, &name))?,
            }
        }
        let free = numbers.map(name_of).find(|name| !taken.contains(name));
        let name = free.ok_or(io::ErrorKind::AddrInUse)?;
        let short = short_path(&directory, &name);
        let listener = UnixListener::bind(&short)?;
        fs::set_permissions(&short, fs::Permissions::from_mode(0o600))?;
        let path = root.join(STAGING).join(&name);
        Ok(Self { listener, name, path })
    }

    /// Name of the socket in the directory of staging.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the next program.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept()?.0)
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // One that is left behind is replaced by the next server.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Reads one line as a message; `None` at the end.
///
/// # Errors
/// What the system refuses, and `InvalidData` for what is no message.
pub(super) fn receive<T: DeserializeOwned>(reader: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    reader.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a message as one line.
///
/// # Errors
/// What the system refuses.
pub(super) fn send(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line)
}

/// The side that asks.
#[derive(Debug)]
pub struct ControlClient {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl ControlClient {
    /// Reaches a daemon that serves the staging of the repository at `root`; `None` if there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn connect(root: &Path) -> io::Result<Option<Self>> {
        for name in sockets(root)? {
            if let Some(daemon) = Self::connect_to(root, &name)? {
                return Ok(Some(daemon));
            }
        }
        Ok(None)
    }

    pub(super) fn connect_to(root: &Path, name: &str) -> io::Result<Option<Self>> {
        let directory = match open_directory(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match UnixStream::connect(short_path(&directory, name)) {
            Ok(stream) => {
                let reader = BufReader::new(stream.try_clone()?);
                Ok(Some(Self { stream, reader }))
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How long an answer is waited for; without it for ever.
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(patience)
    }

    /// Asks.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        send(&mut self.stream, request)
    }

    /// The next answer; `None` if the daemon went away.
    ///
    /// # Errors
    /// What the system refuses, and `InvalidData` for what is no answer.
    pub fn answer(&mut self) -> io::Result<Option<Answer>> {
        receive(&mut self.reader)
    }

    /// A second handle that ends the connection from another thread, and with it what was asked for.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn closer(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }
}
