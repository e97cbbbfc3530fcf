//! Writes a generation: data into BDFs, the tree into a DTF, and at last the name that makes it exist.
//!
//! The order of a commit, and why (DESIGN 2.2):
//!
//! 1. BDFs: bytes synced, renamed, directory synced. A crash leaves data that nothing points to.
//! 2. DTF: pages, footer and seal synced under a partial name. A crash leaves a partial file.
//! 3. DTF renamed, directory synced. From here on the generation exists.
//! 4. Only then is the index told, by the caller.

use std::fmt;
use std::sync::Arc;

use super::bdf_writer::{BdfWriter, FramePlace, PreparedFrame, area_directory};
use super::catalog::{self, GenerationId};
use super::change_log::ChangeLog;
use super::content_writer;
use super::error::RepoError;
use super::extent_list::ExtentList;
use super::generation::Generation;
use super::last;
use super::orphans;
use super::repository::Repository;
use super::tree_writer::{PageSink, TailBuilder, Tally, TreeUpdate};
use crate::checksum::crc32;
use crate::format::bdf::{Area, BdfHeader};
use crate::format::dtf::{DtfFooter, DtfHeader, TEXT_LEN_MAX, Totals};
use crate::format::page::TreeKind;
use crate::format::record::{
    Content, FIRST_DIRECTORY_OBJECT, FIRST_LINKED_OBJECT, Record, entry_key, split_key,
};
use crate::format::seal::Seal;
use crate::id::{ClientName, FileId, GenerationTime, Ordinal};

/// What the writer is given from outside: the library has no clock and no randomness.
pub struct WriterInputs {
    /// The present time.
    pub now: GenerationTime,
    /// Makes random file ids.
    pub new_id: Box<dyn FnMut() -> FileId + Send>,
}

impl fmt::Debug for WriterInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterInputs").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The generation that a new one builds upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The client's last one, if there is one.
    Latest,
    /// This one, whichever came after it.
    Generation(Ordinal),
    /// None: the new one shares no page with any.
    Nothing,
}

/// A generation under construction, invisible until [`GenerationWriter::commit`].
#[derive(Debug)]
pub struct GenerationWriter<'r> {
    repository: &'r Repository,
    client: ClientName,
    id: GenerationId,
    dtf_id: FileId,
    previous: Option<Arc<Generation>>,
    // The client's last generation, which this one need not build on.
    predecessor: Option<Ordinal>,
    inputs: WriterInputs,
    sink: PageSink,
    bdf: Option<BdfWriter>,
    bdfs: Vec<FileId>,
    area: Area,
    added_bytes: u64,
    changes: ChangeLog,
    // Records of new directories that come in any order; without it they come in ascending order.
    new_directories: Option<ChangeLog>,
    tail: TailBuilder,
    has_tail: bool,
    tail_totals: Totals,
    first_new_directory: u64,
    next_linked: u64,
    next_directory: u64,
    list_count: u64,
}

/// What a commit made.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The generation.
    pub id: GenerationId,
    /// The BDFs that it added.
    pub bdfs: Vec<FileId>,
    /// Bytes that it added to BDFs.
    pub added_bytes: u64,
    /// Length of its DTF in bytes.
    pub dtf_bytes: u64,
    /// What it holds.
    pub totals: Totals,
}

