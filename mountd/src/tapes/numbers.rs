//! Inode numbers of what is on cartridges.
//!
//! Each generation of each cartridge, and each cartridge itself, gets a line in a file of the catalogue; the number
//! of the line takes the place of the ordinal in the inode number ([`Node`]). So numbers hold over restarts of
//! the server, and two cartridges never share one. What a cartridge's own view makes up, such as the directory of a
//! client, has bit 63 set and the cartridge's line.
//!
//! ```text
//! <volume id> <ordinal, 0 for the cartridge>\n
//! ```

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use reelfs::id::{FileId, Ordinal};
use reelfs::repo::Node;
use reelfs::repo::node::RecordAddress;
use rustix::fs::{FlockOperation, flock};

const FILE_NAME: &str = "numbers";
const MADE_BIT: u64 = 1 << 63;
const LINE_SHIFT: u32 = 40;
const MADE_MASK: u64 = (1 << LINE_SHIFT) - 1;
const LINE_COUNT_MAX: usize = (1 << 22) - 1;

/// Whose inode it is: a cartridge, and the number in the view of its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The cartridge.
    pub(super) volume: FileId,
    /// Inode number in the view of its set.
    pub(super) number: u64,
}

/// The table of lines.
#[derive(Debug)]
pub(super) struct Numbers {
    path: PathBuf,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    pairs: Vec<Option<(FileId, u32)>>,
    lines: HashMap<(FileId, u32), u32>,
    // Bytes of the file that were read.
    read_bytes: u64,
    // The file cannot be written; lines are only in memory.
    is_private: bool,
}

impl Numbers {
    /// Takes the file in the catalogue's directory, which may not exist yet.
    pub(super) fn new(catalogue: &Path) -> Self {
        Self { path: catalogue.join(FILE_NAME), table: Mutex::default() }
    }

    /// The inode number of `number` in the view of `volume`'s set.
    ///
    /// # Errors
    /// If the table is full.
    pub(super) fn outer(&self, volume: FileId, number: u64) -> io::Result<u64> {
        let line = |ordinal| self.line(volume, ordinal);
        let ordinal_of = |line: u32| Ordinal::new(line).ok_or_else(|| io::Error::from(io::ErrorKind::Other));
        match Node::from_number(number) {
            Some(Node::Object { ordinal, object }) => {
                let ordinal = ordinal_of(line(ordinal.get())?)?;
                Ok(Node::Object { ordinal, object }.to_number())
            }
            Some(Node::Entry(address)) => {
                let ordinal = ordinal_of(line(address.ordinal.get())?)?;
                Ok(Node::Entry(RecordAddress { ordinal, ..address }).to_number())
            }
            _ => Ok(MADE_BIT | u64::from(line(0)?) << LINE_SHIFT | number & MADE_MASK),
        }
    }

    /// What an inode number stands for.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        if number & MADE_BIT != 0 {
            let line = u32::try_from((number & !MADE_BIT) >> LINE_SHIFT).ok()?;
            return match self.pair(line)? {
                (volume, 0) => Some(Place { volume, number: number & MADE_MASK }),
                _ => None,
            };
        }
        let (line, node) = match Node::from_number(number)? {
            Node::Object { ordinal, object } => (ordinal, Ok(object)),
            Node::Entry(address) => (address.ordinal, Err(address)),
            Node::Synthetic(_) => return None,
        };
        let (volume, ordinal) = self.pair(line.get())?;
        let ordinal = Ordinal::new(ordinal)?;
        let node = match node {
            Ok(object) => Node::Object { ordinal, object },
            Err(address) => Node::Entry(RecordAddress { ordinal, ..address }),
        };
        Some(Place { volume, number: node.to_number() })
    }

    /// Gives lines to generations in the order in which they were written to a cartridge, so that numbers ascend along
    /// the tape as far as they can.
    ///
    /// # Errors
    /// If the table is full.
    pub(super) fn reserve(&self, volume: FileId, ordinals: &[u32]) -> io::Result<()> {
        ordinals.iter().try_for_each(|ordinal| self.line(volume, *ordinal).map(drop))
    }

    /// Line of a cartridge.
    ///
    /// # Errors
    /// If the table is full.
    pub(super) fn volume_line(&self, volume: FileId) -> io::Result<u32> {
        self.line(volume, 0)
    }

    fn pair(&self, line: u32) -> Option<(FileId, u32)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        if index >= table.pairs.len() {
            // Another server of this mount gave it out.
            let file = File::open(&self.path).ok()?;
            table.read(&file).ok()?;
        }
        table.pairs.get(index).copied().flatten()
    }

    fn line(&self, volume: FileId, ordinal: u32) -> io::Result<u32> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = table.lines.get(&(volume, ordinal)) {
            return Ok(*line);
        }
        if !table.is_private {
            match self.append(&mut table, volume, ordinal) {
                Ok(line) => return Ok(line),
                Err(error) => {
                    log::info!("{}: {error}; inode numbers last as long as the server", self.path.display());
                    table.is_private = true;
                }
            }
        }
        table.add(Some((volume, ordinal)))
    }

    // Other daemons write the file too: what they added is read first, under the lock.
    fn append(&self, table: &mut Table, volume: FileId, ordinal: u32) -> io::Result<u32> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        table.read(&file)?;
        if let Some(line) = table.lines.get(&(volume, ordinal)) {
            return Ok(*line);
        }
        let text = format!("{volume} {ordinal}\n");
        (&file).write_all(text.as_bytes())?;
        table.read_bytes += text.len() as u64;
        table.add(Some((volume, ordinal)))
    }
}

