//! Writes trees copy-on-write: pages on the path of what changes are written, the rest is pointed to.
//!
//! Changes come in ascending order of keys and are merged into the leaves that they fall into. A leaf
//! that becomes small takes in its right neighbour; one that becomes large is split. Memory is
//! proportional to the pages written, not to the records.

use std::iter::Peekable;
use std::sync::Arc;

use super::error::{ReadError, RepoError};
use super::pages::PageReader;
use crate::chunk::compress::Compressor;
use crate::codec::len_u32;
use crate::format::frame::Codec;
use crate::format::page::{self, ALIGNMENT, Page, PageHeader, PageRef, RECORD_COUNT_MAX, TreeKind};
use crate::id::{FileId, Ordinal};
use crate::storage::WriteFile;

/// Pages are filled to about this many bytes before compression.
const PAGE_LEN_TARGET: usize = 16 << 10;
/// A page of up to this many bytes is not split.
const PAGE_LEN_SPLIT: usize = 24 << 10;
/// A changed page below this many bytes takes in its right neighbour.
const PAGE_LEN_SMALL: usize = 4 << 10;
const LEAF_COUNT_TARGET: usize = 512;

/// A change of one record: a new value, or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A record that goes in or out of a tree, for those who keep totals.
#[derive(Debug, Clone, Copy)]
pub enum Tally<'a> {
    /// The record was added.
    In(&'a [u8], &'a [u8]),
    /// The record was removed or replaced.
    Out(&'a [u8], &'a [u8]),
}

/// The DTF under construction: appends pages.
#[derive(Debug)]
pub struct PageSink {
    file: Box<dyn WriteFile>,
    id: FileId,
    ordinal: Ordinal,
    compressor: Compressor,
}

impl PageSink {
    /// Takes the file with its header written.
    #[must_use]
    pub fn new(file: Box<dyn WriteFile>, id: FileId, ordinal: Ordinal, level: i32) -> Self {
        Self { file, id, ordinal, compressor: Compressor::new(level) }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file.len()
    }

    /// Tells whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file.is_empty()
    }

    /// The file itself, for the footer.
    pub fn file(&mut self) -> &mut dyn WriteFile {
        &mut *self.file
    }

    fn write(
        &mut self,
        tree: TreeKind,
        level: u8,
        records: &[(Vec<u8>, Vec<u8>)],
        base: Option<&Base>,
    ) -> Result<PageRef, RepoError> {
        let payload = page::encode_payload(records.iter().map(|(key, value)| (&key[..], &value[..])));
        let (codec, base, stored) = self.compress(&payload, base)?;
        let offset = self.file.len().next_multiple_of(ALIGNMENT);
        let header = PageHeader {
            level,
            codec,
            tree,
            stored_len: len_u32(stored.len()),
            plain_len: len_u32(payload.len()),
            record_count: len_u32(records.len()),
            base,
        };
        let padding = usize::try_from(offset - self.file.len()).unwrap_or_default();
        let mut bytes = vec![0; padding];
        bytes.extend_from_slice(&header.encode(self.id, offset, &stored));
        bytes.extend_from_slice(&stored);
        self.file.append(&bytes)?;
        Ok(PageRef { ordinal: self.ordinal, offset, stored_len: header.stored_len })
    }

    // Against the base if that saves enough to be worth the second page that a reader needs.
    fn compress(
        &mut self,
        payload: &[u8],
        base: Option<&Base>,
    ) -> Result<(Codec, Option<PageRef>, Vec<u8>), RepoError> {
        let alone = self.compressor.compress(payload, &[])?;
        let alone_len = alone.as_ref().map_or(payload.len(), Vec::len);
        if let Some(base) = base
            && let Some(delta) = self.compressor.compress(payload, base.page.payload())?
            && delta.len() * 3 < alone_len * 2
        {
            let mut stored = Vec::with_capacity(delta.len() + 16);
            base.at.put(&mut stored);
            stored.extend_from_slice(&delta);
            return Ok((Codec::Zstd, Some(base.at), stored));
        }
        Ok(match alone {
            Some(stored) => (Codec::Zstd, None, stored),
            None => (Codec::Raw, None, payload.to_vec()),
        })
    }
}

