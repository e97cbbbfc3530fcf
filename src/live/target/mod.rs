//! Writing a tree, for a restore.
//!
//! Names come from a repository that may be hostile, and other users may be able to write in the target
//! meanwhile. So every name is checked, every step goes from an open directory to one entry of it and
//! never through a symbolic link, and what stands at a name already is replaced, never written to: a
//! file is made under a temporary name (`.reelfs-restore-` and two numbers) and renamed when it is
//! complete. A restore that is killed leaves at most those temporary files.

mod directory;
mod file;

use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};

pub use directory::{Decision, Node, Placed, TargetDirectory};
pub use file::PendingFile;

use super::{LiveError, attempt};
use crate::path;

/// When an object that exists in the target gives way to the one from the backup. Directories that
/// exist are always used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Always.
    #[default]
    Always,
    /// If kind, size or modification time differ.
    IfChanged,
    /// If the one in the backup was modified later.
    IfNewer,
    /// Never.
    Never,
}

/// How a target is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetOptions {
    /// What happens to objects that exist.
    pub overwrite: Overwrite,
    /// Refuses to go down into other file systems that are mounted in the target.
    pub one_file_system: bool,
}

/// What all directories of a target share.
#[derive(Debug)]
struct Shared {
    overwrite: Overwrite,
    resolve: ResolveFlags,
    temporary_count: AtomicU64,
}

impl Shared {
    /// A name that nothing else has: the process tells restores from each other, the count tells their files.
    fn temporary_name(&self) -> Vec<u8> {
        let count = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        format!(".reelfs-restore-{}-{count}", std::process::id()).into_bytes()
    }
}

/// The root of a tree that is written.
#[derive(Debug, Clone)]
pub struct Target {
    root: TargetDirectory,
}

impl Target {
    /// Opens a directory, or makes it with all above it; symbolic links in `path` itself are followed.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if it is no directory or cannot be made.
    pub fn open(path: &Path, options: TargetOptions) -> Result<Self, LiveError> {
        let shown = path.as_os_str().as_bytes();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| LiveError::refused("create", shown, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = attempt("open", shown, b"", || rustix::fs::open(path, flags, Mode::empty()))?;
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::NO_XDEV, options.one_file_system);
        let shared = Shared { overwrite: options.overwrite, resolve, temporary_count: AtomicU64::new(0) };
        Ok(Self { root: TargetDirectory::new(root, shown.to_vec(), Arc::new(shared)) })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> &TargetDirectory {
        &self.root
    }

    /// Opens a directory that exists, by its path below the root.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if a part of the path does not exist or is no directory,
    /// [`LiveError::Name`] if a part is no valid name, `..` included.
    pub fn directory(&self, relative_path: &[u8]) -> Result<TargetDirectory, LiveError> {
        let mut directory = self.root.clone();
        for name in path::components(relative_path) {
            directory = directory.open_directory(name)?;
        }
        Ok(directory)
    }

    /// Makes everything that was written durable, with all else in the target's file system.
    ///
    /// # Errors
    /// [`LiveError::Refused`] if the system reports that data was lost.
    pub fn sync(&self) -> Result<(), LiveError> {
        attempt("sync", self.root.path(), b"", || rustix::fs::syncfs(self.root.as_fd()))
    }
}
