//! The names of a directory in ascending order, of any number.
//!
//! So many as fit into a bounded piece of memory are sorted there; of a larger directory, sorted runs wait in
//! a file without a name and are merged:
//!
//! ```text
//! run: for each name inode number 8, length 2 (little-endian), name
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

// Names in memory before they are written out, in bytes; about 200 000 of them.
const MEMORY_LEN_MAX: usize = 8 << 20;
const BUFFER_LEN: usize = 32 << 10;
const HEAD_LEN: usize = 10;

/// A name with the inode number that the directory tells.
pub(super) type Name = (u64, Vec<u8>);

/// Takes names in any order.
#[derive(Debug)]
pub(super) struct NameSorter<'a> {
    work: Option<&'a Path>,
    memory_len_max: usize,
    // Names one after the other, as in a run, and where each begins.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    file: Option<File>,
    file_len: u64,
    // Where each run ends in the file.
    ends: Vec<u64>,
}

impl<'a> NameSorter<'a> {
    /// Takes the directory where a file can be made; without one all names stay in memory.
    pub(super) fn new(work: Option<&'a Path>) -> Self {
        let (bytes, starts, ends) = (Vec::new(), Vec::new(), Vec::new());
        Self { work, memory_len_max: MEMORY_LEN_MAX, bytes, starts, file: None, file_len: 0, ends }
    }

