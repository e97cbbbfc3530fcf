//! Finds the cartridge that a set goes on with, and labels it.
//!
//! What is on a cartridge decides whether it may be labelled, not what the catalogue remembers: a run that was killed
//! may have committed to it and not have told.

use super::archive::{ArchiveEvent, Run};
use super::cartridges::{Mounted, candidates, foreign_name, label_text, ours};
use super::catalogue::KnownVolume;
use super::error::TapeJobError;
use super::open_set::OpenSet;
use super::scan::{ScanOptions, scan_volume};
use crate::library::{Barcode, LibraryError};
use crate::tape::TapeError;
use crate::tape::archive::VolumeDescription;
use crate::tape::drive::{Drive, DriveError};
use crate::tape::reader::{Identified, IndexState, VolumeReader};
use crate::tape::writer::{Overwrite, label};

/// Cartridges that may fail one after the other in a way that may be the drive's own.
const FAILURES_MAX: u32 = 3;
/// Cartridges of which an error says why they were not taken.
const REASONS_MAX: usize = 8;

/// A cartridge in a drive, by its number, that is written next.
type Found = (usize, Drive, VolumeDescription);

/// What can be done with a cartridge.
enum Verdict {
    /// It is labelled for this set.
    Fresh,
    /// It is one of this set already, or the first of its own.
    Own,
    /// It is left alone, and why.
    Refused(String),
}