impl<'r> GenerationWriter<'r> {
    /// Begins the client's next generation; the caller holds the writer lock.
    ///
    /// Leftovers of a writer that was killed are removed.
    ///
    /// # Errors
    /// [`RepoError`] if the repository cannot be read or written.
    pub fn begin(
        repository: &'r Repository,
        client: &ClientName,
        mut inputs: WriterInputs,
        base: Base,
    ) -> Result<Self, RepoError> {
        let storage = repository.storage();
        // Before leftovers go: their numbers may have been seen, and are never used again. And before
        // anything is made: where the other generations are out of reach, none may be begun.
        let ordinal = repository.next_ordinal()?;
        storage.create_directory(&catalog::client_directory(client))?;
        orphans::remove(repository)?;
        remove_leftovers(repository, client)?;
        let last = repository.generations(client)?.last().copied();
        let previous = match base {
            Base::Latest => last.map(|last| last.ordinal),
            Base::Generation(ordinal) => Some(ordinal),
            Base::Nothing => None,
        };
        let previous = previous.map(|ordinal| repository.generation(ordinal)).transpose()?;
        let id = GenerationId { time: repository.next_time(client, inputs.now)?, ordinal };
        let dtf_id = (inputs.new_id)();
        let header = DtfHeader {
            file: dtf_id,
            repository: repository.id(),
            ordinal: id.ordinal,
            previous: previous.as_ref().map(|previous| previous.ordinal()),
            client: client.clone(),
            time: id.time,
        };
        let mut file = storage.create(&catalog::partial_name(client, id))?;
        if let Err(error) = file.append(&header.encode()) {
            storage.remove(&catalog::partial_name(client, id))?;
            return Err(error.into());
        }
        let (next_linked, next_directory) =
            previous.as_ref().map_or((FIRST_LINKED_OBJECT, FIRST_DIRECTORY_OBJECT), |previous| {
                (previous.footer.next_linked, previous.footer.next_directory)
            });
        let level = repository.config().compression.level;
        Ok(Self {
            repository,
            client: client.clone(),
            id,
            dtf_id,
            area: if previous.is_some() { Area::Delta } else { Area::Full },
            previous,
            predecessor: last.map(|last| last.ordinal),
            inputs,
            sink: PageSink::new(file, dtf_id, id.ordinal, level),
            bdf: None,
            bdfs: Vec::new(),
            added_bytes: 0,
            changes: ChangeLog::new(Arc::clone(storage), catalog::work_prefix(client, id)),
            new_directories: None,
            tail: TailBuilder::new(TreeKind::Directory),
            has_tail: false,
            tail_totals: Totals::default(),
            first_new_directory: next_directory,
            next_linked,
            next_directory,
            list_count: 0,
        })
    }

