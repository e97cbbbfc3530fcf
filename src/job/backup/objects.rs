//! The driver's part for single objects: small and large files, files with several names, all else.

use std::sync::Arc;

use super::driver::{Driver, Linked};
use super::error::BackupError;
use super::frontier::Visit;
use super::open_directories::joined;
use super::source::{LiveSmall, OpenLarge};
use crate::format::record::{Detail, FileKind, Inode, Record};
use crate::id::Fingerprint;
use crate::job::store::StoreError;
use crate::job::store::large;
use crate::job::store::prepare::SmallFile;
use crate::job::store::queue::{Bytes, LinkName, StoredFile, Target};
use crate::job::store::record;
use crate::job::store::source::ReadProblem;
use crate::live::{Attributes, LiveError, SourceDirectory};
use crate::path::SYMLINK_LEN_MAX;
use crate::repo::extent_list::ExtentList;
use crate::repo::{Entry, Node};

// Holes are whole blocks of a file system.
const HOLE_LEN_MIN: u64 = 4096;

impl Driver<'_, '_> {
    // Every name is a link to the group's object; the object is written when all names are known.
    pub(super) fn linked_file(
        &mut self,
        visit: &Visit,
        directory: &Arc<SourceDirectory>,
        name: &[u8],
        attributes: Attributes,
        old: Option<Entry>,
    ) -> Result<(), BackupError> {
        let device = attributes.device;
        let identity = [u64::from(device.major) << 32 | u64::from(device.minor), attributes.source_inode];
        let identity = identity.map(u64::to_be_bytes).concat();
        let old_object = match &old {
            Some(Entry { kind, node: Node::Object { object, .. }, .. }) if *kind == attributes.kind => {
                Some(*object)
            }
            _ => None,
        };
        // If the file could not be read by its names before this one, this one may do better.
        let group = match self.linked.take(&identity).map_err(StoreError::from)? {
            Some(group) if !self.emitter.is_failed(group.object)? => Some(group),
            _ => None,
        };
        let mut group_now = group.unwrap_or(Linked { object: 0, names_left: attributes.link_count });
        let object = match group {
            Some(group) => group.object,
            None => {
                let before = self.linked_before(old_object, &attributes)?;
                let object =
                    before.as_ref().map_or_else(|| self.emitter.writer.new_linked(), |(object, _)| *object);
                group_now.object = object;
                self.linked_objects.insert(object);
                // A file that had one name before is compared with what stood in its entry.
                let before = before.map(|(_, inode)| inode).or_else(|| old.as_ref()?.inode.clone());
                let is_new_object = old_object != Some(object);
                let target = Target::Linked { object, name: name.to_vec(), is_new_object };
                self.content_of(directory, target, attributes, before.map(Arc::new))?;
                object
            }
        };
        let is_known = old_object == Some(object);
        if !is_known && let Some(old) = old_object {
            self.unlinked.insert(old);
        }
        group_now.names_left = group_now.names_left.saturating_sub(1);
        // A name that is made from then on begins a new group.
        let is_last = group_now.names_left == 0;
        if !is_last {
            self.linked.put(&identity, group_now).map_err(StoreError::from)?;
        }
        let path = group.map(|_| crate::path::display(&joined(directory.path(), name)));
        let (directory, name, kind) = (visit.object, name.to_vec(), attributes.kind);
        Ok(self.emitter.put_name(LinkName { directory, name, kind, object, is_known, is_last, path })?)
    }

    // The object of the generation before, if it is this file and no other group took it.
    fn linked_before(
        &self,
        object: Option<u64>,
        attributes: &Attributes,
    ) -> Result<Option<(u64, Inode)>, BackupError> {
        let (Some(object), Some(previous)) = (object, &self.previous) else { return Ok(None) };
        if self.linked_objects.contains(object) {
            return Ok(None);
        }
        let inode = previous.object(self.context.repository.pages(), object)?;
        let same = inode.kind() == attributes.kind
            && (inode.source_inode == attributes.source_inode || self.context.options.ignore_inode);
        Ok(same.then_some((object, inode)))
    }

    /// Sees to what the object holds, of whichever kind but directory it is.
    pub(super) fn content_of(
        &mut self,
        directory: &Arc<SourceDirectory>,
        target: Target,
        attributes: Attributes,
        before: Option<Arc<Inode>>,
    ) -> Result<(), BackupError> {
        match attributes.kind {
            FileKind::Regular => self.file(directory, target, attributes, before),
            _ => self.other(directory, target, &attributes, before),
        }
    }

    fn file(
        &mut self,
        directory: &Arc<SourceDirectory>,
        target: Target,
        attributes: Attributes,
        before: Option<Arc<Inode>>,
    ) -> Result<(), BackupError> {
        if let Some(inode) = &before {
            let unchanged = !self.context.options.checksum
                && record::is_unchanged(inode, &attributes, self.context.options.ignore_inode)
                && self.context.dedup.is_whole(inode);
            if unchanged {
                return Ok(self.emitter.unchanged(target, inode)?);
            }
        }
        let limit = self.context.repository.config().chunking.whole_file_bytes;
        if attributes.size > u64::from(limit) || has_hole(directory, target.name(), &attributes) {
            return self.large_file(directory, target, attributes, before);
        }
        let name = target.name().to_vec();
        let source = LiveSmall { directory: Arc::clone(directory), name, attributes };
        let file = SmallFile { source: Box::new(source), before: before.clone() };
        Ok(self.emitter.give_small(target, before, file, attributes.size, None)?)
    }

