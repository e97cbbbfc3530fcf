//! The set of cartridges that an archive goes on with.

use super::archive::ArchiveOptions;
use super::catalogue::{Catalogue, KnownVolume, SetContent};
use super::error::TapeJobError;
use crate::id::FileId;
use crate::tape::archive::VolumeDescription;

/// The set that an archive goes on with.
#[derive(Debug, Default)]
pub(super) struct OpenSet {
    pub(super) id: Option<FileId>,
    pub(super) volumes: Vec<KnownVolume>,
    pub(super) content: SetContent,
}

impl OpenSet {
    // The newest set of the pool, of this repository.
    pub(super) fn find(
        catalogue: &Catalogue,
        repository: FileId,
        options: &ArchiveOptions,
    ) -> Result<Self, TapeJobError> {
        let mut all = catalogue.volumes(&mut |error| log::warn!("{}", crate::job::chain(&error)))?;
        all.retain(|known| {
            known.description.repository == repository && known.description.pool == options.pool
        });
        // A cartridge that has only been labelled makes no set.
        let written = all.iter().filter(|known| known.header.is_some());
        let newest =
            written.max_by_key(|known| (known.description.created_seconds, known.description.sequence));
        let Some(set) = newest.map(|known| known.description.set).filter(|_| !options.new_set) else {
            return Ok(Self::default());
        };
        all.retain(|known| known.description.set == set);
        let ids: Vec<FileId> = all.iter().map(|known| known.description.volume).collect();
        Ok(Self { id: Some(set), content: SetContent::read(catalogue, &ids)?, volumes: all })
    }

    // The last cartridge, unless it is known to be full.
    pub(super) fn last_open(&self) -> Option<VolumeDescription> {
        let last = self.volumes.last()?;
        let is_full = last.header.as_ref().is_some_and(|header| header.is_continued);
        (!is_full && !last.is_closed).then(|| last.description.clone())
    }

    pub(super) fn next_sequence(&self) -> u32 {
        self.volumes.iter().map(|known| known.description.sequence).max().unwrap_or(0).saturating_add(1)
    }
}
