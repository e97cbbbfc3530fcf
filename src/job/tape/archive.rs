//! Archives generations to a set of cartridges.
//!
//! Nothing is decided by what the catalogue remembers alone: before anything is written, the cartridge itself is asked
//! what it is and what it holds. So a run that was killed is gone on with by the next one, from its last commit.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::bases::Bases;
use super::catalogue::{Catalogue, KnownVolume, copy_file};
use super::error::TapeJobError;
use super::library::TapeLibrary;
use super::lists::{LIST_BYTES_MAX, ListKeeper};
use super::open_set::OpenSet;
use super::order;
use super::plan::{LeftOut, Needed, NeededFile, Plan};
use super::pool_lock::PoolLock;
use super::sealed::SealedKind;
use super::sets::lacks;
use crate::id::{ClientName, FileId};
use crate::library::Barcode;
use crate::progress::Progress;
use crate::repo::{GenerationId, Repository};
use crate::tape::TapeError;
use crate::tape::archive::{Lacking, SegmentEntry, VolumeDescription};
use crate::tape::drive::Drive;
use crate::tape::reader::VolumeIndex;
use crate::tape::writer::{Ended, Session, VolumeWriter, WriterOptions};

/// Cartridges that a drive may lose one after the other before anything is committed to one of them.
const LOSSES_MAX: u32 = 3;

/// How an archive is made.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// Pool of cartridges: its newest set is gone on with.
    pub pool: String,
    /// Cartridges that may be used, the last one of the set first, then in this order; if there are none, the last one
    /// of the set, those prepared for the pool, then blank ones.
    pub cartridges: Vec<Barcode>,
    /// Barcode to write on the label of a blank cartridge in a lone drive.
    pub lone_barcode: Option<String>,
    /// Number of the drive to use, from 0; any if not given.
    pub drive: Option<usize>,
    /// What the session is called, for people.
    pub session: String,
    /// Until when the cartridges must not be written over, seconds since 1970; also those with what is on tape already.
    pub retain_until_seconds: Option<i64>,
    /// Begin a new set.
    pub new_set: bool,
    /// Leave the last cartridge in its drive.
    pub keep_loaded: bool,
    /// How the cartridge is written.
    pub writer: WriterOptions,
}

/// What happens during an archive, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveEvent {
    /// A cartridge is moved into a drive.
    Loading(String),
    /// A cartridge cannot be used: its barcode, and why.
    Rejected(String, String),
    /// A cartridge was labelled: its barcode and its number in the set.
    Labelled(String, u32),
    /// The archive waits for a drive that others have, and why.
    Waiting(String),
    /// So many objects and bytes are written to a cartridge.
    Writing(String, u64, u64),
    /// A cartridge is full.
    Full(String),
    /// A cartridge failed and is not written again: its barcode, and why.
    Lost(String, String),
    /// A cartridge was put away.
    Ejected(String),
    /// A cartridge has fewer segments than the catalogue knew: its barcode, and how many it lacks.
    Lacks(String, u64),
    /// A cartridge is kept longer than before.
    Retained(String),
    /// A file of the repository is left out: its name, and why.
    LeftOut(String, String),
    /// So many lists of extended attributes of a cartridge are not in the catalogue.
    ListsLeftOut(String, u64),
}

/// What was written to one cartridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    /// What it is.
    pub description: VolumeDescription,
    /// Bytes of objects that this session wrote.
    pub bytes: u64,
    /// Whether the set goes on with another one.
    pub is_full: bool,
}

/// What an archive did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchiveSummary {
    /// Set of cartridges; `None` if there was nothing to write and there is no set yet.
    pub set: Option<FileId>,
    /// Cartridges written, in their order.
    pub volumes: Vec<VolumeUse>,
    /// Generations that are on tape now, but for files that could not be read.
    pub generation_count: u64,
    /// Objects written.
    pub object_count: u64,
    /// Bytes of objects written.
    pub bytes: u64,
    /// Objects that the set held already.
    pub skipped_count: u64,
    /// Bytes of them.
    pub skipped_bytes: u64,
    /// Files that could not be read and are not on tape; of a generation whose tree could not be read, its DTF.
    pub left_out: Vec<LeftOut>,
    /// Cartridges that are kept longer than before, other than those written.
    pub retained: Vec<String>,
}

