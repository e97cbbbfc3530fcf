//! Finds what an address names.

use std::ffi::OsString;
use std::sync::Arc;

use reelfs::format::record::{FileKind, Inode};
use reelfs::path;
use reelfs::repo::{Address, Generation, GenerationId, Node, RepoError, Repository};

use crate::failure::Failure;

/// What an address names.
#[derive(Debug)]
pub(crate) struct Place {
    /// The address.
    pub(crate) address: Address,
    /// The generation's name and number.
    pub(crate) id: GenerationId,
    /// The generation.
    pub(crate) generation: Arc<Generation>,
    /// Inode number.
    pub(crate) node: Node,
    /// The object.
    pub(crate) inode: Inode,
}

/// Reads an address from the command line.
pub(crate) fn parse(text: &OsString) -> Result<Address, Failure> {
    Address::parse(text).map_err(|error| {
        Failure::usage(error)
            .hint("an address is CLIENT[@GENERATION][:PATH]; 'reelfs list' shows the first two")
    })
}

/// Finds what an address names, in its own generation.
pub(crate) fn find(repository: &Repository, address: &Address) -> Result<Place, Failure> {
    let id = repository.resolve(&address.client, address.generation())?;
    find_in(repository, address, id)?.ok_or_else(|| {
        let shown = format!("{}@{}:{}", address.client, id.time, path::display(&address.path));
        RepoError::NoPath { address: shown }.into()
    })
}

/// Finds the path of an address in this generation; `None` if it is not there.
pub(crate) fn find_in(
    repository: &Repository,
    address: &Address,
    id: GenerationId,
) -> Result<Option<Place>, Failure> {
    let generation = repository.generation(id.ordinal)?;
    let mut node = generation.root();
    let mut inode = repository.inode(node)?;
    for name in path::components(&address.path) {
        let (FileKind::Directory, Node::Object { object, .. }) = (inode.kind(), node) else {
            return Ok(None);
        };
        let Some(entry) = generation.lookup(repository.pages(), object, name)? else { return Ok(None) };
        node = entry.node;
        inode = entry.inode.map_or_else(|| repository.inode(node), Ok)?;
    }
    Ok(Some(Place { address: address.clone(), id, generation, node, inode }))
}

impl Place {
    /// The place with its generation's whole name: `web1@2026-11-21T04-00-00Z:etc`.
    pub(crate) fn shown(&self) -> String {
        let mut shown = format!("{}@{}", self.address.client, self.id.time);
        if !self.address.path.is_empty() {
            shown.push(':');
            shown.push_str(&path::display(&self.address.path));
        }
        shown
    }

    /// The object id, if the place is a directory.
    pub(crate) fn directory(&self) -> Option<u64> {
        match (self.inode.kind(), self.node) {
            (FileKind::Directory, Node::Object { object, .. }) => Some(object),
            _ => None,
        }
    }

    /// The last part of the path; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        self.address.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The path in the generation of something below the place.
    pub(crate) fn below(&self, path: &[u8]) -> Vec<u8> {
        let parts = [&self.address.path[..], path];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b'/')
    }
}
