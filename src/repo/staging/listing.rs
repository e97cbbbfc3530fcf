//! Listing a directory: what staging changed, merged with the base in order of names.

use std::collections::VecDeque;

use super::attributes::Attributes;
use super::base::BaseEntry;
use super::error::StagingError;
use super::names::place_of;
use super::objects::FoundName;
use super::tree::{Core, StagingTree};
use crate::format::record::FileKind;
use crate::id::Fingerprint;
use crate::index::staging::{EntryRow, Home, PINNED, RowDetail, StagingStoreError};

/// Cookie after which the first entry comes; smaller ones are left for `.` and `..`.
pub const FIRST_COOKIE: u64 = 2;
/// Names of a listing whose cookies are remembered.
const WINDOW_LEN_MAX: usize = 8192;

/// The cookie behind a name: the same in every listing of every directory, so that a listing goes on behind
/// the name whatever else was made or removed meanwhile, and whoever serves it.
///
/// 63 bits of a hash, because offsets of directories are signed.
#[must_use]
pub fn cookie_of(name: &[u8]) -> u64 {
    let hash = Fingerprint::of(name);
    let start = hash.0.first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    (start >> 1).max(FIRST_COOKIE + 1)
}

/// The state of one open directory; cookies of names that were handed out lately lead back to them.
#[derive(Debug)]
pub struct Listing {
    directory: u64,
    // Names handed out last and the cookies behind them, in order.
    window: VecDeque<(u64, Vec<u8>)>,
    // Of these the last answer's, with the one before.
    answer_len: usize,
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

    /// Names behind which the listing may be asked to go on next: those of the last answer, and the one that
    /// it began behind.
    pub fn resume_names(&self) -> impl Iterator<Item = &[u8]> {
        let start = self.window.len().saturating_sub(self.answer_len + 1);
        self.window.range(start..).map(|(_, name)| &name[..])
    }

    /// Lets the listing go on behind a name, though it be removed: one that another listing of the directory
    /// handed out ([`Listing::resume_names`]). Names come in the order in which they were handed out.
    pub fn remember(&mut self, name: &[u8]) {
        if self.window.len() >= WINDOW_LEN_MAX {
            self.window.pop_front();
        }
        self.window.push_back((cookie_of(name), name.to_vec()));
        self.answer_len += 1;
    }

    // Forgets what was handed out behind the name.
    fn go_back(&mut self, cookie: u64) -> Option<Vec<u8>> {
        let at = self.window.iter().rposition(|(known, _)| *known == cookie)?;
        self.window.truncate(at + 1);
        self.window.back().map(|(_, name)| name.clone())
    }

    fn restart(&mut self, name: Option<&[u8]>) {
        self.window.clear();
        name.into_iter().for_each(|name| self.remember(name));
    }
}

impl StagingTree {
    /// Begins to list a directory.
    ///
    /// # Errors
    /// [`StagingError::NotDirectory`], [`StagingError::Stale`].
    pub fn open_directory(&self, directory: u64) -> Result<Listing, StagingError> {
        match self.load(&self.core(), directory)?.state.detail {
            RowDetail::Directory { .. } => Ok(Listing { directory, window: VecDeque::new(), answer_len: 0 }),
            _ => Err(StagingError::NotDirectory),
        }
    }

    /// Hands over the entries behind `cookie` (0 for the start) until `take` returns `false`, which says that
    /// it did not take that one. With `plus` each comes with attributes, and each that is taken with
    /// attributes counts a look-up. `take` must not call the tree.
    ///
    /// # Errors
    /// [`StagingError`] if the first entry to be handed over cannot be read, [`StagingError::Invalid`] for a
    /// cookie that no name of the directory has or lately had.
    pub fn list(
        &self,
        listing: &mut Listing,
        cookie: u64,
        plus: bool,
        take: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), StagingError> {
        let core = self.core();
        let from = self.start_of(&core, listing, cookie)?;
        self.removed.listed(listing.directory);
        listing.answer_len = 0;
        let mut is_first = true;
        for merged in self.merged(&core, listing.directory, &from) {
            let (name, found) = match merged {
                Ok(merged) => merged,
                Err(error) if is_first => return Err(error),
                Err(_) => return Ok(()),
            };
            let Some(found) = found else { continue };
            is_first = false;
            if !self.hand_over(&core, listing, (&name, found), plus, take)? {
                return Ok(());
            }
        }
        Ok(())
    }

    // First name that may come behind a cookie.
    fn start_of(&self, core: &Core, listing: &mut Listing, cookie: u64) -> Result<Vec<u8>, StagingError> {
        if cookie <= FIRST_COOKIE {
            listing.restart(None);
            return Ok(vec![0]);
        }
        let mut name = match listing.go_back(cookie) {
            Some(name) => name,
            None => {
                let name = self.name_of_cookie(core, listing.directory, cookie)?;
                listing.restart(Some(&name));
                name
            }
        };
        name.push(0);
        Ok(name)
    }

    // Another listing gave the cookie out: of a server that died, or before the directory was closed.
    fn name_of_cookie(&self, core: &Core, directory: u64, cookie: u64) -> Result<Vec<u8>, StagingError> {
        if let Some(removed) = self.store.removed_name(directory, cookie)? {
            return Ok(removed.name);
        }
        for merged in self.merged(core, directory, b"\0") {
            let (name, _) = merged?;
            if cookie_of(&name) == cookie {
                return Ok(name);
            }
        }
        Err(StagingError::Invalid { what: "a place in a directory that is not known any more" })
    }

    fn hand_over(
        &self,
        core: &Core,
        listing: &mut Listing,
        (name, found): (&[u8], FoundName),
        plus: bool,
        take: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<bool, StagingError> {
        let (number, kind) = (found.number, found.kind);
        let is_taken = plus
            && found.base.as_ref().is_some_and(|base| base.linked.is_none() && base.number == number)
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
        if !take(Listed { name, number, kind, cookie: cookie_of(name), attributes }) {
            return Ok(false);
        }
        if attributes.is_some() {
            self.nodes.looked_up(number, place, &self.store);
        }
        listing.remember(name);
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
            Ok((_, row)) => core.is_valid(row.epoch),
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
        // The row says what is there now, or only which number that has.
        let below = if order.is_eq() { self.base.next() } else { None };
        Some(match self.rows.next()? {
            Ok((name, row)) if row.epoch == PINNED => match below {
                Some(Ok((_, base))) => {
                    let number = row.target.map_or(base.number, |(_, number)| number);
                    Ok((name, Some(FoundName { number, kind: base.kind, base: Some(base) })))
                }
                Some(Err(error)) => Err(error),
                None => Ok((name, None)),
            },
            Ok((name, row)) => {
                let found = row.target.map(|(kind, number)| FoundName { number, kind, base: None });
                Ok((name, found))
            }
            Err(error) => Err(error.into()),
        })
    }
}
