//! Set-id bits and capabilities, which a write takes away.
//!
//! The kernel says of each write that it sends whether they shall go. Of what it writes to a backing file by
//! itself it says nothing. A file that has privileges is not given to it to be written so; but one may get them while
//! it is, or while it is only read so. For such a file the stamp of its content
//! ([`crate::index::staging::ContentRow::stamp`]) is kept: a backing file that is newer was written since, and the
//! privileges go, whoever wrote.

use super::attributes::{Caller, SetAttributes, time};
use super::error::StagingError;
use super::objects::{Edit, Loaded};
use super::tree::StagingTree;
use super::watching::is_written_directly;
use crate::format::record::{FileKind, Xattrs};
use crate::index::staging::ObjectState;
use crate::storage::sparse::SparseStatus;

const SET_USER_ID: u16 = 0o4000;
const SET_GROUP_ID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o010;
const CAPABILITY: &[u8] = b"security.capability";

/// Permissions without set-id bits. Without the right to execute, that of the group stands for mandatory locks,
/// which no privilege comes from: it stays.
pub(super) fn without(permissions: u16) -> u16 {
    let without = permissions & !SET_USER_ID;
    if without & GROUP_EXECUTE == 0 { without } else { without & !SET_GROUP_ID }
}

impl StagingTree {
    /// Takes set-id bits and capabilities away.
    pub(super) fn kill_privileges(&self, state: &mut ObjectState) -> Result<(), StagingError> {
        if state.kind() == FileKind::Directory {
            return Ok(());
        }
        state.permissions = without(state.permissions);
        if !state.xattrs.is_empty() {
            let mut list = self.list_xattrs(state)?;
            list.retain(|(name, _)| name != CAPABILITY);
            state.xattrs = Xattrs::Inline(list);
        }
        Ok(())
    }

    /// Tells whether a write would take something away from a file.
    pub(super) fn has_privileges(&self, state: &ObjectState) -> Result<bool, StagingError> {
        if state.kind() != FileKind::Regular {
            return Ok(false);
        }
        Ok(without(state.permissions) != state.permissions
            || (!state.xattrs.is_empty()
                && self.list_xattrs(state)?.iter().any(|(name, _)| name == CAPABILITY)))
    }

    /// Tells whether the kernel may write the file's backing file by itself.
    pub(super) fn may_be_written_directly(&self, number: u64) -> bool {
        let is_open = self.files.get(number).is_some_and(|file| is_written_directly(&file));
        is_open || self.direct.is_unseen(number)
    }

    /// Tells whether the kernel has written a file by itself since it has privileges; `status` is that of its
    /// backing file.
    pub(super) fn is_written_since(
        &self,
        object: &Loaded,
        status: &SparseStatus,
    ) -> Result<bool, StagingError> {
        let stamp = object.state.content().and_then(|content| content.stamp);
        // A long list of attributes is read last: it may be damaged.
        Ok(stamp.is_some_and(|stamp| stamp != time(status.mtime))
            && self.may_be_written_directly(object.number)
            && self.has_privileges(&object.state)?)
    }

    pub(super) fn is_written_now(&self, object: &Loaded) -> Result<bool, StagingError> {
        if !self.may_be_written_directly(object.number) {
            return Ok(false);
        }
        let Some(top) = object.state.content().and_then(|content| content.layers.last()) else {
            return Ok(false);
        };
        match self.layer_status(object.number, top.file)? {
            Some(status) => self.is_written_since(object, &status),
            None => Ok(false),
        }
    }

    /// Notes in the row how old the content is, and when it was changed last.
    pub(super) fn restamp(&self, object: &Loaded, state: &mut ObjectState) -> Result<(), StagingError> {
        let stamp = self.stamp(object)?;
        let Some(content) = state.content_mut() else { return Ok(()) };
        let is_same = content.stamp == stamp;
        content.stamp = stamp;
        if let Some(stamp) = stamp.filter(|_| !is_same) {
            state.mtime = stamp;
        }
        self.files.set_stamp(object.number, stamp);
        Ok(())
    }

    /// Watches a file that may be written directly from now on, if it has set-id bits or capabilities. To be
    /// called when a handle for writing was set to be used so.
    ///
    /// # Errors
    /// [`StagingError`] if the row cannot be read or written.
    pub fn watch_privileges(&self, number: u64, caller: Caller) -> Result<(), StagingError> {
        let mut core = self.core_mut();
        let object = self.load(&core, number)?;
        if !self.may_be_written_directly(number) || !self.has_privileges(&object.state)? {
            return Ok(());
        }
        if self.is_written_now(&object)? {
            drop(core);
            return self.settle_privileges(number, caller).map(drop);
        }
        let mut state = ObjectState::clone(&object.state);
        self.restamp(&object, &mut state)?;
        let mut edit = Edit::new(self, &mut core);
        edit.put(number, Some(&object), object.linked, state)?;
        edit.apply()
    }

    /// Takes set-id bits and capabilities away from a file that was written past the tree since it has them;
    /// returns whether that was so. To be called before a handle that was used so is closed.
    ///
    /// # Errors
    /// [`StagingError`] if the row cannot be written.
    pub fn settle_privileges(&self, number: u64, caller: Caller) -> Result<bool, StagingError> {
        let object = self.load(&self.core(), number)?;
        if !self.is_written_now(&object)? {
            return Ok(false);
        }
        let set = SetAttributes { kill_privileges: true, ..SetAttributes::default() };
        self.set_attributes(number, &set, caller)?;
        Ok(true)
    }
}
