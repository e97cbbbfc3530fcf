//! The table of a foreign cartridge: a file that is written once, front to back, and read as it is asked, so that a tree
//! of any size takes no memory.
//!
//! ```text
//! records   one after the other: length 4 | CRC-32 4 | bytes
//!           of a node: number 4 | what node.rs says;  of a link: node 4 | directory 4 | name
//! nodes     for each node, by number: offset of its record 8 | names 4 | first link 4 | links 4 | CRC-32 of these 4
//! links     for each link, by directory and place on the tape: offset of its record 8
//! hashes    in the same order of directories, by hash: hash of the name 4 | index of the link 4
//! trailer   "RLFOREIG" 8 | version 4 | nodes 4 | links 4 | zero 4 | offsets of nodes 8, links 8, hashes 8 | CRC-32 4
//! ```
//!
//! All numbers are little-endian. Nodes are numbered in the order of the tape, from 0, which is the cartridge itself.

use thiserror::Error;

use super::node::{Fields, ForeignNode};
use crate::checksum::crc32;
use crate::id::Fingerprint;
use crate::storage::{ReadFile, StorageError};

/// The directory of the cartridge, whose entries are its archives.
pub const ROOT_NODE: u32 = 0;

pub(super) const MAGIC: &[u8; 8] = b"RLFOREIG";
pub(super) const VERSION: u32 = 1;
const TRAILER_LEN: usize = 52;
const NODE_ROW_LEN: usize = 24;
const LINK_ROW_LEN: usize = 8;
const HASH_ROW_LEN: usize = 8;
const RECORD_HEADER_LEN: usize = 8;
/// Longest record: a sparse file of a million pieces, and a list of attributes.
const RECORD_LEN_MAX: u32 = 64 << 20;

/// Why a table cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It does not hold what it should.
    #[error("{path} is damaged at byte {offset}: {what} is not as it was written")]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        offset: u64,
        /// What.
        what: &'static str,
    },
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name.
    pub name: Vec<u8>,
    /// The object.
    pub node: u32,
}

/// Where the names of a directory are, and how many names an object has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    record: u64,
    name_count: u32,
    first: u32,
    count: u32,
}

/// The hash by which names are found.
pub(super) fn hash(name: &[u8]) -> u32 {
    Fingerprint::of(name).0.first_chunk().copied().map(u32::from_le_bytes).unwrap_or(0)
}

/// A table, open for reading.
#[derive(Debug)]
pub struct ForeignTree {
    file: Box<dyn ReadFile>,
    node_count: u32,
    link_count: u32,
    nodes: u64,
    links: u64,
    hashes: u64,
}

impl ForeignTree {
    /// Takes a file and reads its trailer.
    ///
    /// # Errors
    /// [`TreeError`] if it is no such table.
    pub fn open(file: Box<dyn ReadFile>) -> Result<Self, TreeError> {
        let at = file.len().saturating_sub(TRAILER_LEN as u64);
        let mut tree = Self { file, node_count: 0, link_count: 0, nodes: 0, links: 0, hashes: 0 };
        let mut trailer = [0; TRAILER_LEN];
        if tree.file.len() < TRAILER_LEN as u64 {
            return Err(tree.damaged(0, "length"));
        }
        tree.file.read_exact_at(&mut trailer, at)?;
        match tree.take_trailer(&trailer, at) {
            Some(()) => Ok(tree),
            None => Err(tree.damaged(at, "trailer")),
        }
    }

    fn take_trailer(&mut self, trailer: &[u8], at: u64) -> Option<()> {
        let (body, stored) = trailer.split_last_chunk::<4>()?;
        let mut fields = Fields(body.strip_prefix(MAGIC)?);
        let is_known = fields.u32()? == VERSION && crc32(&[body]) == u32::from_le_bytes(*stored);
        (self.node_count, self.link_count) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        (self.nodes, self.links, self.hashes) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let links = self.nodes.checked_add(u64::from(self.node_count) * NODE_ROW_LEN as u64)?;
        let hashes = self.links.checked_add(u64::from(self.link_count) * LINK_ROW_LEN as u64)?;
        let end = self.hashes.checked_add(u64::from(self.link_count) * HASH_ROW_LEN as u64)?;
        let fits = links == self.links && hashes == self.hashes && end == at && self.node_count > 0;
        (is_known && fits).then_some(())
    }

    /// Number of objects, the cartridge itself included.
    #[must_use]
    pub fn node_count(&self) -> u32 {
        self.node_count
    }

    fn damaged(&self, offset: u64, what: &'static str) -> TreeError {
        TreeError::Damaged { path: self.file.path().to_owned(), offset, what }
    }

