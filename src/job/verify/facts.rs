//! What is known of a page with all below it, small enough to be kept for every page.

use crate::format::dtf::Totals;
use crate::format::page::TreeKind;

/// Facts about a page and all below it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) tree: TreeKind,
    pub(super) level: u8,
    /// The first and the last key.
    pub(super) first: Box<[u8]>,
    pub(super) last: Box<[u8]>,
    /// Something below cannot be read: sums are not complete.
    pub(super) is_partial: bool,
    /// What the records add to a generation's totals.
    pub(super) totals: Totals,
    /// Sum over links to directories less the same sum over directories: 0 in a whole tree.
    pub(super) directories: u64,
    /// Likewise for links to files with several names.
    pub(super) links: u64,
    /// Highest object id of a file with several names.
    pub(super) linked_max: u64,
    /// Bytes that extents cover.
    pub(super) allocated: u64,
    /// End of the last extent.
    pub(super) end: u64,
}

impl Facts {
    /// Nothing yet.
    pub(super) fn new(tree: TreeKind, level: u8) -> Self {
        Self {
            tree,
            level,
            first: Box::default(),
            last: Box::default(),
            is_partial: false,
            totals: Totals::default(),
            directories: 0,
            links: 0,
            linked_max: 0,
            allocated: 0,
            end: 0,
        }
    }

    /// Takes in a child.
    pub(super) fn add(&mut self, child: &Self) {
        self.is_partial |= child.is_partial;
        self.totals = self.totals.plus(child.totals);
        self.directories = self.directories.wrapping_add(child.directories);
        self.links = self.links.wrapping_add(child.links);
        self.linked_max = self.linked_max.max(child.linked_max);
        self.allocated = self.allocated.saturating_add(child.allocated);
        self.end = self.end.max(child.end);
    }
}

/// A number that stands for an object, or an object in its directory, in sums that must come out at 0.
///
/// Sums of such numbers agree by chance once in 2^64 cases (finalizer of splitmix64).
pub(super) fn token(object: u64, parent: u64) -> u64 {
    let mut value = object.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ parent.rotate_left(32);
    for multiplier in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        value = (value ^ (value >> 30)).wrapping_mul(multiplier);
    }
    value ^ (value >> 31)
}