impl Run<'_> {
    /// Whether the user's choice allows a cartridge.
    pub(super) fn may_use(&self, description: &VolumeDescription) -> bool {
        let wanted = &self.options.cartridges;
        wanted.is_empty() || wanted.iter().any(|one| one.as_bytes() == description.barcode.as_bytes())
    }

    /// Puts a cartridge that the set can go on with into a drive, labelled.
    pub(super) fn next_cartridge(&mut self) -> Result<Found, TapeJobError> {
        if self.library.changer().is_none() {
            return self.lone_cartridge();
        }
        let mut failures = 0;
        loop {
            let inventory = self.library.inventory()?;
            let volumes = self.catalogue.volumes(&mut |error| log::warn!("{}", crate::job::chain(&error)))?;
            let (pool, wanted) = (&self.options.pool, &self.options.cartridges);
            let mut choice = candidates(&inventory, &volumes, self.repository.id(), pool, wanted);
            choice.retain(|barcode| !self.tried.contains(barcode));
            let Some(barcode) = choice.into_iter().next() else {
                return Err(TapeJobError::NoCartridge { reason: self.why_none() });
            };
            self.tried.insert(barcode.clone());
            (self.inputs.event)(ArchiveEvent::Loading(barcode.to_string()));
            let set = self.set.id;
            let reason = match self.try_cartridge(&barcode) {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(reason)) => {
                    failures = 0;
                    reason
                }
                Err(error) => {
                    self.set.id = set;
                    self.fail(&barcode, error, &mut failures)?
                }
            };
            (self.inputs.event)(ArchiveEvent::Rejected(barcode.to_string(), reason.clone()));
            self.refusals.push((barcode, reason));
        }
    }

    fn why_none(&self) -> String {
        let reasons: Vec<String> =
            self.refusals.iter().map(|(barcode, reason)| format!("{barcode} {reason}")).collect();
        match reasons.len() {
            0 if self.tried.is_empty() => "the library has no prepared or unknown one".to_owned(),
            0 => format!("{} were written and are full", self.tried.len()),
            count if count > REASONS_MAX => {
                let first = reasons.get(..REASONS_MAX).unwrap_or_default().join("; ");
                format!("{first}; and {} more", count - REASONS_MAX)
            }
            _ => reasons.join("; "),
        }
    }

    // Loads a cartridge and labels it if that may be; otherwise puts it back and tells why.
    fn try_cartridge(&mut self, barcode: &Barcode) -> Result<Result<Found, String>, TapeJobError> {
        let mounted = self.mount_free(barcode)?;
        let Mounted { number, mut drive, identified } = mounted;
        let text = label_text(barcode)?;
        match self.judge(&mut drive, &identified, &text)? {
            Verdict::Refused(reason) => {
                self.library.put_away(drive, number, None)?;
                Ok(Err(reason))
            }
            Verdict::Own => {
                let description = ours(&drive, identified)?;
                self.set.id = Some(description.set);
                Ok(Ok((number, drive, description)))
            }
            Verdict::Fresh => {
                let description = self.label(&mut drive, &text, identified)?;
                Ok(Ok((number, drive, description)))
            }
        }
    }

    // What is wrong with this cartridge alone keeps no archive from the others: it is put away, and the reason told.
    fn fail(
        &mut self,
        barcode: &Barcode,
        error: TapeJobError,
        failures: &mut u32,
    ) -> Result<String, TapeJobError> {
        let fault = fault(&error);
        let is_named = self.options.cartridges.contains(barcode);
        match fault {
            // Who names one that is not there meant another one.
            Fault::Elsewhere if is_named && matches!(error, TapeJobError::Absent { .. }) => {
                return Err(error);
            }
            Fault::Elsewhere => return Ok(format!("is in use elsewhere: {}", crate::job::chain(&error))),
            Fault::Other => return Err(error),
            Fault::Cartridge => *failures = 0,
            Fault::CartridgeOrDrive => *failures += 1,
        }
        self.put_away(barcode);
        if *failures == FAILURES_MAX {
            return Err(error);
        }
        Ok(match &error {
            TapeJobError::Unusable { what, .. } => format!("is {what}"),
            error => format!("cannot be used: {}", crate::job::chain(error)),
        })
    }

    fn put_away(&mut self, barcode: &Barcode) {
        let unloaded = self.library.inventory().and_then(|inventory| {
            let loaded = self.library.loaded(&inventory);
            let holding = loaded.iter().find(|(_, held)| held.as_ref() == Some(barcode));
            holding.map_or(Ok(None), |(number, _)| self.library.unload(*number, None))
        });
        if let Err(error) = unloaded {
            log::warn!("cartridge {barcode} stays in its drive: {}", crate::job::chain(&error));
        }
    }

    fn lone_cartridge(&mut self) -> Result<Found, TapeJobError> {
        let Mounted { number, mut drive, identified } =
            self.library.mount(None, self.options.drive, self.progress)?;
        let known = match &identified {
            Identified::Ours(description) => Some(description.barcode.clone()),
            _ => drive.medium()?.barcode,
        };
        let wanted = self.options.lone_barcode.clone().or(known).unwrap_or_default();
        let verdict = self.judge(&mut drive, &identified, &wanted)?;
        if let Verdict::Refused(reason) = verdict {
            return Err(TapeJobError::NoCartridge { reason: format!("the one in the drive {reason}") });
        }
        if let Verdict::Own = verdict {
            let description = ours(&drive, identified)?;
            self.set.id = Some(description.set);
            return Ok((number, drive, description));
        }
        let barcode = Barcode::new(wanted.as_bytes()).ok_or_else(|| TapeJobError::NoCartridge {
            reason: "the one in the drive is blank and has no barcode; give it a name".to_owned(),
        })?;
        let text = label_text(&barcode)?;
        let description = self.label(&mut drive, &text, identified)?;
        Ok((number, drive, description))
    }

    // Whether a cartridge can be labelled, as `barcode`, or written as it is.
    fn judge(
        &mut self,
        drive: &mut Drive,
        identified: &Identified,
        barcode: &str,
    ) -> Result<Verdict, TapeJobError> {
        let medium = drive.medium()?;
        if medium.is_write_protected {
            return Ok(Verdict::Refused("is write-protected".to_owned()));
        }
        Ok(match identified {
            Identified::Blank => Verdict::Fresh,
            Identified::Ours(description) => {
                return self.judge_ours(drive, description, barcode, medium.is_worm);
            }
            Identified::Undescribed { serial } => {
                Verdict::Refused(format!("is {serial} of ours and cannot be read further"))
            }
            Identified::Foreign(kind) => {
                let text = format!("is of {} {}", kind.as_str(), foreign_name(kind));
                Verdict::Refused(text.trim_end().to_owned())
            }
        })
    }

    fn judge_ours(
        &mut self,
        drive: &mut Drive,
        description: &VolumeDescription,
        barcode: &str,
        is_worm: bool,
    ) -> Result<Verdict, TapeJobError> {
        let inside = &description.barcode;
        let refused = |text: String| Ok(Verdict::Refused(text));
        if description.repository != self.repository.id() || description.pool != self.options.pool {
            return refused(format!("is {inside} of ours and not prepared for this pool"));
        }
        let known = self.catalogue.volume(description.volume)?;
        if known.as_ref().is_some_and(|known| known.is_closed) {
            return refused(format!("is {inside} of ours, which failed earlier and is not written again"));
        }
        if known.is_some_and(|known| known.header.is_some()) {
            return refused(format!("is {inside} of ours and holds an archive"));
        }
        let index = VolumeReader::assume(drive, description.clone()).index(self.progress)?;
        let has_segments = index.header.is_some() || !index.segments.is_empty();
        // A run that was killed, before it had a second cartridge, is gone on with.
        let is_first = self.set.id.is_none() && description.sequence == 1 && inside == barcode;
        match (has_segments, index.state == IndexState::Torn) {
            (false, false) if is_first => Ok(Verdict::Own),
            (false, false) if is_worm => {
                refused("is labelled already and can be written once only".to_owned())
            }
            (false, false) => Ok(Verdict::Fresh),
            _ if is_first && !self.options.new_set => {
                if index.header.is_some() {
                    self.take_in(drive, description)?;
                }
                Ok(Verdict::Own)
            }
            (true, _) if index.header.is_some() => {
                self.take_in(drive, description)?;
                let count = index.segments.len();
                refused(format!(
                    "is {inside} of ours and holds {count} segments, which the catalogue did not know"
                ))
            }
            _ => refused(format!("is {inside} of ours and holds what an archive that was cut short left")),
        }
    }

    // Takes into the catalogue what a cartridge holds of which it was not told.
    fn take_in(&mut self, drive: &mut Drive, description: &VolumeDescription) -> Result<(), TapeJobError> {
        scan_volume(self.catalogue, drive, ScanOptions::default(), self.progress)?;
        if self.set.id.is_none() && !self.options.new_set {
            let found = OpenSet::find(self.catalogue, self.repository.id(), self.options)?;
            if found.id == Some(description.set) {
                self.set = found;
            }
        }
        Ok(())
    }

    fn label(
        &mut self,
        drive: &mut Drive,
        barcode: &str,
        identified: Identified,
    ) -> Result<VolumeDescription, TapeJobError> {
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

/// Whose fault it is that a cartridge could not be used.
enum Fault {
    Cartridge,
    CartridgeOrDrive,
    /// Somebody else has it, or has just moved it.
    Elsewhere,
    Other,
}

fn fault(error: &TapeJobError) -> Fault {
    match error {
        error if error.is_busy() => Fault::Elsewhere,
        TapeJobError::Unusable { .. } | TapeJobError::BadBarcode { .. } => Fault::Cartridge,
        TapeJobError::Absent { .. } | TapeJobError::InDrive { .. } | TapeJobError::Empty { .. } => {
            Fault::Elsewhere
        }
        TapeJobError::Library(error) => match **error {
            LibraryError::NoCartridge { .. }
            | LibraryError::Occupied { .. }
            | LibraryError::Unexpected { .. } => Fault::Elsewhere,
            _ => Fault::Other,
        },
        TapeJobError::Tape(error) => match **error {
            TapeError::Source(_) | TapeError::BadObject { .. } => Fault::Other,
            _ => Fault::Cartridge,
        },
        TapeJobError::Drive(error) => match error {
            DriveError::Unusable { .. }
            | DriveError::BeyondEnd { .. }
            | DriveError::ReadFailed { .. }
            | DriveError::BlockTooLong { .. }
            | DriveError::Encrypted { .. }
            | DriveError::NoEndOfData { .. }
            | DriveError::WriteProtected { .. } => Fault::Cartridge,
            DriveError::Command { .. }
            | DriveError::NotReady { .. }
            | DriveError::Protection { .. }
            | DriveError::Deferred { .. }
            | DriveError::VolumeOverflow { .. }
            | DriveError::WriteFailed { .. } => Fault::CartridgeOrDrive,
            _ => Fault::Other,
        },
        _ => Fault::Other,
    }
}
