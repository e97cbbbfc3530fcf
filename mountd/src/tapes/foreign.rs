//! What is shown of a cartridge of another program: the table of its scan as a tree.
//!
//! Inode numbers follow the tape: an object that comes later on it has a higher number.

use std::io;
use std::sync::Arc;

use reelfs::format::record::XattrList;
use reelfs::job::tape::catalogue::Catalogue;
use reelfs::job::tape::foreign::{ForeignNode, ForeignTree, NodeKind, ROOT_NODE, TreeError, read_content};
use reelfs::job::tape::storage::BlockReader;
use reelfs::repo::ReadError;
use reelfs::storage::StorageError;
use reelfs::tape::archive::ForeignDescription;

use super::volumes::{Inputs, MADE_FIRST};
use crate::attributes::{Attributes, OwnerMap};
use crate::errno::{ViewError, chain};
use crate::reading::{Disk, Seek};
use crate::shown::Shown;
use crate::view::{Lifetime, ListEntry, ROOT};

const AFTER_DOT: u64 = 1;
const AFTER_DOT_DOT: u64 = 2;
const SELINUX_LABEL: &[u8] = b"security.selinux";

/// The tree of a cartridge.
#[derive(Debug)]
pub(super) struct ForeignView {
    description: ForeignDescription,
    tree: ForeignTree,
    reader: Arc<dyn BlockReader>,
    owners: OwnerMap,
}

impl ForeignView {
    pub(super) fn open(
        catalogue: &Catalogue,
        description: &ForeignDescription,
        inputs: &Inputs,
    ) -> Result<Self, TreeError> {
        let tree = catalogue.open_tree(description.volume)?;
        let (description, reader) = (description.clone(), Arc::clone(&inputs.reader));
        Ok(Self { description, tree, reader, owners: inputs.owners })
    }

    fn number(node: u32) -> u64 {
        MADE_FIRST + u64::from(node)
    }

    fn index(number: u64) -> Result<u32, ViewError> {
        let index = number.checked_sub(MADE_FIRST).and_then(|index| u32::try_from(index).ok());
        index.ok_or(ViewError::NoNumber)
    }

    fn node(&self, number: u64) -> Result<(ForeignNode, u32), ViewError> {
        let index = Self::index(number)?;
        if index >= self.tree.node_count() {
            return Err(ViewError::NoNumber);
        }
        self.tree.node(index).map_err(|error| self.damaged(error))
    }

    fn damaged(&self, error: TreeError) -> ViewError {
        log::warn!("cartridge {}: {}", self.description.barcode, chain(&error));
        ViewError::NoCatalogue
    }

    fn shown(&self, number: u64, node: &ForeignNode, link_count: u32) -> Attributes {
        let mut attributes = Attributes::directory(number, node.permissions, node.mtime);
        (attributes.uid, attributes.gid) = (node.uid, node.gid);
        attributes.kind = node.file_kind();
        match &node.kind {
            NodeKind::Directory => return self.owners.apply(attributes),
            NodeKind::Regular { size, pieces, .. } => {
                attributes.size = *size;
                attributes.block_count = pieces.iter().map(|piece| piece.len).sum::<u64>().div_ceil(512);
            }
            NodeKind::Symlink { target } => attributes.size = target.len() as u64,
            NodeKind::Device { major, minor, .. } => {
                attributes.size = 0;
                attributes.device = (*major, *minor);
            }
            NodeKind::Fifo => attributes.size = 0,
        }
        attributes.link_count = link_count;
        self.owners.apply(attributes)
    }

    fn attributes_of(&self, index: u32) -> Result<Attributes, TreeError> {
        let (node, link_count) = self.tree.node(index)?;
        Ok(self.shown(Self::number(index), &node, link_count))
    }

    fn parent(&self, number: u64) -> Result<u64, ViewError> {
        let (node, _) = self.node(number)?;
        match node.kind {
            NodeKind::Directory if Self::index(number)? == ROOT_NODE => Ok(ROOT),
            NodeKind::Directory => Ok(Self::number(node.parent)),
            _ => Err(ViewError::NotDirectory),
        }
    }
}

