//! Extent lists that change in one place: an overwrite or a new hole leaves the rest of the chunks
//! before and behind it in use.

use super::record::Extent;

/// Puts `new` into a list in ascending order of offsets, in place of whatever it overlaps.
#[must_use]
pub fn overwrite(extents: &[Extent], new: Extent) -> Vec<Extent> {
    let mut spliced = punch(extents, new.offset, new.len);
    let at = spliced.partition_point(|extent| extent.offset < new.offset);
    if new.len > 0 {
        spliced.insert(at, new);
    }
    spliced
}

/// Takes `len` bytes from `offset` on out of a list in ascending order of offsets: they become a hole.
#[must_use]
pub fn punch(extents: &[Extent], offset: u64, len: u64) -> Vec<Extent> {
    let end = offset.saturating_add(len);
    let mut left = Vec::with_capacity(extents.len() + 2);
    for extent in extents {
        let extent_end = extent.offset + extent.len;
        let (before, after) = (offset.min(extent_end), end.max(extent.offset));
        if len == 0 || extent_end <= offset || extent.offset >= end {
            left.push(*extent);
            continue;
        }
        if extent.offset < before {
            left.push(Extent { len: before - extent.offset, ..*extent });
        }
        if after < extent_end {
            // The part that is cut off lies in the chunk, whose length has 32 bits.
            let cut = u32::try_from(after - extent.offset).unwrap_or(u32::MAX);
            let skip = extent.skip.saturating_add(cut);
            left.push(Extent { offset: after, len: extent_end - after, skip, ..*extent });
        }
    }
    left
}
