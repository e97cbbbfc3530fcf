//! Why a repository could not be read or written.

use thiserror::Error;

use crate::chunk::compress::CompressError;
use crate::format::FormatError;
use crate::format::config::ConfigError;
use crate::id::{ClientName, FileId, Fingerprint, GenerationTime, Ordinal};
use crate::progress::Cancelled;
use crate::storage::StorageError;

/// Why something in a repository could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The storage refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file does not hold what its format says.
    #[error("{path}, byte {offset}: damaged")]
    Format {
        /// The file.
        path: String,
        /// Offset of the damaged structure.
        offset: u64,
        /// What is wrong.
        source: FormatError,
    },
    /// A frame or page cannot be decompressed.
    #[error("{path}, byte {offset}: cannot be decompressed")]
    Compress {
        /// The file.
        path: String,
        /// Offset of the structure.
        offset: u64,
        /// What is wrong.
        source: CompressError,
    },
    /// A chunk is not what its fingerprint says.
    #[error("{path}, frame at byte {offset}: chunk has fingerprint {actual}, expected {expected}")]
    Fingerprint {
        /// The BDF.
        path: String,
        /// Offset of the frame.
        offset: u64,
        /// Fingerprint asked for.
        expected: Fingerprint,
        /// Fingerprint of the bytes found.
        actual: Fingerprint,
    },
    /// A chunk is not where the pointer says.
    #[error("{path}, frame at byte {offset}: no chunk {fingerprint} begins at byte {start} of it")]
    NoChunk {
        /// The BDF.
        path: String,
        /// Offset of the frame.
        offset: u64,
        /// Start in the frame's payload.
        start: u32,
        /// Fingerprint asked for.
        fingerprint: Fingerprint,
    },
    /// No area has the backup data file.
    #[error("backup data file {file}.bdf is missing")]
    NoBdf {
        /// Its id.
        file: FileId,
    },
    /// No client has the directory tree file.
    #[error("directory tree file number {ordinal} is missing")]
    NoDtf {
        /// Its ordinal.
        ordinal: Ordinal,
    },
    /// A page is not of the level or tree that the pointer to it implies.
    #[error("page of DTF {ordinal} at byte {offset} does not fit where it is pointed to from: {what}")]
    PageMismatch {
        /// The DTF.
        ordinal: Ordinal,
        /// Offset of the page.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// An entry names an object that the tree does not hold.
    #[error("object {object} is missing from the tree")]
    NoObject {
        /// The object id.
        object: u64,
    },
    /// A directory has an entry elsewhere than in its parent, or a second one there.
    #[error("the tree is damaged: directory {object} has no place here")]
    DirectoryElsewhere {
        /// The object id of the directory.
        object: u64,
    },
    /// A base chunk of a delta frame is in a delta frame itself.
    #[error("{path}, frame at byte {offset}: a base chunk lies in another delta frame")]
    DeepDelta {
        /// The BDF.
        path: String,
        /// Offset of the frame.
        offset: u64,
    },
}

impl ReadError {
    /// Tells whether stored bytes are wrong or missing, as against a refusal that may pass.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_damage(),
            _ => true,
        }
    }
}

/// Why a repository operation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepoError {
    /// There is no repository.
    #[error("{path} is not a reelfs repository: it has no reelfs.toml")]
    NoRepository {
        /// The directory.
        path: String,
    },
    /// The directory for a new repository is in use.
    #[error("{path} is not empty")]
    NotEmpty {
        /// The directory.
        path: String,
    },
    /// Another process writes to the repository.
    #[error("the repository {path} is locked by another process that writes to it")]
    Locked {
        /// The directory.
        path: String,
    },
    /// Others could change the repository behind the owner's back.
    #[error("{path} can be written by others (mode {mode:o})")]
    Insecure {
        /// The directory.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory of the repository is a symbolic link.
    #[error("{path} is a symbolic link")]
    Linked {
        /// The link.
        path: String,
    },
    /// The configuration is not valid.
    #[error("configuration of {path} is not valid")]
    Config {
        /// The directory.
        path: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// There is no such client.
    #[error("the repository has no client {client}")]
    NoClient {
        /// The name.
        client: ClientName,
    },
    /// The client has no such generation.
    #[error("client {client} has no generation {generation}")]
    NoGeneration {
        /// The client.
        client: ClientName,
        /// What was asked for.
        generation: String,
    },
    /// Several generations begin like this.
    #[error(
        "client {client} has several generations that begin with '{prefix}': {first} and {second} among them"
    )]
    Ambiguous {
        /// The client.
        client: ClientName,
        /// What was asked for.
        prefix: String,
        /// One of them.
        first: GenerationTime,
        /// Another one.
        second: GenerationTime,
    },
    /// The generation has no such path.
    #[error("{address} does not exist")]
    NoPath {
        /// Client, generation and path.
        address: String,
    },
    /// All ordinals are used up.
    #[error("the repository has used all its {} generation numbers", Ordinal::MAX)]
    OrdinalsExhausted,
    /// Something could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something could not be compressed.
    #[error("cannot compress")]
    Compress(#[from] CompressError),
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<StorageError> for RepoError {
    fn from(error: StorageError) -> Self {
        Self::Read(ReadError::Storage(error))
    }
}
