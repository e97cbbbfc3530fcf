//! Files, and all else but directories, with several names: the names come one by one, the file is written when all are known.

use std::sync::Arc;

use super::BackupSummary;
use super::emission::Emitter;
use super::error::BackupError;
use super::queue::{Emission, LinkName};
use crate::format::record::{Inode, Record};

/// What has several names.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name_count: u32,
    pub(super) before: Option<Arc<Inode>>,
    pub(super) inode: Option<Inode>,
    pub(super) is_new_object: bool,
    // It could not be read: no name may lead to it.
    pub(super) is_failed: bool,
}

impl Emitter<'_> {
    /// Puts a name of a file with several.
    pub(super) fn put_name(&mut self, name: LinkName) -> Result<(), BackupError> {
        if self.queue.is_empty() {
            return self.name(name);
        }
        self.queue.push_back(Emission::Name(name));
        Ok(())
    }

    /// Tells whether a file with several names is known to have failed.
    pub(super) fn is_failed(&self, object: u64) -> bool {
        self.groups.get(&object).is_some_and(|group| group.is_failed)
    }

    // By now it is known whether the file could be read.
    pub(super) fn name(&mut self, link: LinkName) -> Result<(), BackupError> {
        let LinkName { directory, name, kind, object, is_known, path } = link;
        let group = self.groups.entry(object).or_default();
        if group.is_failed {
            if let Some(path) = path {
                self.summary.failed_count += 1;
                let reason = "the file could not be read by another of its names".to_owned();
                BackupSummary::note(&mut self.summary.failed, path, reason);
            }
            if !self.writer.is_new_directory(directory) {
                self.writer.remove(directory, &name);
            }
            return Ok(());
        }
        group.name_count += 1;
        if is_known {
            return Ok(());
        }
        let link = Record::Link { kind, object };
        Ok(self.writer.put(directory, &name, &link)?)
    }
}
