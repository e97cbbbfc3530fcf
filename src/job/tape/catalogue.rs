//! What is known of cartridges without moving one: a directory that can be made again from the cartridges.
//!
//! ```text
//! <volume id>/VOLUME.json   what the cartridge is, as it says itself
//! <volume id>/index         its segments, as a closing index
//! <volume id>/closed        why it must not be written again, if so
//! <volume id>/lacking       objects that its set lacks, one a line: they could not be read when they were to be archived
//! <volume id>/files/...     its directory tree files, and the configuration of the repository; NAME@OFFSET is the
//!                           piece of one that begins there, where the rest is on another cartridge
//! <volume id>/lists/...     lists of extended attributes that trees do not hold, see `lists`
//! <volume id>/FOREIGN.json  what a cartridge of another program is, and where its blocks are
//! <volume id>/tree          what is in its archives, see `foreign`
//! ```
//!
//! A directory has the cartridge's own id as its name: a barcode is bytes from a label and names nothing on the
//! disk. Files appear under their names when they are whole.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::id::FileId;
use crate::path;
use crate::storage::{LocalStorage, ReadFile, Storage, StorageError, WriteFile};
use crate::tape::archive::{
    ArchiveError, IndexDecoder, IndexHeader, IndexKind, IndexLine, SegmentEntry, VolumeDescription,
    encode_index,
};

pub use super::content::{Piece, SetContent};

/// Name of the catalogue's directory in a repository.
pub const CATALOGUE: &str = "tapes";
const DESCRIPTION: &str = "VOLUME.json";
const INDEX: &str = "index";
const FILES: &str = "files";
const CLOSED: &str = "closed";
const LACKING: &str = "lacking";
pub(super) const FOREIGN: &str = "FOREIGN.json";
const PARTIAL: &str = ".partial";
/// Longest description that is read, in bytes.
const DESCRIPTION_LEN_MAX: u64 = 64 << 10;
/// Longest list of objects that are lacking, in bytes.
const LACKING_LEN_MAX: u64 = 16 << 20;
/// Bytes of an index that are read at a time.
const PIECE_LEN: usize = 256 << 10;

/// Why the catalogue cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file does not hold what it should.
    #[error("{path} is damaged")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        source: ArchiveError,
    },
}

/// A cartridge that the catalogue knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVolume {
    /// What it is.
    pub description: VolumeDescription,
    /// Header of its newest index; `None` if it has only been labelled.
    pub header: Option<IndexHeader>,
    /// Must not be written again: it or the way to it failed.
    pub is_closed: bool,
}

impl KnownVolume {
    /// Until when it must not be written over, seconds since 1970.
    #[must_use]
    pub fn retain_until_seconds(&self) -> Option<i64> {
        self.header.as_ref().and_then(|header| header.retain_until_seconds)
    }
}

/// The catalogue.
#[derive(Debug, Clone)]
pub struct Catalogue {
    root: PathBuf,
    pub(super) storage: Arc<LocalStorage>,
}

impl Catalogue {
    /// Takes its directory, which may not exist yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), storage: Arc::new(LocalStorage::new(root)) }
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All cartridges, by set and number in it; what is damaged of it is told to `damaged` and left out.
    ///
    /// # Errors
    /// [`CatalogueError`] if the directory cannot be read.
    pub fn volumes(
        &self,
        damaged: &mut dyn FnMut(CatalogueError),
    ) -> Result<Vec<KnownVolume>, CatalogueError> {
        let mut volumes = Vec::new();
        for entry in self.storage.list("")? {
            let Ok(volume) = entry.name.parse::<FileId>() else { continue };
            match self.volume(volume) {
                Ok(Some(known)) => volumes.push(known),
                Ok(None) => {}
                Err(error) => damaged(error),
            }
        }
        let key = |known: &KnownVolume| {
            let VolumeDescription { set, sequence, created_seconds, volume, .. } = known.description;
            (set, sequence, created_seconds, volume)
        };
        volumes.sort_by_key(key);
        Ok(volumes)
    }