    /// Adds a name.
    ///
    /// # Errors
    /// The refusal, if memory ran over and the file cannot be written.
    pub(super) fn push(&mut self, inode: u64, name: &[u8]) -> io::Result<()> {
        if self.bytes.len() + self.starts.len() * 4 >= self.memory_len_max && self.work.is_some() {
            self.write_run()?;
        }
        let start = u32::try_from(self.bytes.len());
        self.starts.push(start.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?);
        // A name has 255 bytes at most; what has more is refused when it is looked at.
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&inode.to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(name.get(..len.into()).unwrap_or(name));
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.sort();
        let file = match (self.file.take(), self.work) {
            (Some(file), _) => file,
            (None, Some(work)) => nameless_file(work)?,
            (None, None) => return Ok(()),
        };
        let file = self.file.insert(file);
        let mut buffer = Vec::with_capacity(BUFFER_LEN * 2);
        for start in &self.starts {
            let len = HEAD_LEN + name_at(&self.bytes, *start).len();
            let start = *start as usize;
            buffer.extend_from_slice(self.bytes.get(start..start + len).unwrap_or_default());
            if buffer.len() >= BUFFER_LEN {
                file.write_all_at(&buffer, self.file_len)?;
                self.file_len += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_all_at(&buffer, self.file_len)?;
        self.file_len += buffer.len() as u64;
        self.ends.push(self.file_len);
        (self.bytes, self.starts) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// All names in ascending order, each once.
    pub(super) fn sorted(mut self) -> SortedNames {
        self.sort();
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let runs = begins.zip(self.ends.iter().copied());
        let runs = runs.map(|(begin, end)| Run { offset: begin, end, buffer: Vec::new(), start: 0 });
        let mut names = SortedNames {
            file: self.file,
            runs: runs.collect(),
            firsts: Vec::new(),
            bytes: self.bytes,
            starts: self.starts.into_iter(),
            last: Vec::new(),
            failed: None,
        };
        names.begin();
        names
    }
}

// Gone with the process, whatever becomes of it.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.custom_flags(libc::O_TMPFILE).open(directory) {
        // Not every file system has such files.
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) =>
        {
            let path = directory.join(format!("names-{}.partial", std::process::id()));
            let file = options.custom_flags(0).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        opened => opened,
    }
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let rest = bytes.get(start as usize + HEAD_LEN - 2..).unwrap_or_default();
    let Some((len, name)) = rest.split_first_chunk() else { return &[] };
    name.get(..u16::from_le_bytes(*len).into()).unwrap_or_default()
}

fn decoded(bytes: &[u8]) -> Option<(Name, usize)> {
    let (inode, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let name = rest.get(..u16::from_le_bytes(*len).into())?;
    Some(((u64::from_le_bytes(*inode), name.to_vec()), HEAD_LEN + name.len()))
}

#[derive(Debug)]
struct Run {
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl Run {
    fn next(&mut self, file: &File) -> io::Result<Option<Name>> {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some((name, len)) = decoded(rest) {
                self.start += len;
                return Ok(Some(name));
            }
            if self.offset == self.end {
                return Ok(None);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            let filled = self.buffer.len();
            let more = usize::try_from(self.end - self.offset).unwrap_or(BUFFER_LEN).min(BUFFER_LEN);
            self.buffer.resize(filled + more, 0);
            file.read_exact_at(self.buffer.get_mut(filled..).unwrap_or_default(), self.offset)?;
            self.offset += more as u64;
        }
    }
}

/// The names of a directory in ascending order.
#[derive(Debug)]
pub(super) struct SortedNames {
    file: Option<File>,
    runs: Vec<Run>,
    // The first name of each run that has one left.
    firsts: Vec<Option<Name>>,
    bytes: Vec<u8>,
    starts: std::vec::IntoIter<u32>,
    last: Vec<u8>,
    failed: Option<io::Error>,
}

impl SortedNames {
    fn begin(&mut self) {
        for index in 0..self.runs.len() {
            self.firsts.push(None);
            self.step(index);
        }
    }

    // Takes the first name of a run and reads the next.
    fn step(&mut self, index: usize) -> Option<Name> {
        let (file, run) = (self.file.as_ref()?, self.runs.get_mut(index)?);
        let next = run.next(file).unwrap_or_else(|error| {
            self.failed = Some(error);
            None
        });
        std::mem::replace(self.firsts.get_mut(index)?, next)
    }

    fn first(&mut self) -> Option<Name> {
        let runs = self.firsts.iter().enumerate();
        let runs = runs.filter_map(|(index, first)| Some((index, &first.as_ref()?.1[..])));
        let smallest = runs.min_by_key(|(_, name)| *name);
        let in_memory = self.starts.as_slice().first().copied();
        match (smallest, in_memory) {
            (Some((index, name)), start) if start.is_none_or(|start| name <= name_at(&self.bytes, start)) => {
                self.step(index)
            }
            _ => {
                let start = self.starts.next()?;
                decoded(self.bytes.get(start as usize..).unwrap_or_default()).map(|(name, _)| name)
            }
        }
    }
}

impl Iterator for SortedNames {
    type Item = io::Result<Name>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.first();
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            let (inode, name) = first?;
            // A directory that is written meanwhile may name an entry twice.
            if name != self.last {
                self.last.clone_from(&name);
                return Some(Ok((inode, name)));
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_that_do_not_fit_into_memory_come_in_order_and_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sorter = NameSorter::new(Some(directory.path()));
        sorter.memory_len_max = 5000;
        let mut expected = Vec::new();
        for number in 0..20_000_u32 {
            let name = format!("{:x}", number.wrapping_mul(2_654_435_761) % 18_000).into_bytes();
            sorter.push(7, &name).expect("pushes");
            expected.push(name);
        }
        assert!(sorter.ends.len() > 50, "{}", sorter.ends.len());
        expected.sort_unstable();
        expected.dedup();
        let found: Vec<_> = sorter.sorted().map(|name| name.expect("reads").1).collect();
        assert_eq!(found, expected);
        assert_eq!(directory.path().read_dir().expect("lists").count(), 0);
    }

    #[test]
    fn without_a_place_for_a_file_all_names_stay_in_memory() {
        let mut sorter = NameSorter::new(None);
        sorter.memory_len_max = 10;
        for name in [&b"b"[..], b"", b"a", b"ab", b"a"] {
            sorter.push(1, name).expect("pushes");
        }
        let found: Vec<_> = sorter.sorted().map(|name| name.expect("reads").1).collect();
        assert_eq!(found, [&b"a"[..], b"ab", b"b"]);
    }
}
