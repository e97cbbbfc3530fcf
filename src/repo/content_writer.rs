//! Writes where a file's bytes are: a short list in its record, or a tree of extents.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;

use super::content::ContentReader;
use super::error::RepoError;
use super::extent_list::ExtentList;
use super::pages::PageReader;
use super::repository::Repository;
use super::tree::{Cursor, Tree};
use super::tree_writer::{Change, PageSink, Tally, TreeUpdate};
use crate::format::page::{PageRef, TreeKind};
use crate::format::record::{Content, Extent, INLINE_EXTENT_COUNT_MAX};
use crate::format::splice;

/// Stores a file's extents: in the record if they are few, else as a tree of which the pages that
/// `before` has too are pointed to.
pub(super) fn write(
    repository: &Repository,
    sink: &mut PageSink,
    extents: &ExtentList,
    before: Option<&Content>,
) -> Result<Content, RepoError> {
    if let Some(short) = extents.short(INLINE_EXTENT_COUNT_MAX) {
        return Ok(Content::Inline(short.to_vec()));
    }
    let (pages, allocated) = (repository.pages(), extents.len_bytes());
    if let Some(Content::Tree { root, .. }) = before {
        let tree = Tree::new(pages, *root, TreeKind::Extents);
        match update(pages, sink, Some(*root), Differences::new(&tree, extents.iter()?)) {
            // A damaged tree is not built upon.
            Err(RepoError::Read(error)) if error.is_damage() => {}
            root => return Ok(content(root?, allocated)),
        }
    }
    let all = extents.iter()?.map(|extent| Ok(put(&extent?)));
    Ok(content(update(pages, sink, None, all)?, allocated))
}

/// Stores a file that has the extents of `base`, but in the `covered` ranges, which ascend and do not
/// overlap, those of `extents`; where these leave out something, it becomes a hole. Cost follows the ranges.
pub(super) fn write_over(
    repository: &Repository,
    sink: &mut PageSink,
    base: &Content,
    covered: &[(u64, u64)],
    extents: &ExtentList,
) -> Result<Content, RepoError> {
    match base {
        Content::Inline(before) => {
            let mut spliced = covered
                .iter()
                .fold(before.clone(), |left, (offset, len)| splice::punch(&left, *offset, *len));
            let mut old = std::mem::take(&mut spliced).into_iter().peekable();
            for new in extents.iter()? {
                let new = new?;
                spliced.extend(std::iter::from_fn(|| old.next_if(|old| old.offset < new.offset)));
                spliced.push(new);
            }
            spliced.extend(old);
            write(repository, sink, &spliced.into(), None)
        }
        Content::Tree { root, allocated } => {
            let reader = ContentReader::new(repository.pages(), repository.frames(), base, u64::MAX);
            let mut cuts = Cuts::new(&reader, covered);
            let root = update(
                repository.pages(),
                sink,
                Some(*root),
                Merged { cuts: cuts.by_ref().peekable(), extents: extents.iter()?.peekable() },
            )?;
            Ok(content(root, allocated.saturating_sub(cuts.removed) + extents.len_bytes()))
        }
    }
}

fn content(root: Option<PageRef>, allocated: u64) -> Content {
    root.map_or(Content::Inline(Vec::new()), |root| Content::Tree { root, allocated })
}

fn put(extent: &Extent) -> Change {
    let mut value = Vec::with_capacity(80);
    extent.put_value(&mut value);
    (Extent::key(extent.offset).to_vec(), Some(value))
}

// Changes stream by: a file has any number of extents.
fn update(
    pages: &PageReader,
    sink: &mut PageSink,
    root: Option<PageRef>,
    changes: impl Iterator<Item = Result<Change, RepoError>>,
) -> Result<Option<PageRef>, RepoError> {
    let mut ignore = |_: Tally<'_>| {};
    let update = TreeUpdate::new(sink, Some(pages), TreeKind::Extents, &mut ignore);
    let mut failed = None;
    let mut good = changes.map_while(|change| change.map_err(|error| failed = Some(error)).ok());
    let root = update.apply(root, &mut good, Vec::new());
    drop(good);
    failed.map_or(root, Err)
}

