//! One generation as a tree of objects: look up a name, list a directory, find an object by inode number.

use std::sync::Arc;

use super::error::ReadError;
use super::node::{Node, RecordAddress};
use super::pages::{DtfFile, PageReader};
use super::tree::{Cursor, Found, Tree};
use crate::format::FormatError;
use crate::format::dtf::{DtfFooter, DtfHeader};
use crate::format::page::TreeKind;
use crate::format::record::{Detail, FileKind, Inode, ROOT_OBJECT, Record, entry_key, split_key};
use crate::id::Ordinal;

/// An open generation.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Header of its DTF.
    pub header: DtfHeader,
    /// Footer of its DTF.
    pub footer: DtfFooter,
    /// Length of its DTF in bytes.
    pub dtf_bytes: u64,
}

/// A name in a directory and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// Inode number.
    pub node: Node,
    /// Kind of the object.
    pub kind: FileKind,
    /// The object; absent in a listing for an object that stands elsewhere.
    pub inode: Option<Inode>,
    /// Where the entry's record is, for going on after it.
    pub address: RecordAddress,
}

impl Generation {
    /// Opens a generation.
    ///
    /// # Errors
    /// [`ReadError`] if its DTF is missing or damaged.
    pub fn open(pages: &PageReader, ordinal: Ordinal) -> Result<Self, ReadError> {
        let dtf: Arc<DtfFile> = pages.dtf(ordinal)?;
        Ok(Self { header: dtf.header().clone(), footer: dtf.footer()?, dtf_bytes: dtf.len() })
    }

    /// Number of the generation.
    #[must_use]
    pub fn ordinal(&self) -> Ordinal {
        self.header.ordinal
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Node {
        Node::Object { ordinal: self.ordinal(), object: ROOT_OBJECT }
    }

    /// Finds a name in the directory with this object id.
    ///
    /// # Errors
    /// [`ReadError`] if a page on the way is missing or damaged, or the name leads to a directory that
    /// belongs elsewhere.
    pub fn lookup(
        &self,
        pages: &PageReader,
        directory: u64,
        name: &[u8],
    ) -> Result<Option<Entry>, ReadError> {
        let Some(found) = self.tree(pages).get(&entry_key(directory, name))? else {
            return Ok(None);
        };
        let mut entry = self.entry(&found)?;
        if let (None, Node::Object { object, .. }) = (&entry.inode, entry.node) {
            let inode = self.object(pages, object)?;
            check_place(object, entry.kind, &inode, directory)?;
            entry.inode = Some(inode);
        }
        Ok(Some(entry))
    }

    /// Reads an object: a directory, or what has several names.
    ///
    /// # Errors
    /// [`ReadError`] if it is missing or damaged.
    pub fn object(&self, pages: &PageReader, object: u64) -> Result<Inode, ReadError> {
        let found = self.tree(pages).get(&entry_key(object, b""))?.ok_or(ReadError::NoObject { object })?;
        match decode(&found)? {
            Record::Inode(inode) => Ok(inode),
            Record::Link { .. } => Err(ReadError::NoObject { object }),
        }
    }

    /// Lists a directory in order of names, after the entry at `after` or from the start.
    ///
    /// # Errors
    /// [`ReadError`] if the entry at `after` cannot be read.
    pub fn list<'a>(
        &'a self,
        pages: &'a PageReader,
        directory: u64,
        after: Option<RecordAddress>,
    ) -> Result<Listing<'a>, ReadError> {
        let start = match after {
            None => entry_key(directory, b"\0"),
            Some(address) => {
                let mut key = record_at(pages, address)?.0;
                // The smallest key above that one.
                key.push(0);
                key
            }
        };
        Ok(Listing { generation: self, cursor: self.tree(pages).range(&start), directory })
    }

    /// Lists a directory in order of names, from a name on, whether it has that one or not.
    #[must_use]
    pub fn list_from<'a>(&'a self, pages: &'a PageReader, directory: u64, name: &[u8]) -> Listing<'a> {
        let start = entry_key(directory, if name.is_empty() { b"\0" } else { name });
        Listing { generation: self, cursor: self.tree(pages).range(&start), directory }
    }

    /// Walks all records of the tree in order of keys.
    #[must_use]
    pub fn records<'a>(&self, pages: &'a PageReader) -> Cursor<'a> {
        self.tree(pages).range(&[])
    }

    /// The generation's directory tree.
    #[must_use]
    pub fn tree<'a>(&self, pages: &'a PageReader) -> Tree<'a> {
        Tree::new(pages, self.footer.root, TreeKind::Directory)
    }

    /// Reads the entry at a place in a page.
    ///
    /// # Errors
    /// [`ReadError`] if there is none.
    pub fn entry_at(&self, pages: &PageReader, address: RecordAddress) -> Result<Entry, ReadError> {
        let (key, value) = record_at(pages, address)?;
        self.entry_of(&key, &value, address)
    }

    fn entry(&self, found: &Found) -> Result<Entry, ReadError> {
        self.entry_of(found.key(), found.value(), found.address())
    }

    fn entry_of(&self, key: &[u8], value: &[u8], address: RecordAddress) -> Result<Entry, ReadError> {
        let damaged = |source| ReadError::Format {
            path: format!("DTF {}", address.ordinal),
            offset: address.offset,
            source,
        };
        let (_, name) = split_key(key).map_err(damaged)?;
        let name = name.to_vec();
        Ok(match Record::decode(value).map_err(damaged)? {
            Record::Link { kind, object } => {
                let node = Node::Object { ordinal: self.ordinal(), object };
                Entry { name, node, kind, inode: None, address }
            }
            Record::Inode(inode) => {
                if inode.kind() == FileKind::Directory {
                    // Only an object can be a directory; else it could stand below itself.
                    return Err(ReadError::PageMismatch {
                        ordinal: address.ordinal,
                        offset: address.offset,
                        what: "directory without an object id",
                    });
                }
                let kind = inode.kind();
                Entry { name, node: Node::Entry(address), kind, inode: Some(inode), address }
            }
        })
    }
}

