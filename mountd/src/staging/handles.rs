//! Open files. What must be known of them after the server was killed stands in a table that the supervisor
//! keeps: a file in memory, one record for each handle.
//!
//! ```text
//! header   magic, era (servers so far), flags agreed on with the kernel, the last exchange of two names
//! record   inode number (0: free), serial, flags, number of the backing file, and half of the number of the request
//!          that the handle was made for, which is even: the upper 31 bits with the flags, the lower 32 at the end
//! ```
//!
//! A handle is the record's index below and a serial above, so that a handle that is closed twice, because a
//! request was sent again, does not close another.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reelfs::format::record::Time;
use reelfs::repo::staging::{Attributes, FileHandle, StagingTree};

use crate::staging::nodes::Place;
use crate::wire::init::Agreed;

const MAGIC: u32 = 0x7265_656c;
const HEADER_LEN: u64 = 64;
const EXCHANGE_OFFSET: u64 = 16;
const EXCHANGE_LEN: usize = 24;
const RECORD_LEN: usize = 24;
const IS_WRITABLE: u32 = 1;

/// Makes an empty table, which /proc shows by its name.
///
/// # Errors
/// The refusal of the kernel.
pub(crate) fn make_table(name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?)
}

/// An open file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// Its tree.
    pub(crate) tree: Arc<StagingTree>,
    /// Its handle there.
    pub(crate) handle: FileHandle,
}

/// A record of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Inode number.
    pub(crate) node: u64,
    serial: u32,
    /// Opened for writing.
    pub(crate) is_writable: bool,
    /// Number of the backing file that the kernel uses; 0 if it asks for each read and write.
    pub(crate) backing: u32,
    // Number of the request that it was made for; 0 in the table of an earlier version.
    request: u64,
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        let half = (self.request >> 1).to_le_bytes();
        let [low @ .., a, b, c, d] = half;
        let flags = if self.is_writable { IS_WRITABLE } else { 0 } | u32::from_le_bytes([a, b, c, d]) << 1;
        let fields = self.node.to_ne_bytes().into_iter().chain(self.serial.to_ne_bytes());
        let fields = fields.chain(flags.to_ne_bytes()).chain(self.backing.to_ne_bytes()).chain(low);
        for (place, byte) in bytes.iter_mut().zip(fields) {
            *place = byte;
        }
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (node, rest) = bytes.split_first_chunk()?;
        let (serial, rest) = rest.split_first_chunk()?;
        let (flags, rest) = rest.split_first_chunk()?;
        let (backing, rest) = rest.split_first_chunk()?;
        let (low, _) = rest.split_first_chunk()?;
        let flags = u32::from_ne_bytes(*flags);
        Some(Self {
            node: u64::from_ne_bytes(*node),
            serial: u32::from_ne_bytes(*serial),
            is_writable: flags & IS_WRITABLE != 0,
            backing: u32::from_ne_bytes(*backing),
            request: (u64::from(flags >> 1) << 32 | u64::from(u32::from_le_bytes(*low))) << 1,
        })
    }
}

/// How the kernel uses the open file of an inode; the same for all its handles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Handles.
    pub(crate) count: u32,
    /// Number of the backing file that the kernel uses; 0 if none.
    pub(crate) backing: u32,
    /// Time of the last change of content that the kernel was told last.
    pub(crate) told: Time,
}

/// A handle that was removed.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Its record.
    pub(crate) record: Record,
    /// Its file.
    pub(crate) file: Option<Arc<OpenFile>>,
    /// How the inode is used without it.
    pub(crate) usage: Usage,
}

#[derive(Debug, Default)]
struct State {
    // `None` in a taken slot: of a server before this one, and not opened again.
    slots: Vec<Option<(Record, Option<Arc<OpenFile>>)>>,
    free: Vec<usize>,
    serial: u32,
    usages: HashMap<u64, Usage>,
}

/// An exchange of two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Number of the request.
    pub(crate) unique: u64,
    /// Inode numbers that the names led to before.
    pub(crate) nodes: (u64, u64),
}

/// All open files.
#[derive(Debug)]
pub(crate) struct Handles {
    table: File,
    state: Mutex<State>,
    era: u32,
}

