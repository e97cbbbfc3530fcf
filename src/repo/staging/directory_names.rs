//! Names of directories by their numbers. A directory knows the one above, but not its own name there: that is searched
//! for, and what was met on the way is remembered, so that the next is found without.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StagingError;
use super::listing::{FIRST_COOKIE, Listing, cookie_of};
use super::tree::StagingTree;
use crate::format::record::FileKind;
use crate::index::staging::Home;

// Entries of a directory looked at while nobody may change the tree.
const SEARCH_LEN: usize = 1024;
const KNOWN_BYTES_MAX: usize = 4 << 20;
const ENTRY_BYTES: usize = 64;

// Number and name of a directory.
type Met = (u64, Vec<u8>);

/// Where directories were seen last. It may have changed since.
#[derive(Debug, Default)]
pub(super) struct DirectoryNames(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    homes: HashMap<u64, Home>,
    len_bytes: usize,
    // What was met last: those that are asked for one after the other often stand one after the other.
    last: Option<Home>,
    searched_count: u64,
}

impl Known {
    fn keep(&mut self, number: u64, home: Home) {
        if self.len_bytes >= KNOWN_BYTES_MAX {
            self.homes.clear();
            self.len_bytes = 0;
        }
        let len = home.name.len() + ENTRY_BYTES;
        self.len_bytes += len;
        if let Some(before) = self.homes.insert(number, home) {
            self.len_bytes -= before.name.len() + ENTRY_BYTES;
        }
    }
}

impl DirectoryNames {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StagingTree {
    /// Entries of directories that were looked at so far to find the names of others.
    #[must_use]
    pub fn searched_count(&self) -> u64 {
        self.directory_names.known().searched_count
    }

    /// Name of a directory in the one above it.
    pub(super) fn name_in(&self, parent: u64, number: u64) -> Result<Vec<u8>, StagingError> {
        let home = self.directory_names.known().homes.get(&number).cloned();
        if let Some(home) = home.filter(|home| home.directory == parent) {
            let found = self.find(&self.core(), parent, &home.name)?;
            if found.is_some_and(|found| found.number == number) {
                return Ok(home.name.into_vec());
            }
        }
        let last = self.directory_names.known().last.clone().filter(|last| last.directory == parent);
        let mut found = None;
        if let Some(last) = last {
            found = self.search_directory(parent, number, Some(&last.name))?;
        }
        if found.is_none() {
            found = self.search_directory(parent, number, None)?;
        }
        found.ok_or(StagingError::Stale { number })
    }

    // Looks at the entries behind a name, or at all.
    fn search_directory(
        &self,
        parent: u64,
        number: u64,
        behind: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, StagingError> {
        let mut listing = self.open_directory(parent)?;
        let mut cookie = FIRST_COOKIE;
        if let Some(name) = behind {
            listing.remember(name);
            cookie = cookie_of(name);
        }
        loop {
            let met = self.some_directories(&mut listing, &mut cookie)?;
            let Some(met) = met else { return Ok(None) };
            let found = met.iter().find(|(met, _)| *met == number).map(|(_, name)| name.clone());
            let mut known = self.directory_names.known();
            for (number, name) in met {
                let home = Home::new(parent, &name);
                known.last = Some(home.clone());
                known.keep(number, home);
            }
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    // The directories among the next entries; nothing at the end.
    fn some_directories(
        &self,
        listing: &mut Listing,
        cookie: &mut u64,
    ) -> Result<Option<Vec<Met>>, StagingError> {
        let (mut met, mut count) = (Vec::new(), 0);
        self.list(listing, *cookie, false, &mut |entry| {
            if count >= SEARCH_LEN {
                return false;
            }
            (*cookie, count) = (entry.cookie, count + 1);
            if entry.kind == FileKind::Directory {
                met.push((entry.number, entry.name.to_vec()));
            }
            true
        })?;
        self.directory_names.known().searched_count += count as u64;
        Ok((count > 0).then_some(met))
    }
}