/// A page of the tree before, against which the pages that take its place are compressed.
#[derive(Debug)]
struct Base {
    at: PageRef,
    page: Arc<Page>,
}

/// A child page with a key that is at most its first.
type Child = (Vec<u8>, PageRef);

/// Fills pages of one level with records in ascending order of keys.
#[derive(Debug)]
struct LevelBuilder {
    tree: TreeKind,
    level: u8,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    len: usize,
    children: Vec<Child>,
    // The page that the first of the records came from, and the one that later ones did.
    base: Option<Base>,
    next_base: Option<Base>,
}

fn record_len(key: &[u8], value: &[u8]) -> usize {
    // Slot and two lengths of up to three bytes each.
    key.len() + value.len() + 8
}

impl LevelBuilder {
    fn new(tree: TreeKind, level: u8) -> Self {
        Self { tree, level, records: Vec::new(), len: 0, children: Vec::new(), base: None, next_base: None }
    }

    // The records that follow come from this page of the tree before.
    fn set_base(&mut self, base: Option<Base>) {
        if self.records.is_empty() {
            self.base = base;
            self.next_base = None;
        } else {
            self.next_base = base;
        }
    }

    fn push(&mut self, sink: &mut PageSink, key: Vec<u8>, value: Vec<u8>) -> Result<(), RepoError> {
        debug_assert!(self.records.last().is_none_or(|(last, _)| *last < key), "keys ascend");
        self.len += record_len(&key, &value);
        self.records.push((key, value));
        // Twice the target is kept back so that the last two pages of a run come out even.
        if self.len >= 2 * PAGE_LEN_TARGET || self.records.len() >= 2 * LEAF_COUNT_TARGET - 2 {
            self.write_first(sink)?;
        }
        Ok(())
    }

    fn write_first(&mut self, sink: &mut PageSink) -> Result<(), RepoError> {
        let mut taken = 0;
        let mut count = 0;
        for (key, value) in &self.records {
            let more = record_len(key, value);
            if count > 0 && (taken + more > PAGE_LEN_TARGET || count >= LEAF_COUNT_TARGET) {
                break;
            }
            taken += more;
            count += 1;
        }
        let rest = self.records.split_off(count);
        let records = std::mem::replace(&mut self.records, rest);
        self.len -= taken;
        self.write(sink, records)
    }

    fn write(&mut self, sink: &mut PageSink, records: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), RepoError> {
        let page = sink.write(self.tree, self.level, &records, self.base.as_ref())?;
        if let Some(next) = self.next_base.take() {
            self.base = Some(next);
        }
        let key = records.into_iter().next().map(|(key, _)| key).unwrap_or_default();
        self.children.push((key, page));
        Ok(())
    }

    // Writes what is left as one page, or as two of about the same size.
    fn flush(&mut self, sink: &mut PageSink) -> Result<(), RepoError> {
        while self.len > PAGE_LEN_SPLIT
            || self.records.len() > RECORD_COUNT_MAX.min(LEAF_COUNT_TARGET * 3 / 2)
        {
            let half = self.len / 2;
            let mut taken = 0;
            let mut count = 0;
            for (key, value) in &self.records {
                if count > 0 && (taken >= half || count >= LEAF_COUNT_TARGET) {
                    break;
                }
                taken += record_len(key, value);
                count += 1;
            }
            if count == self.records.len() {
                break;
            }
            let rest = self.records.split_off(count);
            let first = std::mem::replace(&mut self.records, rest);
            self.len -= taken;
            self.write(sink, first)?;
        }
        self.len = 0;
        let records = std::mem::take(&mut self.records);
        if records.is_empty() { Ok(()) } else { self.write(sink, records) }
    }
}

/// Merges changes into one tree.
pub struct TreeUpdate<'a> {
    sink: &'a mut PageSink,
    pages: Option<&'a PageReader>,
    tree: TreeKind,
    tally: &'a mut dyn FnMut(Tally<'_>),
    // Leaves of keys above all others, until they have their place.
    tail: Vec<Child>,
}

impl std::fmt::Debug for TreeUpdate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeUpdate").field("tree", &self.tree).finish_non_exhaustive()
    }
}

type Changes<'c> = Peekable<&'c mut dyn Iterator<Item = Change>>;

