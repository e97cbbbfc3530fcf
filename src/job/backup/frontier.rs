//! The directories that the walk has still to visit, depth first: what lies below a directory comes before what
//! comes after it. Data is stored in the order of the walk, and whoever copies a tree reads it in this order.
//!
//! A wide tree has more directories than memory should hold. They are kept in pieces; beyond a bounded number of
//! bytes the pieces that are wanted last wait in files beside the DTF under construction, each read once and
//! removed. After a crash the next writer removes them.
//!
//! ```text
//! visit: varints: object, parent, flags (1 known, 2 nodump), permissions, uid, gid, three times (seconds signed,
//!        nanoseconds), inode, size, blocks, link count, major and minor of the device; name with its length
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::{DecodeError, Reader, put_prefixed, put_varint, put_varint_i64};
use crate::format::FormatError;
use crate::format::record::{FileKind, Time};
use crate::live::{Attributes, Device};
use crate::repo::{ReadError, RepoError};
use crate::storage::Storage;

const MEMORY_LEN_MAX: usize = 4 << 20;
// A piece is written and read as a whole.
const PIECES_IN_MEMORY: usize = 16;
// What a visit takes beside its path.
const VISIT_LEN: usize = 200;

/// A directory still to be visited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) path: Vec<u8>,
    pub(super) object: u64,
    pub(super) parent: u64,
    pub(super) attributes: Attributes,
    /// The directory was there in the generation before, under the same object id.
    pub(super) is_known: bool,
}

impl Visit {
    fn memory_len(&self) -> usize {
        self.path.len() + VISIT_LEN
    }
}

/// Visits one after the other, with their names instead of paths: a path is as long as the tree is deep.
#[derive(Debug)]
enum Piece {
    Memory { visits: VecDeque<Visit>, len: usize },
    File(String),
}

/// The directories found in one directory that were not visited yet, in pieces.
#[derive(Debug, Default)]
struct Level {
    // Length of the directory's path, with the slash behind it.
    path_len: usize,
    pieces: VecDeque<Piece>,
}

/// The visits to come.
#[derive(Debug)]
pub(super) struct Frontier {
    storage: Arc<dyn Storage>,
    // Name of a file without its number and suffix.
    prefix: String,
    memory_len_max: usize,
    memory_len: usize,
    file_count: u64,
    // The root first, last what was found by the visit that goes on.
    levels: Vec<Level>,
    // Path of the last visit, with a slash behind it.
    path: Vec<u8>,
}

impl Frontier {
    pub(super) fn new(storage: Arc<dyn Storage>, prefix: String) -> Self {
        Self {
            storage,
            prefix,
            memory_len_max: MEMORY_LEN_MAX,
            memory_len: 0,
            file_count: 0,
            levels: vec![Level::default()],
            path: Vec::new(),
        }
    }

    /// Adds a directory that the visit popped last has found, behind all others that it found.
    pub(super) fn push(&mut self, mut visit: Visit) -> Result<(), RepoError> {
        let piece_len_max = self.memory_len_max / PIECES_IN_MEMORY;
        let level = self.levels.last_mut().expect("a visit has opened one");
        visit.path.drain(..level.path_len.min(visit.path.len()));
        let more = visit.memory_len();
        self.memory_len += more;
        match level.pieces.back_mut() {
            Some(Piece::Memory { visits, len }) if *len < piece_len_max => {
                visits.push_back(visit);
                *len += more;
            }
            _ => level.pieces.push_back(Piece::Memory { visits: VecDeque::from([visit]), len: more }),
        }
        while self.memory_len > self.memory_len_max && self.spill()? {}
        Ok(())
    }

    // Writes the piece that is wanted last out of memory; returns whether there was one.
    fn spill(&mut self) -> Result<bool, RepoError> {
        let mut pieces = self.levels.iter_mut().flat_map(|level| level.pieces.iter_mut().rev());
        let Some(piece) = pieces.find(|piece| matches!(piece, Piece::Memory { .. })) else {
            return Ok(false);
        };
        let name = format!("{}.walk-{}.partial", self.prefix, self.file_count);
        self.file_count += 1;
        let mut bytes = Vec::new();
        if let Piece::Memory { visits, len } = std::mem::replace(piece, Piece::File(name.clone())) {
            self.memory_len -= len;
            visits.iter().for_each(|visit| put(&mut bytes, visit));
        }
        self.storage.create(&name)?.append(&bytes)?;
        Ok(true)
    }

