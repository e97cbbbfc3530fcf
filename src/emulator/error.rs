//! Why an emulated library cannot be made, opened or changed.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why an operation on an emulated library failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no emulated library.
    #[error("{} holds no emulated library", path.display())]
    NoLibrary {
        /// The directory.
        path: PathBuf,
    },
    /// The library cannot be served.
    #[error("the library cannot be served")]
    Target {
        /// What the system says.
        source: io::Error,
    },
    /// Another target shows the library.
    #[error("{} is served by another process already", path.display())]
    Served {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something already.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The shape asks for what cannot be.
    #[error("{0}")]
    Shape(String),
    /// There is no such logical unit.
    #[error("there is no logical unit {lun}; the last one is {last}")]
    NoUnit {
        /// Asked for.
        lun: u16,
        /// Number of the last one.
        last: u16,
    },
    /// There is no such cartridge.
    #[error("there is no cartridge {0}")]
    NoCartridge(String),
    /// The cartridge is in the library already.
    #[error("cartridge {name} is in element {address} already")]
    Present {
        /// Name of its files.
        name: String,
        /// Where it is.
        address: u16,
    },
    /// The cartridge cannot be changed now.
    #[error("cartridge {barcode} is in drive {drive}; unload it first")]
    InDrive {
        /// The cartridge.
        barcode: String,
        /// Number of the drive, from 0.
        drive: u16,
    },
    /// There is no room for another cartridge.
    #[error("all slots are full")]
    Full,
}

impl EmulatorError {
    /// An error of the file system.
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }

    /// Damage.
    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}
