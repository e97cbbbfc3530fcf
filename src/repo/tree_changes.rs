//! Compares two trees of pages and reads only the pages that they do not share.

use std::cmp::Ordering;
use std::sync::Arc;

use super::error::ReadError;
use super::pages::PageReader;
use super::tree::is_between;
use crate::format::page::{Page, PageRef, TreeKind};

/// Hands every key to `take` whose record is in one tree only, or differs, in ascending order, until it
/// returns `false`. Cost follows what differs: pages that both trees point to are not read.
///
/// # Errors
/// [`ReadError`] if a page that only one tree has cannot be read.
pub fn changed_keys(
    pages: &PageReader,
    kind: TreeKind,
    before: PageRef,
    after: PageRef,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), ReadError> {
    if before == after {
        return Ok(());
    }
    let mut before = Side::new(pages, kind, before)?;
    let mut after = Side::new(pages, kind, after)?;
    loop {
        let (one, other) = (before.item()?, after.item()?);
        let going_on = match (&one, &other) {
            (None, None) => return Ok(()),
            (Some(Item::Record(key, _)), None) => before.step(take(key)),
            (None, Some(Item::Record(key, _))) => after.step(take(key)),
            (Some(Item::Subtree(child)), None) => before.expand(child)?,
            (None, Some(Item::Subtree(child))) => after.expand(child)?,
            (Some(Item::Subtree(one)), Some(Item::Subtree(other))) => {
                expand_one(&mut before, one, &mut after, other)?
            }
            (Some(Item::Subtree(child)), Some(Item::Record(key, _))) => match child.low <= *key {
                true => before.expand(child)?,
                false => after.step(take(key)),
            },
            (Some(Item::Record(key, _)), Some(Item::Subtree(child))) => match child.low <= *key {
                true => after.expand(child)?,
                false => before.step(take(key)),
            },
            (Some(Item::Record(one, value)), Some(Item::Record(other, other_value))) => {
                match one.cmp(other) {
                    Ordering::Less => before.step(take(one)),
                    Ordering::Greater => after.step(take(other)),
                    Ordering::Equal => {
                        before.step(true);
                        after.step(value == other_value || take(one))
                    }
                }
            }
        };
        if !going_on {
            return Ok(());
        }
    }
}

// Of two subtrees the higher one is opened, so that pages of one level come to stand side by side; of
// two on one level the one that begins first, because only the other one can still have a twin.
fn expand_one(
    before: &mut Side<'_>,
    one: &Child,
    after: &mut Side<'_>,
    other: &Child,
) -> Result<bool, ReadError> {
    if one.at == other.at {
        before.step(true);
        return Ok(after.step(true));
    }
    match one.level.cmp(&other.level).then_with(|| other.low.cmp(&one.low)) {
        Ordering::Greater => before.expand(one),
        Ordering::Less => after.expand(other),
        Ordering::Equal => {
            before.expand(one)?;
            after.expand(other)
        }
    }
}

struct Child {
    at: PageRef,
    level: u8,
    // At most the first key of the subtree.
    low: Vec<u8>,
    // Above all its keys.
    upper: Option<Vec<u8>>,
}

enum Item {
    Record(Vec<u8>, Vec<u8>),
    Subtree(Child),
}

struct Step {
    page: Arc<Page>,
    at: PageRef,
    next: usize,
    upper: Option<Vec<u8>>,
}

struct Side<'a> {
    pages: &'a PageReader,
    kind: TreeKind,
    stack: Vec<Step>,
}

impl<'a> Side<'a> {
    fn new(pages: &'a PageReader, kind: TreeKind, root: PageRef) -> Result<Self, ReadError> {
        let mut side = Self { pages, kind, stack: Vec::new() };
        side.push(root, None)?;
        Ok(side)
    }

    // Levels fall by one at each step, and keys lie between their separators, so that a loop in a damaged
    // tree cannot be followed.
    fn push(&mut self, at: PageRef, child: Option<&Child>) -> Result<(), ReadError> {
        let page = self.pages.page(at)?;
        let mismatch = |what| Err(ReadError::PageMismatch { ordinal: at.ordinal, offset: at.offset, what });
        if page.tree() != self.kind || child.is_some_and(|child| page.level() != child.level) {
            return mismatch("kind of tree or level");
        }
        if child.is_some_and(|child| !is_between(&page, &child.low, child.upper.as_deref())) {
            return mismatch("range of keys");
        }
        let upper = child.and_then(|child| child.upper.clone());
        self.stack.push(Step { page, at, next: 0, upper });
        Ok(())
    }

    fn item(&mut self) -> Result<Option<Item>, ReadError> {
        while self.stack.last().is_some_and(|step| step.next >= step.page.len()) {
            self.stack.pop();
        }
        let Some(Step { page, at, next, upper }) = self.stack.last() else { return Ok(None) };
        let Some((key, value)) = page.record(*next) else { return Ok(None) };
        let Some(level) = page.level().checked_sub(1) else {
            return Ok(Some(Item::Record(key.to_vec(), value.to_vec())));
        };
        let child = page.child(*next).map_err(|source| ReadError::Format {
            path: format!("DTF {}", at.ordinal),
            offset: at.offset,
            source,
        })?;
        let upper = page.record(next + 1).map(|(key, _)| key.to_vec()).or_else(|| upper.clone());
        Ok(Some(Item::Subtree(Child { at: child, level, low: key.to_vec(), upper })))
    }

    fn step(&mut self, going_on: bool) -> bool {
        if let Some(step) = self.stack.last_mut() {
            step.next += 1;
        }
        going_on
    }

    fn expand(&mut self, child: &Child) -> Result<bool, ReadError> {
        self.step(true);
        self.push(child.at, Some(child))?;
        Ok(true)
    }
}
