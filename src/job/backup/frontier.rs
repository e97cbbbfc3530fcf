//! The directories that the walk has still to visit, first come, first served.
//!
//! A level of a wide tree has more directories than memory should hold: beyond a bounded piece of it they wait
//! in files beside the DTF under construction, each read once and removed. After a crash the next writer
//! removes them.
//!
//! ```text
//! visit: varints: object, parent, flags (1 known, 2 nodump), permissions, uid, gid, three times (seconds signed,
//!        nanoseconds), inode, size, blocks, link count, major and minor of the device; path with its length
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

/// The queue of visits.
#[derive(Debug)]
pub(super) struct Frontier {
    storage: Arc<dyn Storage>,
    // Name of a file without its number and suffix.
    prefix: String,
    memory_len_max: usize,
    first: VecDeque<Visit>,
    first_len: usize,
    // Files of visits that come after those, oldest first.
    files: VecDeque<String>,
    file_count: u64,
    // Visits that come last, encoded.
    last: Vec<u8>,
}

impl Frontier {
    pub(super) fn new(storage: Arc<dyn Storage>, prefix: String) -> Self {
        Self {
            storage,
            prefix,
            memory_len_max: MEMORY_LEN_MAX,
            first: VecDeque::new(),
            first_len: 0,
            files: VecDeque::new(),
            file_count: 0,
            last: Vec::new(),
        }
    }

    /// Adds a visit at the end.
    pub(super) fn push(&mut self, visit: Visit) -> Result<(), RepoError> {
        if self.files.is_empty() && self.last.is_empty() && self.first_len < self.memory_len_max {
            self.first_len += visit.path.len() + VISIT_LEN;
            self.first.push_back(visit);
            return Ok(());
        }
        put(&mut self.last, &visit);
        if self.last.len() >= self.memory_len_max {
            let name = format!("{}.walk-{}.partial", self.prefix, self.file_count);
            let mut file = self.storage.create(&name)?;
            self.files.push_back(name);
            self.file_count += 1;
            file.append(&self.last)?;
            self.last.clear();
        }
        Ok(())
    }

    /// Takes the first visit.
    pub(super) fn pop(&mut self) -> Result<Option<Visit>, RepoError> {
        if self.first.is_empty() {
            self.first_len = 0;
            let bytes = match self.files.pop_front() {
                Some(name) => self.read(&name)?,
                None => std::mem::take(&mut self.last),
            };
            self.first = decode(&bytes).map_err(|source| ReadError::Format {
                path: self.prefix.clone(),
                offset: 0,
                source,
            })?;
        }
        let visit = self.first.pop_front();
        self.first_len =
            self.first_len.saturating_sub(visit.as_ref().map_or(0, |v| v.path.len() + VISIT_LEN));
        Ok(visit)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, RepoError> {
        let file = self.storage.open(name)?;
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        self.storage.remove(name)?;
        Ok(bytes)
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
        let path = vec![b'p'; usize::try_from(number % 300).expect("small")];
        Visit { path, object: number, parent: number / 2, attributes, is_known: number.is_multiple_of(2) }
    }

    #[test]
    fn visits_that_do_not_fit_into_memory_come_in_order_and_leave_nothing() {
        let storage = MemoryStorage::new();
        let mut frontier = Frontier::new(Arc::new(storage.clone()), "run".to_owned());
        frontier.memory_len_max = 4000;
        let (mut pushed, mut popped) = (0, 0);
        // Each visit finds up to two more, as a walk does.
        frontier.push(visit(0)).expect("pushes");
        while let Some(found) = frontier.pop().expect("pops") {
            assert_eq!(found, visit(popped));
            popped += 1;
            for _ in 0..if pushed < 3000 { 2 } else { 0 } {
                pushed += 1;
                frontier.push(visit(pushed)).expect("pushes");
            }
        }
        assert_eq!(popped, pushed + 1);
        assert!(frontier.file_count > 20, "{}", frontier.file_count);
        assert_eq!(storage.names(), Vec::<String>::new());
    }
}