    /// One cartridge.
    ///
    /// # Errors
    /// [`CatalogueError`] if what is known of it is damaged or cannot be read.
    pub fn volume(&self, volume: FileId) -> Result<Option<KnownVolume>, CatalogueError> {
        let file = match self.storage.open(&format!("{volume}/{DESCRIPTION}")) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let len = usize::try_from(file.len().min(DESCRIPTION_LEN_MAX)).unwrap_or_default();
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        let description = VolumeDescription::decode(&bytes)
            .map_err(|source| CatalogueError::Damaged { path: file.path().to_owned(), source })?;
        let mut header = None;
        self.read_index(volume, true, &mut |line| {
            if let IndexLine::Header(found) = line {
                header = Some(*found);
            }
        })?;
        let is_closed = self.storage.exists(&format!("{volume}/{CLOSED}"))?;
        Ok(Some(KnownVolume { description, header, is_closed }))
    }

    /// All segments on a cartridge, in their order on the tape.
    ///
    /// # Errors
    /// [`CatalogueError`] if the index is damaged or cannot be read.
    pub fn segments(&self, volume: FileId) -> Result<Vec<SegmentEntry>, CatalogueError> {
        let mut segments = Vec::new();
        self.read_index(volume, false, &mut |line| {
            if let IndexLine::Segment(entry) = line {
                segments.push(*entry);
            }
        })?;
        Ok(segments)
    }

    fn read_index(
        &self,
        volume: FileId,
        header_only: bool,
        found: &mut dyn FnMut(IndexLine),
    ) -> Result<(), CatalogueError> {
        let file = match self.storage.open(&format!("{volume}/{INDEX}")) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let damaged = |source| CatalogueError::Damaged { path: file.path().to_owned(), source };
        let mut decoder = IndexDecoder::new();
        let mut offset = 0;
        // The first line is at most 16 KiB long.
        let piece_len = if header_only { 16 << 10 } else { PIECE_LEN };
        while offset < file.len() {
            let len = usize::try_from(file.len() - offset).unwrap_or(usize::MAX).min(piece_len);
            let mut piece = vec![0; len];
            file.read_exact_at(&mut piece, offset)?;
            decoder.push(&piece, &mut *found).map_err(damaged)?;
            if header_only {
                return Ok(());
            }
            offset += len as u64;
        }
        decoder.finish().map_err(damaged)
    }

    /// Takes over what a cartridge holds, in place of what was known of it; one that was only labelled has no header.
    ///
    /// # Errors
    /// [`CatalogueError`] if it cannot be written; then the old state holds.
    pub fn put(
        &self,
        description: &VolumeDescription,
        header: Option<&IndexHeader>,
        segments: &[SegmentEntry],
    ) -> Result<(), CatalogueError> {
        let volume = description.volume;
        self.create_root()?;
        self.storage.create_directory(&format!("{volume}/{FILES}"))?;
        match header {
            None => self.remove_if_there(&format!("{volume}/{INDEX}"))?,
            Some(header) => {
                let header = IndexHeader { kind: IndexKind::Closing, previous_loi: None, ..header.clone() };
                let text = encode_index(&header, segments);
                self.write(&format!("{volume}/{INDEX}"), |file| file.append(text.as_bytes()))?;
            }
        }
        let text = description.encode();
        self.write(&format!("{volume}/{DESCRIPTION}"), |file| file.append(text.as_bytes()))
    }

    /// Takes note that a cartridge must not be written again, and why.
    ///
    /// # Errors
    /// [`CatalogueError`] if that cannot be written.
    pub fn close(&self, volume: FileId, reason: &str) -> Result<(), CatalogueError> {
        self.create_root()?;
        self.storage.create_directory(&volume.to_string())?;
        self.write(&format!("{volume}/{CLOSED}"), |file| file.append(reason.as_bytes()))
    }

