//! Objects of the base that are known by their numbers only: after a takeover the kernel comes with numbers that it
//! looked up before. Where they are is found by a look through the whole base, which is to be rare.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::base;
use super::error::StagingError;
use super::tree::{Core, StagingTree};
use crate::format::record::FIRST_DIRECTORY_OBJECT;
use crate::index::staging::{FrozenPlace, Home};

const MISSING_COUNT_MAX: usize = 4096;

impl StagingTree {
    fn missing(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether the whole base would have to be searched for an object. Who can have its name looked up again
    /// should: where it is is known then.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn must_search(&self, number: u64) -> Result<bool, StagingError> {
        if !self.is_taken_over() {
            return Ok(false);
        }
        let core = self.core();
        self.is_unknown(&core, number)
    }

    fn is_unknown(&self, core: &Core, number: u64) -> Result<bool, StagingError> {
        if base::is_directory(number) || number < FIRST_DIRECTORY_OBJECT || self.missing().contains(&number) {
            return Ok(false);
        }
        if self.nodes.unnamed(number).is_some() || self.nodes.place(number, &self.store).is_some() {
            return Ok(false);
        }
        Ok(!self.stored(number)?.is_some_and(|row| core.is_valid(row.epoch)))
    }

    /// Finds where objects are, with one look at the base for all of them.
    ///
    /// # Errors
    /// [`StagingError`] if rows cannot be read.
    pub fn search_all(&self, numbers: &[u64]) -> Result<(), StagingError> {
        let core = self.core();
        let mut unknown = HashSet::new();
        for number in numbers {
            if self.is_unknown(&core, *number)? {
                unknown.insert(*number);
            }
        }
        if unknown.is_empty() { Ok(()) } else { self.search_base(&core, &unknown) }
    }

    /// The base is searched at most once for a number that is not there.
    pub(super) fn search(&self, core: &Core, number: u64) -> Result<Option<FrozenPlace>, StagingError> {
        if self.missing().contains(&number) {
            return Ok(None);
        }
        self.search_base(core, &HashSet::from([number]))?;
        if self.missing().contains(&number) {
            return Ok(None);
        }
        Ok(self.nodes.place(number, &self.store))
    }

    fn search_base(&self, core: &Core, numbers: &HashSet<u64>) -> Result<(), StagingError> {
        let mut missing = numbers.clone();
        let is_hidden = |home: &Home| -> Result<bool, StagingError> {
            let row = self.store.entry(home.directory, &home.name)?;
            // What is there has another number: changed, or pinned to one.
            Ok(core.is_changed && row.is_some_and(|row| core.is_valid(row.epoch)))
        };
        let count = core.base.find(numbers, is_hidden, |number, place| {
            missing.remove(&number);
            self.nodes.found(number, place, &self.store);
        })?;
        self.searched_count.fetch_add(count, Ordering::Relaxed);
        let mut known = self.missing();
        if known.len() + missing.len() > MISSING_COUNT_MAX {
            known.clear();
        }
        known.extend(missing);
        Ok(())
    }
}