/// What is given from outside: the library has no clock and no randomness.
pub struct ArchiveInputs<'a> {
    /// The present time, seconds since 1970.
    pub now_seconds: &'a dyn Fn() -> i64,
    /// Makes random ids.
    pub new_id: &'a mut dyn FnMut() -> FileId,
    /// Told of what happens.
    pub event: &'a mut dyn FnMut(ArchiveEvent),
    /// The right to write to the pool, taken before the library was opened.
    pub lock: &'a PoolLock,
}

impl std::fmt::Debug for ArchiveInputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveInputs").finish_non_exhaustive()
    }
}

/// What generations need and the newest set of the pool does not hold, without moving a cartridge.
///
/// # Errors
/// [`TapeJobError`] if the catalogue or a file cannot be read.
pub fn plan(
    repository: &Repository,
    catalogue: &Catalogue,
    generations: &[(ClientName, GenerationId)],
    options: &ArchiveOptions,
    progress: &Progress,
) -> Result<Plan, TapeJobError> {
    let set = OpenSet::find(catalogue, repository.id(), options)?;
    let mut needed =
        Needed::of(repository, generations, &set.content, &mut Bases::read(catalogue), progress)?;
    let lacking = lacks(catalogue, &set.volumes, &set.content)?.names;
    let left_out = needed.take_unreadable(repository, &lacking, progress)?;
    Ok(Plan { left_out, ..needed.missing(repository, &set.content, 0) })
}

/// Writes all that these generations need to the newest set of the pool, cartridge by cartridge. A file of the
/// repository that cannot be read is left out, and so is a generation whose tree cannot be read.
///
/// # Errors
/// [`TapeJobError`] if that cannot be done; what was committed by then stays, and is not written again.
pub fn run<'a>(
    repository: &'a Repository,
    library: &'a mut TapeLibrary,
    catalogue: &'a Catalogue,
    generations: &'a [(ClientName, GenerationId)],
    options: &'a ArchiveOptions,
    inputs: ArchiveInputs<'a>,
    progress: &'a Progress,
) -> Result<ArchiveSummary, TapeJobError> {
    if generations.is_empty() {
        return Err(TapeJobError::NothingChosen);
    }
    let set = OpenSet::find(catalogue, repository.id(), options)?;
    let mut bases = Bases::read(catalogue);
    let needed = Needed::of(repository, generations, &set.content, &mut bases, progress)?;
    bases.keep(catalogue);
    let mut run = Run {
        repository,
        library,
        catalogue,
        options,
        inputs,
        progress,
        set,
        needed,
        tried: BTreeSet::new(),
        refusals: Vec::new(),
        losses: 0,
        summary: ArchiveSummary::default(),
    };
    run.leave_out_unreadable()?;
    let plan = run.plan();
    run.summary.set = run.set.id;
    run.summary.generation_count = run.needed.generations.len() as u64;
    (run.summary.skipped_count, run.summary.skipped_bytes) = (plan.skipped_count, plan.skipped_bytes);
    if !plan.objects.is_empty() {
        progress.add_total(plan.objects.len() as u64, plan.bytes);
        run.cartridges()?;
    } else if let Some(last) = run.set.volumes.last().map(|known| known.description.clone()) {
        // What was archived by an earlier version, or in a run that was killed, may lack them.
        run.keep_lists(last.volume, &last.barcode)?;
    }
    run.note_lacking()?;
    run.retain_all()?;
    // What is written is safe; a mount makes what is missing.
    if let Some(set) = run.summary.set
        && let Err(error) = order::make_newest(catalogue, set, progress)
    {
        log::info!("{}", crate::job::chain(&error));
    }
    Ok(run.summary)
}

pub(super) struct Run<'a> {
    pub(super) repository: &'a Repository,
    pub(super) library: &'a mut TapeLibrary,
    pub(super) catalogue: &'a Catalogue,
    pub(super) options: &'a ArchiveOptions,
    pub(super) inputs: ArchiveInputs<'a>,
    pub(super) progress: &'a Progress,
    pub(super) set: OpenSet,
    pub(super) needed: Needed,
    // Cartridges that were looked at, and why those were not taken that were not.
    pub(super) tried: BTreeSet<Barcode>,
    pub(super) refusals: Vec<(Barcode, String)>,
    losses: u32,
    pub(super) summary: ArchiveSummary,
}

