//! A retention holds for all that the generations need, also for what earlier sessions wrote: the cartridges with it get
//! a closing index with the new date.

use std::collections::BTreeSet;

use super::archive::{ArchiveEvent, Run};
use super::catalogue::KnownVolume;
use super::error::TapeJobError;
use crate::id::FileId;
use crate::tape::archive::VolumeDescription;
use crate::tape::drive::Drive;
use crate::tape::writer::VolumeWriter;

impl Run<'_> {
    /// Keeps all cartridges that have something of what is needed as long as was asked for.
    ///
    /// # Errors
    /// [`TapeJobError::NotRetained`] for the first one with which that cannot be done; the others are kept.
    pub(super) fn retain_all(&mut self) -> Result<(), TapeJobError> {
        let mut failed = None;
        for known in self.kept_too_short() {
            self.progress.check()?;
            match self.retain(&known) {
                Ok(()) => {
                    let barcode = known.description.barcode.clone();
                    (self.inputs.event)(ArchiveEvent::Retained(barcode.clone()));
                    self.summary.retained.push(barcode);
                }
                Err(error @ TapeJobError::Cancelled(_)) => return Err(error),
                Err(error) => {
                    log::warn!("{}", crate::job::chain(&error));
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn kept_too_short(&self) -> Vec<KnownVolume> {
        let Some(wanted) = self.options.retain_until_seconds else { return Vec::new() };
        let pieces = self.needed.files.iter().filter_map(|file| self.set.content.complete(&file.name));
        let needed: BTreeSet<FileId> = pieces.flatten().map(|piece| piece.volume).collect();
        let is_short = |known: &&KnownVolume| {
            needed.contains(&known.description.volume)
                && known.retain_until_seconds().is_none_or(|until| until < wanted)
        };
        self.set.volumes.iter().filter(is_short).cloned().collect()
    }

    fn retain(&mut self, known: &KnownVolume) -> Result<(), TapeJobError> {
        let barcode = known.description.barcode.clone();
        let not_retained = |source: TapeJobError| match source {
            cancelled @ TapeJobError::Cancelled(_) => cancelled,
            source => TapeJobError::NotRetained { barcode: barcode.clone(), source: Box::new(source) },
        };
        if known.is_closed {
            return Err(not_retained(TapeJobError::NotWritten { barcode: barcode.clone() }));
        }
        (self.inputs.event)(ArchiveEvent::Loading(barcode.clone()));
        let mounted = self.mount_volume(&known.description);
        let (number, mut drive) = mounted.map_err(&not_retained)?;
        let made = self.extend(&mut drive, &known.description);
        if let Err(error) = drive.set_removal_prevented(false) {
            log::info!("{}", crate::job::chain(&error));
        }
        self.library.put_away(drive, number, None).map_err(&not_retained)?;
        made.map_err(&not_retained)
    }

    fn extend(&mut self, drive: &mut Drive, description: &VolumeDescription) -> Result<(), TapeJobError> {
        let (session, options) = (self.session(), self.options.writer.clone());
        let wanted = session.retain_until_seconds;
        let writer = VolumeWriter::append(drive, description.volume, session, options, self.progress)?;
        let is_continued = writer.is_continued();
        let index = writer.finish(is_continued, self.progress)?;
        let until = index.header.as_ref().and_then(|header| header.retain_until_seconds);
        if until < wanted {
            return Err(TapeJobError::NotWritten { barcode: description.barcode.clone() });
        }
        self.written(description, &index)
    }
}
