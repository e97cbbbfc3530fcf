//! Records on their way to the tree.

use std::ops::Range;
use std::sync::Arc;

use super::large::FileRange;
use super::record::Described;
use super::report::FileReport;
use crate::format::record::{Content, FileKind, Inode, Record};
use crate::id::Fingerprint;
use crate::repo::extent_list::ExtentList;

/// Where a file's record goes.
#[derive(Debug)]
pub(in crate::job) enum Target {
    /// Into the entry itself; or with an empty name into an object of which all names are known.
    Entry { object: u64, name: Vec<u8> },
    /// Into the object of what has several names, once they are all known.
    Linked { object: u64, name: Vec<u8>, is_new_object: bool },
}

impl Target {
    pub(in crate::job) fn name(&self) -> &[u8] {
        match self {
            Self::Entry { name, .. } | Self::Linked { name, .. } => name,
        }
    }
}

/// A name of a file, or of anything else but a directory, with several.
#[derive(Debug)]
pub(in crate::job) struct LinkName {
    /// Object id of the directory.
    pub(in crate::job) directory: u64,
    pub(in crate::job) name: Vec<u8>,
    pub(in crate::job) kind: FileKind,
    /// Object id of the file.
    pub(in crate::job) object: u64,
    /// The generation before has the same name for the same object.
    pub(in crate::job) is_known: bool,
    /// The object has no more names at the source.
    pub(in crate::job) is_last: bool,
    /// Path as people know it, for a name that is not the first: should the file fail, this one is told, too.
    pub(in crate::job) path: Option<String>,
}

/// Where a file's bytes are.
#[derive(Debug)]
pub(in crate::job) enum Bytes {
    /// All of them, wherever there is no hole.
    Extents(ExtentList),
    /// Those in `covered`; all others are where they were.
    Over { base: Content, covered: Vec<FileRange>, extents: ExtentList },
    /// Where they were.
    Kept(Content),
}

impl Bytes {
    /// Extents in memory.
    pub(in crate::job) fn memory_count(&self) -> usize {
        match self {
            Self::Extents(extents) | Self::Over { extents, .. } => extents.memory_count(),
            Self::Kept(_) => 0,
        }
    }
}

/// A file whose bytes are stored.
#[derive(Debug)]
pub(in crate::job) struct StoredFile {
    pub(in crate::job) target: Target,
    pub(in crate::job) before: Option<Arc<Inode>>,
    pub(in crate::job) described: Described,
    pub(in crate::job) signature: Option<Fingerprint>,
    pub(in crate::job) bytes: Bytes,
    pub(in crate::job) inconsistent: bool,
    /// For those who want to know.
    pub(in crate::job) report: Option<Box<FileReport>>,
}

impl StoredFile {
    /// A file that did not change while it was read, and that nobody asks about.
    pub(in crate::job) fn new(
        target: Target,
        before: Option<Arc<Inode>>,
        described: Described,
        signature: Option<Fingerprint>,
        bytes: Bytes,
    ) -> Self {
        Self { target, before, described, signature, bytes, inconsistent: false, report: None }
    }
}

/// A record that waits for its turn.
#[derive(Debug)]
pub(in crate::job) enum Emission {
    Ready {
        object: u64,
        name: Vec<u8>,
        record: Record,
    },
    /// A name of a file with several, whose first name is in the queue before it.
    Name(LinkName),
    Small {
        target: Target,
        before: Option<Arc<Inode>>,
        task: u64,
        slot: usize,
        report: Option<Box<FileReport>>,
    },
    /// Its extents come from the tasks, and are added to those that it has.
    Large {
        file: Box<StoredFile>,
        tasks: Range<u64>,
    },
}