impl Shown for ForeignView {
    fn attributes(&self, number: u64) -> Result<(Attributes, Lifetime), ViewError> {
        let (node, link_count) = self.node(number)?;
        Ok((self.shown(number, &node, link_count), Lifetime::Unlimited))
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<(Attributes, Lifetime), ViewError> {
        match name {
            b"." => return self.attributes(parent),
            b".." => return self.attributes(self.parent(parent)?),
            _ => {}
        }
        let found = self.tree.lookup(Self::index(parent)?, name).map_err(|error| self.damaged(error))?;
        self.attributes(Self::number(found.ok_or(ViewError::NoName)?))
    }

    fn keeps_missing_names(&self, _: u64) -> bool {
        true
    }

    fn list(
        &self,
        number: u64,
        after: u64,
        _: bool,
        take: &mut dyn FnMut(ListEntry<'_>) -> bool,
    ) -> Result<(), ViewError> {
        let parent = self.parent(number)?;
        let (own, _) = self.attributes(number)?;
        for (cookie, name, number) in [(AFTER_DOT, &b"."[..], number), (AFTER_DOT_DOT, b"..", parent)] {
            let attributes = Attributes { number, ..own };
            let entry = ListEntry { cookie, name, attributes, lifetime: Lifetime::None };
            if after < cookie && !take(entry) {
                return Ok(());
            }
        }
        let skip = u32::try_from(after.saturating_sub(AFTER_DOT_DOT)).unwrap_or(u32::MAX);
        let listed = self.tree.list(Self::index(number)?, skip, &mut |index, link| {
            let attributes = self.attributes_of(link.node)?;
            let cookie = AFTER_DOT_DOT + 1 + u64::from(index);
            Ok(take(ListEntry { cookie, name: &link.name, attributes, lifetime: Lifetime::Unlimited }))
        });
        listed.map_err(|error| self.damaged(error))
    }

    fn target(&self, number: u64) -> Result<Vec<u8>, ViewError> {
        match self.node(number)?.0.kind {
            NodeKind::Symlink { target } => Ok(target),
            _ => Err(ViewError::WrongKind),
        }
    }

    fn read(
        &self,
        number: u64,
        offset: u64,
        len: usize,
        only_ready: bool,
        _: u32,
    ) -> Result<Option<Vec<u8>>, ViewError> {
        if only_ready {
            return Ok(None);
        }
        let (node, _) = self.node(number)?;
        let description = &self.description;
        let file = description.files.iter().find(|file| file.number == node.file);
        let file = file.ok_or(ViewError::NoCatalogue)?;
        let read = read_content(&*self.reader, description.volume, file, &node, offset, len);
        let read = read.map_err(|source| {
            let path = format!("cartridge {}, tape file {}", description.barcode, node.file);
            ViewError::Read(ReadError::Storage(StorageError { operation: "read", path, source }))
        })?;
        read.map(Some).ok_or(ViewError::WrongKind)
    }

    fn seek(&self, number: u64, offset: u64, seek: Seek) -> Result<u64, ViewError> {
        let NodeKind::Regular { size, pieces, .. } = self.node(number)?.0.kind else {
            return Err(ViewError::WrongKind);
        };
        if offset >= size {
            return Err(ViewError::NoPosition);
        }
        match seek {
            Seek::Data => {
                let next = pieces.iter().find(|piece| piece.offset + piece.len > offset);
                next.map(|piece| piece.offset.max(offset)).ok_or(ViewError::NoPosition)
            }
            Seek::Hole => {
                let mut hole = offset;
                for piece in &pieces {
                    if (piece.offset..piece.offset + piece.len).contains(&hole) {
                        hole = piece.offset + piece.len;
                    }
                }
                Ok(hole)
            }
        }
    }

    fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        let found = self.xattrs(number)?.into_iter().find(|(known, _)| known == name);
        match found {
            Some((_, value)) => Ok(value),
            None if name == SELINUX_LABEL => Err(ViewError::NoLabel),
            None => Err(ViewError::NoXattr),
        }
    }

    fn xattrs(&self, number: u64) -> Result<XattrList, ViewError> {
        Ok(self.owners.apply_to_xattrs(self.node(number)?.0.xattrs))
    }

    fn is_slow_xattr(&self, _: &[u8]) -> bool {
        false
    }

    fn is_without_xattrs(&self) -> bool {
        false
    }

    fn disk(&self) -> io::Result<Disk> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
