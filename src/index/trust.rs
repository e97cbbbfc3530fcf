//! What RocksDB may open: it trusts the files of a database, and crafted ones can do harm. So they are opened
//! only if they are what RocksDB makes, and nobody's but the caller's or root's.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;
use thiserror::Error;

/// Why a database is not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UntrustedError {
    /// Something else stands where a directory or a file of the database should be.
    #[error("{path} is not a {expected}")]
    Kind {
        /// What is not opened.
        path: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Another user could have made it.
    #[error("{path} belongs to user {owner}; a database is opened by its owner only, who is not user {user}")]
    Owner {
        /// What is not opened.
        path: String,
        /// The owner.
        owner: u32,
        /// Who would open it.
        user: u32,
    },
    /// Others may write there.
    #[error("{path} can be written by others")]
    Writable {
        /// What is not opened.
        path: String,
    },
    /// It cannot be looked at.
    #[error("cannot look at {path}")]
    Look {
        /// What is not opened.
        path: String,
        /// The refusal.
        source: io::Error,
    },
}

/// Checks the directory of a database and what is in it; a directory that is missing is none of another user.
///
/// # Errors
/// [`UntrustedError`] at the first that is not to be trusted.
pub(super) fn check(directory: &Path) -> Result<(), UntrustedError> {
    let look = |source| UntrustedError::Look { path: shown(directory), source };
    let metadata = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(look)?,
    };
    if !metadata.is_dir() {
        return Err(UntrustedError::Kind { path: shown(directory), expected: "directory" });
    }
    check_owner(directory, &metadata)?;
    for entry in fs::read_dir(directory).map_err(look)? {
        let path = entry.map_err(look)?.path();
        match fs::symlink_metadata(&path) {
            // RocksDB removes files of its own at any time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(UntrustedError::Look { path: shown(&path), source }),
            Ok(metadata) if metadata.is_file() || metadata.is_dir() => check_owner(&path, &metadata)?,
            Ok(_) => return Err(UntrustedError::Kind { path: shown(&path), expected: "regular file" }),
        }
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), UntrustedError> {
    let user = geteuid().as_raw();
    let owner = metadata.uid();
    if owner != user && owner != 0 {
        return Err(UntrustedError::Owner { path: shown(path), owner, user });
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(UntrustedError::Writable { path: shown(path) });
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    crate::path::display(path.as_os_str().as_encoded_bytes())
}