    fn record(&self, offset: u64) -> Result<Vec<u8>, TreeError> {
        let mut header = [0; RECORD_HEADER_LEN];
        if offset.saturating_add(RECORD_HEADER_LEN as u64) > self.nodes {
            return Err(self.damaged(offset, "offset of a record"));
        }
        self.file.read_exact_at(&mut header, offset)?;
        let mut fields = Fields(&header);
        let (len, stored) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
        let end = offset + RECORD_HEADER_LEN as u64 + u64::from(len);
        if len > RECORD_LEN_MAX || end > self.nodes {
            return Err(self.damaged(offset, "length of a record"));
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, offset + RECORD_HEADER_LEN as u64)?;
        if crc32(&[&bytes]) == stored { Ok(bytes) } else { Err(self.damaged(offset, "checksum of a record")) }
    }

    fn row(&self, node: u32) -> Result<Row, TreeError> {
        let offset = self.nodes + u64::from(node) * NODE_ROW_LEN as u64;
        let mut bytes = [0; NODE_ROW_LEN];
        if node >= self.node_count {
            return Err(self.damaged(offset, "number of a node"));
        }
        self.file.read_exact_at(&mut bytes, offset)?;
        let row = decode_row(&bytes)
            .filter(|row| row.first.checked_add(row.count).is_some_and(|end| end <= self.link_count));
        row.ok_or_else(|| self.damaged(offset, "row of a node"))
    }

    /// An object, and how many names it has.
    ///
    /// # Errors
    /// [`TreeError`] if there is none or it cannot be read.
    pub fn node(&self, node: u32) -> Result<(ForeignNode, u32), TreeError> {
        let row = self.row(node)?;
        let bytes = self.record(row.record)?;
        let mut fields = Fields(&bytes);
        let is_it = fields.u32() == Some(node);
        let decoded = ForeignNode::decode(fields.0).filter(|_| is_it);
        let decoded = decoded.ok_or_else(|| self.damaged(row.record, "record of a node"))?;
        Ok((decoded, row.name_count))
    }

    fn link(&self, index: u32, directory: u32) -> Result<Link, TreeError> {
        let at = self.links + u64::from(index) * LINK_ROW_LEN as u64;
        let mut bytes = [0; LINK_ROW_LEN];
        self.file.read_exact_at(&mut bytes, at)?;
        let offset = u64::from_le_bytes(bytes);
        let bytes = self.record(offset)?;
        let mut fields = Fields(&bytes);
        let (node, parent) = (fields.u32(), fields.u32());
        let node = node.filter(|node| parent == Some(directory) && *node < self.node_count);
        let node = node.ok_or_else(|| self.damaged(offset, "record of a name"))?;
        Ok(Link { name: fields.0.to_vec(), node })
    }

    /// Names in a directory from the `skip`th on, in the order of the tape, until `take` returns `false`.
    ///
    /// # Errors
    /// [`TreeError`] if one cannot be read.
    pub fn list(
        &self,
        directory: u32,
        skip: u32,
        take: &mut dyn FnMut(u32, Link) -> Result<bool, TreeError>,
    ) -> Result<(), TreeError> {
        let row = self.row(directory)?;
        for index in skip..row.count {
            if !take(index, self.link(row.first + index, directory)?)? {
                break;
            }
        }
        Ok(())
    }

    /// Finds a name in a directory.
    ///
    /// # Errors
    /// [`TreeError`] if the table cannot be read.
    pub fn lookup(&self, directory: u32, name: &[u8]) -> Result<Option<u32>, TreeError> {
        let row = self.row(directory)?;
        let wanted = hash(name);
        let (mut low, mut high) = (row.first, row.first + row.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.hash_row(middle)?.0 < wanted { low = middle + 1 } else { high = middle }
        }
        for index in low..row.first + row.count {
            let (hash, link) = self.hash_row(index)?;
            if hash != wanted {
                break;
            }
            let found = self.link(link, directory)?;
            if found.name == name {
                return Ok(Some(found.node));
            }
        }
        Ok(None)
    }

    fn hash_row(&self, index: u32) -> Result<(u32, u32), TreeError> {
        let at = self.hashes + u64::from(index) * HASH_ROW_LEN as u64;
        let mut bytes = [0; HASH_ROW_LEN];
        self.file.read_exact_at(&mut bytes, at)?;
        let mut fields = Fields(&bytes);
        let (hash, link) = (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0));
        if link < self.link_count { Ok((hash, link)) } else { Err(self.damaged(at, "row of a hash")) }
    }
}

fn decode_row(bytes: &[u8]) -> Option<Row> {
    let (body, stored) = bytes.split_last_chunk::<4>()?;
    let mut fields = Fields(body);
    let row =
        Row { record: fields.u64()?, name_count: fields.u32()?, first: fields.u32()?, count: fields.u32()? };
    (crc32(&[body]) == u32::from_le_bytes(*stored)).then_some(row)
}