/// Checks that an object may have an entry of this kind in `directory`: a directory has one parent, so that no
/// loop can be reached from the root.
///
/// # Errors
/// [`ReadError::DirectoryElsewhere`] if it belongs elsewhere, [`ReadError::NoObject`] if it is of another kind.
pub fn check_place(object: u64, kind: FileKind, inode: &Inode, directory: u64) -> Result<(), ReadError> {
    match inode.detail {
        _ if inode.kind() != kind => Err(ReadError::NoObject { object }),
        Detail::Directory { parent } if parent != directory => Err(ReadError::DirectoryElsewhere { object }),
        _ => Ok(()),
    }
}

/// Reads the object that an entry's place names; its content is the same in every generation.
///
/// # Errors
/// [`ReadError`] if there is no such record.
pub fn inode_at(pages: &PageReader, address: RecordAddress) -> Result<Inode, ReadError> {
    let (_, value) = record_at(pages, address)?;
    match Record::decode(&value) {
        Ok(Record::Inode(inode)) => Ok(inode),
        Ok(Record::Link { object, .. }) => Err(ReadError::NoObject { object }),
        Err(source) => Err(ReadError::Format {
            path: format!("DTF {}", address.ordinal),
            offset: address.offset,
            source,
        }),
    }
}

/// Reads which directory and name the entry at this place has.
///
/// # Errors
/// [`ReadError`] if there is no such record.
pub fn name_at(pages: &PageReader, address: RecordAddress) -> Result<(u64, Vec<u8>), ReadError> {
    let (key, _) = record_at(pages, address)?;
    let (directory, name) = split_key(&key).map_err(|source| ReadError::Format {
        path: format!("DTF {}", address.ordinal),
        offset: address.offset,
        source,
    })?;
    Ok((directory, name.to_vec()))
}

fn record_at(pages: &PageReader, address: RecordAddress) -> Result<(Vec<u8>, Vec<u8>), ReadError> {
    let page = pages.page_at(address.ordinal, address.offset)?;
    let mismatch = |what| ReadError::PageMismatch { ordinal: address.ordinal, offset: address.offset, what };
    if page.level() != 0 || page.tree() != TreeKind::Directory {
        return Err(mismatch("not a leaf of a directory tree"));
    }
    let (key, value) = page.record(address.slot.into()).ok_or_else(|| mismatch("no such slot"))?;
    Ok((key.to_vec(), value.to_vec()))
}

fn decode(found: &Found) -> Result<Record, ReadError> {
    Record::decode(found.value()).map_err(|source| damaged(found, source))
}

fn damaged(found: &Found, source: FormatError) -> ReadError {
    let address = found.address();
    ReadError::Format { path: format!("DTF {}", address.ordinal), offset: address.offset, source }
}

/// The entries of a directory in order of names.
///
/// An entry that cannot be read is returned as an error, and the listing goes on after it.
#[derive(Debug)]
pub struct Listing<'a> {
    generation: &'a Generation,
    cursor: Cursor<'a>,
    directory: u64,
}

impl Iterator for Listing<'_> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.cursor.next()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        match found.key().first_chunk() {
            Some(object) if u64::from_be_bytes(*object) == self.directory => {
                Some(self.generation.entry(&found))
            }
            _ => None,
        }
    }
}
