//! One connection from its first byte to its last.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::login::{Login, SessionError};
use super::session::serve_session;

/// How long a login may wait for its next byte.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the initiator may take no bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// Reads through a buffer, writes at once.
struct Duplex {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Serves a connection until either end closes it.
pub(super) fn serve(shared: &Arc<Shared>, number: u64, stream: TcpStream) -> Result<(), SessionError> {
    stream.set_read_timeout(Some(LOGIN_TIMEOUT))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let local = stream.local_addr()?;
    let mut duplex =
        Duplex { reader: BufReader::with_capacity(64 << 10, stream.try_clone()?), writer: stream };
    let session = Login::new(&mut duplex, &shared.settings).run()?;
    duplex.writer.set_read_timeout(None)?;
    log::info!(
        "{}: logged in{}",
        session.initiator,
        if session.is_discovery { " to find targets" } else { "" }
    );
    if session.is_discovery {
        return serve_session(shared, &session, local, duplex.reader, duplex.writer);
    }
    shared.begin_session(&session.initiator, number);
    let result = serve_session(shared, &session, local, duplex.reader, duplex.writer);
    shared.end_session(&session.initiator, number);
    result
}
