//! Names of files with several, which no row of theirs tells.

use std::collections::{HashMap, HashSet};

use super::error::StagingError;
use super::frozen::FrozenEpoch;
use crate::format::record::{FIRST_DIRECTORY_OBJECT, Record, split_key};

impl FrozenEpoch<'_> {
    /// Tells whether a file with several names got or lost any since the base; all changed names are looked at.
    ///
    /// # Errors
    /// [`StagingError`] if rows or the base cannot be read.
    pub fn has_changed_names(&self, object: u64, number: u64) -> Result<bool, StagingError> {
        for row in self.snapshot.entries() {
            let (home, row) = row?;
            if !self.is_of(row.epoch) {
                continue;
            }
            let is_now = row.target.is_some_and(|(_, found)| found == number);
            let before = self.base.lookup(home.directory, &home.name)?;
            if is_now || before.is_some_and(|before| before.linked == Some(object)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Hands all names of those changed files with several to `take`, by object id, directory and name. If any of the
    /// names were not changed, all of the base is read for them; of what cannot be read there names are missing.
    ///
    /// # Errors
    /// Those of `take`, or [`StagingError`] if rows cannot be read.
    pub fn linked_names<E: From<StagingError>>(
        &self,
        mut take: impl FnMut(u64, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut changed, mut names_left) = (HashMap::new(), 0);
        for row in self.snapshot.objects(0..u64::MAX) {
            let (number, row) = row.map_err(StagingError::from)?;
            if let (Some(object), Some(state)) = (row.linked, row.object)
                && self.is_of(row.epoch)
                && state.link_count > 0
            {
                changed.insert(number, object);
                names_left += u64::from(state.link_count);
            }
        }
        for row in self.snapshot.entries() {
            let (home, row) = row.map_err(StagingError::from)?;
            let number = row.target.filter(|_| self.is_of(row.epoch)).map(|(_, number)| number);
            if let Some(object) = number.and_then(|number| changed.get(&number)) {
                take(*object, home.directory, &home.name)?;
                names_left = names_left.saturating_sub(1);
            }
        }
        let Some(base) = self.base().filter(|_| names_left > 0) else { return Ok(()) };
        let changed: HashSet<u64> = changed.into_values().collect();
        for found in base.records(self.tree.repository.pages()) {
            let Ok(found) = found else { continue };
            let (Ok((directory, name)), Ok(Record::Link { object, .. })) =
                (split_key(found.key()), Record::decode(found.value()))
            else {
                continue;
            };
            if object >= FIRST_DIRECTORY_OBJECT || !changed.contains(&object) {
                continue;
            }
            let row = self.snapshot.entry(directory, name).map_err(StagingError::from)?;
            if row.is_some_and(|row| self.is_of(row.epoch)) {
                continue;
            }
            take(object, directory, name)?;
            names_left = names_left.saturating_sub(1);
            if names_left == 0 {
                break;
            }
        }
        Ok(())
    }
}