impl Handles {
    /// Begins a table, or goes on with that of the server before; returns what was agreed on then.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn open(table: OwnedFd) -> io::Result<(Self, Option<Agreed>)> {
        let table = File::from(table);
        let mut bytes = vec![0; usize::try_from(table.metadata()?.len()).unwrap_or_default()];
        table.read_exact_at(&mut bytes, 0)?;
        let header = parse_header(&bytes);
        let mut state = State::default();
        let body = usize::try_from(HEADER_LEN).ok().and_then(|len| bytes.get(len..)).unwrap_or_default();
        for record in body.chunks(RECORD_LEN).filter_map(Record::parse) {
            if record.node == 0 {
                state.free.push(state.slots.len());
                state.slots.push(None);
                continue;
            }
            state.serial = state.serial.max(record.serial);
            state.count(&record);
            state.slots.push(Some((record, None)));
        }
        let era = header.map_or(1, |(era, _)| era.wrapping_add(1));
        let handles = Self { table, state: Mutex::new(state), era };
        let agreed = header.map(|(_, flags)| Agreed { flags });
        if let Some(agreed) = agreed {
            handles.agree(agreed)?;
        }
        Ok((handles, agreed))
    }

    /// Keeps what was agreed on with the kernel.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn agree(&self, agreed: Agreed) -> io::Result<()> {
        let mut header = Vec::new();
        header.extend_from_slice(&MAGIC.to_ne_bytes());
        header.extend_from_slice(&self.era.to_ne_bytes());
        header.extend_from_slice(&agreed.flags.to_ne_bytes());
        self.table.write_all_at(&header, 0)
    }

    /// Notes an exchange of two names that is about to be done: number of the request, and what the names led to.
    /// There is one at a time.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn begin_exchange(&self, exchange: Exchange) -> io::Result<()> {
        let fields = [exchange.unique, exchange.nodes.0, exchange.nodes.1];
        self.table.write_all_at(&fields.map(u64::to_ne_bytes).concat(), EXCHANGE_OFFSET)
    }

    /// The exchange that was begun last, by this server or one before it.
    pub(crate) fn last_exchange(&self) -> Option<Exchange> {
        let mut bytes = [0; EXCHANGE_LEN];
        self.table.read_exact_at(&mut bytes, EXCHANGE_OFFSET).ok()?;
        let mut fields =
            bytes.chunks_exact(8).filter_map(|field| field.try_into().ok().map(u64::from_ne_bytes));
        Some(Exchange { unique: fields.next()?, nodes: (fields.next()?, fields.next()?) })
    }

    /// How many servers there were, this one included.
    pub(crate) fn era(&self) -> u32 {
        self.era
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles of the server before that are not opened again, with their records.
    pub(crate) fn inherited(&self) -> Vec<(u64, Record)> {
        let state = self.state();
        let taken = state.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Some((record, None)) => Some((handle(index, record.serial), *record)),
            _ => None,
        });
        taken.collect()
    }

    /// Adds an open file and returns its handle; `unique` is the number of the request that it is for.
    ///
    /// # Errors
    /// The refusal of the system.
    pub(crate) fn put(&self, unique: u64, node: u64, file: OpenFile, backing: u32) -> io::Result<u64> {
        let mut state = self.state();
        let index = state.free.pop().unwrap_or_else(|| {
            state.slots.push(None);
            state.slots.len() - 1
        });
        state.serial = state.serial.wrapping_add(1);
        let (serial, is_writable) = (state.serial, file.handle.is_writable());
        let record = Record { node, serial, is_writable, backing, request: unique };
        if let Err(error) = self.write(index, &record.to_bytes()) {
            state.free.push(index);
            return Err(error);
        }
        state.count(&record);
        if let Some(slot) = state.slots.get_mut(index) {
            *slot = Some((record, Some(Arc::new(file))));
        }
        Ok(handle(index, record.serial))
    }

    /// The handle that a server before this one made for a request that is sent again: nobody was told of it. All
    /// handles are looked at.
    pub(crate) fn unanswered(&self, unique: u64) -> Option<u64> {
        let state = self.state();
        state.slots.iter().enumerate().find_map(|(index, slot)| {
            let (record, _) = slot.as_ref()?;
            (record.request == unique).then(|| handle(index, record.serial))
        })
    }

    /// Notes what the kernel is told of an inode that it may write itself.
    pub(crate) fn tell(&self, node: u64, attributes: &Attributes) {
        if let Some(usage) = self.state().usages.get_mut(&node)
            && usage.backing != 0
        {
            usage.told = attributes.mtime;
        }
    }

    /// Gives a handle of the server before its open file again.
    pub(crate) fn restore(&self, number: u64, file: OpenFile) {
        if let Some((_, place)) = self.state().slot(number) {
            *place = Some(Arc::new(file));
        }
    }

    /// The open file of a handle.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<OpenFile>> {
        self.state().slot(number).and_then(|(_, file)| file.clone())
    }

    /// Inode numbers of all open files.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        self.state().usages.keys().copied().collect()
    }

    /// Lets go of all open files of the tree with this slot: who uses one is told that it is stale.
    pub(crate) fn let_go(&self, slot: u16) {
        let is_of_it = |record: &Record| Place::of(record.node).is_some_and(|place| place.slot == slot);
        let mut state = self.state();
        let taken = state.slots.iter_mut().flatten().filter(|(record, _)| is_of_it(record));
        let files: Vec<Arc<OpenFile>> = taken.filter_map(|(_, file)| file.take()).collect();
        drop(state);
        drop(files);
    }

    /// How the kernel uses an inode's open file.
    pub(crate) fn usage(&self, node: u64) -> Usage {
        self.state().usages.get(&node).copied().unwrap_or_default()
    }

    /// Removes a handle.
    pub(crate) fn remove(&self, number: u64) -> Option<Removed> {
        let mut state = self.state();
        state.slot(number)?;
        let index = index(number)?;
        let (record, file) = state.slots.get_mut(index)?.take()?;
        state.free.push(index);
        if let Err(error) = self.write(index, &[0; RECORD_LEN]) {
            log::warn!("cannot write the table of open files: {error}");
        }
        let usage = state.discount(&record);
        Some(Removed { record, file, usage })
    }

    fn write(&self, index: usize, record: &[u8]) -> io::Result<()> {
        let offset = u64::try_from(index * RECORD_LEN).unwrap_or(u64::MAX);
        self.table.write_all_at(record, HEADER_LEN + offset)
    }
}