    /// The client's generation before, on which this one builds.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<Generation>> {
        self.previous.as_ref()
    }

    /// Name and number that the generation will have.
    #[must_use]
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// What the names of files begin with, in the storage, that whoever makes the generation may need meanwhile;
    /// with a suffix `.partial` the next writer removes them after a crash.
    #[must_use]
    pub fn work_prefix(&self) -> String {
        catalog::work_prefix(&self.client, self.id)
    }

    /// Takes records of new directories in any order from now on, and keeps them until the commit. Otherwise they
    /// are written as they come.
    pub fn sort_new_directories(&mut self) {
        let prefix = format!("{}.directories", self.work_prefix());
        self.new_directories = Some(ChangeLog::new(Arc::clone(self.repository.storage()), prefix));
    }

    /// A new object id for a directory.
    pub fn new_directory(&mut self) -> u64 {
        let id = self.next_directory;
        self.next_directory += 1;
        id
    }

    /// Takes over ids that somebody else gives to new objects: all below these are given, and new directories
    /// have those that the generation before has not used.
    pub fn take_ids(&mut self, next_linked: u64, next_directory: u64) {
        self.next_linked = self.next_linked.max(next_linked);
        self.next_directory = self.next_directory.max(next_directory);
    }

    /// Bytes that it has added to BDFs so far.
    #[must_use]
    pub fn added_bytes(&self) -> u64 {
        self.added_bytes
    }

    /// A new object id for what is no directory and has several names.
    pub fn new_linked(&mut self) -> u64 {
        let id = self.next_linked;
        self.next_linked += 1;
        id
    }

    /// Tells whether the directory is one of this generation's new ones.
    #[must_use]
    pub fn is_new_directory(&self, object: u64) -> bool {
        object >= self.first_new_directory
    }

    /// Writes a frame into the present BDF.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses.
    pub fn append_frame(&mut self, frame: &PreparedFrame) -> Result<FramePlace, RepoError> {
        let limit = self.repository.config().chunking.bdf_bytes;
        if self.bdf.as_ref().is_some_and(|bdf| bdf.len() >= limit || bdf.is_full()) {
            self.finish_bdf()?;
        }
        let bdf = match self.bdf.take() {
            Some(bdf) => bdf,
            None => self.create_bdf()?,
        };
        let bdf = self.bdf.insert(bdf);
        let before = bdf.len();
        let place = bdf.append(frame)?;
        self.added_bytes += bdf.len() - before;
        Ok(place)
    }

    fn create_bdf(&mut self) -> Result<BdfWriter, RepoError> {
        let header = BdfHeader {
            file: (self.inputs.new_id)(),
            repository: self.repository.id(),
            area: self.area,
            client: self.client.clone(),
            ordinal: self.id.ordinal,
            written_seconds: self.inputs.now.seconds(),
        };
        BdfWriter::create(self.repository.storage(), header)
    }

    fn finish_bdf(&mut self) -> Result<(), RepoError> {
        if let Some(bdf) = self.bdf.take() {
            self.bdfs.push(bdf.finish()?);
        }
        Ok(())
    }

    /// Sets the record of an entry, or of an object if the name is empty.
    ///
    /// Records of new directories are put in ascending order, unless they are sorted
    /// ([`GenerationWriter::sort_new_directories`]); all others in any order.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be written.
    pub fn put(&mut self, object: u64, name: &[u8], record: &Record) -> Result<(), RepoError> {
        let key = entry_key(object, name);
        if self.is_new_directory(object) {
            if let Some(log) = &mut self.new_directories {
                log.insert(key, Some(record.encode()));
                return Ok(());
            }
            self.tail_totals = self.tail_totals.plus(record.totals(name));
            self.has_tail = true;
            return self.tail.push(&mut self.sink, key, record.encode());
        }
        self.changes.insert(key, Some(record.encode()));
        Ok(())
    }

    /// Removes a record of the generation before.
    pub fn remove(&mut self, object: u64, name: &[u8]) {
        self.changes.insert(entry_key(object, name), None);
    }

    /// Stores a file's extents: in the record if they are few, else as a tree of which the pages that
    /// `before` has too are pointed to.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be read or written.
    pub fn content(
        &mut self,
        extents: impl Into<ExtentList>,
        before: Option<&Content>,
    ) -> Result<Content, RepoError> {
        content_writer::write(self.repository, &mut self.sink, &extents.into(), before)
    }

    /// An empty list for the extents of a file, which needs no more memory for a large one than for a small one.
    pub fn extent_list(&mut self) -> ExtentList {
        let name = format!("{}.extents-{}.partial", self.work_prefix(), self.list_count);
        self.list_count += 1;
        ExtentList::new(Arc::clone(self.repository.storage()), name)
    }

    /// Stores a file that has the extents of `base`, but in the `covered` ranges (offset and length,
    /// ascending, not overlapping) those of `extents`; what these leave out becomes a hole. Cost follows the
    /// ranges, not the file.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be read or written.
    pub fn spliced_content(
        &mut self,
        base: &Content,
        covered: &[(u64, u64)],
        extents: impl Into<ExtentList>,
    ) -> Result<Content, RepoError> {
        content_writer::write_over(self.repository, &mut self.sink, base, covered, &extents.into())
    }

    /// Tells whether anything differs from the generation before.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let has_new = self.new_directories.as_ref().is_some_and(|log| !log.is_empty());
        !self.changes.is_empty() || has_new || self.has_tail || self.previous.is_none()
    }

    /// Makes the generation exist.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses; the generation then does not exist, and what was written is
    /// removed as far as the storage allows.
    ///
    /// # Panics
    /// If the root directory was never put.
    pub fn commit(mut self, message: &[u8], source: &[u8]) -> Result<Committed, RepoError> {
        let written = self.write_data().and_then(|()| self.write_tree(message, source));
        let (totals, dtf_bytes) = match written {
            Ok(written) => written,
            Err(error) => {
                // Nothing has a name yet that makes a generation, so that nothing points to the data.
                if let Err(left) = self.abandon() {
                    log::warn!("what the commit had written could not be removed: {left}");
                }
                return Err(error);
            }
        };
        self.publish()?;
        let (id, bdfs, added_bytes) = (self.id, self.bdfs, self.added_bytes);
        Ok(Committed { id, bdfs, added_bytes, dtf_bytes, totals })
    }

    fn write_data(&mut self) -> Result<(), RepoError> {
        self.finish_bdf()?;
        if self.bdfs.is_empty() { Ok(()) } else { self.sync_areas() }
    }

    fn write_new_directories(&mut self) -> Result<(), RepoError> {
        let Some(mut log) = self.new_directories.take() else { return Ok(()) };
        let mut sorted = log.merged()?;
        for (key, value) in sorted.by_ref() {
            let Some(value) = value else { continue };
            self.tail_totals = self.tail_totals.plus(totals_of(&key, &value));
            self.tail.push(&mut self.sink, key, value)?;
        }
        sorted.finish()?;
        log.clear()
    }

    // Returns what the generation holds, and the length of its DTF.
    fn write_tree(&mut self, message: &[u8], source: &[u8]) -> Result<(Totals, u64), RepoError> {
        self.write_new_directories()?;
        let mut added = self.tail_totals;
        let mut removed = Totals::default();
        let new_from = entry_key(self.first_new_directory, b"");
        let mut tally = |change: Tally<'_>| match change {
            // What is in new directories was counted when it came.
            Tally::In(key, _) if key >= &new_from[..] => {}
            Tally::In(key, value) => added = added.plus(totals_of(key, value)),
            Tally::Out(key, value) => removed = removed.plus(totals_of(key, value)),
        };
        let tail = std::mem::replace(&mut self.tail, TailBuilder::new(TreeKind::Directory));
        let (tail, few) = tail.finish(&mut self.sink)?;
        let root = self.previous.as_ref().map(|previous| previous.footer.root);
        let pages = self.repository.pages();
        let update = TreeUpdate::new(&mut self.sink, Some(pages), TreeKind::Directory, &mut tally);
        let mut changes = self.changes.merged()?;
        let root = update.apply(root, &mut changes.by_ref().chain(few), tail)?;
        changes.finish()?;
        self.changes.clear()?;
        let root = root.expect("a generation has the record of its root directory");
        let before = self.previous.as_ref().map(|previous| previous.footer.totals).unwrap_or_default();
        let totals = before.plus(added).minus(removed);
        let footer = DtfFooter {
            root,
            next_linked: self.next_linked,
            next_directory: self.next_directory,
            predecessor: self.predecessor,
            totals,
            added_bytes: self.added_bytes,
            message: shortened(message),
            source: shortened(source),
        };
        let file = self.sink.file();
        let footer = footer.encode();
        let seal = Seal {
            footer_offset: file.len(),
            footer_len: footer.len() as u64,
            file: self.dtf_id,
            footer_crc: crc32(&[&footer]),
        };
        file.append(&footer)?;
        file.append(&seal.encode())?;
        file.sync()?;
        Ok((totals, file.len()))
    }

    // From the rename on the generation may survive a crash: its data is not removed any more.
    fn publish(&self) -> Result<(), RepoError> {
        let storage = self.repository.storage();
        let partial = catalog::partial_name(&self.client, self.id);
        let name = catalog::dtf_name(&self.client, self.id);
        storage.rename(&partial, &name)?;
        let synced = storage.sync_directory(&catalog::client_directory(&self.client));
        if let Err(error) = synced {
            // The next generation must not build on one that may be gone after a crash.
            if let Err(left) = storage.rename(&name, &partial) {
                log::warn!("a generation whose name may not be durable could not be taken back: {left}");
            }
            return Err(error.into());
        }
        if let Err(error) = last::mark(&**storage, &self.client, self.id) {
            log::warn!("the generation is not marked as the last one: {error}");
        }
        self.repository.pages().found(&[self.id]);
        Ok(())
    }

    fn sync_areas(&self) -> Result<(), RepoError> {
        let storage = self.repository.storage();
        storage.sync_directory(&area_directory(self.area, self.client.as_str()))?;
        Ok(())
    }

    /// Removes what was written.
    ///
    /// # Errors
    /// [`RepoError`] if the storage refuses; what is left is removed by the next writer.
    pub fn abandon(self) -> Result<(), RepoError> {
        drop((self.bdf, self.sink));
        let storage = self.repository.storage();
        for file in self.bdfs {
            storage.remove(&super::frames::bdf_name(self.area, self.client.as_str(), file))?;
        }
        remove_leftovers(self.repository, &self.client)
    }
}

// A longer text would make a footer that no reader takes.
fn shortened(text: &[u8]) -> Vec<u8> {
    text.get(..TEXT_LEN_MAX).unwrap_or(text).to_vec()
}

fn totals_of(key: &[u8], value: &[u8]) -> Totals {
    match (split_key(key), Record::decode(value)) {
        (Ok((_, name)), Ok(record)) => record.totals(name),
        _ => Totals::default(),
    }
}

fn remove_leftovers(repository: &Repository, client: &ClientName) -> Result<(), RepoError> {
    let storage = repository.storage();
    let mut directories = vec![catalog::client_directory(client)];
    directories.extend(Area::ALL.map(|area| area_directory(area, client.as_str())));
    for directory in directories {
        for entry in storage.list(&directory)? {
            if !entry.is_directory && entry.name.ends_with(".partial") {
                storage.remove(&format!("{directory}/{}", entry.name))?;
            }
        }
    }
    Ok(())
}
