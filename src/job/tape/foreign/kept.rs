//! What the catalogue keeps of cartridges of other programs.

use super::table::{ForeignTree, TreeError};
use crate::id::FileId;
use crate::job::tape::catalogue::{Catalogue, CatalogueError, FOREIGN};
use crate::storage::{Storage as _, StorageError, WriteFile};
use crate::tape::archive::ForeignDescription;

const TREE: &str = "tree";
/// Longest description that is read, in bytes: thousands of tape files whose blocks differ in length.
const DESCRIPTION_LEN_MAX: u64 = 256 << 20;

impl Catalogue {
    /// A cartridge of another program.
    ///
    /// # Errors
    /// [`CatalogueError`] if what is known of it is damaged or cannot be read.
    pub fn foreign(&self, volume: FileId) -> Result<Option<ForeignDescription>, CatalogueError> {
        let file = match self.storage.open(&format!("{volume}/{FOREIGN}")) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = vec![0; usize::try_from(file.len().min(DESCRIPTION_LEN_MAX)).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        let decoded = ForeignDescription::decode(&bytes).map(Some);
        decoded.map_err(|source| CatalogueError::Damaged { path: file.path().to_owned(), source })
    }

    /// All cartridges of other programs, by barcode; what is damaged is told to `damaged` and left out.
    ///
    /// # Errors
    /// [`CatalogueError`] if the directory cannot be read.
    pub fn foreign_volumes(
        &self,
        damaged: &mut dyn FnMut(CatalogueError),
    ) -> Result<Vec<ForeignDescription>, CatalogueError> {
        let mut volumes = Vec::new();
        for entry in self.storage.list("")? {
            let Ok(volume) = entry.name.parse::<FileId>() else { continue };
            match self.foreign(volume) {
                Ok(found) => volumes.extend(found),
                Err(error) => damaged(error),
            }
        }
        volumes.sort_by(|one, other| (&one.barcode, one.volume).cmp(&(&other.barcode, other.volume)));
        Ok(volumes)
    }

    /// Keeps what a cartridge of another program is; its tree comes first.
    ///
    /// # Errors
    /// [`CatalogueError`] if it cannot be written; then the old state holds.
    pub fn put_foreign(&self, description: &ForeignDescription) -> Result<(), CatalogueError> {
        let volume = description.volume;
        self.create_root()?;
        self.storage.create_directory(&volume.to_string())?;
        let text = description.encode();
        self.write(&format!("{volume}/{FOREIGN}"), |file| file.append(text.as_bytes()))
    }

    /// Keeps the tree of a cartridge of another program, which `content` writes.
    ///
    /// # Errors
    /// [`CatalogueError`] if it cannot be written; then the old state holds.
    pub(super) fn put_tree(
        &self,
        volume: FileId,
        content: impl FnOnce(&mut dyn WriteFile) -> Result<(), StorageError>,
    ) -> Result<(), CatalogueError> {
        self.create_root()?;
        self.storage.create_directory(&volume.to_string())?;
        self.write(&format!("{volume}/{TREE}"), content)
    }

    /// Opens the tree of a cartridge of another program.
    ///
    /// # Errors
    /// [`TreeError`] if there is none or it is damaged.
    pub fn open_tree(&self, volume: FileId) -> Result<ForeignTree, TreeError> {
        ForeignTree::open(self.storage.open(&format!("{volume}/{TREE}"))?)
    }
}