    fn large_file(
        &mut self,
        directory: &Arc<SourceDirectory>,
        target: Target,
        attributes: Attributes,
        before: Option<Arc<Inode>>,
    ) -> Result<(), BackupError> {
        self.emitter.flush()?;
        let name = target.name().to_vec();
        let mut expected = attributes;
        let frame_len = self.context.repository.config().chunking.frame_bytes as usize;
        for attempt in 0..2 {
            let file = match directory.open_file(&name, &expected).and_then(OpenLarge::new) {
                Ok(file) => file,
                Err(error) => return Ok(self.emitter.give_up(target, before.as_deref(), &error)?),
            };
            if let Some((signature, extents)) = self.redundant(&name, &file)? {
                self.emitter.summary.redundant.add(file.attributes().size);
                let (described, bytes) = (file.described(), Bytes::Extents(extents));
                let stored = StoredFile::new(target, before, described, Some(signature), bytes);
                return Ok(self.emitter.stored(stored)?);
            }
            self.emitter.begin_large();
            let (emitter, progress) = (&mut self.emitter, self.context.progress);
            let mut give = |task| {
                progress.check().map_err(StoreError::from)?;
                Ok(emitter.give(task)?)
            };
            let size = file.attributes().size;
            let read = large::read(&file, size, file.ranges(), before.as_ref(), frame_len, &mut give)
                .and_then(|(len, signature)| Ok((len, signature, file.has_changed()? || len != size)));
            let (len, signature, changed) = match read {
                Ok(read) => read,
                Err(ReadProblem::Stop(error)) => return Err(error.into()),
                Err(ReadProblem::Skip(error)) => {
                    self.emitter.discard_large();
                    return Ok(self.emitter.give_up(target, before.as_deref(), &error)?);
                }
            };
            if changed && attempt == 0 {
                self.emitter.discard_large();
                expected = file.attributes_now().unwrap_or(expected);
                continue;
            }
            let mut described = file.described();
            described.set_size(len);
            let bytes = Bytes::Extents(ExtentList::default());
            let mut file = StoredFile::new(target, before, described, signature, bytes);
            file.inconsistent = changed;
            return Ok(self.emitter.queue_large(file)?);
        }
        Ok(())
    }

    // What RFE finds for a large file.
    fn redundant(
        &mut self,
        name: &[u8],
        file: &OpenLarge,
    ) -> Result<Option<(Fingerprint, ExtentList)>, BackupError> {
        let Attributes { size, mtime, .. } = *file.attributes();
        if !self.context.dedup.may_be_redundant(name, size, mtime)? {
            return Ok(None);
        }
        let Ok(Some(signature)) = large::signature(file, size, file.ranges()) else { return Ok(None) };
        let writer = &mut self.emitter.writer;
        let mut new_list = || writer.extent_list();
        let found = self.context.dedup.redundant_file(name, size, mtime, signature, &mut new_list)?;
        Ok(found.filter(|_| file.has_changed().is_ok_and(|changed| !changed)).map(|found| (signature, found)))
    }

    fn other(
        &mut self,
        directory: &Arc<SourceDirectory>,
        target: Target,
        attributes: &Attributes,
        before: Option<Arc<Inode>>,
    ) -> Result<(), BackupError> {
        self.context.progress.add(1, 0);
        if let Some(before) = &before
            && record::is_unchanged(before, attributes, self.context.options.ignore_inode)
            && self.context.dedup.is_whole(before)
        {
            if let Target::Linked { object, is_new_object, .. } = target {
                self.emitter.linked(object, is_new_object, Some(Arc::clone(before)), (**before).clone())?;
            }
            return Ok(());
        }
        let name = target.name();
        let read = || -> Result<_, LiveError> {
            let detail = match record::special(attributes) {
                Some(detail) => detail,
                None => Detail::Symlink { target: symlink_target(directory, name)? },
            };
            Ok((detail, directory.xattrs_of(name)?))
        };
        match read() {
            Ok((detail, xattrs)) => {
                let xattrs = self.emitter.xattrs(xattrs)?;
                let inode = record::inode(attributes, xattrs, false, detail);
                match target {
                    Target::Linked { object, is_new_object, .. } => {
                        self.emitter.linked(object, is_new_object, before, inode)?;
                    }
                    Target::Entry { .. } if before.is_some_and(|before| record::is_same(&before, &inode)) => {
                    }
                    Target::Entry { object, name } => {
                        self.emitter.put(object, name, Record::Inode(inode))?;
                    }
                }
                Ok(())
            }
            Err(error) => Ok(self.emitter.give_up(target, before.as_deref(), &error)?),
        }
    }
}

// A file system in user space can answer anything; a record takes no other target than this.
fn symlink_target(directory: &SourceDirectory, name: &[u8]) -> Result<Vec<u8>, LiveError> {
    let target = directory.read_symlink(name)?;
    if target.is_empty() || target.len() > SYMLINK_LEN_MAX || target.contains(&0) {
        return Err(LiveError::Name { path: crate::path::display(&joined(directory.path(), name)) });
    }
    Ok(target)
}

// A short file is stored whole, unless that would fill a hole. Asked only of those that have fewer blocks than
// bytes, which on a file system that compresses are many.
fn has_hole(directory: &SourceDirectory, name: &[u8], attributes: &Attributes) -> bool {
    if attributes.size <= HOLE_LEN_MIN || !attributes.may_have_holes() {
        return false;
    }
    let Ok(file) = directory.open_file(name, attributes) else { return false };
    let first = file.data_ranges().next();
    !matches!(first, Some(Ok((0, len))) if len == attributes.size)
}
