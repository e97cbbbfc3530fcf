//! What files of the generation are new, modified, unchanged and gone, in one unit: files are names of regular files,
//! and the bytes of a file with several names count once.
//!
//! So names before, less removed, plus new ones are those now, which are the new, modified and unchanged ones; and the
//! bytes now are those of new, modified and unchanged files. A name that leads to another file than before is modified.
//! A file with several names is new if all its names are, and removed if no name that it had leads to a file any more.

use super::summary::CommitSummary;
use crate::codec::{Reader, put_varint};
use crate::format::record::{Detail, FileKind, Inode};
use crate::index::{IndexError, Scratch};
use crate::job::store::Count;
use crate::job::store::spilling::{Spilled, SpillingMap};
use crate::repo::staging::FrozenTarget;
use crate::repo::{Entry, Node};

// Files with several names that came or went, about 100 bytes each, in memory at once.
const LINKED_COUNT_MAX: usize = 1 << 14;

/// A file with several names that is new by its object id, or gone.
#[derive(Debug)]
struct Linked {
    bytes: u64,
    is_removed: bool,
}

// varints: bytes, 1 if removed
impl Spilled for Linked {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, self.bytes);
        put_varint(&mut bytes, self.is_removed.into());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (bytes, is_removed) = (reader.varint("bytes").ok()?, reader.varint("removed").ok()?);
        Some(Self { bytes, is_removed: is_removed != 0 })
    }
}

/// A regular file at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Its record stands there.
    Own,
    /// It has several names, and this object id.
    Linked(u64),
}

/// Counts of names, beside those that the emission makes of records.
#[derive(Debug)]
pub(super) struct Counts<'a> {
    linked: SpillingMap<'a, Linked>,
    // Names and bytes of the base that are not unchanged just because nothing was done to them.
    touched: Count,
    removed: Count,
    new_names: u64,
    // Names that lead to a file with several now, and to another one before.
    taken_names: u64,
    // Names that led to a file with several: they were counted with its record, if that is still there.
    left_names: u64,
    // Counted as new by their records, but names were there before.
    not_new: Count,
}

impl<'a> Counts<'a> {
    pub(super) fn new(scratch: Option<&'a Scratch>) -> Self {
        Self {
            linked: SpillingMap::new(b'n', scratch, LINKED_COUNT_MAX),
            touched: Count::default(),
            removed: Count::default(),
            new_names: 0,
            taken_names: 0,
            left_names: 0,
            not_new: Count::default(),
        }
    }

    /// Counts the record of a file with several names, before its names.
    pub(super) fn linked(
        &mut self,
        object: u64,
        before: Option<&Inode>,
        now: &Inode,
    ) -> Result<(), IndexError> {
        match before {
            _ if now.kind() != FileKind::Regular => Ok(()),
            Some(before) => {
                self.touch(before.link_count.into(), before.size());
                Ok(())
            }
            None => self.linked.put(&object.to_be_bytes(), Linked { bytes: now.size(), is_removed: false }),
        }
    }

    /// Counts a file with several names, or a directory, that is gone, before its names.
    pub(super) fn removed_object(&mut self, object: u64, before: Option<&Inode>) -> Result<(), IndexError> {
        let Some(Inode { detail: Detail::Regular { size, .. }, link_count, .. }) = before else {
            return Ok(());
        };
        let names = u64::from(*link_count);
        self.touch(names, *size);
        // Each of its names is to be met, and does not lead there any more.
        self.taken_names += names;
        self.removed.bytes += size;
        self.linked.put(&object.to_be_bytes(), Linked { bytes: *size, is_removed: true })
    }

    /// Counts a name that was changed.
    pub(super) fn name(&mut self, before: Option<&Entry>, now: &FrozenTarget) -> Result<(), IndexError> {
        let (was, is) = (before.and_then(at_entry), at_target(now));
        match was {
            Some(At::Own) => self.touch(1, own_size(before)),
            Some(At::Linked(_)) if was != is => self.left_names += 1,
            _ => {}
        }
        match (was, is) {
            (Some(At::Own), None) => self.removed.add(own_size(before)),
            (Some(At::Linked(_)), None) => self.removed.files += 1,
            (None, Some(At::Linked(_))) => self.new_names += 1,
            (Some(_), Some(At::Linked(object))) if was != is => {
                self.taken_names += 1;
                if let Some(linked) = self.linked.take(&object.to_be_bytes())? {
                    self.not_new.bytes += linked.bytes;
                }
            }
            (Some(At::Linked(_)), Some(At::Own)) => self.not_new.add(size_of(now)),
            _ => {}
        }
        if let (Some(At::Linked(object)), Some(_)) = (was, is)
            && was != is
            && let Some(gone) = self.linked.take(&object.to_be_bytes())?.filter(|linked| linked.is_removed)
        {
            self.removed.bytes = self.removed.bytes.saturating_sub(gone.bytes);
        }
        Ok(())
    }

    fn touch(&mut self, names: u64, bytes: u64) {
        self.touched.files += names;
        self.touched.bytes += bytes;
    }

    /// What was counted of a file stays as it is in the base after all.
    pub(super) fn stays(&mut self, names: u64, bytes: u64) {
        self.touched.files = self.touched.files.saturating_sub(names);
        self.touched.bytes = self.touched.bytes.saturating_sub(bytes);
    }

    /// Completes what the emission counted; `base` is all that the base holds.
    pub(super) fn complete(self, summary: &mut CommitSummary, base: Count) {
        let stored = &mut summary.stored;
        stored.unchanged.files += base.files.saturating_sub(self.touched.files);
        stored.unchanged.bytes += base.bytes.saturating_sub(self.touched.bytes);
        let files = self.not_new.files.min(stored.new.files);
        let bytes = self.not_new.bytes.min(stored.new.bytes);
        stored.new.files = stored.new.files - files + self.new_names;
        stored.new.bytes -= bytes;
        let modified = stored.modified.files + files + self.taken_names;
        stored.modified.files = modified.saturating_sub(self.left_names);
        stored.modified.bytes += bytes;
        summary.removed = self.removed;
    }
}

fn at_entry(entry: &Entry) -> Option<At> {
    match entry.node {
        _ if entry.kind != FileKind::Regular => None,
        Node::Object { object, .. } => Some(At::Linked(object)),
        Node::Entry(_) => Some(At::Own),
        Node::Synthetic(_) => None,
    }
}

fn at_target(target: &FrozenTarget) -> Option<At> {
    match target {
        FrozenTarget::Object(object) => (object.inode.kind() == FileKind::Regular).then_some(At::Own),
        FrozenTarget::Linked { kind: FileKind::Regular, object } => Some(At::Linked(*object)),
        _ => None,
    }
}

fn own_size(entry: Option<&Entry>) -> u64 {
    entry.and_then(|entry| entry.inode.as_ref()).map_or(0, Inode::size)
}

fn size_of(target: &FrozenTarget) -> u64 {
    match target {
        FrozenTarget::Object(object) => object.inode.size(),
        _ => 0,
    }
}
