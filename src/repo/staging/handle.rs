//! Open files.

use std::fs::File;
use std::sync::Arc;

/// An open regular file; closed when dropped.
#[derive(Debug)]
pub struct FileHandle {
    pub(super) number: u64,
    pub(super) writable: bool,
}

impl FileHandle {
    /// Number of the object.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Tells whether it was opened for writing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The backing file, if all reads and writes may go to it directly now: nothing lies below it, and the
    /// name is not one of a database.
    #[must_use]
    pub fn passthrough(&self) -> Option<Arc<File>> {
        unimplemented!()
    }

    /// Says that reads and writes of the object now go to the backing file directly, until this handle is
    /// dropped: a freeze then cannot hold writes back.
    pub fn set_passthrough(&self) {
        unimplemented!()
    }
}

/// A number and an empty backing file for a file to be created, made ahead; removed if dropped unused.
#[derive(Debug)]
pub struct PreparedFile {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
}

impl PreparedFile {
    /// Number that the file will have.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The backing file, open for reading and writing.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}