impl State {
    fn slot(&mut self, number: u64) -> Option<&mut (Record, Option<Arc<OpenFile>>)> {
        let slot = self.slots.get_mut(index(number)?)?.as_mut()?;
        (u64::from(slot.0.serial) == number >> 32).then_some(slot)
    }

    fn count(&mut self, record: &Record) {
        let usage = self.usages.entry(record.node).or_default();
        usage.count += 1;
        usage.backing = record.backing;
    }

    fn discount(&mut self, record: &Record) -> Usage {
        let Some(usage) = self.usages.get_mut(&record.node) else { return Usage::default() };
        usage.count = usage.count.saturating_sub(1);
        let left = *usage;
        if left.count == 0 {
            self.usages.remove(&record.node);
        }
        left
    }
}

fn handle(index: usize, serial: u32) -> u64 {
    u64::try_from(index).unwrap_or_default() | u64::from(serial) << 32
}

fn index(handle: u64) -> Option<usize> {
    usize::try_from(handle & u64::from(u32::MAX)).ok()
}

fn parse_header(bytes: &[u8]) -> Option<(u32, u64)> {
    let (magic, rest) = bytes.split_first_chunk()?;
    let (era, rest) = rest.split_first_chunk()?;
    let (flags, _) = rest.split_first_chunk()?;
    (u32::from_ne_bytes(*magic) == MAGIC).then(|| (u32::from_ne_bytes(*era), u64::from_ne_bytes(*flags)))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_with_the_whole_number_of_its_request() {
        for request in [0, 2, 0x1_2345_6788, (1 << 63) - 2] {
            for is_writable in [false, true] {
                let record = Record { node: 7 << 50, serial: u32::MAX, is_writable, backing: 3, request };
                assert_eq!(Record::parse(&record.to_bytes()), Some(record));
            }
        }
    }

    #[test]
    fn a_server_finds_each_handle_that_the_one_before_made_for_a_request_without_an_answer() {
        let table = make_table("test").expect("makes a table");
        let again = table.try_clone().expect("clones");
        let agreed = Agreed { flags: 0 };
        let (handles, _) = Handles::open(table).expect("opens");
        handles.agree(agreed).expect("agrees");
        let record = |serial, request| Record { node: 5, serial, is_writable: true, backing: 0, request };
        for (index, request) in [(0, 100), (1, 102), (2, 104)] {
            let serial = u32::try_from(index).expect("small") + 1;
            handles.write(index, &record(serial, request).to_bytes()).expect("writes");
        }
        let (next, _) = Handles::open(again).expect("opens");
        let found: Vec<_> = [100, 102, 104, 106].map(|request| next.unanswered(request)).into();
        assert_eq!(found, [Some(handle(0, 1)), Some(handle(1, 2)), Some(handle(2, 3)), None]);
        for handle in found.into_iter().flatten() {
            assert!(next.remove(handle).is_some());
        }
        assert_eq!((next.usage(5).count, next.inherited()), (0, Vec::new()));
    }
}
