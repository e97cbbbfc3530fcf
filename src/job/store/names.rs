//! Files, and all else but directories, with several names: the names come one by one, the object is written
//! when all are known.

use std::sync::Arc;

use super::emission::Emitter;
use super::error::StoreError;
use super::queue::{Emission, LinkName};
use super::record;
use super::spilling::Spilled;
use super::summary::{Summary, Unread};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::format::record::{Inode, Record};
use crate::index::IndexError;

const FLAG_NEW: u64 = 1;
const FLAG_FAILED: u64 = 2;
const FLAG_BEFORE: u64 = 4;
const FLAG_INODE: u64 = 8;

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

// varints: names, flags; the records that the flags tell of, each with its length
impl Spilled for Group {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let records = [self.before.as_deref(), self.inode.as_ref()];
        let flags = [self.is_new_object, self.is_failed, records[0].is_some(), records[1].is_some()];
        let bits = flags.iter().zip([FLAG_NEW, FLAG_FAILED, FLAG_BEFORE, FLAG_INODE]);
        put_varint(&mut bytes, self.name_count.into());
        put_varint(&mut bytes, bits.filter(|(is_set, _)| **is_set).map(|(_, bit)| bit).sum());
        for inode in records.into_iter().flatten() {
            put_prefixed(&mut bytes, &Record::Inode(inode.clone()).encode());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let name_count = reader.varint_u32("names").ok()?;
        let flags = reader.varint("flags").ok()?;
        let mut inode = |flag| match flags & flag {
            0 => Some(None),
            _ => record_in(&mut reader).ok().map(Some),
        };
        let (before, inode) = (inode(FLAG_BEFORE)?, inode(FLAG_INODE)?);
        let (is_new_object, is_failed) = (flags & FLAG_NEW != 0, flags & FLAG_FAILED != 0);
        Some(Self { name_count, before: before.map(Arc::new), inode, is_new_object, is_failed })
    }
}

fn record_in(reader: &mut Reader<'_>) -> Result<Inode, DecodeError> {
    let (what, offset) = ("record", reader.offset());
    match Record::decode(reader.prefixed(what, usize::MAX)?) {
        Ok(Record::Inode(inode)) => Ok(inode),
        _ => Err(DecodeError::Range { what, offset, value: 0 }),
    }
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
    pub(in crate::job) fn is_failed(&self, object: u64) -> Result<bool, StoreError> {
        Ok(self.groups.look(&object.to_be_bytes(), |group| group.is_failed)?.unwrap_or_default())
    }

    /// Tells whether names of a file with several may still come: it was not put yet.
    pub(in crate::job) fn has_more_names(&self, object: u64) -> Result<bool, StoreError> {
        Ok(self.groups.look(&object.to_be_bytes(), |_| ())?.is_some())
    }

    // Changes what is known of a file with several names.
    fn change_group(&mut self, object: u64, change: impl FnOnce(&mut Group)) -> Result<(), StoreError> {
        let key = object.to_be_bytes();
        let mut group = self.groups.take(&key)?.unwrap_or_default();
        change(&mut group);
        Ok(self.groups.put(&key, group)?)
    }

    /// Takes note that a file with several names could not be read.
    pub(in crate::job) fn group_failed(&mut self, object: u64) -> Result<(), StoreError> {
        self.change_group(object, |group| group.is_failed = true)
    }

    // By now it is known whether the file could be read.
    pub(in crate::job) fn name(&mut self, link: LinkName) -> Result<(), StoreError> {
        let LinkName { directory, name, kind, object, is_known, is_last, path } = link;
        let mut group = self.groups.take(&object.to_be_bytes())?.unwrap_or_default();
        if group.is_failed {
            self.groups.put(&object.to_be_bytes(), group)?;
            if let Some(path) = path {
                self.summary.failed_count += 1;
                let what = Unread::LeftOut.as_str();
                let reason = format!("the file could not be read by another of its names; {what}");
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
        if is_last {
            return self.object(object, group);
        }
        Ok(self.groups.put(&object.to_be_bytes(), group)?)
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
    ) -> Result<(), StoreError> {
        self.change_group(object, |group| {
            group.before = before;
            group.inode = Some(inode);
            group.is_new_object = is_new_object;
        })
    }

    /// Waits for all workers, puts all records, and removes objects that lost all their names.
    pub(in crate::job) fn drain(&mut self, gone: impl Iterator<Item = u64>) -> Result<(), StoreError> {
        self.wait_for_all()?;
        self.pipeline.close();
        if !self.queue.is_empty() {
            return Err(StoreError::Worker);
        }
        let mut groups = self.groups.emptied();
        groups.drain(|key, group| {
            let object = key.first_chunk().map(|key| u64::from_be_bytes(*key));
            self.object(object.ok_or(IndexError::Row)?, group)
        })?;
        for object in gone {
            self.writer.remove(object, b"");
        }
        self.exhausted.take().map_or(Ok(()), Err)
    }
}
