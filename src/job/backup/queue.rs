//! Records on their way to the tree.

use std::ops::Range;
use std::sync::Arc;

use crate::format::record::{Inode, Record, XattrList};
use crate::id::Fingerprint;
use crate::live::Attributes;

/// Where a file's record goes.
#[derive(Debug)]
pub(super) enum Target {
    /// Into the entry itself.
    Entry { object: u64, name: Vec<u8> },
    /// Into the object of a file with several names, once they are all known.
    Linked { object: u64, name: Vec<u8>, is_new_object: bool },
}

impl Target {
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Entry { name, .. } | Self::Linked { name, .. } => name,
        }
    }
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
    Name {
        directory: u64,
        name: Vec<u8>,
        object: u64,
        is_known: bool,
    },
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
