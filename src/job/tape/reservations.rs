//! Which process has a drive reserved, as the key of the reservation tells (see [`ReservationKeys`]).
//!
//! ```text
//! bits   63-56  55-36    35-14     13-6          5-0
//!        'R'    machine  process   its start     session
//! ```
//!
//! A process that was killed leaves its reservation behind. The next one on the same machine finds that the process is
//! gone, and takes the drive over; on another machine nobody can know, and a person has to say so.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::checksum::crc32c;
use crate::tape::drive::ReservationKeys;

const MAGIC: u64 = b'R' as u64;
const SESSIONS_MAX: u64 = 1 << 6;

/// Sessions of this process that last: a process may use several drives, and drop and find a session again.
static LASTING: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Keys of the sessions of this process.
#[derive(Debug, Clone)]
pub struct ProcessKeys {
    machine: u64,
    process: u64,
    start: u64,
}

impl Default for ProcessKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessKeys {
    /// Those of the running process.
    #[must_use]
    pub fn new() -> Self {
        let process = u64::from(std::process::id());
        let start = start_of(process).ok().flatten().unwrap_or(0);
        Self { machine: machine(), process: process & 0x3f_ffff, start }
    }

    /// Those of another process of this machine, as the key of its session `session` would be.
    #[must_use]
    pub fn key_of(&self, process: u64, start: u64, session: u64) -> u64 {
        MAGIC << 56
            | self.machine << 36
            | (process & 0x3f_ffff) << 14
            | (start & 0xff) << 6
            | (session % SESSIONS_MAX)
    }

    fn is_of_this_machine(&self, key: u64) -> bool {
        key >> 56 == MAGIC && key >> 36 & 0xf_ffff == self.machine
    }
}

fn process_of(key: u64) -> u64 {
    key >> 14 & 0x3f_ffff
}

fn lasting() -> MutexGuard<'static, BTreeSet<u64>> {
    LASTING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReservationKeys for ProcessKeys {
    fn begin(&self) -> u64 {
        let mut lasting = lasting();
        let mut keys = (0..SESSIONS_MAX).map(|session| self.key_of(self.process, self.start, session));
        // No process has so many drives.
        let last = self.key_of(self.process, self.start, SESSIONS_MAX - 1);
        let key = keys.find(|key| !lasting.contains(key)).unwrap_or(last);
        lasting.insert(key);
        key
    }

    fn end(&self, key: u64) {
        lasting().remove(&key);
    }

    fn is_over(&self, key: u64) -> bool {
        if !self.is_of_this_machine(key) {
            return false;
        }
        let start = key >> 6 & 0xff;
        if process_of(key) == self.process && start == self.start {
            return !lasting().contains(&key);
        }
        // Where processes of other users are hidden, nobody can tell whether one is gone.
        let is_hidden = !fs::exists("/proc/1/stat").unwrap_or(false);
        match start_of(process_of(key)) {
            Ok(Some(now)) => now != start,
            Ok(None) => !is_hidden,
            Err(_) => false,
        }
    }

    fn describe(&self, key: u64) -> String {
        if key >> 56 != MAGIC {
            return "another program".to_owned();
        }
        let place = if self.is_of_this_machine(key) { "this machine" } else { "another machine" };
        format!("process {} of reelfs on {place}", process_of(key))
    }
}

// Identifier and name, as copies of a virtual machine may share one of them, and the name space in which processes have
// their numbers.
fn machine() -> u64 {
    let read = |path: &str| fs::read(path).unwrap_or_default();
    let (id, name) = (read("/etc/machine-id"), read("/proc/sys/kernel/hostname"));
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default().into_os_string().into_encoded_bytes();
    u64::from(crc32c(&[&id, b"\0", &name, b"\0", &space])) >> 12
}

// When a process began, folded into eight bits; `None` if there is none of this number (proc_pid_stat(5), field 22).
fn start_of(process: u64) -> io::Result<Option<u64>> {
    let stat = match fs::read(format!("/proc/{process}/stat")) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The name of the program, in parentheses, may have blanks in it.
    let behind = stat.iter().rposition(|byte| *byte == b')').map_or(0, |at| at + 1);
    let fields = stat.get(behind..).unwrap_or_default();
    let mut fields = fields.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let start = fields.nth(19).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(u64::from(crc32c(&[start])) & 0xff))
}
