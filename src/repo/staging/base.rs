//! The generation below: what is in it, and which numbers its objects have.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::StagingError;
use crate::format::record::{
    Detail, FIRST_DIRECTORY_OBJECT, FileKind, Inode, OBJECT_MAX, ROOT_OBJECT, Record, split_key,
};
use crate::id::{Fingerprint, Ordinal};
use crate::index::staging::{FrozenPlace, Home, ObjectState};
use crate::repo::{Generation, Node, Repository};

/// Numbers of untouched entries of the base have this bit.
pub(super) const HASH_BIT: u64 = 1 << 51;
/// First number of the counter.
pub(super) const FIRST_NUMBER: u64 = OBJECT_MAX;

/// The number of an untouched entry of the base.
pub(super) fn hash_number(directory: u64, name: &[u8]) -> u64 {
    let hash = Fingerprint::of(&crate::format::record::entry_key(directory, name));
    let start = hash.0.first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    HASH_BIT | start & (HASH_BIT - 1)
}

/// Tells whether a number is that of a directory.
pub(super) fn is_directory(number: u64) -> bool {
    number == ROOT_OBJECT || (FIRST_DIRECTORY_OBJECT..OBJECT_MAX).contains(&number)
}

/// A name in the base.
#[derive(Debug)]
pub(super) struct BaseEntry {
    pub(super) kind: FileKind,
    pub(super) number: u64,
    /// Object id of a file with several names.
    pub(super) linked: Option<u64>,
    pub(super) inode: Inode,
}

/// A generation, or nothing, that a tree stands on.
#[derive(Debug, Clone)]
pub(super) struct Base {
    repository: Arc<Repository>,
    generation: Option<Arc<Generation>>,
}

impl Base {
    pub(super) fn open(repository: &Arc<Repository>, ordinal: Option<Ordinal>) -> Result<Self, StagingError> {
        let generation = ordinal.map(|ordinal| repository.generation(ordinal)).transpose()?;
        Ok(Self { repository: Arc::clone(repository), generation })
    }

    pub(super) fn generation(&self) -> Option<&Arc<Generation>> {
        self.generation.as_ref()
    }

    /// First ids that the base does not use, of files with several names and of directories.
    pub(super) fn next_ids(&self) -> (u64, u64) {
        self.generation
            .as_ref()
            .map_or((crate::format::record::FIRST_LINKED_OBJECT, FIRST_DIRECTORY_OBJECT), |generation| {
                (generation.footer.next_linked, generation.footer.next_directory)
            })
    }

    /// Tells whether a directory can have entries here.
    pub(super) fn has_directory(&self, number: u64) -> bool {
        self.generation.as_ref().is_some_and(|generation| number < generation.footer.next_directory)
    }

    pub(super) fn lookup(&self, directory: u64, name: &[u8]) -> Result<Option<BaseEntry>, StagingError> {
        let Some(generation) = self.generation.as_ref().filter(|_| self.has_directory(directory)) else {
            return Ok(None);
        };
        let Some(entry) = generation.lookup(self.repository.pages(), directory, name)? else {
            return Ok(None);
        };
        let Some(inode) = entry.inode else { return Ok(None) };
        let linked = match entry.node {
            Node::Object { object, .. } if entry.kind != FileKind::Directory => Some(object),
            _ => None,
        };
        let number = match (entry.kind, entry.node) {
            (FileKind::Directory, Node::Object { object, .. }) => object,
            _ => number_of(&inode, linked, directory, name),
        };
        Ok(Some(BaseEntry { kind: entry.kind, number, linked, inode }))
    }

