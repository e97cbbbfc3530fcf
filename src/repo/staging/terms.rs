//! Small types in the interface of a staging tree.

/// What a rename does with a name that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Takes its place.
    Replace,
    /// Fails with `EEXIST` (`RENAME_NOREPLACE`).
    NoReplace,
    /// Changes places with it (`RENAME_EXCHANGE`).
    Exchange,
}

/// What `fallocate` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllocateMode {
    /// Reserves space; the file grows to the end of the range unless `keep_size`.
    Reserve {
        /// Leave the length as it is.
        keep_size: bool,
    },
    /// Makes a hole; the length stays.
    Punch,
    /// Makes the range zeros.
    Zero {
        /// Leave the length as it is.
        keep_size: bool,
    },
}

/// What `lseek` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekFrom {
    /// Data from this offset on (`SEEK_DATA`).
    Data(u64),
    /// A hole from this offset on (`SEEK_HOLE`).
    Hole(u64),
}

/// Whether an extended attribute may or must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// It may.
    Either,
    /// It must not (`XATTR_CREATE`).
    Create,
    /// It must (`XATTR_REPLACE`).
    Replace,
}

/// How much of a file `fsync` makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// Content, and what is needed to read it (`fdatasync`).
    Data,
    /// Attributes too.
    All,
}

/// Space as `statvfs` tells it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that staging may still take: less the reserve, within the cap.
    pub available_bytes: u64,
    /// Objects in the tree, as far as known.
    pub object_count: u64,
    /// Objects that may still be made.
    pub free_object_count: u64,
}

/// What a commit would have to do, as far as it is known without looking at each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Names that changed.
    pub entry_count: u64,
    /// Objects that changed.
    pub object_count: u64,
    /// Bytes that backing files take.
    pub backing_bytes: u64,
}

/// What was looked at one by one since the tree was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looks {
    /// Backing files, for the sum of what they take.
    pub backing_files: u64,
    /// Records of the base, for objects that are known by number only.
    pub base_records: u64,
}
