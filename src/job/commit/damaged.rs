//! Files of which the base's list of extents is damaged just where they were written: what was written cannot be put in
//! its place. Such a file stays as it is in the base, and what was written stays pending.

use super::driver::Driver;
use super::error::CommitError;
use super::files::File;
use crate::format::record::Content;
use crate::job::store::StoreError;
use crate::job::store::large::FileRange;
use crate::path;
use crate::repo::content::ContentReader;
use crate::repo::staging::{FrozenBase, StagingError};
use crate::repo::{ReadError, Repository};

/// Reads as much of a file's list of extents as is needed to replace what these ranges hold.
pub(super) fn check_list(
    repository: &Repository,
    base: &FrozenBase,
    covered: &[FileRange],
) -> Result<(), ReadError> {
    if matches!(base.content, Content::Inline(_)) {
        return Ok(());
    }
    let reader = ContentReader::new(repository.pages(), repository.frames(), &base.content, u64::MAX);
    for (offset, len) in covered {
        let end = offset.saturating_add(*len);
        for extent in reader.extents_from(*offset) {
            if extent?.offset >= end {
                break;
            }
        }
    }
    Ok(())
}

impl Driver<'_, '_, '_> {
    /// Leaves a file as it is in the base. One that has other names than there cannot stay so.
    pub(super) fn unlisted(&mut self, file: File, problem: ReadError) -> Result<(), CommitError> {
        let (object, name) = (file.object(), file.target.name());
        let (frozen, tree) = (self.context.frozen, self.context.tree);
        let can_stay = match name.is_empty() {
            _ if file.before.is_none() => Ok(false),
            true => frozen.has_changed_names(object, file.number).map(|has_changed| !has_changed),
            false => frozen.base_number(object, name).map(|there| there == Some(file.number)),
        };
        let path = path::display(&self.path(object, name)?);
        if !can_stay.map_err(|source| super::staging_error(tree, source))? {
            let source = Box::new(StagingError::Base(problem));
            return Err(StoreError::Read { path, source }.into());
        }
        self.stays_uncounted(&file);
        frozen.keep(file.number).map_err(|source| super::staging_error(tree, source))?;
        let what =
            "where its bytes are cannot be read; it stays as it was, and what was written stays pending";
        self.summary.unreadable.note(path, format!("{what}: {}", crate::job::chain(&problem)));
        Ok(())
    }
}
