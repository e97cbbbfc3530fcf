//! Which of FDA and SFP finds what changed in a file (row H6).

use crate::format::staging_policy::SfpPolicy;
use crate::job::store::Method;
use crate::job::store::large::FileRange;
use crate::repo::staging::{FrozenContent, SegmentKind, StagingError};

/// What was written of a file, as ranges in ascending order that do not touch each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Regions {
    /// Written bytes.
    pub(super) written: Vec<FileRange>,
    /// Where the bytes are not those of the base any more: what was written, and what became zeros.
    pub(super) covered: Vec<FileRange>,
    /// Sum of the lengths of `written`.
    pub(super) written_len: u64,
}

impl Regions {
    /// Reads the record of written regions of a file.
    pub(super) fn of(content: &FrozenContent) -> Result<Self, StagingError> {
        let mut regions = Self::default();
        for segment in content.segments() {
            let segment = segment?;
            if segment.kind == SegmentKind::Base {
                continue;
            }
            add(&mut regions.covered, (segment.offset, segment.len));
            if segment.kind == SegmentKind::Written {
                add(&mut regions.written, (segment.offset, segment.len));
                regions.written_len += segment.len;
            }
        }
        if let Some(base) = content.base.as_ref().filter(|base| base.size > content.size) {
            add(&mut regions.covered, (content.size, base.size - content.size));
        }
        Ok(regions)
    }
}

/// Adds a range at the end of a list; one that touches the last becomes part of it.
pub(super) fn add(ranges: &mut Vec<FileRange>, (offset, len): FileRange) {
    match ranges.last_mut() {
        _ if len == 0 => {}
        Some((start, last)) if *start + *last == offset => *last += len,
        _ => ranges.push((offset, len)),
    }
}

/// Decides for a file of which something was written, and says why.
pub(super) fn decide(
    content: &FrozenContent,
    written_len: u64,
    small_len: u64,
    policy: &SfpPolicy,
) -> (Method, &'static str) {
    if content.base.is_none() {
        return (Method::Sfp, "written anew");
    }
    if !content.trusted {
        return (Method::Sfp, "the record of written regions is not trusted");
    }
    if content.size <= small_len {
        return (Method::Sfp, "small");
    }
    let is_more = u128::from(written_len) * 100 > u128::from(content.size) * u128::from(policy.percent);
    if is_more && written_len < policy.bytes {
        return (Method::Sfp, "much of it was written, and that is little");
    }
    (Method::Fda, if is_more { "much was written in place" } else { "little of it was written" })
}