impl<'a> TreeUpdate<'a> {
    /// Takes where pages go, and where those of the tree before come from.
    pub fn new(
        sink: &'a mut PageSink,
        pages: Option<&'a PageReader>,
        tree: TreeKind,
        tally: &'a mut dyn FnMut(Tally<'_>),
    ) -> Self {
        Self { sink, pages, tree, tally, tail: Vec::new() }
    }

    /// Applies changes in strictly ascending order of keys; `tail` are leaves of keys above all others.
    ///
    /// Returns the new root, or `None` if no record is left. Without any change it is the old root.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be read or written.
    pub fn apply(
        mut self,
        root: Option<PageRef>,
        changes: &mut dyn Iterator<Item = Change>,
        tail: Vec<Child>,
    ) -> Result<Option<PageRef>, RepoError> {
        let mut changes = changes.peekable();
        if changes.peek().is_none() && tail.is_empty() {
            return Ok(root);
        }
        self.tail = tail;
        let (mut children, mut level) = match root {
            None => {
                let mut builder = LevelBuilder::new(self.tree, 0);
                self.add_rest(&mut builder, &mut changes, None)?;
                builder.flush(self.sink)?;
                (builder.children, 0)
            }
            Some(root) => {
                let page = self.read(root)?;
                (self.update(root, &page, &mut changes)?, page.level())
            }
        };
        // A tree of one leaf, or of none, has no page that could have taken it in.
        children.append(&mut self.tail);
        while children.len() > 1 {
            level += 1;
            children = self.build_level(children, level, None)?;
        }
        Ok(children.pop().map(|(_, page)| page))
    }

    fn build_level(
        &mut self,
        children: Vec<Child>,
        level: u8,
        base: Option<Base>,
    ) -> Result<Vec<Child>, RepoError> {
        let mut builder = LevelBuilder::new(self.tree, level);
        builder.set_base(base);
        for (key, page) in children {
            let mut value = Vec::new();
            page.put(&mut value);
            builder.push(self.sink, key, value)?;
        }
        builder.flush(self.sink)?;
        Ok(builder.children)
    }

    fn read(&self, at: PageRef) -> Result<Arc<Page>, RepoError> {
        let pages = self.pages.expect("a tree that has a root was read from somewhere");
        let page = pages.page(at)?;
        if page.tree() == self.tree {
            return Ok(page);
        }
        let (ordinal, offset) = (at.ordinal, at.offset);
        Err(RepoError::Read(ReadError::PageMismatch { ordinal, offset, what: "kind of tree" }))
    }

    // A page that has a base itself gives that one: reading stays one step deep.
    fn base(&self, at: PageRef, page: &Arc<Page>) -> Result<Option<Base>, RepoError> {
        Ok(Some(match page.base() {
            None => Base { at, page: Arc::clone(page) },
            Some(base) => Base { at: base, page: self.read(base)? },
        }))
    }

    // Returns the pages that take the place of this one, at its level.
    fn update(
        &mut self,
        at: PageRef,
        page: &Arc<Page>,
        changes: &mut Changes<'_>,
    ) -> Result<Vec<Child>, RepoError> {
        if page.level() > 0 {
            return self.update_interior(at, page, None, changes);
        }
        let mut builder = LevelBuilder::new(self.tree, 0);
        builder.set_base(self.base(at, page)?);
        self.merge_leaf(&mut builder, page, None, changes)?;
        builder.flush(self.sink)?;
        Ok(builder.children)
    }

    fn update_interior(
        &mut self,
        at: PageRef,
        page: &Arc<Page>,
        upper: Option<&[u8]>,
        changes: &mut Changes<'_>,
    ) -> Result<Vec<Child>, RepoError> {
        let mut lower = LevelBuilder::new(self.tree, page.level() - 1);
        let mut kept: Vec<Child> = Vec::new();
        for index in 0..page.len() {
            let Some((key, _)) = page.record(index) else { break };
            let child = page.child(index).map_err(|source| ReadError::Format {
                path: format!("DTF {}", at.ordinal),
                offset: at.offset,
                source,
            })?;
            let bound = page.record(index + 1).map(|(next, _)| next).or(upper);
            // The tail goes to the end of the last page of the lowest interior level.
            let takes_tail = bound.is_none() && page.level() > 1 && !self.tail.is_empty();
            let touched = takes_tail
                || changes.peek().is_some_and(|(key, _)| bound.is_none_or(|bound| &key[..] < bound));
            let absorb = page.level() == 1 && lower.len > 0 && lower.len < PAGE_LEN_SMALL;
            if !touched && !absorb {
                lower.flush(self.sink)?;
                kept.append(&mut lower.children);
                kept.push((key.to_vec(), child));
                continue;
            }
            let below = self.read(child)?;
            if below.level() + 1 != page.level() {
                let (ordinal, offset) = (child.ordinal, child.offset);
                return Err(ReadError::PageMismatch { ordinal, offset, what: "level" }.into());
            }
            if below.level() == 0 {
                if lower.len >= PAGE_LEN_SMALL {
                    // Pages keep their bounds, so that each resembles the one whose place it takes.
                    lower.flush(self.sink)?;
                }
                lower.set_base(self.base(child, &below)?);
                self.merge_leaf(&mut lower, &below, bound, changes)?;
            } else {
                kept.extend(self.update_interior(child, &below, bound, changes)?);
            }
        }
        lower.flush(self.sink)?;
        kept.append(&mut lower.children);
        if page.level() == 1 && upper.is_none() {
            kept.append(&mut self.tail);
        }
        let base = self.base(at, page)?;
        self.build_level(kept, page.level(), base)
    }

    // Merges the records of a leaf with the changes below `upper`.
    fn merge_leaf(
        &mut self,
        builder: &mut LevelBuilder,
        page: &Page,
        upper: Option<&[u8]>,
        changes: &mut Changes<'_>,
    ) -> Result<(), RepoError> {
        for (key, value) in page.records_from(0) {
            self.add_rest(builder, changes, Some(key))?;
            match changes.next_if(|(changed, _)| changed == key) {
                None => builder.push(self.sink, key.to_vec(), value.to_vec())?,
                Some((key, new_value)) => {
                    (self.tally)(Tally::Out(&key, value));
                    if let Some(new_value) = new_value {
                        (self.tally)(Tally::In(&key, &new_value));
                        builder.push(self.sink, key, new_value)?;
                    }
                }
            }
        }
        self.add_rest(builder, changes, upper)
    }

    // Adds the new records below `upper`; removals of what is not there change nothing.
    fn add_rest(
        &mut self,
        builder: &mut LevelBuilder,
        changes: &mut Changes<'_>,
        upper: Option<&[u8]>,
    ) -> Result<(), RepoError> {
        while let Some((key, value)) = changes.next_if(|(key, _)| upper.is_none_or(|upper| &key[..] < upper))
        {
            if let Some(value) = value {
                (self.tally)(Tally::In(&key, &value));
                builder.push(self.sink, key, value)?;
            }
        }
        Ok(())
    }
}

