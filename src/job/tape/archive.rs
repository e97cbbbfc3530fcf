//! Archives generations to a set of cartridges.
//!
//! Nothing is decided by what the catalogue remembers alone: before anything is written, the cartridge itself is asked
//! what it is and what it holds. So a run that was killed is gone on with by the next one, from its last commit.

use std::collections::BTreeSet;
use std::path::Path;

use super::cartridges::{candidates, foreign_name, label_text, ours};
use super::catalogue::{Catalogue, KnownVolume, copy_file};
use super::error::TapeJobError;
use super::library::TapeLibrary;
use super::lists::{LIST_BYTES_MAX, ListKeeper};
use super::open_set::OpenSet;
use super::order;
use super::plan::{Needed, Plan};
use super::sealed::SealedKind;
use crate::id::{ClientName, FileId, Ordinal};
use crate::library::Barcode;
use crate::progress::Progress;
use crate::repo::{GenerationId, Repository};
use crate::tape::TapeError;
use crate::tape::archive::VolumeDescription;
use crate::tape::drive::Drive;
use crate::tape::reader::{Identified, VolumeIndex};
use crate::tape::writer::{Ended, Overwrite, Session, VolumeWriter, WriterOptions, label};

/// How an archive is made.
#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// Pool of cartridges: its newest set is gone on with.
    pub pool: String,
    /// Cartridges that may be used, in this order; if there are none, those prepared for the pool, then blank ones.
    pub cartridges: Vec<Barcode>,
    /// Barcode to write on the label of a blank cartridge in a lone drive.
    pub lone_barcode: Option<String>,
    /// Number of the drive to use, from 0; any if not given.
    pub drive: Option<usize>,
    /// What the session is called, for people.
    pub session: String,
    /// Until when the cartridges must not be written over, seconds since 1970.
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
    /// So many objects and bytes are written to a cartridge.
    Writing(String, u64, u64),
    /// A cartridge is full.
    Full(String),
    /// A cartridge failed and is not written again: its barcode, and why.
    Lost(String, String),
    /// A cartridge was put away.
    Ejected(String),
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
    /// Objects written.
    pub object_count: u64,
    /// Bytes of objects written.
    pub bytes: u64,
    /// Objects that the set held already.
    pub skipped_count: u64,
    /// Bytes of them.
    pub skipped_bytes: u64,
}

/// What is given from outside: the library has no clock and no randomness.
pub struct ArchiveInputs<'a> {
    /// The present time, seconds since 1970.
    pub now_seconds: &'a dyn Fn() -> i64,
    /// Makes random ids.
    pub new_id: &'a mut dyn FnMut() -> FileId,
    /// Told of what happens.
    pub event: &'a mut dyn FnMut(ArchiveEvent),
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
    let needed = Needed::of(repository, generations, &set.content, progress)?;
    Ok(needed.missing(repository, &set.content, 0))
}

/// Writes all that these generations need to the newest set of the pool, cartridge by cartridge.
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
    let needed = Needed::of(repository, generations, &set.content, progress)?;
    let mut run = Run {
        repository,
        generations,
        library,
        catalogue,
        options,
        inputs,
        progress,
        set,
        needed,
        rejected: BTreeSet::new(),
        summary: ArchiveSummary::default(),
    };
    let plan = run.plan();
    run.summary.set = run.set.id;
    (run.summary.skipped_count, run.summary.skipped_bytes) = (plan.skipped_count, plan.skipped_bytes);
    if plan.objects.is_empty() {
        // What was archived by an earlier version, or in a run that was killed, may lack them.
        if let Some(last) = run.set.volumes.last().map(|known| known.description.clone()) {
            run.keep_lists(last.volume, &last.barcode)?;
        }
        return Ok(run.summary);
    }
    progress.add_total(plan.objects.len() as u64, plan.bytes);
    run.cartridges()?;
    // What is written is safe; a mount makes what is missing.
    if let Some(set) = run.summary.set
        && let Err(error) = order::make_newest(catalogue, set, progress)
    {
        log::info!("{}", crate::job::chain(&error));
    }
    Ok(run.summary)
}

