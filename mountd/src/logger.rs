//! Where log lines go: to standard error in the foreground, to the system log in the background.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;

use log::{Level, LevelFilter, Log, Metadata, Record};

const SYSTEM_LOG: &str = "/dev/log";
// RFC 3164: facility daemon (3), times 8.
const FACILITY: u8 = 24;

/// Where to log to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Target {
    /// Standard error.
    Stderr,
    /// The system log; without one, nowhere.
    System,
}

#[derive(Debug)]
enum Logger {
    Stderr,
    System(UnixDatagram),
}

/// Starts logging; the level is that of `REELFS_LOG` in the environment, else `warn`.
pub fn start(target: Target) {
    let level = std::env::var("REELFS_LOG").ok().and_then(|level| level.parse().ok());
    let logger = match target {
        Target::Stderr => Logger::Stderr,
        Target::System => {
            let Ok(socket) = UnixDatagram::unbound() else { return };
            if socket.connect(SYSTEM_LOG).is_err() {
                return;
            }
            Logger::System(socket)
        }
    };
    // It lives as long as the process.
    if log::set_logger(Box::leak(Box::new(logger))).is_ok() {
        log::set_max_level(level.unwrap_or(LevelFilter::Warn));
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // fuser tells of each mount and of what is not implemented.
        let is_ours = record.target().starts_with("mountd") || record.target().starts_with("reelfs");
        if !self.enabled(record.metadata()) || (!is_ours && record.level() > Level::Error) {
            return;
        }
        // A log that cannot be written must not stop the mount.
        let _written = match self {
            Self::Stderr => writeln!(std::io::stderr(), "mountd: {}", record.args()),
            Self::System(socket) => {
                let (priority, pid) = (FACILITY + severity(record.level()), std::process::id());
                let line = format!("<{priority}>mountd[{pid}]: {}", record.args());
                socket.send(line.as_bytes()).map(|_| ())
            }
        };
    }

    fn flush(&self) {}
}