/// Writes leaves of records whose keys are above all in the tree, as they come.
#[derive(Debug)]
pub struct TailBuilder {
    leaves: LevelBuilder,
}

impl TailBuilder {
    /// Starts without a leaf.
    #[must_use]
    pub fn new(tree: TreeKind) -> Self {
        Self { leaves: LevelBuilder::new(tree, 0) }
    }

    /// Adds a record with a key above all before.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be written.
    pub fn push(&mut self, sink: &mut PageSink, key: Vec<u8>, value: Vec<u8>) -> Result<(), RepoError> {
        self.leaves.push(sink, key, value)
    }

    /// Writes the last leaf and returns all, for [`TreeUpdate::apply`], and the records for which no leaf
    /// was worth while: few records are better merged into the last leaf that is there.
    ///
    /// # Errors
    /// [`RepoError`] if a page cannot be written.
    pub fn finish(mut self, sink: &mut PageSink) -> Result<(Vec<Child>, Vec<Change>), RepoError> {
        if self.leaves.children.is_empty() {
            let few = self.leaves.records.into_iter().map(|(key, value)| (key, Some(value)));
            return Ok((Vec::new(), few.collect()));
        }
        self.leaves.flush(sink)?;
        Ok((self.leaves.children, Vec::new()))
    }
}