struct Run<'a> {
    repository: &'a Repository,
    generations: &'a [(ClientName, GenerationId)],
    library: &'a mut TapeLibrary,
    catalogue: &'a Catalogue,
    options: &'a ArchiveOptions,
    inputs: ArchiveInputs<'a>,
    progress: &'a Progress,
    set: OpenSet,
    needed: Needed,
    rejected: BTreeSet<Barcode>,
    summary: ArchiveSummary,
}

impl Run<'_> {
    fn plan(&self) -> Plan {
        self.needed.missing(self.repository, &self.set.content, (self.inputs.now_seconds)())
    }

    fn session(&self) -> Session {
        Session {
            text: self.options.session.clone(),
            now_seconds: (self.inputs.now_seconds)(),
            retain_until_seconds: self.options.retain_until_seconds,
        }
    }

    // One cartridge after the other, until everything is written.
    fn cartridges(&mut self) -> Result<(), TapeJobError> {
        let mut open = self.set.last_open();
        loop {
            let (number, mut drive, description) = match open.take() {
                Some(description) => {
                    (self.inputs.event)(ArchiveEvent::Loading(description.barcode.clone()));
                    let (number, drive) =
                        self.library.mount_volume(&description, self.options.drive, self.progress)?;
                    (number, drive, description)
                }
                None => self.next_cartridge()?,
            };
            let prevented = drive.set_removal_prevented(true);
            if let Err(error) = prevented {
                log::info!("{}", crate::job::chain(&error));
            }
            let is_done = self.write(&mut drive, &description)?;
            if let Err(error) = drive.set_removal_prevented(false) {
                log::info!("{}", crate::job::chain(&error));
            }
            drop(drive);
            if is_done && self.options.keep_loaded {
                return Ok(());
            }
            self.library.unload(number, None)?;
            (self.inputs.event)(ArchiveEvent::Ejected(description.barcode.clone()));
            if is_done {
                return Ok(());
            }
            if self.library.changer().is_none() {
                let reason = format!("{} is full; put the next one into the drive", description.barcode);
                return Err(TapeJobError::NoCartridge { reason });
            }
        }
    }

    // Writes to one cartridge; tells whether nothing is left.
    fn write(&mut self, drive: &mut Drive, description: &VolumeDescription) -> Result<bool, TapeJobError> {
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
        // A run that was killed may have committed more than the catalogue knows.
        for segment in writer.committed() {
            self.set.content.add(volume, segment.clone());
        }
        let before: u64 = writer.committed().iter().map(|segment| segment.len).sum();
        let plan = self.plan();
        let barcode = description.barcode.clone();
        (self.inputs.event)(ArchiveEvent::Writing(barcode.clone(), plan.objects.len() as u64, plan.bytes));
        let (ended, _) = writer.write(&plan.objects, plan.from, self.progress)?;
        let index = writer.finish(!matches!(ended, Ended::Done), self.progress)?;
        let bytes = index.segments.iter().map(|segment| segment.len).sum::<u64>().saturating_sub(before);
        self.written(description, &index)?;
        let is_full = match ended {
            Ended::Done => false,
            Ended::Full => true,
            Ended::Lost(error) => {
                let reason = crate::job::chain(&error);
                self.catalogue.close(volume, &reason)?;
                (self.inputs.event)(ArchiveEvent::Lost(barcode.clone(), reason));
                true
            }
        };
        if is_full && before == 0 && bytes == 0 {
            // All the others would be labelled and left as empty as this one.
            return Err(TapeJobError::TooSmall { barcode });
        }
        self.summary.bytes += bytes;
        self.summary.volumes.push(VolumeUse { description: description.clone(), bytes, is_full });
        let left = self.plan().objects.len();
        self.summary.object_count += (plan.objects.len() - left.min(plan.objects.len())) as u64;
        if is_full {
            (self.inputs.event)(ArchiveEvent::Full(barcode));
        }
        Ok(!is_full)
    }

    // Takes into the catalogue what a cartridge holds now.
    fn written(&mut self, description: &VolumeDescription, index: &VolumeIndex) -> Result<(), TapeJobError> {
        for segment in &index.segments {
            self.set.content.add(description.volume, segment.clone());
        }
        for file in self.needed.files.iter().filter(|file| file.kind != Some(SealedKind::Bdf)) {
            let pieces = self.set.content.complete(&file.name).unwrap_or_default();
            if pieces.iter().any(|piece| piece.volume == description.volume) {
                self.keep_tree(description.volume, &file.name)?;
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
        let ordinals: Vec<Ordinal> = self.generations.iter().map(|(_, id)| id.ordinal).collect();
        let keeper = ListKeeper::new(self.catalogue, volume, &volumes, LIST_BYTES_MAX)?;
        let totals = keeper.run(self.repository, &ordinals, self.progress)?;
        let left_out = totals.over_limit + totals.unread;
        if left_out > 0 {
            (self.inputs.event)(ArchiveEvent::ListsLeftOut(barcode.to_owned(), left_out));
        }
        Ok(())
    }

    fn keep_tree(&self, volume: FileId, name: &str) -> Result<(), TapeJobError> {
        let file = self.repository.storage().open(name)?;
        let kept = self.catalogue.open_file(volume, name);
        if name.ends_with(".dtf") && kept.is_ok_and(|kept| kept.len() == file.len()) {
            return Ok(());
        }
        // A link is enough for a file that never changes; the configuration may.
        let original = self.repository.root().map(|root| root.join(name)).filter(|_| name.ends_with(".dtf"));
        self.catalogue
            .put_file(volume, name, original.as_deref().map(Path::new), |target| copy_file(&*file, target))?;
        Ok(())
    }

    // A cartridge that the set can go on with, labelled.
    fn next_cartridge(&mut self) -> Result<(usize, Drive, VolumeDescription), TapeJobError> {
        if self.library.changer().is_none() {
            return self.lone_cartridge();
        }
        loop {
            let inventory = self.library.inventory()?;
            let volumes = self.catalogue.volumes(&mut |error| log::warn!("{}", crate::job::chain(&error)))?;
            let (pool, wanted) = (&self.options.pool, &self.options.cartridges);
            let mut choice = candidates(&inventory, &volumes, self.repository.id(), pool, wanted);
            choice.retain(|barcode| !self.rejected.contains(barcode));
            let Some(barcode) = choice.into_iter().next() else {
                let rejected = self.rejected.len();
                let reason = match rejected {
                    0 => "the library has no prepared or unknown one".to_owned(),
                    count => format!("{count} looked at are in use"),
                };
                return Err(TapeJobError::NoCartridge { reason });
            };
            self.rejected.insert(barcode.clone());
            if let Some(found) = self.try_cartridge(&barcode)? {
                return Ok(found);
            }
        }
    }

    // Loads a cartridge and labels it if it is blank or prepared; otherwise puts it back.
    fn try_cartridge(
        &mut self,
        barcode: &Barcode,
    ) -> Result<Option<(usize, Drive, VolumeDescription)>, TapeJobError> {
        (self.inputs.event)(ArchiveEvent::Loading(barcode.to_string()));
        let mounted = match self.library.mount(Some(barcode), self.options.drive, self.progress) {
            Ok(mounted) => mounted,
            Err(TapeJobError::Unusable { what, .. }) => {
                (self.inputs.event)(ArchiveEvent::Rejected(barcode.to_string(), format!("it is {what}")));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (number, mut drive) = (mounted.number, mounted.drive);
        let reason = match self.refusal(&mut drive, &mounted.identified)? {
            None => {
                let text = label_text(barcode)?;
                let description = self.label(&mut drive, &text, mounted.identified)?;
                return Ok(Some((number, drive, description)));
            }
            Some(reason) => reason,
        };
        drop(drive);
        self.library.unload(number, None)?;
        (self.inputs.event)(ArchiveEvent::Rejected(barcode.to_string(), reason));
        Ok(None)
    }

    fn lone_cartridge(&mut self) -> Result<(usize, Drive, VolumeDescription), TapeJobError> {
        let mounted = self.library.mount(None, self.options.drive, self.progress)?;
        let (number, mut drive) = (mounted.number, mounted.drive);
        if let Some(reason) = self.refusal(&mut drive, &mounted.identified)? {
            return Err(TapeJobError::NoCartridge { reason: format!("the one in the drive {reason}") });
        }
        let known = match &mounted.identified {
            Identified::Ours(description) => Some(description.barcode.clone()),
            _ => drive.medium()?.barcode,
        };
        let wanted = self.options.lone_barcode.clone().or(known).unwrap_or_default();
        let barcode = Barcode::new(wanted.as_bytes()).ok_or_else(|| TapeJobError::NoCartridge {
            reason: "the one in the drive is blank and has no barcode; give it a name".to_owned(),
        })?;
        let text = label_text(&barcode)?;
        let description = self.label(&mut drive, &text, mounted.identified)?;
        Ok((number, drive, description))
    }

    // Why a cartridge cannot be labelled for this set, if it cannot.
    fn refusal(&self, drive: &mut Drive, identified: &Identified) -> Result<Option<String>, TapeJobError> {
        let medium = drive.medium()?;
        if medium.is_write_protected {
            return Ok(Some("is write-protected".to_owned()));
        }
        Ok(match identified {
            Identified::Blank => None,
            Identified::Ours(description) => {
                let known = self.catalogue.volume(description.volume)?;
                let is_prepared = known.is_some_and(|known| known.header.is_none())
                    && description.repository == self.repository.id()
                    && description.pool == self.options.pool;
                // Within a set it would have to be labelled anew.
                let is_fixed = medium.is_worm && self.set.id.is_some();
                let is_worm = is_fixed.then(|| "is labelled already and can be written once only".to_owned());
                match is_prepared {
                    true => is_worm,
                    false => {
                        Some(format!("is {} of ours and not prepared for this pool", description.barcode))
                    }
                }
            }
            Identified::Undescribed { serial } => {
                Some(format!("is {serial} of ours and cannot be read further"))
            }
            Identified::Foreign(kind) => {
                Some(format!("is of {} {}", kind.as_str(), foreign_name(kind)).trim_end().to_owned())
            }
        })
    }

    fn label(
        &mut self,
        drive: &mut Drive,
        barcode: &str,
        identified: Identified,
    ) -> Result<VolumeDescription, TapeJobError> {
        if let (None, Identified::Ours(prepared)) = (self.set.id, &identified)
            && prepared.sequence == 1
            && prepared.barcode == barcode
        {
            // It is the first of its own set already.
            self.set.id = Some(prepared.set);
            return Ok((**prepared).clone());
        }
        let volume = (self.inputs.new_id)();
        let set = *self.set.id.get_or_insert(volume);
        let overwrite = match identified {
            Identified::Blank => Overwrite::Nothing,
            prepared => {
                let before = ours(drive, prepared)?;
                self.catalogue.remove(before.volume)?;
                Overwrite::Named(before.barcode)
            }
        };
        let description = VolumeDescription {
            volume,
            set,
            sequence: self.set.next_sequence(),
            barcode: barcode.to_owned(),
            repository: self.repository.id(),
            pool: self.options.pool.clone(),
            label: String::new(),
            created_seconds: (self.inputs.now_seconds)(),
        };
        let session = self.session();
        label(drive, &description, &overwrite, &session, self.progress)?;
        self.catalogue.put(&description, None, &[])?;
        let known = KnownVolume { description: description.clone(), header: None, is_closed: false };
        self.set.volumes.push(known);
        (self.inputs.event)(ArchiveEvent::Labelled(barcode.to_owned(), description.sequence));
        Ok(description)
    }
}
