//! Live directory trees: one is read for a backup, one is written by a restore.
//!
//! Both sides work relative to open directories and never look a path up twice, so that nobody who
//! renames directories or plants symbolic links meanwhile can lead them elsewhere. Whatever concerns one
//! object is done through a descriptor of that object.
//!
//! Extended attributes of objects that cannot be opened (symbolic links, devices, FIFOs, sockets) are
//! reached through `/proc/self/fd`, so `/proc` must be mounted. Linux 5.8 is the oldest kernel that has
//! all calls.

mod exclude;
mod metadata;
mod names;
mod scan;
mod source;
mod target;
mod xattr;

use std::io;

pub use exclude::{ExcludeError, Exclusions};
pub use metadata::{Metadata, Shortfall};
pub use scan::{Attributes, Device, Identity, Scan, Scanned, SourceDirectory};
pub use source::{DataRanges, SourceFile};
pub use target::{Decision, Node, Overwrite, PendingFile, Placed, Target, TargetDirectory, TargetOptions};

use crate::path;

/// Why a live tree could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The system refused an operation.
    #[error("cannot {operation} {path}")]
    Refused {
        /// What was tried, as a verb: `open`, `read`, `list`.
        operation: &'static str,
        /// The path as people know it.
        path: String,
        /// The refusal.
        source: io::Error,
    },
    /// Another object took the name after it was looked at.
    #[error("{path} was replaced meanwhile")]
    Replaced {
        /// The path as people know it.
        path: String,
    },
    /// The name is empty, `.`, `..`, longer than 255 bytes, or holds `/` or NUL.
    #[error("{path} is not a valid name in a directory")]
    Name {
        /// Directory and name as people know them.
        path: String,
    },
    /// The object is of a kind that Linux does not know.
    #[error("{path} is of unknown kind {actual:#o}")]
    Kind {
        /// The path as people know it.
        path: String,
        /// The type bits of its mode.
        actual: u16,
    },
    /// There is more in extended attributes than a backup keeps.
    #[error("{path} has {actual} bytes of extended attributes, at most {maximum} are kept")]
    Xattrs {
        /// The path as people know it.
        path: String,
        /// Bytes found.
        actual: u64,
        /// Bytes kept at most.
        maximum: u64,
    },
    /// What stands at a path must not be removed for what is to be restored there.
    #[error("{path} is in the way: {found}")]
    InTheWay {
        /// The path as people know it.
        path: String,
        /// What was found there.
        found: &'static str,
    },
}

impl LiveError {
    /// The path that the error is about, as people know it.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Refused { path, .. }
            | Self::Replaced { path }
            | Self::Name { path }
            | Self::Kind { path, .. }
            | Self::Xattrs { path, .. }
            | Self::InTheWay { path, .. } => path,
        }
    }

    /// Tells whether the system says that there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Tells whether this process, or the system, has no descriptor or memory left: the object itself may be well.
    #[must_use]
    pub fn is_exhaustion(&self) -> bool {
        let Self::Refused { source, .. } = self else { return false };
        matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
    }

    fn refused(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Refused { operation, path: path::display(path), source: source.into() }
    }
}

/// Files and directories that this process may have open at the same time.
#[must_use]
pub fn descriptor_count_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Makes a system call, again if a signal interrupts it, and tells of a refusal where it happened.
fn attempt<T>(
    operation: &'static str,
    directory: &[u8],
    name: &[u8],
    call: impl FnMut() -> rustix::io::Result<T>,
) -> Result<T, LiveError> {
    rustix::io::retry_on_intr(call)
        .map_err(|errno| LiveError::refused(operation, &joined(directory, name), errno))
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !name.is_empty() && !directory.is_empty() && !directory.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn checked_name<'a>(directory: &[u8], name: &'a [u8]) -> Result<&'a [u8], LiveError> {
    if path::is_valid_name(name) {
        return Ok(name);
    }
    Err(LiveError::Name { path: path::display(&joined(directory, name)) })
}
