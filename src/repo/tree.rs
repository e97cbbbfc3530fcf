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
        while page.level() > 0 {
            at = self.child(&page, page.child_index(key), at)?;
            page = self.load(at, Some(page.level()))?;
        }
        // A separator is at most the first key of its child, so only the leftmost leaf can lack one.
        let slot = match page.search(key) {
            Ok(slot) => Some(slot),
            Err(after) => after.checked_sub(1),
        };
        Ok(slot.map(|slot| Found { page, at, slot }))
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

#[derive(Debug)]
struct Step {
    page: Arc<Page>,
    at: PageRef,
    next: usize,
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
    fn descend(&mut self, at: PageRef, level_above: Option<u8>, key: Option<&[u8]>) -> Result<(), ReadError> {
        let page = self.tree.load(at, level_above)?;
        let next = match key {
            None => 0,
            Some(key) if page.level() > 0 => page.child_index(key),
            Some(key) => page.search(key).unwrap_or_else(|index| index),
        };
        self.stack.push(Step { page, at, next });
        Ok(())
    }
}

impl Iterator for Cursor<'_> {
    type Item = Result<Found, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut seek = self.seek.take();
        if seek.is_some()
            && let Err(error) = self.descend(self.tree.root, None, seek.as_deref())
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
            let (page, at) = (Arc::clone(&step.page), step.at);
            let down = self
                .tree
                .child(&page, slot, at)
                .and_then(|child| self.descend(child, Some(page.level()), seek.as_deref()));
            if let Err(error) = down {
                return Some(Err(error));
            }
            // The key leads down to the first leaf; all that follow are taken from their start.
            if page.level() == 1 {
                seek = None;
            }
        }
    }
}