    /// Takes the next visit; what is pushed from now on is below it.
    pub(super) fn pop(&mut self) -> Result<Option<Visit>, RepoError> {
        while let Some(level) = self.levels.last_mut() {
            match level.pieces.pop_front() {
                None => {
                    self.levels.pop();
                }
                Some(Piece::File(name)) => self.read_back(&name)?,
                Some(Piece::Memory { mut visits, len }) => {
                    let Some(mut visit) = visits.pop_front() else { continue };
                    let less = visit.memory_len();
                    self.memory_len -= less;
                    if !visits.is_empty() {
                        level.pieces.push_front(Piece::Memory { visits, len: len - less });
                    }
                    self.path.truncate(level.path_len);
                    self.path.append(&mut visit.path);
                    visit.path.clone_from(&self.path);
                    if !self.path.is_empty() {
                        self.path.push(b'/');
                    }
                    self.levels.push(Level { path_len: self.path.len(), pieces: VecDeque::new() });
                    return Ok(Some(visit));
                }
            }
        }
        Ok(None)
    }

    fn read_back(&mut self, name: &str) -> Result<(), RepoError> {
        let file = self.storage.open(name)?;
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        self.storage.remove(name)?;
        let malformed = |source| ReadError::Format { path: name.to_owned(), offset: 0, source };
        let visits = decode(&bytes).map_err(malformed)?;
        let len = visits.iter().map(Visit::memory_len).sum();
        if let Some(level) = self.levels.last_mut() {
            level.pieces.push_front(Piece::Memory { visits, len });
            self.memory_len += len;
        }
        Ok(())
    }
}

fn put(target: &mut Vec<u8>, visit: &Visit) {
    let attributes = &visit.attributes;
    let flags = u64::from(visit.is_known) | u64::from(attributes.is_nodump) << 1;
    let numbers = [visit.object, visit.parent, flags, attributes.permissions.into(), attributes.uid.into()];
    for number in numbers.into_iter().chain([attributes.gid.into()]) {
        put_varint(target, number);
    }
    for time in [attributes.mtime, attributes.ctime, attributes.atime] {
        put_varint_i64(target, time.seconds);
        put_varint(target, time.nanoseconds.into());
    }
    let device = attributes.device;
    let numbers = [attributes.source_inode, attributes.size, attributes.blocks, attributes.link_count.into()];
    for number in numbers.into_iter().chain([device.major.into(), device.minor.into()]) {
        put_varint(target, number);
    }
    put_prefixed(target, &visit.path);
}

fn decode(bytes: &[u8]) -> Result<VecDeque<Visit>, FormatError> {
    let mut visits = VecDeque::new();
    let mut reader = Reader::new(bytes);
    while reader.remaining() > 0 {
        visits.push_back(read_visit(&mut reader).map_err(FormatError::malformed("list of directories"))?);
    }
    Ok(visits)
}

