//! A frozen epoch: what a commit reads.

use std::sync::Arc;

use super::error::StagingError;
use super::tree::StagingTree;
use crate::format::record::{Content, Inode};
use crate::id::{Fingerprint, Ordinal};
use crate::repo::Generation;

/// What was changed up to the freeze. Dropping it without [`FrozenEpoch::finish`] abandons the commit:
/// nothing staged is lost, and it can be asked for again. Shared by threads.
#[derive(Debug)]
pub struct FrozenEpoch<'t> {
    tree: &'t StagingTree,
}

/// One change, in the order of keys of a DTF.
#[derive(Debug)]
pub enum FrozenChange {
    /// The record of a directory, at its id with an empty name. Its parent is in `Inode::detail`.
    Directory(FrozenObject),
    /// The record of a file with several names, at its object id with an empty name.
    Linked {
        /// The object id.
        object: u64,
        /// The file.
        file: FrozenObject,
    },
    /// A directory, or a file with several names, of the base is gone: its record at this id goes.
    RemovedObject {
        /// The object id.
        object: u64,
    },
    /// A name.
    Entry {
        /// Object id of the directory.
        directory: u64,
        /// The name.
        name: Vec<u8>,
        /// What it leads to.
        target: FrozenTarget,
    },
}

/// What a changed name leads to.
#[derive(Debug)]
pub enum FrozenTarget {
    /// Nothing any more; the base has the name.
    Removed,
    /// A directory: a link record to its object id.
    Directory {
        /// The object id.
        object: u64,
    },
    /// A file with several names: a link record to its object id.
    Linked {
        /// The object id.
        object: u64,
    },
    /// Anything else: its record stands at the name.
    Object(FrozenObject),
}

/// A changed object as it was at the freeze.
#[derive(Debug)]
pub struct FrozenObject {
    /// Its number in staging.
    pub number: u64,
    /// Its record as it will be, with the staging number and the times and size of the freeze. Content and
    /// signature of a regular file are those of the base if the content was not touched; else they are empty,
    /// and the commit sets them. Extended attributes are inline, whatever their length.
    pub inode: Inode,
    /// For a regular file whose content was touched.
    pub content: Option<FrozenContent>,
}

/// The content of a regular file at the freeze.
#[derive(Debug)]
pub struct FrozenContent {
    /// Length in bytes.
    pub size: u64,
    /// What lies below the written regions, if anything of it is still visible.
    pub base: Option<FrozenBase>,
    /// The regions are exact. If not (power was lost, or the file system cannot tell) the whole content must
    /// be read, base and all, and cut anew (SFP).
    pub trusted: bool,
    /// Open for direct writes at the freeze: its content may be of no one moment, and stays pending.
    pub open_for_writing: bool,
}

/// What lies below the written regions of a file.
#[derive(Debug, Clone)]
pub struct FrozenBase {
    /// Where the bytes are.
    pub content: Content,
    /// Length in the base generation, in bytes.
    pub size: u64,
    /// Bytes of it that are still visible where nothing was written: from there on there are zeros.
    pub visible_len: u64,
    /// Signature of all `size` bytes, if known.
    pub signature: Option<Fingerprint>,
}

/// A run of a frozen file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Where the bytes are.
    pub kind: SegmentKind,
}

/// Where a run of bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentKind {
    /// Written in staging: read it with [`FrozenContent::read`].
    Written,
    /// As in the base at the same offset, holes included.
    Base,
    /// Zeros, whatever the base has there.
    Hole,
}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc, clippy::missing_panics_doc)]
impl FrozenContent {
    /// All bytes as segments in order, none twice, from 0 to `size`.
    pub fn segments(&self) -> impl Iterator<Item = Result<Segment, StagingError>> + '_ {
        std::iter::empty()
    }

    /// Reads up to `len` bytes as they are seen, written or from the base; fewer only at the end.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StagingError> {
        unimplemented!()
    }

    /// Tells whether the backing file was written since the freeze; only if `open_for_writing`.
    pub fn is_moved(&self) -> Result<bool, StagingError> {
        unimplemented!()
    }
}

#[allow(unused_variables, missing_docs, clippy::missing_errors_doc, clippy::missing_panics_doc)]
impl FrozenEpoch<'_> {
    /// The generation to build on.
    pub fn base(&self) -> Option<&Arc<Generation>> {
        unimplemented!()
    }

    /// First object ids that staging has not given out: the new generation's footer has these, or higher ones.
    pub fn next_ids(&self) -> (u64, u64) {
        unimplemented!()
    }

    /// Tells whether there is nothing to commit.
    pub fn is_empty(&self) -> Result<bool, StagingError> {
        unimplemented!()
    }

    /// All changes: first linked files and removed objects in order of numbers, then directories and
    /// entries in the order of keys of a DTF, each directory's record before its entries.
    pub fn changes(&self) -> impl Iterator<Item = Result<FrozenChange, StagingError>> + '_ {
        std::iter::empty()
    }

    /// Leaves an object's changes pending: the generation does not have them (policy for what was not safe).
    pub fn keep(&self, number: u64) {
        unimplemented!()
    }

    /// Notes the number of the generation about to be written, so that after a crash its DTF tells that the
    /// commit was done. Call it before the DTF gets its final name.
    pub fn announce(&self, ordinal: Ordinal) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Says that the generation exists: the tree stands on it now, the frozen epoch is over.
    pub fn finish(self, ordinal: Ordinal) -> Result<(), StagingError> {
        unimplemented!()
    }

    /// Gives up; what was staged stays staged.
    pub fn abandon(self) -> Result<(), StagingError> {
        unimplemented!()
    }
}
