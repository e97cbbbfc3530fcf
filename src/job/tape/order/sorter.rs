//! Sorts records of one length in bounded memory: what does not fit waits in a file that has no name.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of records in memory while they come, and again while they are merged.
const MEMORY_BYTES: usize = 2 << 20;
/// Most bytes of a sorted run that are read at a time.
const PIECE_BYTES_MAX: usize = 16 << 10;
/// Names that are tried for the file: others may be at it, and a killed process may have left one.
const NAME_TRIES: u32 = 1000;

/// Takes records; the order is that of their bytes.
#[derive(Debug)]
pub(super) struct Sorter<const N: usize> {
    directory: PathBuf,
    count_max: usize,
    recent: Vec<[u8; N]>,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: File,
    // Each one's offset and end; they follow one another.
    runs: Vec<(u64, u64)>,
}

impl<const N: usize> Sorter<N> {
    /// Starts empty; files are made in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self::with_memory(directory, MEMORY_BYTES)
    }

    fn with_memory(directory: &Path, bytes: usize) -> Self {
        let count_max = (bytes / N).max(1);
        Self { directory: directory.to_owned(), count_max, recent: Vec::new(), spilled: None }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub(super) fn add(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.recent.len() >= self.count_max {
            self.spill()?;
        }
        self.recent.push(record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.recent.sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled { file: nameless(&self.directory)?, runs: Vec::new() }),
        };
        let start = spilled.runs.last().map_or(0, |(_, end)| *end);
        let bytes = self.recent.as_flattened();
        spilled.file.write_all_at(bytes, start)?;
        spilled.runs.push((start, start + bytes.len() as u64));
        self.recent.clear();
        Ok(())
    }

    /// All records in order.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub(super) fn finish(mut self) -> io::Result<Sorted<N>> {
        if self.spilled.is_some() {
            self.spill()?;
        }
        self.recent.sort_unstable();
        let mut sorted = Sorted { sources: Vec::new(), heap: BinaryHeap::new(), file: None };
        match self.spilled {
            None => sorted.sources.push(Source { pending: self.recent, next: 0, left: (0, 0) }),
            Some(Spilled { file, runs }) => {
                sorted.file = Some((file, (MEMORY_BYTES / runs.len().max(1)).min(PIECE_BYTES_MAX) / N));
                let source = |left| Source { pending: Vec::new(), next: 0, left };
                sorted.sources = runs.into_iter().map(source).collect();
            }
        }
        for index in 0..sorted.sources.len() {
            sorted.refill(index)?;
        }
        Ok(sorted)
    }
}

/// Records in order.
#[derive(Debug)]
pub(super) struct Sorted<const N: usize> {
    sources: Vec<Source<N>>,
    // The next record of each source, with the source's index.
    heap: BinaryHeap<Reverse<([u8; N], usize)>>,
    // With the number of records that are read at a time.
    file: Option<(File, usize)>,
}

#[derive(Debug)]
struct Source<const N: usize> {
    pending: Vec<[u8; N]>,
    next: usize,
    left: (u64, u64),
}

impl<const N: usize> Sorted<N> {
    /// The next record.
    ///
    /// # Errors
    /// The refusal of the file system.
    pub(super) fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(Reverse((record, source))) = self.heap.pop() else { return Ok(None) };
        self.refill(source)?;
        Ok(Some(record))
    }

    // Puts the next record of a source into the heap.
    fn refill(&mut self, index: usize) -> io::Result<()> {
        let Some(source) = self.sources.get_mut(index) else { return Ok(()) };
        if source.next >= source.pending.len()
            && let Some((file, count)) = &self.file
        {
            let (start, end) = source.left;
            let len = (end - start).min(((*count).max(1) * N) as u64);
            source.pending.resize(usize::try_from(len).unwrap_or_default() / N, [0; N]);
            file.read_exact_at(source.pending.as_flattened_mut(), start)?;
            (source.left, source.next) = ((start + len, end), 0);
        }
        if let Some(record) = source.pending.get(source.next) {
            self.heap.push(Reverse((*record, index)));
            source.next += 1;
        }
        Ok(())
    }
}

fn nameless(directory: &Path) -> io::Result<File> {
    for number in 0..NAME_TRIES {
        let path = directory.join(format!("sorting-{number}"));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_spills_comes_back_in_the_order_of_its_bytes() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("sorting-0"), b"of another").expect("written");
        for (count, memory) in [(0_u32, 60), (5, 60), (10_000, 1 << 20), (10_000, 60), (9_999, 700)] {
            let mut sorter = Sorter::<6>::with_memory(directory.path(), memory);
            let mut expected = Vec::new();
            for number in 0..count {
                let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
                // Some come twice.
                let record = [a, b, 0, c & 1, d & 1, 7];
                expected.push(record);
                sorter.add(record).expect("added");
            }
            expected.sort_unstable();
            let mut sorted = sorter.finish().expect("sorted");
            let mut found = Vec::new();
            while let Some(record) = sorted.next().expect("read") {
                found.push(record);
            }
            assert!(found == expected, "{count} records, {memory} bytes");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "files have no name");
    }
}
