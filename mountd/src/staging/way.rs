//! How the kernel reads and writes an open file: through this process or by itself.
//!
//! All handles of an inode go one way or the other: the kernel has one for an inode as long as it is open.

use std::fs::File;
use std::sync::Arc;

use reelfs::repo::staging::{FileHandle, StagingTree};

use crate::staging::adapter::{Adapter, Refusal};
use crate::wire::opcode::{OPENED_KEEP_CACHE, OPENED_PASSTHROUGH};

// For a shorter file it takes longer to register it than to read it.
const PASSTHROUGH_LEN_MIN: u64 = 256 << 10;

/// A file that is about to be opened.
pub(super) struct Opening {
    pub(super) tree: Arc<StagingTree>,
    pub(super) node: u64,
    pub(super) handle: FileHandle,
    /// As in open(2).
    pub(super) flags: i32,
}

/// How the kernel reads and writes an open file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// `OPENED_*`.
    pub(super) flags: u32,
    /// Number of the backing file that it uses; 0 if it asks.
    pub(super) backing: u32,
    /// It did not use one yet.
    pub(super) is_new: bool,
}

impl Opening {
    // Whether the file is written once from its start on, as those do who cannot read what they write, or who make it
    // for themselves alone. What is written in place again and again, a database or the image of a disk, comes through
    // here: then a freeze is of one moment, however long the file is.
    fn is_stream(&self, is_empty: bool) -> bool {
        is_empty && (self.flags & libc::O_ACCMODE == libc::O_WRONLY || self.flags & libc::O_EXCL != 0)
    }

    // Who has it open to read and write may map it, and write so.
    fn note_mappable(&self) {
        if self.flags & libc::O_ACCMODE == libc::O_RDWR {
            self.handle.set_mappable();
        }
    }

    fn by_kernel(&self, backing: u32, is_new: bool) -> Way {
        self.note_mappable();
        Way { flags: OPENED_PASSTHROUGH, backing, is_new }
    }

    fn by_asking(&self) -> Way {
        self.note_mappable();
        // Otherwise the kernel reads anew what it has in memory.
        let is_stale = self.tree.has_unknown_holders() || self.tree.is_mapped(self.handle.number());
        let flags = if is_stale { 0 } else { OPENED_KEEP_CACHE };
        Way { flags, backing: 0, is_new: false }
    }
}

impl Adapter {
    /// The way of a file that is there.
    pub(super) fn way(&self, opening: &Opening, is_empty: bool) -> Result<Way, Refusal> {
        let usage = self.handles.usage(opening.node);
        if usage.backing != 0 {
            if !opening.handle.is_passthrough() {
                // Its other handles are of what was discarded, and the kernel has one way for all of them. Better
                // none than a file in which what is written is lost.
                return Err(Refusal(libc::EBUSY));
            }
            opening.handle.set_passthrough();
            return Ok(opening.by_kernel(usage.backing, false));
        }
        // What is written through a mapping of the backing file is seen there alone.
        let is_mapped = opening.tree.is_mapped(opening.handle.number());
        let is_let = is_mapped || !opening.handle.is_writable() || opening.is_stream(is_empty);
        let is_long =
            |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() >= PASSTHROUGH_LEN_MIN);
        let is_worth = |file: &File| is_empty || is_mapped || is_long(file);
        let may_pass = || opening.handle.passthrough().is_some_and(|file| is_worth(&file));
        if usage.count > 0 || !is_let || !may_pass() {
            return Ok(opening.by_asking());
        }
        let Some(file) = opening.tree.begin_passthrough(&opening.handle)? else {
            return Ok(opening.by_asking());
        };
        match self.backings.register(&file) {
            0 => {
                opening.handle.end_passthrough();
                Ok(opening.by_asking())
            }
            backing => Ok(opening.by_kernel(backing, true)),
        }
    }

    /// The way of a file that was made just now; `registered` is the number of its backing file, or 0.
    pub(super) fn way_of_new(&self, opening: &Opening, registered: u32) -> Result<Way, Refusal> {
        if registered == 0 {
            return self.way(opening, true);
        }
        let begun =
            if opening.is_stream(true) { opening.tree.begin_passthrough(&opening.handle) } else { Ok(None) };
        if let Ok(Some(_)) = begun {
            return Ok(opening.by_kernel(registered, true));
        }
        self.backings.close(registered);
        begun?;
        Ok(opening.by_asking())
    }
}
