//! Records on their way to the tree.

use std::ops::Range;
use std::sync::Arc;

use crate::format::record::{FileKind, Inode, Record, XattrList};
use crate::id::Fingerprint;
use crate::live::Attributes;

/// Where a file's record goes.
#[derive(Debug)]
pub(super) enum Target {
    /// Into the entry itself.
    Entry { object: u64, name: Vec<u8> },
    /// Into the object of what has several names, once they are all known.
    Linked { object: u64, name: Vec<u8>, is_new_object: bool },
}

impl Target {
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Entry { name, .. } | Self::Linked { name, .. } => name,
        }
    }
}

/// A name of a file, or of anything else but a directory, with several.
#[derive(Debug)]
pub(super) struct LinkName {
    /// Object id of the directory.
    pub(super) directory: u64,
    pub(super) name: Vec<u8>,
    pub(super) kind: FileKind,
    /// Object id of the file.
    pub(super) object: u64,
    /// The generation before has the same name for the same object.
    pub(super) is_known: bool,
    /// Path as people know it, for a name that is not the first: should the file fail, this one is told, too.
    pub(super) path: Option<String>,
}

/// A record that waits for its turn.
#[derive(Debug)]
pub(super) enum Emission {
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
    },
    Large {
        target: Target,
        before: Option<Arc<Inode>>,
        tasks: Range<u64>,
        attributes: Attributes,
        xattrs: XattrList,
        signature: Option<Fingerprint>,
        inconsistent: bool,
    },
}
