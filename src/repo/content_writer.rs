//! Writes where a file's bytes are: a short list in its record, or a tree of extents.

use std::collections::BTreeMap;

use super::content::ContentReader;
use super::error::RepoError;
use super::pages::PageReader;
use super::repository::Repository;
use super::tree::Tree;
use super::tree_writer::{Change, PageSink, Tally, TreeUpdate};
use crate::format::page::{PageRef, TreeKind};
use crate::format::record::{Content, Extent, INLINE_EXTENT_COUNT_MAX};
use crate::format::splice;

/// Stores a file's extents: in the record if they are few, else as a tree of which the pages that
/// `before` has too are pointed to.
pub(super) fn write(
    repository: &Repository,
    sink: &mut PageSink,
    extents: Vec<Extent>,
    before: Option<&Content>,
) -> Result<Content, RepoError> {
    if extents.len() <= INLINE_EXTENT_COUNT_MAX {
        return Ok(Content::Inline(extents));
    }
    let allocated = extents.iter().map(|extent| extent.len).sum();
    let all = |extents: &[Extent]| -> Vec<Change> { extents.iter().map(put).collect() };
    let pages = repository.pages();
    let (root, changes) = match before {
        Some(Content::Tree { root, .. }) => match differences(pages, *root, &extents) {
            Ok(changes) => (Some(*root), changes),
            // A damaged tree is not built upon.
            Err(RepoError::Read(error)) if error.is_damage() => (None, all(&extents)),
            Err(error) => return Err(error),
        },
        _ => (None, all(&extents)),
    };
    update(pages, sink, root, changes, allocated)
}

/// Stores a file that has the extents of `base`, but in the `covered` ranges, which ascend and do not
/// overlap, those of `extents`; where these leave out something, it becomes a hole. Cost follows the ranges.
pub(super) fn write_over(
    repository: &Repository,
    sink: &mut PageSink,
    base: &Content,
    covered: &[(u64, u64)],
    extents: Vec<Extent>,
) -> Result<Content, RepoError> {
    match base {
        Content::Inline(before) => {
            let mut spliced = covered
                .iter()
                .fold(before.clone(), |left, (offset, len)| splice::punch(&left, *offset, *len));
            spliced.extend(extents);
            spliced.sort_unstable_by_key(|extent| extent.offset);
            write(repository, sink, spliced, None)
        }
        Content::Tree { root, allocated } => {
            let reader = ContentReader::new(repository.pages(), repository.frames(), base, u64::MAX);
            let mut cut = Cut::default();
            for (offset, len) in covered {
                cut.punch(&reader, *offset, *len)?;
            }
            let added: u64 = extents.iter().map(|extent| extent.len).sum();
            cut.changes.extend(extents.into_iter().map(|extent| (extent.offset, Some(extent))));
            let changes = cut.changes.into_iter().map(|(offset, extent)| match extent {
                Some(extent) => put(&extent),
                None => (Extent::key(offset).to_vec(), None),
            });
            let allocated = allocated.saturating_sub(cut.removed) + added;
            update(repository.pages(), sink, Some(*root), changes.collect(), allocated)
        }
    }
}

fn put(extent: &Extent) -> Change {
    let mut value = Vec::with_capacity(80);
    extent.put_value(&mut value);
    (Extent::key(extent.offset).to_vec(), Some(value))
}

fn update(
    pages: &PageReader,
    sink: &mut PageSink,
    root: Option<PageRef>,
    changes: Vec<Change>,
    allocated: u64,
) -> Result<Content, RepoError> {
    let mut ignore = |_: Tally<'_>| {};
    let update = TreeUpdate::new(sink, Some(pages), TreeKind::Extents, &mut ignore);
    let root = update.apply(root, &mut changes.into_iter(), Vec::new())?;
    Ok(match root {
        Some(root) => Content::Tree { root, allocated },
        None => Content::Inline(Vec::new()),
    })
}

// Ranges taken out of a tree of extents.
#[derive(Default)]
struct Cut {
    changes: BTreeMap<u64, Option<Extent>>,
    removed: u64,
    // The extent of the tree that was met last, and what is left of it behind the last range.
    last: Option<u64>,
    rest: Option<Extent>,
}

impl Cut {
    fn punch(&mut self, reader: &ContentReader<'_>, offset: u64, len: u64) -> Result<(), RepoError> {
        let end = offset.saturating_add(len);
        let mut met: Vec<Extent> =
            self.rest.filter(|rest| rest.offset + rest.len > offset).into_iter().collect();
        for extent in reader.extents_from(offset) {
            let extent = extent?;
            if extent.offset >= end {
                break;
            }
            if self.last.is_none_or(|last| extent.offset > last) {
                self.last = Some(extent.offset);
                met.push(extent);
            }
        }
        for extent in &met {
            self.changes.insert(extent.offset, None);
            self.removed += extent.len;
        }
        self.rest = None;
        for left in splice::punch(&met, offset, len) {
            self.changes.insert(left.offset, Some(left));
            self.removed -= left.len;
            self.rest = Some(left).filter(|left| left.offset >= end);
        }
        Ok(())
    }
}

// The difference of two extent lists, both in order.
fn differences(pages: &PageReader, root: PageRef, extents: &[Extent]) -> Result<Vec<Change>, RepoError> {
    let mut changes = Vec::new();
    let mut after = extents.iter().peekable();
    let tree = Tree::new(pages, root, TreeKind::Extents);
    for old in tree.range(&[]) {
        let old = old?;
        while let Some(new) = after.next_if(|new| Extent::key(new.offset)[..] < *old.key()) {
            changes.push(put(new));
        }
        match after.next_if(|new| Extent::key(new.offset)[..] == *old.key()) {
            None => changes.push((old.key().to_vec(), None)),
            Some(new) => {
                let change = put(new);
                if change.1.as_deref() != Some(old.value()) {
                    changes.push(change);
                }
            }
        }
    }
    changes.extend(after.map(put));
    Ok(changes)
}