fn read_visit(reader: &mut Reader<'_>) -> Result<Visit, DecodeError> {
    let (object, parent) = (reader.varint("object")?, reader.varint("parent")?);
    let flags = reader.varint("flags")?;
    let permissions = u16::try_from(reader.varint("permissions")?).unwrap_or_default();
    let (uid, gid) = (reader.varint_u32("uid")?, reader.varint_u32("gid")?);
    let mut time = || -> Result<Time, DecodeError> {
        Ok(Time { seconds: reader.varint_i64("time")?, nanoseconds: reader.varint_u32("nanoseconds")? })
    };
    let (mtime, ctime, atime) = (time()?, time()?, time()?);
    let attributes = Attributes {
        kind: FileKind::Directory,
        permissions,
        uid,
        gid,
        mtime,
        ctime,
        atime,
        source_inode: reader.varint("inode")?,
        size: reader.varint("size")?,
        blocks: reader.varint("blocks")?,
        link_count: reader.varint_u32("link count")?,
        device: Device { major: reader.varint_u32("major")?, minor: reader.varint_u32("minor")? },
        special: Device::default(),
        is_nodump: flags & 2 != 0,
    };
    let path = reader.prefixed("path", usize::MAX)?.to_vec();
    Ok(Visit { path, object, parent, attributes, is_known: flags & 1 != 0 })
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::storage::MemoryStorage;

    fn visit(number: u64) -> Visit {
        let time = |seconds| Time { seconds, nanoseconds: 999_999_999 };
        let attributes = Attributes {
            kind: FileKind::Directory,
            permissions: 0o7777,
            uid: u32::MAX - 1,
            gid: 7,
            mtime: time(-5),
            ctime: time(i64::MAX),
            atime: time(i64::MIN),
            source_inode: u64::MAX - number,
            size: 4096,
            blocks: 8,
            link_count: 3,
            device: Device { major: 8, minor: 1 << 19 },
            special: Device::default(),
            is_nodump: number.is_multiple_of(3),
        };
        Visit {
            path: path(number),
            object: number,
            parent: number / 2,
            attributes,
            is_known: number.is_multiple_of(2),
        }
    }

    // Of the numbers that lead to it, each three digits longer than the one before.
    fn path(number: u64) -> Vec<u8> {
        let name = |number: u64| "n".repeat(usize::try_from(number % 250 + 1).expect("small"));
        let above =
            std::iter::successors(Some(number), |number| Some(number / 1000).filter(|above| *above > 0));
        let mut names: Vec<String> = above.map(name).collect();
        // The root has no name.
        names.pop();
        names.reverse();
        names.join("/").into_bytes()
    }

    // Depth first, each with so many below it as it has to its depth.
    fn expected(order: &mut Vec<u64>, number: u64, widths: &[u64]) {
        order.push(number);
        let Some((width, deeper)) = widths.split_first() else { return };
        (0..*width).for_each(|index| expected(order, number * 1000 + index, deeper));
    }

    #[test]
    fn what_lies_below_a_directory_comes_first_and_what_does_not_fit_into_memory_leaves_nothing() {
        for (memory_len_max, widths) in
            [(usize::MAX, [3, 40, 2, 5]), (9000, [300, 3, 9, 2]), (9000, [2, 300, 3, 9])]
        {
            let storage = MemoryStorage::new();
            let mut frontier = Frontier::new(Arc::new(storage.clone()), "run".to_owned());
            frontier.memory_len_max = memory_len_max;
            let mut order = Vec::new();
            expected(&mut order, 1, &widths);
            frontier.push(visit(1)).expect("pushes");
            for number in order {
                let found = frontier.pop().expect("pops").expect("one is left");
                assert_eq!(found, visit(number));
                let depth = number.ilog10() as usize / 3;
                for index in 0..widths.get(depth).copied().unwrap_or(0) {
                    frontier.push(visit(number * 1000 + index)).expect("pushes");
                }
                // A piece that was read back comes to it.
                let most = memory_len_max.saturating_add(memory_len_max / PIECES_IN_MEMORY + 1000);
                assert!(frontier.memory_len <= most, "{} bytes", frontier.memory_len);
            }
            assert!(frontier.pop().expect("pops").is_none());
            assert_eq!(frontier.memory_len, 0);
            let is_small = memory_len_max < usize::MAX;
            assert_eq!(frontier.file_count > 5, is_small, "{}", frontier.file_count);
            // A piece of the widest directory is not written again for each directory in it.
            assert!(frontier.file_count < 2000, "{}", frontier.file_count);
            assert_eq!(storage.names(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_very_deep_tree_takes_the_memory_of_its_names_and_no_file() {
        let storage = MemoryStorage::new();
        let mut frontier = Frontier::new(Arc::new(storage.clone()), "run".to_owned());
        frontier.push(Visit { path: Vec::new(), ..visit(1) }).expect("pushes");
        let mut deepest = 0;
        for _ in 0..2000 {
            let found = frontier.pop().expect("pops").expect("one is left");
            deepest = deepest.max(found.path.len());
            for name in ["d", "e"] {
                let name = name.repeat(255).into_bytes();
                let path = [&found.path[..], &name].join(&b"/"[..usize::from(!found.path.is_empty())]);
                frontier.push(Visit { path, ..found.clone() }).expect("pushes");
            }
        }
        assert_eq!(deepest, 1999 * 256 - 1);
        assert_eq!(frontier.file_count, 0);
    }
}
