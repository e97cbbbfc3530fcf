//! Inode numbers of what is on cartridges.
//!
//! Each generation of each cartridge, and each cartridge itself, gets a line in a file of the catalogue, and the number
//! of the line stands in the inode number. So numbers hold over restarts of the server, and two cartridges never share
//! one. A generation has a second line with the order of its data on tape ([`TapeOrder`](reelfs::job::tape::order));
//! what is below its root has the rank in that order as its number, so that numbers ascend along the tape. Its root,
//! and all of it if the order cannot be known, is numbered as in the repository ([`Node`]), the line in the place of the
//! ordinal: earlier versions did so, and their numbers lead to what they did. What a cartridge's own view makes up, such
//! as the directory of a client, has the cartridge's line.
//!
//! ```text
//! <volume id> <ordinal, 0 for the cartridge>[ <identity of the order, 16 hexadecimal digits>]\n
//!
//! bit  63     1 made up: bits 40-62 line of the cartridge, 0-39 number in its view
//! bit  62     1 object, 0 entry or rank
//! bits 40-61  line
//! bits 0-39   as in the repository, or the rank
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
const LOW_MASK: u64 = (1 << LINE_SHIFT) - 1;
const LINE_COUNT_MAX: usize = (1 << 22) - 1;

/// Whose inode it is: a cartridge, and the number in the view of its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The cartridge.
    pub(super) volume: FileId,
    /// What of it.
    pub(super) what: What,
}

/// What of a cartridge an inode number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// An inode number in the view of its set.
    Number(u64),
    /// A rank in the order of a generation on tape.
    Rank {
        /// The generation.
        ordinal: Ordinal,
        /// Identity of the order.
        order: u64,
        /// The rank.
        rank: u32,
    },
}

/// A line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Line {
    volume: FileId,
    // 0 for the cartridge.
    ordinal: u32,
    order: Option<u64>,
}

/// The table of lines.
#[derive(Debug)]
pub(super) struct Numbers {
    path: PathBuf,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: Vec<Option<Line>>,
    lines: HashMap<Line, u32>,
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
        let line = |ordinal| self.line(Line { volume, ordinal, order: None });
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
            _ => Ok(MADE_BIT | u64::from(line(0)?) << LINE_SHIFT | number & LOW_MASK),
        }
    }

    /// The inode number of what has a rank in the order of a generation.
    ///
    /// # Errors
    /// If the table is full.
    pub(super) fn ranked(&self, volume: FileId, ordinal: Ordinal, order: u64, rank: u32) -> io::Result<u64> {
        let line = self.line(Line { volume, ordinal: ordinal.get(), order: Some(order) })?;
        Ok(u64::from(line) << LINE_SHIFT | u64::from(rank))
    }

    /// What an inode number stands for.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        let low = number & LOW_MASK;
        if number & MADE_BIT != 0 {
            let line = u32::try_from((number & !MADE_BIT) >> LINE_SHIFT).ok()?;
            return match self.known(line)? {
                Line { volume, ordinal: 0, order: None } => Some(Place { volume, what: What::Number(low) }),
                _ => None,
            };
        }
        let node = Node::from_number(number)?;
        let line = match node {
            Node::Object { ordinal, .. } | Node::Entry(RecordAddress { ordinal, .. }) => ordinal.get(),
            Node::Synthetic(_) => return None,
        };
        let Line { volume, ordinal, order } = self.known(line)?;
        let ordinal = Ordinal::new(ordinal)?;
        let what = match (node, order) {
            (Node::Entry(_), Some(order)) => What::Rank { ordinal, order, rank: u32::try_from(low).ok()? },
            (Node::Object { object, .. }, None) => What::Number(Node::Object { ordinal, object }.to_number()),
            (Node::Entry(address), None) => {
                What::Number(Node::Entry(RecordAddress { ordinal, ..address }).to_number())
            }
            _ => return None,
        };
        Some(Place { volume, what })
    }

    /// Gives lines to generations in the order in which they were written to a cartridge, so that numbers ascend along
    /// the tape as far as they can.
    ///
    /// # Errors
    /// If the table is full.
    pub(super) fn reserve(&self, volume: FileId, ordinals: &[u32]) -> io::Result<()> {
        let line = |ordinal: &u32| self.line(Line { volume, ordinal: *ordinal, order: None });
        ordinals.iter().try_for_each(|ordinal| line(ordinal).map(drop))
    }

    /// Line of a cartridge.
    ///
    /// # Errors
    /// If the table is full.
    pub(super) fn volume_line(&self, volume: FileId) -> io::Result<u32> {
        self.line(Line { volume, ordinal: 0, order: None })
    }

    fn known(&self, line: u32) -> Option<Line> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        if index >= table.known.len() {
            // Another server of this mount gave it out.
            let file = File::open(&self.path).ok()?;
            table.read(&file).ok()?;
        }
        table.known.get(index).copied().flatten()
    }

    fn line(&self, wanted: Line) -> io::Result<u32> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = table.lines.get(&wanted) {
            return Ok(*line);
        }
        if !table.is_private {
            match self.append(&mut table, wanted) {
                Ok(line) => return Ok(line),
                Err(error) => {
                    log::info!("{}: {error}; inode numbers last as long as the server", self.path.display());
                    table.is_private = true;
                    // What it says holds all the same.
                    if let Some(line) = self.read_only(&mut table, &wanted) {
                        return Ok(line);
                    }
                }
            }
        }
        table.add(Some(wanted))
    }

    fn read_only(&self, table: &mut Table, wanted: &Line) -> Option<u32> {
        table.read(&File::open(&self.path).ok()?).ok()?;
        table.lines.get(wanted).copied()
    }

    // Other daemons write the file too: what they added is read first, under the lock.
    fn append(&self, table: &mut Table, wanted: Line) -> io::Result<u32> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        table.read(&file)?;
        if let Some(line) = table.lines.get(&wanted) {
            return Ok(*line);
        }
        let Line { volume, ordinal, order } = wanted;
        let order = order.map_or_else(String::new, |order| format!(" {order:016x}"));
        let text = format!("{volume} {ordinal}{order}\n");
        (&file).write_all(text.as_bytes())?;
        table.read_bytes += text.len() as u64;
        table.add(Some(wanted))
    }
}

impl Table {
    fn add(&mut self, added: Option<Line>) -> io::Result<u32> {
        if self.known.len() >= LINE_COUNT_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.known.push(added);
        let line = u32::try_from(self.known.len()).map_err(|_| io::ErrorKind::StorageFull)?;
        if let Some(added) = added {
            self.lines.entry(added).or_insert(line);
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

fn parse(line: &[u8]) -> Option<Line> {
    let (volume, rest) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    let (ordinal, order) = match rest.split_once(' ') {
        None => (rest, None),
        Some((ordinal, order)) => (ordinal, Some(u64::from_str_radix(order, 16).ok()?)),
    };
    Some(Line { volume: volume.parse().ok()?, ordinal: ordinal.parse().ok()?, order })
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
                given.push((
                    Place { volume, what: What::Number(number) },
                    numbers.outer(volume, number).unwrap(),
                ));
            }
        }
        for (order, rank) in [(5, 0), (5, u32::MAX), (6, 0)] {
            let place = Place { volume: ONE, what: What::Rank { ordinal, order, rank } };
            given.push((place, numbers.ranked(ONE, ordinal, order, rank).unwrap()));
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
        assert_eq!(other.place(first), Some(Place { volume: ONE, what: What::Number(2) }));
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
