//! Policy keep-last-safe: what is not safe stays in the generation as it last was, under the name that it had.
//!
//! A file that was moved since is to be there all the same, so the name that it had stays too, and what has
//! taken that name since waits with it; and so on, should that have been moved. A directory does not wait, nor does a
//! safe file with several names: a file whose name one has taken, or whose directory is gone, is taken as it stood at
//! the freeze. So is one that has taken a name of a file with several, or of a directory.

use super::driver::Driver;
use super::error::CommitError;
use crate::format::staging_policy::Inconsistent;
use crate::index::staging::{FrozenPlace, Home};
use crate::path;
use crate::repo::staging::{FrozenObject, FrozenTarget};
use crate::repo::{Entry, Node};

// So many files that took each other's names are followed.
const MOVE_COUNT_MAX: usize = 1000;

/// A file that is not taken.
#[derive(Debug)]
pub(super) struct KeptBack {
    path: Vec<u8>,
    number: u64,
    is_unsafe: bool,
}

impl Driver<'_, '_, '_> {
    fn keeps_last_safe(&self) -> bool {
        self.context.policy.safe.inconsistent == Inconsistent::KeepLastSafe
    }

    /// Finds the files that cannot stay under the names that they had.
    pub(super) fn find_displaced(&mut self) -> Result<(), CommitError> {
        if !self.keeps_last_safe() || self.context.unsafe_files.is_empty() {
            return Ok(());
        }
        let (frozen, tree, unsafe_files) =
            (self.context.frozen, self.context.tree, self.context.unsafe_files);
        let mut is_unsafe = |number, home: &Home| {
            unsafe_files.contains(number)
                || unsafe_files.has_groups()
                    && unsafe_files.is_in_group(&self.paths.of(home.directory, &home.name))
        };
        let displaced = frozen.displaced(&mut is_unsafe);
        self.displaced = displaced.map_err(|source| super::staging_error(tree, source))?;
        Ok(())
    }

    /// Tells whether a name stays as it is in the base.
    pub(super) fn must_stay(
        &mut self,
        directory: u64,
        name: &[u8],
        target: &FrozenTarget,
        before: Option<&Entry>,
    ) -> Result<bool, CommitError> {
        if !self.keeps_last_safe() {
            return Ok(false);
        }
        let number = match target {
            FrozenTarget::Directory { .. } => return Ok(false),
            // All its names wait with it, or none does: its record counts them.
            FrozenTarget::Linked { object, .. } => return Ok(self.kept_linked.contains(object)),
            FrozenTarget::Object(object) => {
                let is_displaced = self.displaced.contains(&object.number);
                // The name of a directory, or of a file with several that does not wait, cannot stay: that is counted, or gone.
                let is_counted = match before.map(|before| before.node) {
                    Some(Node::Object { object, .. }) => !self.kept_linked.contains(&object),
                    _ => false,
                };
                if !is_displaced
                    && !is_counted
                    && self.is_unsafe(object.content.as_ref(), object.number, (directory, name))
                {
                    return Ok(true);
                }
                Some(object.number)
            }
            _ => None,
        };
        match before.map(|before| before.node) {
            Some(Node::Object { object, .. }) if self.kept_linked.contains(&object) => return Ok(true),
            None => return Ok(false),
            _ => {}
        }
        match self.number_before(directory, name)? {
            Some(moved) if number != Some(moved) => self.stays(moved),
            _ => Ok(false),
        }
    }

    /// Number of the file that has a name in the base.
    pub(super) fn number_before(&self, directory: u64, name: &[u8]) -> Result<Option<u64>, CommitError> {
        let (frozen, tree) = (self.context.frozen, self.context.tree);
        frozen.base_number(directory, name).map_err(|source| super::staging_error(tree, source))
    }

    // Tells whether a file of the base that is elsewhere now stays where it was.
    fn stays(&mut self, mut number: u64) -> Result<bool, CommitError> {
        for _ in 0..MOVE_COUNT_MAX {
            let (frozen, tree) = (self.context.frozen, self.context.tree);
            let place = frozen.written_place(number).map_err(|source| super::staging_error(tree, source))?;
            let (home, is_written) = match place {
                None => return Ok(false),
                Some((FrozenPlace::Linked(object), _)) => return Ok(self.kept_linked.contains(&object)),
                Some((FrozenPlace::Entry(home), is_written)) => (home, is_written),
            };
            let unsafe_files = self.context.unsafe_files;
            let mut is_in_group = || {
                unsafe_files.has_groups()
                    && unsafe_files.is_in_group(&self.paths.of(home.directory, &home.name))
            };
            let is_displaced = self.displaced.contains(&number);
            if !is_displaced && is_written && (unsafe_files.contains(number) || is_in_group()) {
                return Ok(true);
            }
            match self.number_before(home.directory, &home.name)? {
                Some(there) if there != number => number = there,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Leaves a name as it is in the base, and what was done to it pending.
    pub(super) fn keep_name(
        &mut self,
        directory: u64,
        name: &[u8],
        target: &FrozenTarget,
    ) -> Result<(), CommitError> {
        match target {
            FrozenTarget::Object(object) => {
                let path = self.paths.of(directory, name);
                let is_unsafe = self.is_unsafe(object.content.as_ref(), object.number, (directory, name));
                self.keep_back(path, object.number, is_unsafe)
            }
            FrozenTarget::Removed => {
                let (frozen, tree) = (self.context.frozen, self.context.tree);
                frozen.keep_removed(directory, name).map_err(|source| super::staging_error(tree, source))
            }
            // They were kept with the file, or are no files.
            FrozenTarget::Linked { .. } | FrozenTarget::Directory { .. } => Ok(()),
        }
    }

    /// Keeps a file with several names back, if it is not safe; its names stay as they are in the base.
    pub(super) fn must_keep_linked(&mut self, object: u64, file: &FrozenObject) -> Result<bool, CommitError> {
        if !self.keeps_last_safe() || file.content.is_none() || self.displaced.contains(&file.number) {
            return Ok(false);
        }
        let unsafe_files = self.context.unsafe_files;
        let is_unsafe = self.is_unsafe(file.content.as_ref(), file.number, (object, b""));
        if !is_unsafe && !unsafe_files.has_groups() {
            return Ok(false);
        }
        let path = self.path(object, b"")?;
        if !is_unsafe && !unsafe_files.is_in_group(&path) {
            return Ok(false);
        }
        self.kept_linked.insert(object);
        if self.object_before(object)?.is_some() {
            self.staying.insert(file.number);
        }
        self.keep_back(path, file.number, true)?;
        Ok(true)
    }

    /// Leaves what was done to an object pending, which is not safe, or has the name of one that is not.
    pub(super) fn keep_back(
        &mut self,
        path: Vec<u8>,
        number: u64,
        is_unsafe: bool,
    ) -> Result<(), CommitError> {
        let tree = self.context.tree;
        self.context.frozen.keep(number).map_err(|source| super::staging_error(tree, source))?;
        self.kept_back.push(KeptBack { path, number, is_unsafe });
        Ok(())
    }

    /// Says what became of the files that were kept back, once all names were met.
    pub(super) fn tell_kept_back(&mut self) {
        for KeptBack { path, number, is_unsafe } in std::mem::take(&mut self.kept_back) {
            let why =
                if is_unsafe { "was not safe" } else { "has taken the name of a file that was not safe" };
            let what = match self.staying.contains(&number) {
                true => "stays as it last was",
                false => "is left out, as no generation has it yet; it stays pending",
            };
            self.summary.kept_back.note(path::display(&path), format!("{why}, {what}"));
        }
    }
}
