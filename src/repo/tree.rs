//! Reads a tree of pages: one record by key, or records in order.

use std::sync::Arc;

use super::error::ReadError;
use super::node::RecordAddress;
use super::pages::PageReader;
use crate::format::page::{Page, PageRef, TreeKind};

/// A record in its page.
#[derive(Debug, Clone)]
pub struct Found {
    page: Arc<Page>,
    at: PageRef,
    slot: usize,
}

impl Found {
    /// The record's key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.page.record(self.slot).map_or(&[], |(key, _)| key)
    }

    /// The record's value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.page.record(self.slot).map_or(&[], |(_, value)| value)
    }

    /// Where the record is.
    ///
    /// # Panics
    /// Never: a page has at most 1023 records.
    #[must_use]
    pub fn address(&self) -> RecordAddress {
        let slot = u16::try_from(self.slot).expect("a page has at most 1023 records");
        RecordAddress { ordinal: self.at.ordinal, offset: self.at.offset, slot }
    }
}

/// A tree of pages.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    pages: &'a PageReader,
    root: PageRef,
    kind: TreeKind,
}

impl<'a> Tree<'a> {
    /// Takes the root page and what the tree is known to hold.
    #[must_use]
    pub fn new(pages: &'a PageReader, root: PageRef, kind: TreeKind) -> Self {
        Self { pages, root, kind }
    }

    /// Finds the record with this key.
    ///
    /// # Errors
    /// [`ReadError`] if a page on the way is missing or damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Found>, ReadError> {
        let mut at = self.root;
        let mut page = self.load(at, None)?;
        while page.level() > 0 {
            at = self.child(&page, page.child_index(key), at)?;
            page = self.load(at, Some(page.level()))?;
        }
        Ok(page.search(key).ok().map(|slot| Found { page, at, slot }))
    }

    /// Finds the last record whose key is not above `key`.
    ///
    /// # Errors
    /// [`ReadError`] if a page on the way is missing or damaged.
    pub fn floor(&self, key: &[u8]) -> Result<Option<Found>, ReadError> {
        let mut at = self.root;
        let mut page = self.load(at, None)?;
        // The subtree next before the way down.
        let mut before = None;
        while page.level() > 0 {
            let index = page.child_index(key);
            if let Some(index) = index.checked_sub(1) {
                before = Some((Arc::clone(&page), at, index));
            }
            at = self.child(&page, index, at)?;
            page = self.load(at, Some(page.level()))?;
        }
        let slot = match page.search(key) {
            Ok(slot) => Some(slot),
            Err(after) => after.checked_sub(1),
        };
        match (slot, before) {
            (Some(slot), _) => Ok(Some(Found { page, at, slot })),
            (None, None) => Ok(None),
            // A separator can be below the first key of its child, and the key between the two.
            (None, Some((page, at, index))) => self.last(&page, at, index),
        }
    }

    // The last record below the child at `index` of a page.
    fn last(&self, above: &Page, at: PageRef, index: usize) -> Result<Option<Found>, ReadError> {
        let mut at = self.child(above, index, at)?;
        let mut page = self.load(at, Some(above.level()))?;
        while let Some(last) = page.len().checked_sub(1).filter(|_| page.level() > 0) {
            at = self.child(&page, last, at)?;
            page = self.load(at, Some(page.level()))?;
        }
        Ok(page.len().checked_sub(1).map(|slot| Found { page, at, slot }))
    }

    /// Starts at the first record whose key is not below `key`.
    #[must_use]
    pub fn range(&self, key: &[u8]) -> Cursor<'a> {
        Cursor { tree: *self, seek: Some(key.to_vec()), stack: Vec::new() }
    }

    fn child(&self, page: &Page, index: usize, at: PageRef) -> Result<PageRef, ReadError> {
        page.child(index).map_err(|source| ReadError::Format {
            path: format!("DTF {}", at.ordinal),
            offset: at.offset,
            source,
        })
    }

    // Levels fall by one at each step, so that a loop in a damaged tree cannot be followed.
    fn load(&self, at: PageRef, level_above: Option<u8>) -> Result<Arc<Page>, ReadError> {
        let page = self.pages.page(at)?;
        let mismatch = |what| ReadError::PageMismatch { ordinal: at.ordinal, offset: at.offset, what };
        if page.tree() != self.kind {
            return Err(mismatch("kind of tree"));
        }
        if level_above.is_some_and(|above| page.level().checked_add(1) != Some(above)) {
            return Err(mismatch("level"));
        }
        Ok(page)
    }
}

