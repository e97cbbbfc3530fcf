//! What a backup leaves out.

use super::BackupOptions;
use super::open_directories::joined;
use crate::format::record::FileKind;
use crate::live::{Attributes, Device, Exclusions, Identity, Scanned, SourceDirectory};
use crate::repo::Repository;

/// Decides what is taken in.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    options: &'a BackupOptions,
    exclusions: &'a Exclusions,
    // A repository below the source does not take itself in.
    repository: Option<Identity>,
    device: Option<Device>,
}

impl<'a> Selection<'a> {
    /// Takes options and patterns.
    pub(super) fn new(
        repository: &Repository,
        options: &'a BackupOptions,
        exclusions: &'a Exclusions,
    ) -> Self {
        let root = repository.root().and_then(|root| SourceDirectory::open_root(root).ok());
        let attributes = root.and_then(|root| root.attributes().ok());
        let repository = attributes.map(|attributes| attributes.identity());
        Self { options, exclusions, repository, device: None }
    }

    /// Says which file system the source is on.
    pub(super) fn begin_at(&mut self, device: Device) {
        self.device = Some(device);
    }

    /// Tells whether a directory is a mount point that is kept without what is in it: whoever restores a system
    /// wants its `/proc` to be there.
    pub(super) fn is_not_entered(&self, directory: &Attributes) -> bool {
        self.options.one_file_system && Some(directory.device) != self.device
    }

    /// Tells whether an entry of the directory at `path` is left out; `only_tag` if the directory is a cache.
    pub(super) fn is_left_out(&self, path: &[u8], entry: &Scanned, only_tag: bool) -> bool {
        if only_tag && entry.name != b"CACHEDIR.TAG" {
            return true;
        }
        let Ok(attributes) = &entry.attributes else { return false };
        let is_directory = attributes.kind == FileKind::Directory;
        if is_directory && Some(attributes.identity()) == self.repository {
            return true;
        }
        if self.options.exclude_nodump && attributes.is_nodump {
            return true;
        }
        !self.exclusions.is_empty() && self.exclusions.is_excluded(&joined(path, &entry.name), is_directory)
    }
}
