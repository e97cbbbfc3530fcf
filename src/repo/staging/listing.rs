//! Listing a directory: what staging changed, merged with the base in order of names.

use std::collections::VecDeque;

use super::attributes::Attributes;
use super::base::BaseEntry;
use super::error::StagingError;
use super::names::place_of;
use super::objects::FoundName;
use super::tree::{Core, StagingTree};
use crate::format::record::FileKind;
use crate::index::staging::{EntryRow, Home, PINNED, RowDetail, StagingStoreError};

/// Cookie after which the first entry comes; smaller ones are left for `.` and `..`.
pub const FIRST_COOKIE: u64 = 2;
/// Names whose cookies are remembered.
const WINDOW_LEN_MAX: usize = 8192;

/// The state of one open directory; cookies of names that were handed out lately lead back to them.
///
/// A cookie is a count of names, removed ones too. One that the listing does not remember, after the serving
/// process was replaced, is taken as that count.
#[derive(Debug)]
pub struct Listing {
    directory: u64,
    // Names handed out last and the cookies behind them, in order.
    window: VecDeque<(u64, Vec<u8>)>,
}

/// An entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Number of the object.
    pub number: u64,
    /// Kind.
    pub kind: FileKind,
    /// Cookie behind it: where the listing goes on.
    pub cookie: u64,
    /// Its attributes, if they were asked for and can be read.
    pub attributes: Option<Attributes>,
}

impl Listing {
    /// Number of the directory.
    #[must_use]
    pub fn directory(&self) -> u64 {
        self.directory
    }

    fn name_before(&mut self, cookie: u64) -> Option<Vec<u8>> {
        let at = self.window.iter().position(|(known, _)| *known == cookie)?;
        self.window.truncate(at + 1);
        self.window.back().map(|(_, name)| name.clone())
    }

    fn remember(&mut self, cookie: u64, name: &[u8]) {
        if self.window.len() >= WINDOW_LEN_MAX {
            self.window.pop_front();
        }
        self.window.push_back((cookie, name.to_vec()));
    }
}

impl StagingTree {
    /// Begins to list a directory.
    ///
    /// # Errors
    /// [`StagingError::NotDirectory`], [`StagingError::Stale`].
    pub fn open_directory(&self, directory: u64) -> Result<Listing, StagingError> {
        match self.load(&self.core(), directory)?.state.detail {
            RowDetail::Directory { .. } => Ok(Listing { directory, window: VecDeque::new() }),
            _ => Err(StagingError::NotDirectory),
        }
    }

    /// Hands over the entries after `cookie` (0 for the start) until `take` returns `false`, which says that
    /// it did not take that one. With `plus` each comes with attributes, and each that is taken with
    /// attributes counts a look-up. `take` must not call the tree.
    ///
    /// # Errors
    /// [`StagingError`] if the first entry to be handed over cannot be read.
    pub fn list(
        &self,
        listing: &mut Listing,
        cookie: u64,
        plus: bool,
        take: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), StagingError> {
        let core = self.core();
        let mut position = cookie.max(FIRST_COOKIE);
        let before = if cookie <= FIRST_COOKIE { None } else { listing.name_before(cookie) };
        let skipped = if cookie > FIRST_COOKIE && before.is_none() { cookie - FIRST_COOKIE } else { 0 };
        if before.is_none() {
            listing.window.clear();
            position = FIRST_COOKIE;
        }
        let from = before.map_or_else(|| vec![0], |name| [&name[..], &[0]].concat());
        let mut is_first = true;
        for merged in self.merged(&core, listing.directory, &from) {
            let (name, found) = match merged {
                Ok(merged) => merged,
                Err(error) if is_first => return Err(error),
                Err(_) => return Ok(()),
            };
            position += 1;
            let Some(found) = found.filter(|_| position - FIRST_COOKIE > skipped) else { continue };
            is_first = false;
            if !self.hand_over(&core, listing, (&name, found), position, plus, take)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn hand_over(
        &self,
        core: &Core,
        listing: &mut Listing,
        (name, found): (&[u8], FoundName),
        cookie: u64,
        plus: bool,
        take: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<bool, StagingError> {
        let (number, kind) = (found.number, found.kind);
        let is_taken = plus
            && found.base.as_ref().is_some_and(|base| base.linked.is_none())
            && kind != FileKind::Directory
            && self.is_taken(core, number, &Home::new(listing.directory, name))?;
        let mut place = None;
        let mut attributes = None;
        if plus && !is_taken {
            // What cannot be read is listed all the same; whoever looks it up is told.
            if let Ok(object) = self.load_found(core, found) {
                place = place_of(&object, listing.directory, name);
                attributes = self.attributes_of(&object).ok();
            }
        }
        if !take(Listed { name, number, kind, cookie, attributes }) {
            return Ok(false);
        }
        if attributes.is_some() {
            self.nodes.looked_up(number, place);
        }
        listing.remember(cookie, name);
        Ok(true)
    }

    /// Tells whether a directory has no entry.
    pub(super) fn is_empty_directory(&self, core: &Core, directory: u64) -> Result<bool, StagingError> {
        for merged in self.merged(core, directory, b"\0") {
            if merged?.1.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    // All names from one on, in order, each with what it leads to now.
    fn merged<'t>(
        &'t self,
        core: &'t Core,
        directory: u64,
        from: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Option<FoundName>), StagingError>> + use<'t> {
        let rows = core.is_changed.then(|| self.store.entries(directory, from));
        let rows = rows.into_iter().flatten().filter(move |row| match row {
            Ok((_, row)) => core.is_valid(row.epoch) && row.epoch != PINNED,
            Err(_) => true,
        });
        Merged { rows: rows.peekable(), base: core.base.list(directory, from).peekable() }
    }
}

struct Merged<R: Iterator, B: Iterator> {
    rows: std::iter::Peekable<R>,
    base: std::iter::Peekable<B>,
}

impl<R, B> Iterator for Merged<R, B>
where
    R: Iterator<Item = Result<(Vec<u8>, EntryRow), StagingStoreError>>,
    B: Iterator<Item = Result<(Vec<u8>, BaseEntry), StagingError>>,
{
    type Item = Result<(Vec<u8>, Option<FoundName>), StagingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.rows.peek(), self.base.peek()) {
            (Some(Ok((row, _))), Some(Ok((base, _)))) => row.cmp(base),
            (Some(_), None) | (Some(Err(_)), Some(_)) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        if order.is_gt() {
            return Some(self.base.next()?.map(|(name, entry)| {
                let (number, kind) = (entry.number, entry.kind);
                (name, Some(FoundName { number, kind, base: Some(entry) }))
            }));
        }
        if order.is_eq() {
            // The row says what is there now.
            let _hidden = self.base.next();
        }
        Some(match self.rows.next()? {
            Ok((name, row)) => {
                let found = row.target.map(|(kind, number)| FoundName { number, kind, base: None });
                Ok((name, found))
            }
            Err(error) => Err(error.into()),
        })
    }
}