    /// Takes note of the objects that the set of a cartridge lacks, in place of what was noted with it.
    ///
    /// # Errors
    /// [`CatalogueError`] if that cannot be written.
    pub fn put_lacking(&self, volume: FileId, names: &BTreeSet<String>) -> Result<(), CatalogueError> {
        let file = format!("{volume}/{LACKING}");
        if names.is_empty() {
            return Ok(self.remove_if_there(&file)?);
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        self.write(&file, |file| file.append(text.as_bytes()))
    }

    /// The objects that the set of a cartridge lacks, as far as that was noted with it.
    ///
    /// # Errors
    /// [`CatalogueError`] if that cannot be read.
    pub fn lacking(&self, volume: FileId) -> Result<BTreeSet<String>, CatalogueError> {
        let file = match self.storage.open(&format!("{volume}/{LACKING}")) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(BTreeSet::new()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = vec![0; usize::try_from(file.len().min(LACKING_LEN_MAX)).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }

    /// Forgets a cartridge, as when it is labelled anew.
    ///
    /// # Errors
    /// [`CatalogueError`] if that is refused.
    pub fn remove(&self, volume: FileId) -> Result<(), CatalogueError> {
        let name = volume.to_string();
        // Without its description a cartridge is unknown, whatever else of it is still there.
        self.remove_if_there(&format!("{volume}/{DESCRIPTION}"))?;
        self.remove_if_there(&format!("{volume}/{FOREIGN}"))?;
        match fs::remove_dir_all(self.root.join(&name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StorageError { operation: "remove", path: self.shown(&name), source }.into())
            }
            _ => Ok(()),
        }
    }

    /// Opens a file of a cartridge that is kept on disk too.
    ///
    /// # Errors
    /// [`StorageError`], not found if it is not kept.
    pub fn open_file(&self, volume: FileId, name: &str) -> Result<Box<dyn ReadFile>, StorageError> {
        self.storage.open(&format!("{volume}/{FILES}/{name}"))
    }

    /// Keeps a file of a cartridge on disk: takes a link to `original` where that is possible, else `copy` writes
    /// its bytes.
    ///
    /// # Errors
    /// [`CatalogueError`] if it cannot be written.
    pub fn put_file(
        &self,
        volume: FileId,
        name: &str,
        original: Option<&Path>,
        copy: impl FnOnce(&mut dyn WriteFile) -> Result<(), StorageError>,
    ) -> Result<(), CatalogueError> {
        let name = format!("{volume}/{FILES}/{name}");
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        self.create_root()?;
        self.storage.create_directory(directory)?;
        let partial = format!("{name}{PARTIAL}");
        self.remove_if_there(&partial)?;
        if original.is_some_and(|original| fs::hard_link(original, self.root.join(&partial)).is_ok()) {
            self.storage.rename(&partial, &name)?;
            return Ok(self.storage.sync_directory(directory)?);
        }
        self.write(&name, copy)
    }

    /// Bytes that are free on the disk of the catalogue, and all of them.
    pub(super) fn space(&self) -> Result<(u64, u64), StorageError> {
        self.create_root()?;
        self.storage.space()
    }

    pub(super) fn create_root(&self) -> Result<(), StorageError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(|source| {
            let path = path::display(self.root.as_os_str().as_encoded_bytes());
            StorageError { operation: "create directory", path, source }
        })
    }

    pub(super) fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn WriteFile) -> Result<(), StorageError>,
    ) -> Result<(), CatalogueError> {
        let partial = format!("{name}{PARTIAL}");
        self.remove_if_there(&partial)?;
        let mut file = self.storage.create(&partial)?;
        content(&mut *file)?;
        file.sync()?;
        self.storage.rename(&partial, name)?;
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        Ok(self.storage.sync_directory(directory)?)
    }

    // All of a file that is not of one cartridge.
    pub(super) fn read_whole(&self, name: &str, len_max: u64) -> Result<Vec<u8>, StorageError> {
        let file = self.storage.open(name)?;
        let mut bytes = vec![0; usize::try_from(file.len().min(len_max)).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    // For what tells itself whether it is whole.
    pub(super) fn write_unsynced(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let partial = format!("{name}{PARTIAL}");
        self.remove_if_there(&partial)?;
        let mut file = self.storage.create(&partial)?;
        file.append(bytes)?;
        drop(file);
        self.storage.rename(&partial, name)
    }

    fn remove_if_there(&self, name: &str) -> Result<(), StorageError> {
        match self.storage.remove(name) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn shown(&self, name: &str) -> String {
        path::display(self.root.join(name).as_os_str().as_encoded_bytes())
    }
}

/// Appends all bytes of a file to another one.
pub(super) fn copy_file(file: &dyn ReadFile, target: &mut dyn WriteFile) -> Result<(), StorageError> {
    let mut offset = 0;
    while offset < file.len() {
        let len = usize::try_from(file.len() - offset).unwrap_or(usize::MAX).min(1 << 20);
        let mut piece = vec![0; len];
        file.read_exact_at(&mut piece, offset)?;
        target.append(&piece)?;
        offset += len as u64;
    }
    Ok(())
}

/// Name under which so much of a file is kept, from an offset on.
pub(super) fn piece_name(name: &str, offset: u64, len: u64, total: u64) -> String {
    if offset == 0 && len == total { name.to_owned() } else { format!("{name}@{offset}") }
}
