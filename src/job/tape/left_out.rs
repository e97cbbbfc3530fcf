//! Files that cannot be read: an archive leaves them out, says so, and notes what the set lacks, here and on tape.

use std::collections::BTreeSet;

use super::archive::{ArchiveEvent, Run};
use super::error::TapeJobError;
use super::plan::{LeftOut, Needed};
use super::sets::lacks;
use super::source::read_through;
use crate::progress::Progress;
use crate::repo::Repository;

impl Needed {
    /// Takes out what cannot be read; what is known to be `lacking` was damaged once, and is looked at again.
    ///
    /// # Errors
    /// [`TapeJobError`] if the operation is asked to stop.
    pub(super) fn take_unreadable(
        &mut self,
        repository: &Repository,
        lacking: &BTreeSet<String>,
        progress: &Progress,
    ) -> Result<Vec<LeftOut>, TapeJobError> {
        let mut left_out = std::mem::take(&mut self.left_out);
        let mut readable = Vec::with_capacity(self.files.len());
        for file in std::mem::take(&mut self.files) {
            let is_suspect = lacking.contains(&*file.name);
            let read = is_suspect.then(|| read_through(&*file.object(repository, 0).source, progress));
            match read {
                Some(Err(error @ TapeJobError::Repo(_))) => left_out
                    .push(LeftOut { name: file.name.as_ref().to_owned(), reason: crate::job::chain(&error) }),
                Some(Err(error)) => return Err(error),
                Some(Ok(())) | None => readable.push(file),
            }
        }
        self.files = readable;
        Ok(left_out)
    }
}

impl Run<'_> {
    // What is known to be lacking was damaged once: no tape is spent on it while it still is.
    pub(super) fn leave_out_unreadable(&mut self) -> Result<(), TapeJobError> {
        let lacking = self.lacking()?;
        for LeftOut { name, reason } in
            self.needed.take_unreadable(self.repository, &lacking, self.progress)?
        {
            self.leave_out(&name, reason);
        }
        Ok(())
    }

    pub(super) fn leave_out(&mut self, name: &str, reason: String) {
        self.needed.files.retain(|file| *file.name != *name);
        (self.inputs.event)(ArchiveEvent::LeftOut(name.to_owned(), reason.clone()));
        self.summary.left_out.push(LeftOut { name: name.to_owned(), reason });
    }

    // What the set lacks, as far as that is known.
    fn lacking(&self) -> Result<BTreeSet<String>, TapeJobError> {
        Ok(lacks(self.catalogue, &self.set.volumes, &self.set.content)?.names)
    }

    // What the set will lack when all is written that can be read.
    pub(super) fn lacking_in_the_end(&self) -> Result<BTreeSet<String>, TapeJobError> {
        let mut lacking = self.lacking()?;
        for file in &self.needed.files {
            lacking.remove(&*file.name);
        }
        lacking.extend(self.summary.left_out.iter().map(|left| left.name.clone()));
        lacking.retain(|name| self.set.content.complete(name).is_none());
        Ok(lacking)
    }

    // Notes with the last cartridge of the set what the set lacks.
    pub(super) fn note_lacking(&mut self) -> Result<(), TapeJobError> {
        let lacking = self.lacking_in_the_end()?;
        let Some((last, earlier)) = self.set.volumes.split_last() else { return Ok(()) };
        let noted = self.catalogue.lacking(last.description.volume)?;
        if noted != lacking {
            self.catalogue.put_lacking(last.description.volume, &lacking)?;
        }
        for known in earlier {
            self.catalogue.put_lacking(known.description.volume, &BTreeSet::new())?;
        }
        Ok(())
    }
}
