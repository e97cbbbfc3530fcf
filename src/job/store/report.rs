//! What was done with one file, for those who want to know.

/// How the bytes of a file were found (rows H4 and H6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// The whole file is stored already, found by name, size, time and signature.
    Rfe,
    /// Only what was written was read; the rest stays where it is.
    Fda,
    /// All of it was cut where its content says so, and each chunk looked for.
    Sfp,
    /// Nothing of it was written: only attributes or names changed.
    Kept,
}

impl Method {
    /// As people and programs read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rfe => "rfe",
            Self::Fda => "fda",
            Self::Sfp => "sfp",
            Self::Kept => "kept",
        }
    }
}

/// What was done with one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Path from the client's root.
    pub path: Vec<u8>,
    /// Names that it has.
    pub name_count: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that were written since the base; the whole file where that is not known.
    pub written_bytes: u64,
    /// How its bytes were found.
    pub method: Method,
    /// Why so.
    pub reason: &'static str,
}