impl Run<'_> {
    fn plan(&self) -> Plan {
        self.needed.missing(self.repository, &self.set.content, (self.inputs.now_seconds)())
    }

    pub(super) fn session(&self) -> Session {
        Session {
            text: self.options.session.clone(),
            now_seconds: (self.inputs.now_seconds)(),
            retain_until_seconds: self.options.retain_until_seconds,
        }
    }

    // One cartridge after the other, until everything is written.
    fn cartridges(&mut self) -> Result<(), TapeJobError> {
        let mut open = self.set.last_open().filter(|last| self.may_use(last));
        loop {
            let (number, mut drive, description) = match open.take() {
                Some(description) => {
                    (self.inputs.event)(ArchiveEvent::Loading(description.barcode.clone()));
                    let (number, drive) = self.mount_volume(&description)?;
                    (number, drive, description)
                }
                None => self.next_cartridge()?,
            };
            let is_done = self.write(&mut drive, &description)?;
            if let Err(error) = drive.set_removal_prevented(false) {
                log::info!("{}", crate::job::chain(&error));
            }
            if !(is_done && self.options.keep_loaded) {
                self.library.put_away(drive, number, None)?;
                (self.inputs.event)(ArchiveEvent::Ejected(description.barcode.clone()));
            }
            if is_done {
                return self.check_whole();
            }
            if self.losses == LOSSES_MAX {
                return Err(TapeJobError::DriveFails { number, count: LOSSES_MAX });
            }
            if self.library.changer().is_none() {
                let reason = format!("{} is full; put the next one into the drive", description.barcode);
                return Err(TapeJobError::NoCartridge { reason });
            }
        }
    }

    // Nothing is said to be archived that is not there whole.
    fn check_whole(&self) -> Result<(), TapeJobError> {
        let left = self.plan().objects;
        let Some(first) = left.first() else { return Ok(()) };
        Err(TapeJobError::Incomplete { count: left.len(), name: first.name.to_string() })
    }

    // Writes to one cartridge; tells whether nothing is left.
    fn write(&mut self, drive: &mut Drive, description: &VolumeDescription) -> Result<bool, TapeJobError> {
        if let Err(error) = drive.set_removal_prevented(true) {
            log::info!("{}", crate::job::chain(&error));
        }
        let volume = description.volume;
        let session = self.session();
        let writer = VolumeWriter::append(drive, volume, session, self.options.writer.clone(), self.progress);
        let mut writer = match writer {
            Err(TapeError::Full { .. }) => {
                (self.inputs.event)(ArchiveEvent::Full(description.barcode.clone()));
                return Ok(false);
            }
            other => other?,
        };
        let barcode = description.barcode.clone();
        self.take_found(&writer, description)?;
        let found = writer.committed().iter().chain(writer.recovered());
        let before: u64 = found.map(|segment| segment.len).sum();
        let planned = self.plan();
        let (objects, bytes) = (planned.objects.len() as u64, planned.bytes);
        (self.inputs.event)(ArchiveEvent::Writing(barcode.clone(), objects, bytes));
        let ended = self.write_objects(&mut writer, volume)?;
        let index = writer.finish(!matches!(ended, Ended::Done), self.progress)?;
        let bytes = index.segments.iter().map(|segment| segment.len).sum::<u64>().saturating_sub(before);
        self.written(description, &index)?;
        let (is_full, is_lost) = match ended {
            Ended::Done => (false, false),
            Ended::Full => (true, false),
            Ended::Lost(error) => {
                self.lose(description, crate::job::chain(&error))?;
                (true, true)
            }
            Ended::Unreadable(error) => return Err(error.into()),
        };
        match (is_lost, before + bytes) {
            // All the others would be labelled and left as empty as this one.
            (false, 0) if is_full => return Err(TapeJobError::TooSmall { barcode }),
            (true, 0) => self.losses += 1,
            _ => self.losses = 0,
        }
        self.summary.bytes += bytes;
        self.summary.volumes.push(VolumeUse { description: description.clone(), bytes, is_full });
        let left = self.plan().objects.len();
        let left_out = self.summary.left_out.iter();
        let left_out = left_out.filter(|out| planned.objects.iter().any(|object| *object.name == *out.name));
        self.summary.object_count += planned.objects.len().saturating_sub(left + left_out.count()) as u64;
        if is_full && !is_lost {
            (self.inputs.event)(ArchiveEvent::Full(barcode));
        }
        Ok(!is_full)
    }

    // The cartridge counts and not what was known of it: a run that was killed may have committed more, and what it
    // lost is written again.
    fn take_found(
        &mut self,
        writer: &VolumeWriter<'_>,
        description: &VolumeDescription,
    ) -> Result<(), TapeJobError> {
        let volume = description.volume;
        let found: Vec<_> = writer.committed().iter().chain(writer.recovered()).cloned().collect();
        let lacking = lacking_segments(&self.catalogue.segments(volume)?, &found).len() as u64;
        if lacking > 0 {
            (self.inputs.event)(ArchiveEvent::Lacks(description.barcode.clone(), lacking));
        }
        self.set.content.replace(volume, found);
        Ok(())
    }

    // All that is planned, but what cannot be read.
    fn write_objects(
        &mut self,
        writer: &mut VolumeWriter<'_>,
        volume: FileId,
    ) -> Result<Ended, TapeJobError> {
        loop {
            let lacking = self.lacking_in_the_end()?;
            writer.set_lacking(Lacking::of(lacking.iter().map(String::as_str)));
            let plan = self.plan();
            let (ended, place) = writer.write(&plan.objects, plan.from, self.progress)?;
            let index = usize::try_from(place.object).unwrap_or(usize::MAX);
            match (ended, plan.objects.get(index)) {
                (Ended::Unreadable(error), Some(object)) => {
                    self.set.content.replace(volume, writer.committed().iter().cloned());
                    self.leave_out(&object.name, crate::job::chain(&error));
                }
                (ended, _) => return Ok(ended),
            }
        }
    }

    fn lose(&mut self, description: &VolumeDescription, reason: String) -> Result<(), TapeJobError> {
        self.catalogue.close(description.volume, &reason)?;
        for known in &mut self.set.volumes {
            known.is_closed |= known.description.volume == description.volume;
        }
        (self.inputs.event)(ArchiveEvent::Lost(description.barcode.clone(), reason));
        Ok(())
    }

    // Takes into the catalogue what a cartridge holds now.
    pub(super) fn written(
        &mut self,
        description: &VolumeDescription,
        index: &VolumeIndex,
    ) -> Result<(), TapeJobError> {
        self.set.content.replace(description.volume, index.segments.iter().cloned());
        for file in self.needed.files.iter().filter(|file| file.kind != Some(SealedKind::Bdf)) {
            let pieces = self.set.content.complete(&file.name).unwrap_or_default();
            if pieces.iter().any(|piece| piece.volume == description.volume) {
                self.keep_tree(description.volume, file)?;
            }
        }
        self.catalogue.put(description, index.header.as_ref(), &index.segments)?;
        let header = index.header.clone();
        let known = KnownVolume { description: description.clone(), header, is_closed: false };
        self.set.volumes.retain(|other| other.description.volume != description.volume);
        self.set.volumes.push(known);
        self.set.id = Some(description.set);
        self.summary.set = self.set.id;
        self.keep_lists(description.volume, &description.barcode)
    }

    // Whatever cartridge has the data of the lists: all of the set are asked for them.
    fn keep_lists(&mut self, volume: FileId, barcode: &str) -> Result<(), TapeJobError> {
        if !self.needed.has_lists {
            return Ok(());
        }
        let volumes: Vec<FileId> = self.set.volumes.iter().map(|known| known.description.volume).collect();
        let keeper = ListKeeper::new(self.catalogue, volume, &volumes, LIST_BYTES_MAX)?;
        let totals = keeper.run(self.repository, &self.needed.generations, self.progress)?;
        let left_out = totals.over_limit + totals.unread;
        if left_out > 0 {
            (self.inputs.event)(ArchiveEvent::ListsLeftOut(barcode.to_owned(), left_out));
        }
        Ok(())
    }

    fn keep_tree(&self, volume: FileId, needed: &NeededFile) -> Result<(), TapeJobError> {
        let name = &*needed.name;
        if let Some(bytes) = &needed.snapshot {
            return Ok(self.catalogue.put_file(volume, name, None, |target| target.append(bytes))?);
        }
        let file = self.repository.storage().open(name)?;
        let kept = self.catalogue.open_file(volume, name);
        if kept.is_ok_and(|kept| kept.len() == file.len()) {
            return Ok(());
        }
        // A link is enough for a file that never changes.
        let original = self.repository.root().map(|root| root.join(name));
        let original = original.as_deref().map(Path::new);
        self.catalogue.put_file(volume, name, original, |target| copy_file(&*file, target))?;
        Ok(())
    }
}

/// The segments among those `known` that are not on the tape, by their place and what is in them.
#[must_use]
pub fn lacking_segments<'s>(known: &'s [SegmentEntry], found: &[SegmentEntry]) -> Vec<&'s SegmentEntry> {
    let key = |entry: &SegmentEntry| {
        (entry.address.loi, entry.address.byte, Arc::clone(&entry.name), entry.len, entry.fingerprint)
    };
    let found: HashSet<_> = found.iter().map(key).collect();
    known.iter().filter(|entry| !found.contains(&key(entry))).collect()
}