    /// Names of a directory from `name` on, in order.
    pub(super) fn list<'b>(
        &'b self,
        directory: u64,
        name: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, BaseEntry), StagingError>> + use<'b> {
        let generation = self.generation.as_ref().filter(|_| self.has_directory(directory));
        let pages = self.repository.pages();
        let listing = generation.map(|generation| generation.list_from(pages, directory, name));
        listing.into_iter().flatten().map(move |entry| {
            let entry = entry?;
            let (linked, inode) = match (entry.inode, entry.node) {
                (Some(inode), _) => (None, inode),
                (None, Node::Object { object, .. }) => {
                    let linked = (entry.kind != FileKind::Directory).then_some(object);
                    let missing = || crate::repo::ReadError::NoObject { object };
                    (linked, self.object(object)?.ok_or_else(missing)?.1)
                }
                (None, _) => return Err(StagingError::Stale { number: entry.node.to_number() }),
            };
            let number = match entry.node {
                Node::Object { object, .. } if entry.kind == FileKind::Directory => object,
                _ => number_of(&inode, linked, directory, &entry.name),
            };
            Ok((entry.name, BaseEntry { kind: entry.kind, number, linked, inode }))
        })
    }

    /// Reads an object by its id in the base, with its number.
    pub(super) fn object(&self, object: u64) -> Result<Option<(u64, Inode)>, StagingError> {
        let Some(generation) = &self.generation else { return Ok(None) };
        let (next_linked, next_directory) = self.next_ids();
        if !(object == ROOT_OBJECT
            || object < next_linked
            || (FIRST_DIRECTORY_OBJECT..next_directory).contains(&object))
        {
            return Ok(None);
        }
        match generation.object(self.repository.pages(), object) {
            Ok(inode) => {
                let is_directory = matches!(inode.detail, Detail::Directory { .. });
                let number =
                    if is_directory || !inode.is_staging_number { object } else { inode.source_inode };
                Ok(Some((number, inode)))
            }
            Err(crate::repo::ReadError::NoObject { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The object at a place, as it would be if it were touched, with its number.
    pub(super) fn at(&self, place: &FrozenPlace) -> Result<Option<(u64, ObjectState)>, StagingError> {
        match place {
            FrozenPlace::Linked(object) => {
                Ok(self.object(*object)?.map(|(number, inode)| (number, ObjectState::of_base(inode, None))))
            }
            FrozenPlace::Entry(home) => Ok(self.lookup(home.directory, &home.name)?.map(|entry| {
                let has_home = entry.linked.is_none() && entry.kind != FileKind::Directory;
                let home = has_home.then(|| home.clone());
                (entry.number, ObjectState::of_base(entry.inode, home))
            })),
        }
    }

    /// Looks through the whole base for objects: the last resort for numbers that nobody has a name for. Tells
    /// `take` of each, and returns how many records were looked at.
    pub(super) fn find(
        &self,
        numbers: &HashSet<u64>,
        mut is_hidden: impl FnMut(&Home) -> Result<bool, StagingError>,
        mut take: impl FnMut(u64, FrozenPlace),
    ) -> Result<u64, StagingError> {
        let mut count = 0;
        let Some(generation) = &self.generation else { return Ok(count) };
        let mut left = numbers.clone();
        for found in generation.records(self.repository.pages()) {
            if left.is_empty() {
                break;
            }
            count += 1;
            // What cannot be read is no candidate; reading it by name tells what is wrong with it.
            let Ok(found) = found else { continue };
            let Ok((directory, name)) = split_key(found.key()) else { continue };
            let candidate = match Record::decode(found.value()) {
                Ok(Record::Inode(inode)) if !matches!(inode.detail, Detail::Directory { .. }) => inode,
                _ => continue,
            };
            let linked = name.is_empty().then_some(directory);
            let number = number_of(&candidate, linked, directory, name);
            if !left.contains(&number) {
                continue;
            }
            let home = Home::new(directory, name);
            let place = match linked {
                Some(object) => FrozenPlace::Linked(object),
                None if is_hidden(&home)? => continue,
                None => FrozenPlace::Entry(home),
            };
            left.remove(&number);
            take(number, place);
        }
        Ok(count)
    }
}

/// The number of an object, but for a directory.
pub(super) fn number_of(inode: &Inode, linked: Option<u64>, directory: u64, name: &[u8]) -> u64 {
    match linked {
        _ if inode.is_staging_number => inode.source_inode,
        Some(object) => object,
        None => hash_number(directory, name),
    }
}