// What is left of a tree of extents from which ranges are taken out: changes by offset, in order.
struct Cuts<'a> {
    reader: &'a ContentReader<'a>,
    covered: std::slice::Iter<'a, (u64, u64)>,
    // Changes found and not yet told; those below `settled` are final.
    changes: BTreeMap<u64, Option<Extent>>,
    settled: u64,
    removed: u64,
    // The extent of the tree that was met last, and what is left of it behind the last range.
    last: Option<u64>,
    rest: Option<Extent>,
}

impl<'a> Cuts<'a> {
    fn new(reader: &'a ContentReader<'a>, covered: &'a [(u64, u64)]) -> Self {
        let (covered, changes) = (covered.iter(), BTreeMap::new());
        Self { reader, covered, changes, settled: 0, removed: 0, last: None, rest: None }
    }

    fn punch(&mut self, offset: u64, len: u64) -> Result<(), RepoError> {
        let end = offset.saturating_add(len);
        let mut met: Vec<Extent> =
            self.rest.filter(|rest| rest.offset + rest.len > offset).into_iter().collect();
        for extent in self.reader.extents_from(offset) {
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
        // What a later range meets begins behind this one, or is the rest of what this one met.
        self.settled = end;
        Ok(())
    }
}

impl Iterator for Cuts<'_> {
    type Item = Result<(u64, Option<Extent>), RepoError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.changes.first_key_value().map(|(offset, _)| *offset);
            if first.is_some_and(|first| first < self.settled) {
                return self.changes.pop_first().map(Ok);
            }
            let Some((offset, len)) = self.covered.next() else { return self.changes.pop_first().map(Ok) };
            if let Err(error) = self.punch(*offset, *len) {
                return Some(Err(error));
            }
        }
    }
}

// What is left of the old extents and the new ones, which win.
struct Merged<C: Iterator, E: Iterator> {
    cuts: Peekable<C>,
    extents: Peekable<E>,
}

impl<C, E> Iterator for Merged<C, E>
where
    C: Iterator<Item = Result<(u64, Option<Extent>), RepoError>>,
    E: Iterator<Item = Result<Extent, RepoError>>,
{
    type Item = Result<Change, RepoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let new = match self.extents.peek() {
            Some(Err(_)) => return self.extents.next().map(|extent| extent.map(|extent| put(&extent))),
            Some(Ok(new)) => Some(new.offset),
            None => None,
        };
        let is_before = |(offset, _): &(u64, Option<Extent>)| new.is_none_or(|new| *offset < new);
        if let Some(cut) = self.cuts.next_if(|cut| cut.as_ref().map_or(true, is_before)) {
            return Some(cut.map(|(offset, left)| match left {
                Some(left) => put(&left),
                None => (Extent::key(offset).to_vec(), None),
            }));
        }
        // The same place in both.
        let is_same = |(offset, _): &(u64, Option<Extent>)| Some(*offset) == new;
        drop(self.cuts.next_if(|cut| cut.as_ref().is_ok_and(is_same)));
        self.extents.next().map(|extent| Ok(put(&extent?)))
    }
}

// The difference of a tree and a list of extents, both in order.
struct Differences<'a, E: Iterator> {
    before: Peekable<Cursor<'a>>,
    after: Peekable<E>,
}

impl<'a, E: Iterator<Item = Result<Extent, RepoError>>> Differences<'a, E> {
    fn new(tree: &Tree<'a>, after: E) -> Self {
        Self { before: tree.range(&[]).peekable(), after: after.peekable() }
    }
}

impl<E: Iterator<Item = Result<Extent, RepoError>>> Iterator for Differences<'_, E> {
    type Item = Result<Change, RepoError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (Some(Err(_)), _) => return Some(Err(self.before.next()?.err()?.into())),
                (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
                (Some(Ok(_)), None) => Ordering::Less,
                (Some(Ok(old)), Some(Ok(new))) => old.key().cmp(&Extent::key(new.offset)[..]),
                (None, None) => return None,
            };
            let old = if order.is_le() { self.before.next()?.ok() } else { None };
            let new = if order.is_ge() { self.after.next() } else { None };
            let change = match new {
                Some(Ok(new)) => put(&new),
                Some(Err(error)) => return Some(Err(error)),
                None => return Some(Ok((old?.key().to_vec(), None))),
            };
            if old.is_none_or(|old| change.1.as_deref() != Some(old.value())) {
                return Some(Ok(change));
            }
        }
    }
}