/// Tells whether the keys of a page lie between the separator that leads to it and the next one.
///
/// A damaged tree could otherwise lead to the same page again and again.
pub(super) fn is_between(page: &Page, low: &[u8], upper: Option<&[u8]>) -> bool {
    let first = page.record(0).map(|(key, _)| key);
    let last = page.len().checked_sub(1).and_then(|last| page.record(last)).map(|(key, _)| key);
    first.is_some_and(|first| first >= low) && last.is_some_and(|last| upper.is_none_or(|upper| last < upper))
}

#[derive(Debug)]
struct Step {
    page: Arc<Page>,
    at: PageRef,
    next: usize,
    // All keys are below this.
    upper: Option<Vec<u8>>,
}

/// Walks a tree's records in ascending order of keys.
///
/// An unreadable page is returned as an error in the place of its records, and the walk goes on after
/// it.
#[derive(Debug)]
pub struct Cursor<'a> {
    tree: Tree<'a>,
    seek: Option<Vec<u8>>,
    stack: Vec<Step>,
}

impl Cursor<'_> {
    // Puts the root on the stack.
    fn begin(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let page = self.tree.load(self.tree.root, None)?;
        self.push(page, self.tree.root, None, Some(key));
        Ok(())
    }

    // Puts the child at `slot` of the page at the top on the stack.
    fn descend(&mut self, slot: usize, key: Option<&[u8]>) -> Result<(), ReadError> {
        let Some(step) = self.stack.last() else { return Ok(()) };
        let at = self.tree.child(&step.page, slot, step.at)?;
        let low = step.page.record(slot).map_or(&[][..], |(key, _)| key);
        let upper = step.page.record(slot + 1).map(|(key, _)| key).or(step.upper.as_deref());
        let page = self.tree.load(at, Some(step.page.level()))?;
        if !is_between(&page, low, upper) {
            let (ordinal, offset) = (at.ordinal, at.offset);
            return Err(ReadError::PageMismatch { ordinal, offset, what: "range of keys" });
        }
        let upper = upper.map(<[u8]>::to_vec);
        self.push(page, at, upper, key);
        Ok(())
    }

    fn push(&mut self, page: Arc<Page>, at: PageRef, upper: Option<Vec<u8>>, key: Option<&[u8]>) {
        let next = match key {
            None => 0,
            Some(key) if page.level() > 0 => page.child_index(key),
            Some(key) => page.search(key).unwrap_or_else(|index| index),
        };
        self.stack.push(Step { page, at, next, upper });
    }
}

impl Iterator for Cursor<'_> {
    type Item = Result<Found, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut seek = self.seek.take();
        if let Some(key) = &seek
            && let Err(error) = self.begin(key)
        {
            return Some(Err(error));
        }
        loop {
            let step = self.stack.last_mut()?;
            let slot = step.next;
            if slot >= step.page.len() {
                self.stack.pop();
                continue;
            }
            step.next += 1;
            if step.page.level() == 0 {
                return Some(Ok(Found { page: Arc::clone(&step.page), at: step.at, slot }));
            }
            let level = step.page.level();
            if let Err(error) = self.descend(slot, seek.as_deref()) {
                return Some(Err(error));
            }
            // The key leads down to the first leaf; all that follow are taken from their start.
            if level == 1 {
                seek = None;
            }
        }
    }
}