impl Table {
    fn add(&mut self, pair: Option<(FileId, u32)>) -> io::Result<u32> {
        if self.pairs.len() >= LINE_COUNT_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.pairs.push(pair);
        let line = u32::try_from(self.pairs.len()).map_err(|_| io::ErrorKind::StorageFull)?;
        if let Some(pair) = pair {
            self.lines.entry(pair).or_insert(line);
        }
        Ok(line)
    }

    // Whole lines only: another process may be at the last one.
    fn read(&mut self, mut file: &File) -> io::Result<()> {
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            self.add(parse(line))?;
            self.read_bytes += line.len() as u64;
        }
        Ok(())
    }
}

fn parse(line: &[u8]) -> Option<(FileId, u32)> {
    let (volume, ordinal) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    Some((volume.parse().ok()?, ordinal.parse().ok()?))
}

#[cfg(test)]
mod test {
    use super::*;

    const ONE: FileId = FileId([1; 16]);
    const OTHER: FileId = FileId([2; 16]);

    #[test]
    fn numbers_lead_back_and_hold_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let ordinal = Ordinal::new(7).unwrap();
        let file = Node::Entry(RecordAddress { ordinal, offset: 640, slot: 3 }).to_number();
        let root = Node::Object { ordinal, object: 1 }.to_number();
        let numbers = Numbers::new(directory.path());
        let mut given = Vec::new();
        for volume in [ONE, OTHER] {
            for number in [2, file, root] {
                given.push((Place { volume, number }, numbers.outer(volume, number).unwrap()));
            }
        }
        let again = Numbers::new(directory.path());
        for (place, number) in &given {
            assert_eq!(numbers.place(*number), Some(*place));
            assert_eq!(again.place(*number), Some(*place));
            assert_eq!(given.iter().filter(|(_, other)| other == number).count(), 1);
        }
        assert_eq!(again.outer(OTHER, root).unwrap(), numbers.outer(OTHER, root).unwrap());
    }

    #[test]
    fn what_was_written_later_has_a_higher_number_whatever_is_looked_at_first() {
        let directory = tempfile::tempdir().unwrap();
        let numbers = Numbers::new(directory.path());
        numbers.reserve(ONE, &[3, 7, 9]).unwrap();
        let number = |ordinal| {
            let address = RecordAddress { ordinal: Ordinal::new(ordinal).unwrap(), offset: 640, slot: 3 };
            numbers.outer(ONE, Node::Entry(address).to_number()).unwrap()
        };
        let [last, first, middle] = [9, 3, 7].map(number);
        assert!(first < middle && middle < last);
    }

    #[test]
    fn two_servers_never_give_out_the_same_number() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (Numbers::new(directory.path()), Numbers::new(directory.path()));
        let first = one.outer(ONE, 2).unwrap();
        let second = other.outer(OTHER, 2).unwrap();
        assert_ne!(first, second);
        assert_eq!(one.outer(OTHER, 2).unwrap(), second);
        assert_eq!(other.place(first), Some(Place { volume: ONE, number: 2 }));
    }

    #[test]
    fn a_line_that_is_not_understood_stands_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), b"what\n").unwrap();
        let numbers = Numbers::new(directory.path());
        let number = numbers.outer(ONE, 2).unwrap();
        assert_eq!(number, MADE_BIT | 2 << LINE_SHIFT | 2);
        assert_eq!(numbers.place(MADE_BIT | 1 << LINE_SHIFT | 2), None);
        assert_eq!(numbers.place(5), None);
    }
}
