//! Opens the library and the catalogue that the options name.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use reelfs::format::config;
use reelfs::job::tape::catalogue::{CATALOGUE, Catalogue, KnownVolume};
use reelfs::job::tape::devices::{LibraryAddress, LibraryInputs};
use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::library::TapeLibrary;
use reelfs::library::Barcode;
use reelfs::tape::drive::DriveOptions;

use super::Place;
use crate::clock::{self, SystemClock};
use crate::context::Context;
use crate::failure::Failure;

impl Place {
    /// What `--library` names.
    pub(super) fn address(&self) -> Result<LibraryAddress, Failure> {
        let named = self.library.as_ref().filter(|library| !library.is_empty());
        let library = named.ok_or_else(|| {
            Failure::usage("no library was named").hint(
                "give --library LIBRARY, or set REELFS_LIBRARY: a changer or drive on /dev/sgN, the directory \
                 of an emulated library, or iscsi://HOST; 'reelfs tape devices' lists what this machine has",
            )
        })?;
        Ok(LibraryAddress::parse(library).map_err(TapeJobError::from)?)
    }

    /// Opens the library.
    pub(super) fn open(&self) -> Result<TapeLibrary, Failure> {
        Ok(TapeLibrary::open(&self.address()?, &inputs(), self.drive_options())?)
    }

    /// How sessions with drives are held.
    pub(super) fn drive_options(&self) -> DriveOptions {
        DriveOptions { preempts: self.preempt, ..DriveOptions::default() }
    }

    /// The drive that was asked for.
    pub(super) fn drive(&self) -> Option<usize> {
        self.drive.map(usize::from)
    }

    /// The catalogue: the one named, that of the repository, or the user's own if there is no repository.
    pub(super) fn catalogue(&self, context: &Context) -> Result<Catalogue, Failure> {
        if let Some(directory) = &self.catalogue {
            return Ok(Catalogue::new(directory));
        }
        let repository =
            context.global.repo.as_ref().filter(|repository| repository.join(config::FILE_NAME).exists());
        if let Some(repository) = repository {
            return Ok(Catalogue::new(&repository.join(CATALOGUE)));
        }
        Ok(Catalogue::new(&user_directory()?))
    }
}

/// The clock and the random numbers that devices are used with.
pub(super) fn inputs() -> LibraryInputs {
    LibraryInputs { clock: Arc::new(SystemClock), random: Arc::new(clock::random) }
}

// Where programs keep what they can make again (XDG base directory specification).
fn user_directory() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let cache = cache.filter(|path| path.is_absolute()).ok_or_else(|| {
        Failure::usage("there is no repository and no directory for a catalogue").hint("give --catalogue DIR")
    })?;
    Ok(cache.join("reelfs").join(CATALOGUE))
}

/// The bytes that a user gave for a barcode.
pub(super) fn barcode(text: &OsString) -> Result<Barcode, Failure> {
    Barcode::new(text.as_bytes()).ok_or_else(|| Failure::usage("a barcode has a character at least"))
}

/// What the catalogue knows; what is damaged of it is told.
pub(super) fn known_volumes(catalogue: &Catalogue, context: &Context) -> Result<Vec<KnownVolume>, Failure> {
    let mut warn = |error| context.warn(&reelfs::job::chain(&error));
    Ok(catalogue.volumes(&mut warn).map_err(TapeJobError::from)?)
}

/// The cartridge of this barcode that the catalogue knows; of several the newest.
pub(super) fn known<'a>(volumes: &'a [KnownVolume], barcode: &Barcode) -> Option<&'a KnownVolume> {
    let same = volumes.iter().filter(|known| known.description.barcode.as_bytes() == barcode.as_bytes());
    same.max_by_key(|known| known.description.created_seconds)
}
