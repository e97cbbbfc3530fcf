//! The writable tree: what a file system must do, with the programs that people use.

mod committed;
mod databases;
mod exerciser;
mod failed_syncs;
mod full_disk;
mod killed;
mod listing;
mod mapped;
mod one_moment;
mod posix;
mod privileges;
mod programs;
mod random_kills;
mod requests;
mod semantics;
mod space;
mod suites;
mod two_mounts;

use std::path::PathBuf;

use crate::support::{Mount, Site, shell};

/// A mounted repository with an empty client in staging.
pub(crate) struct Stage {
    pub(crate) site: Site,
    mount: Option<Mount>,
}

impl Stage {
    /// Mounts a new repository and makes the client `web1`.
    pub(crate) fn new() -> Self {
        Self::on(Site::new())
    }

    /// Mounts a repository and makes the client `web1` in staging.
    pub(crate) fn on(site: Site) -> Self {
        let mount = site.mount(&["-o", "staging,suid,dev"]);
        let stage = Self { site, mount: Some(mount) };
        std::fs::create_dir(stage.root()).unwrap();
        stage
    }

    pub(crate) fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.mount().path("staging/web1")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Unmounts and mounts again: what is seen then comes from the disk.
    pub(crate) fn remount(&mut self) {
        drop(self.mount.take());
        self.mount = Some(self.site.mount(&["-o", "staging,suid,dev"]));
    }

    /// Mounts over what a daemon that was killed has left.
    pub(crate) fn mount_over(&mut self) {
        let fresh = self.site.mount(&["-o", "staging,suid,dev"]);
        std::mem::forget(self.mount.replace(fresh));
    }
}

/// Tells whether a program is there, and prints that the test is skipped if not.
pub(crate) fn has(program: &str) -> bool {
    let is_there = shell(&format!("command -v {program}"), &[]).status.success();
    if !is_there {
        eprintln!("skipped: there is no {program}");
    }
    is_there
}
