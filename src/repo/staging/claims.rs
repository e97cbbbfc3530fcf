//! Which trees a mount serves, noted where it outlives the server: while a server is started again the kernel
//! still has files open and writes to them, though no process has the tree open.
//!
//! ```text
//! staging/.mounted   empty; byte SLOT is locked by the mount that serves the client with this slot,
//!                    byte 0 while a mount makes the socket on which it answers commands
//! ```
//!
//! The locks belong to the open file, which the supervisor of a mount keeps and hands to each of its servers.
//! Who serves no mount opens a tree only while nobody has claimed it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::error::StagingError;
use super::options::{OpenMode, StagingOptions};
use super::tree::StagingTree;
use super::{STAGING, directory};
use crate::id::ClientName;
use crate::repo::Repository;
use crate::storage::StorageError;
use crate::storage::byte_locks::ByteLocks;

/// Name of the file in the directory of staging.
pub const MOUNTED: &str = ".mounted";

/// What one mount serves.
#[derive(Debug)]
pub struct MountClaims(ByteLocks);

impl MountClaims {
    /// For a mount of the repository in the directory `root`, which serves nothing yet.
    ///
    /// # Errors
    /// [`StorageError`] if the file cannot be made.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        let directory = root.join(STAGING);
        let made = std::fs::create_dir_all(&directory);
        made.map_err(|source| StorageError {
            operation: "create",
            path: crate::path::display(directory.as_os_str().as_encoded_bytes()),
            source,
        })?;
        Ok(Self(ByteLocks::open(&directory.join(MOUNTED))?))
    }

    /// Goes on with what a server before this one served.
    #[must_use]
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(ByteLocks::from_descriptor(descriptor, format!("{STAGING}/{MOUNTED}")))
    }

    /// Tells whether the mount of the repository in the directory `root` has the client with this slot.
    ///
    /// # Errors
    /// [`StorageError`] if the system does not tell.
    pub fn has(&self, root: &Path, slot: u16) -> Result<bool, StorageError> {
        if self.0.is_locked_elsewhere(slot.into())? {
            return Ok(false);
        }
        match ByteLocks::open_existing(&root.join(STAGING).join(MOUNTED))? {
            Some(locks) => locks.is_locked_elsewhere(slot.into()),
            None => Ok(false),
        }
    }

    /// What the supervisor keeps.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.0.into_descriptor()
    }
}

impl StagingTree {
    /// Slot of a client.
    ///
    /// # Errors
    /// [`StagingError::NotFound`] if it has no staging, or why the slot cannot be read.
    pub fn slot_of(repository: &Repository, client: &ClientName) -> Result<u16, StagingError> {
        directory::slot(&directory::path(repository, client)?)
    }
}

/// The claim of the tree that is being opened, or is open.
#[derive(Debug)]
pub(super) struct Claim {
    mount: Option<Arc<MountClaims>>,
    slot: u16,
    // Who dies does not take it back; who only failed to open the tree does.
    is_kept: bool,
}

impl Claim {
    /// Claims a tree for a mount, before it is opened.
    pub(super) fn take(options: &StagingOptions, slot: u16) -> Result<Self, StagingError> {
        // What the kernel may hold since the server before this one stays claimed whatever happens.
        let is_kept = options.mode == OpenMode::Takeover;
        if let Some(mount) = &options.mount
            && !mount.0.lock(slot.into())?
        {
            return Err(StagingError::Mounted);
        }
        Ok(Self { mount: options.mount.clone(), slot, is_kept })
    }

    /// Refuses a tree that another's mount serves, when it was opened: a mount claims before it opens.
    pub(super) fn check(&self, repository: &Repository) -> Result<(), StagingError> {
        if self.mount.is_some() {
            return Ok(());
        }
        let Some(root) = repository.root() else { return Ok(()) };
        match ByteLocks::open_existing(&root.join(STAGING).join(MOUNTED))? {
            Some(locks) if locks.is_locked_elsewhere(self.slot.into())? => Err(StagingError::Mounted),
            _ => Ok(()),
        }
    }

    /// The tree is open: the claim outlives this process.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Takes it back: nobody holds anything of the tree any more.
    pub(super) fn release(&self) {
        if let Some(mount) = &self.mount
            && let Err(error) = mount.0.unlock(self.slot.into())
        {
            log::warn!("the tree stays claimed until it is unmounted: {}", error.source);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_kept {
            self.release();
        }
    }
}
