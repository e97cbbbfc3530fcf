//! Files, and all else but directories, with several names: the names come one by one, the object is written
//! when all are known.

use std::sync::Arc;

use super::emission::Emitter;
use super::error::StoreError;
use super::queue::{Emission, LinkName};
use super::record;
use super::summary::Summary;
use crate::format::record::{Inode, Record};

/// What has several names.
#[derive(Debug, Default)]
pub(in crate::job) struct Group {
    pub(in crate::job) name_count: u32,
    pub(in crate::job) before: Option<Arc<Inode>>,
    pub(in crate::job) inode: Option<Inode>,
    pub(in crate::job) is_new_object: bool,
    // It could not be read: no name may lead to it.
    pub(in crate::job) is_failed: bool,
}

impl Emitter<'_, '_> {
    /// Puts a name of a file with several.
    pub(in crate::job) fn put_name(&mut self, name: LinkName) -> Result<(), StoreError> {
        if self.queue.is_empty() {
            return self.name(name);
        }
        self.queue.push_back(Emission::Name(name));
        Ok(())
    }

    /// Tells whether a file with several names is known to have failed.
    pub(in crate::job) fn is_failed(&self, object: u64) -> bool {
        self.groups.get(&object).is_some_and(|group| group.is_failed)
    }

    // By now it is known whether the file could be read.
    pub(in crate::job) fn name(&mut self, link: LinkName) -> Result<(), StoreError> {
        let LinkName { directory, name, kind, object, is_known, is_last, path } = link;
        let group = self.groups.entry(object).or_default();
        if group.is_failed {
            if let Some(path) = path {
                self.summary.failed_count += 1;
                let reason = "the file could not be read by another of its names".to_owned();
                Summary::note(&mut self.summary.failed, path, reason);
            }
            if !self.writer.is_new_directory(directory) {
                self.writer.remove(directory, &name);
            }
            return Ok(());
        }
        group.name_count += 1;
        if !is_known {
            self.writer.put(directory, &name, &Record::Link { kind, object })?;
        }
        if is_last && let Some(group) = self.groups.remove(&object) {
            self.object(object, group)?;
        }
        Ok(())
    }

    // Puts the object itself.
    fn object(&mut self, object: u64, group: Group) -> Result<(), StoreError> {
        let Some(mut inode) = group.inode else {
            self.writer.remove(object, b"");
            return Ok(());
        };
        inode.link_count = group.name_count;
        let before = group.before.as_deref();
        let same = before
            .is_some_and(|before| record::is_same(before, &inode) && before.link_count == inode.link_count);
        if group.is_new_object || !same {
            self.writer.put(object, b"", &Record::Inode(inode))?;
        }
        Ok(())
    }

    /// Keeps what has several names until they are all known.
    pub(in crate::job) fn linked(
        &mut self,
        object: u64,
        is_new_object: bool,
        before: Option<Arc<Inode>>,
        inode: Inode,
    ) {
        let group = self.groups.entry(object).or_default();
        group.before = before;
        group.inode = Some(inode);
        group.is_new_object = is_new_object;
    }

    /// Waits for all workers, puts all records, and removes objects that lost all their names.
    pub(in crate::job) fn drain(&mut self, gone: &[u64]) -> Result<(), StoreError> {
        self.wait_for_all()?;
        self.pipeline.close();
        if !self.queue.is_empty() {
            return Err(StoreError::Worker);
        }
        for (object, group) in std::mem::take(&mut self.groups) {
            self.object(object, group)?;
        }
        for object in gone {
            self.writer.remove(*object, b"");
        }
        self.exhausted.take().map_or(Ok(()), Err)
    }
}
