//! How fast archives were written, to tell how long the next one takes.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "history";
/// Longest history that is read, in bytes.
const LEN_MAX: u64 = 64 << 10;
/// Sessions of which the rate is taken.
const SESSIONS: usize = 9;
/// A session of fewer bytes tells nothing of the rate.
const BYTES_MIN: u64 = 64 << 20;
/// Rate of which nothing is known: what an LTO-5 drive does without stopping, and any disk too.
const RATE_UNKNOWN: u64 = 100_000_000;
/// Time for moving and loading a cartridge, finding its end, its index, rewinding and unloading.
const OVERHEAD: Duration = Duration::from_secs(8 * 60);

/// Bytes and duration of earlier archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    path: PathBuf,
    sessions: Vec<(u64, u64)>,
}

impl History {
    /// Reads what is kept beside the catalogue; what cannot be read is as if it had not been.
    ///
    /// # Errors
    /// The refusal of the file system, other than that there is none.
    pub fn read(catalogue: &Path) -> io::Result<Self> {
        let path = catalogue.join(NAME);
        let mut text = String::new();
        match fs::File::open(&path) {
            Ok(file) => {
                file.take(LEN_MAX).read_to_string(&mut text)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let parse = |line: &str| {
            let (bytes, milliseconds) = line.split_once(' ')?;
            Some((bytes.parse().ok()?, milliseconds.parse().ok().filter(|ms| *ms > 0)?))
        };
        Ok(Self { path, sessions: text.lines().filter_map(parse).collect() })
    }

    /// Adds a session.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub fn add(&mut self, bytes: u64, took: Duration) -> io::Result<()> {
        if bytes < BYTES_MIN {
            return Ok(());
        }
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        self.sessions.push((bytes, milliseconds));
        let kept = self.sessions.len().saturating_sub(100);
        self.sessions.drain(..kept);
        let text: String = self.sessions.iter().map(|(bytes, ms)| format!("{bytes} {ms}\n")).collect();
        if let Some(directory) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let partial = self.path.with_extension("partial");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)
    }

    /// Rate in bytes per second: the median of the last sessions, so that one bad night counts for little.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        let last = self.sessions.get(self.sessions.len().saturating_sub(SESSIONS)..).unwrap_or_default();
        let rate = |(bytes, ms): &(u64, u64)| {
            u64::try_from(u128::from(*bytes) * 1000 / u128::from(*ms)).unwrap_or(u64::MAX).max(1)
        };
        let mut rates: Vec<u64> = last.iter().map(rate).collect();
        rates.sort_unstable();
        rates.get(rates.len() / 2).copied().unwrap_or(RATE_UNKNOWN)
    }

    /// How long an archive of so many bytes will take.
    #[must_use]
    pub fn estimate(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / self.bytes_per_second()).saturating_add(OVERHEAD)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_median_of_the_last_sessions_is_the_rate() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("tapes");
        let mut history = History::read(&root).expect("nothing yet");
        assert_eq!(history.bytes_per_second(), RATE_UNKNOWN);
        for (gigabytes, seconds) in [(300, 1000), (1, 1000), (320, 1000), (310, 1000), (305, 1000)] {
            history.add(gigabytes * 1_000_000_000, Duration::from_secs(seconds)).expect("written");
        }
        history.add(1000, Duration::from_secs(1)).expect("left out");
        let again = History::read(&root).expect("read");
        assert_eq!(again, history);
        assert_eq!(again.bytes_per_second(), 305_000_000);
        assert_eq!(again.estimate(305_000_000 * 3600), Duration::from_secs(3600) + OVERHEAD);
    }

    #[test]
    fn a_damaged_history_is_as_if_it_had_not_been() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(NAME), "x\n1 0\n-1 5\n500000000 1000\n7").expect("written");
        let history = History::read(directory.path()).expect("read");
        assert_eq!(history.bytes_per_second(), 500_000_000);
    }
}
