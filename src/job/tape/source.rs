//! Files of a repository as objects for a cartridge: what is read of them was verified.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::TapeJobError;
use super::sealed::{SealedKind, SealedReader};
use crate::id::FileId;
use crate::progress::Progress;
use crate::repo::ReadError;
use crate::storage::{MemoryFile, ReadFile, Storage, StorageError};
use crate::tape::ObjectSource;

/// A file of a repository that is to go to tape.
#[derive(Debug, Clone)]
pub struct RepositoryFile {
    /// Where the repository is.
    pub storage: Arc<dyn Storage>,
    /// Identity of the repository.
    pub repository: FileId,
    /// Name in the repository.
    pub name: String,
    /// What it is; `None` for a plain file that carries no checksums.
    pub kind: Option<SealedKind>,
}

impl ObjectSource for RepositoryFile {
    fn open(&self) -> Result<Box<dyn ReadFile>, StorageError> {
        let file = self.storage.open(&self.name)?;
        let Some(kind) = self.kind else { return Ok(file) };
        let (len, path) = (file.len(), file.path().to_owned());
        let reader = SealedReader::new(file, kind, self.repository).map_err(|error| refused(error, &path))?;
        Ok(Box::new(VerifiedFile {
            len,
            path,
            state: Mutex::new(State { reader, start: 0, piece: Vec::new() }),
        }))
    }
}

// A short file as it was when the archive was planned.
impl ObjectSource for MemoryFile {
    fn open(&self) -> Result<Box<dyn ReadFile>, StorageError> {
        Ok(Box::new(self.clone()))
    }
}

/// Reads an object from its beginning to its end, to know whether it can be read.
///
/// # Errors
/// [`TapeJobError`] if it cannot, or the operation is asked to stop.
pub(super) fn read_through(source: &dyn ObjectSource, progress: &Progress) -> Result<(), TapeJobError> {
    let file = source.open()?;
    let mut piece = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < file.len() {
        progress.check()?;
        let len = usize::try_from(file.len() - offset).unwrap_or(usize::MAX).min(piece.len());
        file.read_exact_at(piece.get_mut(..len).unwrap_or_default(), offset)?;
        offset += len as u64;
    }
    Ok(())
}

/// A sealed file of which only verified pieces are handed out.
struct VerifiedFile {
    len: u64,
    path: String,
    state: Mutex<State>,
}

struct State {
    reader: SealedReader,
    // The piece read last, and its offset in the file.
    start: u64,
    piece: Vec<u8>,
}

impl fmt::Debug for VerifiedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl State {
    // The bytes from `offset` to the end of the piece that holds it.
    fn at(&mut self, offset: u64) -> Result<&[u8], ReadError> {
        let end = self.start + self.piece.len() as u64;
        if !(self.start..end).contains(&offset) {
            if self.reader.offset() != offset {
                self.reader.seek(offset)?;
            }
            self.start = self.reader.offset();
            // A piece of which reading failed must not be taken for another one.
            self.piece = Vec::new();
            self.piece = self.reader.read_next()?;
        }
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.piece.get(skip..).unwrap_or_default())
    }
}

impl ReadFile for VerifiedFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StorageError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let bytes = state.at(offset + done as u64).map_err(|error| refused(error, &self.path))?;
            let len = bytes.len().min(rest.len());
            if len == 0 {
                let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(StorageError { operation: "read", path: self.path.clone(), source });
            }
            if let (Some(target), Some(bytes)) = (rest.get_mut(..len), bytes.get(..len)) {
                target.copy_from_slice(bytes);
            }
            done += len;
        }
        Ok(())
    }
}

/// What a damaged file tells as the source of a [`StorageError`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Damaged(ReadError);

fn refused(error: ReadError, path: &str) -> StorageError {
    match error {
        ReadError::Storage(error) => error,
        other => {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, Damaged(other));
            StorageError { operation: "read", path: path.to_owned(), source }
        }
    }
}
