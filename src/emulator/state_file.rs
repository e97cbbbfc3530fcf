//! State on disk that several processes share: one file for each logical unit, locked for each command.
//!
//! The file holds two slots; a slot is a line with sequence number, length and CRC-32, then JSON. A change
//! goes to the older slot, body first: a process killed in between leaves the newer slot as it was.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::EmulatorError;
use super::json::has_small_numbers;
use crate::checksum::crc32;

const MAGIC: &str = "vtape-state-1";
const HEADER_LEN: usize = 64;
const SLOT_LEN: u64 = 8 << 20;

/// State of one logical unit, as this process last saw it.
#[derive(Debug)]
pub(super) struct StateFile<T> {
    path: PathBuf,
    file: File,
    sequence: u64,
    /// JSON of the state as it is on disk.
    stored: Vec<u8>,
    /// The state; changed in place, then [saved](Self::save).
    pub(super) state: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    sequence: u64,
    len: u64,
    crc32: u32,
}

impl Header {
    fn encode(self) -> Vec<u8> {
        let line = format!("{MAGIC} {:020} {:010} {:08x}", self.sequence, self.len, self.crc32);
        format!("{line:<width$}\n", width = HEADER_LEN - 1).into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split_ascii_whitespace();
        let is_header = words.next()? == MAGIC;
        let header = Self {
            sequence: words.next()?.parse().ok()?,
            len: words.next()?.parse().ok()?,
            crc32: u32::from_str_radix(words.next()?, 16).ok()?,
        };
        (is_header && header.len <= SLOT_LEN - 64).then_some(header)
    }
}

/// The lock on a state file; given back when dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock goes with the last descriptor anyway.
        self.0.unlock().unwrap_or_default();
    }
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    /// Makes a file that holds `state`.
    pub(super) fn create(path: &Path, state: T) -> Result<Self, EmulatorError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(path);
        let file = file.map_err(EmulatorError::file("create", path))?;
        let mut made = Self { path: path.to_owned(), file, sequence: 0, stored: Vec::new(), state };
        made.save()?;
        Ok(made)
    }

    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, EmulatorError>
    where
        T: Default,
    {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(EmulatorError::file("open", path))?;
        let stored = Vec::new();
        let mut opened = Self { path: path.to_owned(), file, sequence: 0, stored, state: T::default() };
        let lock = opened.lock()?;
        opened.refresh()?;
        drop(lock);
        Ok(opened)
    }

    /// Waits for the lock.
    pub(super) fn lock(&self) -> Result<Lock, EmulatorError> {
        let file = self.file.try_clone().map_err(EmulatorError::file("lock", &self.path))?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(EmulatorError::file("lock", &self.path)(error)),
            }
        }
    }

    /// Takes the lock if nobody has it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, EmulatorError> {
        let file = self.file.try_clone().map_err(EmulatorError::file("lock", &self.path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(EmulatorError::file("lock", &self.path)(error)),
        }
    }

    /// Reads what another process has changed; the lock must be held. Tells whether anything was.
    pub(super) fn refresh(&mut self) -> Result<bool, EmulatorError> {
        let mut headers: Vec<(u64, Header)> = Vec::new();
        for slot in 0..2 {
            headers.extend(self.header(slot)?.map(|header| (slot, header)));
        }
        headers.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
        if headers.first().is_some_and(|(_, header)| header.sequence == self.sequence) {
            return Ok(false);
        }
        for (slot, header) in headers {
            if let Some((stored, state)) = self.body(slot, header)? {
                self.state = state;
                self.stored = stored;
                self.sequence = header.sequence;
                return Ok(true);
            }
        }
        Err(EmulatorError::damaged(&self.path, "neither of the two states in it is whole"))
    }

    fn header(&self, slot: u64) -> Result<Option<Header>, EmulatorError> {
        let mut bytes = [0; HEADER_LEN];
        match self.file.read_exact_at(&mut bytes, slot * SLOT_LEN) {
            Ok(()) => Ok(Header::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(EmulatorError::file("read", &self.path)(error)),
        }
    }

    fn body(&self, slot: u64, header: Header) -> Result<Option<(Vec<u8>, T)>, EmulatorError> {
        let mut bytes = vec![0; usize::try_from(header.len).unwrap_or(0)];
        match self.file.read_exact_at(&mut bytes, slot * SLOT_LEN + 64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(EmulatorError::file("read", &self.path)(error)),
        }
        if crc32(&[&bytes]) != header.crc32 {
            return Ok(None);
        }
        if !has_small_numbers(&bytes) {
            return Err(EmulatorError::damaged(&self.path, "a number is beyond all measure"));
        }
        let state = serde_json::from_slice(&bytes)
            .map_err(|error| EmulatorError::damaged(&self.path, error.to_string()))?;
        Ok(Some((bytes, state)))
    }

    /// Writes the state if it has changed; the lock must be held.
    pub(super) fn save(&mut self) -> Result<(), EmulatorError> {
        let bytes = serde_json::to_vec(&self.state)
            .map_err(|error| EmulatorError::damaged(&self.path, error.to_string()))?;
        if bytes == self.stored {
            return Ok(());
        }
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if len > SLOT_LEN - 64 {
            return Err(EmulatorError::damaged(&self.path, "the state has grown beyond 8 MiB"));
        }
        let header = Header { sequence: self.sequence + 1, len, crc32: crc32(&[&bytes]) };
        let start = header.sequence % 2 * SLOT_LEN;
        let write = || {
            self.file.write_all_at(&bytes, start + 64)?;
            self.file.write_all_at(&header.encode(), start)
        };
        write().map_err(EmulatorError::file("write", &self.path))?;
        self.sequence = header.sequence;
        self.stored = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_torn_newer_slot_leaves_the_older_state() {
        let dir = std::env::temp_dir().join(format!("vtape-state-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for the test");
        let path = dir.join("unit");
        let mut file = StateFile::create(&path, vec![1_u64]).expect("the file is new");
        file.state.push(2);
        file.save().expect("it can be written");
        // The body of the newest state is overwritten as by a process that died in the middle.
        let start = file.sequence % 2 * SLOT_LEN;
        file.file.write_all_at(b"[9,9", start + 64).expect("it can be written");
        let opened: StateFile<Vec<u64>> = StateFile::open(&path).expect("the older state is whole");
        assert_eq!(opened.state, [1]);
        std::fs::remove_dir_all(&dir).expect("the directory is there");
    }
}
