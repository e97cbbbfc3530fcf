//! A TCP stream on which nothing waits beyond a deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Shortest wait: zero would mean for ever.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// A stream with a deadline for what is under way.
#[derive(Debug)]
pub(super) struct DeadlineStream {
    stream: TcpStream,
    deadline: Instant,
}

impl DeadlineStream {
    pub(super) fn new(stream: TcpStream, timeout: Duration) -> Self {
        Self { stream, deadline: after(timeout) }
    }

    /// Sets the deadline to `timeout` from now.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.deadline = after(timeout);
    }

    /// Whether something to read comes within `wait`, or before the deadline if that is earlier.
    ///
    /// # Errors
    /// The error of the stream; [`io::ErrorKind::TimedOut`] at the deadline.
    pub(super) fn is_readable_within(&mut self, wait: Duration) -> io::Result<bool> {
        let left = self.left()?;
        self.stream.set_read_timeout(Some(left.min(wait).max(WAIT_MIN)))?;
        loop {
            match self.stream.peek(&mut [0]) {
                // The end of the stream is something to read too.
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    self.left()?;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.max(WAIT_MIN)) }
    }
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for DeadlineStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Whether an error means that time ran out: the kernel says "would block".
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

// A deadline beyond what the clock can tell is never reached; a century will do.
fn after(timeout: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout.min(CENTURY)).unwrap_or(now)
}
