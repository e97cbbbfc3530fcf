//! The control socket: `staging/.control` in the repository, which only its owner may use.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::Answer;
use super::request::Request;
use crate::repo::staging::STAGING;

/// Name of the socket in the directory of staging; no client has such a name.
pub const CONTROL: &str = ".control";
// A line is a request or an answer; a remark has a path, and a summary at most 3000 of them.
const LINE_LEN_MAX: u64 = 32 << 20;

// A socket's path has at most 107 bytes; that of the directory goes by its descriptor.
fn short_path(root: &Path) -> io::Result<(fs::File, PathBuf)> {
    let directory = fs::File::open(root.join(STAGING))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{CONTROL}", directory.as_raw_fd()));
    Ok((directory, path))
}

/// The side that answers.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlListener {
    /// Makes the socket of the repository at `root`, in place of one that nobody answers.
    ///
    /// # Errors
    /// `AddrInUse` if another process answers; else what the system refuses.
    pub fn bind(root: &Path) -> io::Result<Self> {
        // A repository gets the directory with its first client, or its first server.
        match fs::DirBuilder::new().mode(0o700).create(root.join(STAGING)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let (_directory, short) = short_path(root)?;
        match UnixStream::connect(&short) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => fs::remove_file(&short)?,
        }
        let listener = UnixListener::bind(&short)?;
        fs::set_permissions(&short, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: root.join(STAGING).join(CONTROL) })
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
    /// Reaches the daemon that serves the staging of the repository at `root`; `None` if there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn connect(root: &Path) -> io::Result<Option<Self>> {
        let (_directory, short) = match short_path(root) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match UnixStream::connect(&short) {
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

    /// Tells whether a daemon answers for the repository at `root`. One that is ending takes connections still
    /// and answers none.
    #[must_use]
    pub fn is_answered(root: &Path) -> bool {
        let ask = || -> io::Result<bool> {
            let Some(mut daemon) = Self::connect(root)? else { return Ok(false) };
            daemon.ask(&Request::Ping)?;
            Ok(daemon.answer()?.is_some())
        };
        ask().unwrap_or(false)
    }

    /// A second handle that ends the connection from another thread, and with it what was asked for.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn closer(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }
}
