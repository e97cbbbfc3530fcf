//! Finds what the repository has already: whole files by RFE, chunks by fingerprint, and chunks to
//! compress a changed file against.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;
use crate::format::frame::{BASE_COUNT_MAX, ChunkPointer};
use crate::format::record::{Content, Detail, Extent, Inode, Time, Xattrs};
use crate::id::{FileId, Fingerprint};
use crate::index::{Index, RfeKey};
use crate::repo::damaged_chunks::{self, DamagedChunks};
use crate::repo::extent_list::ExtentList;
use crate::repo::node::Node;
use crate::repo::{RepoError, Repository};

// More than this in front of a frame makes reading it dear.
const PREFIX_LEN_MAX: u64 = 1 << 20;
// Old bytes on either side of a changed place: content moves.
const MARGIN: u64 = 32 << 10;

/// The repository and its index, as far as it can be used.
#[derive(Debug)]
pub(in crate::job) struct Dedup<'a> {
    repository: &'a Repository,
    index: Option<&'a Index>,
    delta: bool,
    damaged: DamagedChunks,
    // Whether a BDF is there, so that a stale index record is not believed.
    present: Mutex<HashMap<FileId, bool>>,
}

impl<'a> Dedup<'a> {
    pub(in crate::job) fn new(repository: &'a Repository, index: Option<&'a Index>) -> Self {
        let delta = repository.config().compression.delta && repository.config().compression.level > 0;
        let damaged = DamagedChunks::read(&**repository.storage()).unwrap_or_else(|error| {
            log::warn!("the record of damaged chunks cannot be read: {error}");
            DamagedChunks::default()
        });
        Self { repository, index, delta, damaged, present: Mutex::default() }
    }

    /// Finds a chunk of this length that is stored and whose BDF is there.
    pub(in crate::job) fn chunk(
        &self,
        fingerprint: &Fingerprint,
        len: usize,
    ) -> Result<Option<ChunkPointer>, StoreError> {
        let Some(index) = self.index else { return Ok(None) };
        let found = index.chunk(fingerprint)?;
        Ok(found.filter(|pointer| {
            pointer.len as usize == len && self.is_present(pointer.location.file) && self.is_trusted(pointer)
        }))
    }

    // What was found damaged is read before anything points to it again.
    fn is_trusted(&self, pointer: &ChunkPointer) -> bool {
        !self.damaged.contains(&pointer.fingerprint) || self.repository.frames().chunk_there(pointer).is_ok()
    }

    /// Takes chunks out of the record of damaged ones that the index knows to be whole now.
    pub(in crate::job) fn forget_healed(&self) -> Result<(), StoreError> {
        let Some(index) = self.index.filter(|_| !self.damaged.is_empty()) else { return Ok(()) };
        let mut healed = Vec::new();
        for fingerprint in self.damaged.iter() {
            let known = index.chunk(fingerprint)?;
            if known.is_some_and(|known| self.repository.frames().chunk_there(&known).is_ok()) {
                healed.push(*fingerprint);
            }
        }
        let storage = &**self.repository.storage();
        damaged_chunks::forget(storage, &healed).map_err(RepoError::from)?;
        if self.damaged.is_more {
            damaged_chunks::forget_many(storage).map_err(RepoError::from)?;
        }
        Ok(())
    }

    fn is_present(&self, file: FileId) -> bool {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        *present.entry(file).or_insert_with(|| self.repository.frames().bdf(file).is_ok())
    }

    /// Tells whether some stored file may be this one, before its content is read.
    pub(in crate::job) fn may_be_redundant(
        &self,
        name: &[u8],
        size: u64,
        mtime: Time,
    ) -> Result<bool, StoreError> {
        let Some(index) = self.index else { return Ok(false) };
        let candidates = index.candidates(RfeKey::of(name, size, mtime))?;
        Ok(!candidates.is_empty())
    }

    /// RFE (row H4): the CRC finds candidates, the signature of the file's own data decides. `new_list` makes
    /// the list that is returned.
    pub(in crate::job) fn redundant_file(
        &self,
        name: &[u8],
        size: u64,
        mtime: Time,
        signature: Fingerprint,
        new_list: &mut dyn FnMut() -> ExtentList,
    ) -> Result<Option<ExtentList>, StoreError> {
        let Some(index) = self.index else { return Ok(None) };
        for record in index.candidates(RfeKey::of(name, size, mtime))? {
            if !record.may_match(size, signature) {
                continue;
            }
            let Some(node) = Node::from_number(record.file) else { continue };
            // A record may be stale or damaged; then the file is stored again.
            let Ok(inode) = self.repository.inode(node) else { continue };
            if let Some(extents) = self.same_file(&inode, size, signature, new_list())? {
                return Ok(Some(extents));
            }
        }
        Ok(None)
    }

    fn same_file(
        &self,
        inode: &Inode,
        wanted_size: u64,
        wanted: Fingerprint,
        mut current: ExtentList,
    ) -> Result<Option<ExtentList>, StoreError> {
        let Detail::Regular { size, signature: Some(signature), .. } = &inode.detail else { return Ok(None) };
        let Some(content) = self.repository.content(inode) else { return Ok(None) };
        if *size != wanted_size || *signature != wanted {
            return Ok(None);
        }
        // Where the index knows each chunk to be now: verification takes damaged ones out of it, and a
        // file must not be bound to data that cannot be read.
        for extent in content.extents_from(0) {
            let Ok(extent) = extent else { return Ok(None) };
            let found = self.chunk(&extent.chunk.fingerprint, extent.chunk.len as usize)?;
            let Some(chunk) = found else { return Ok(None) };
            current.push(Extent { chunk, ..extent })?;
        }
        Ok(Some(current))
    }

    /// Chunks of the file's previous version around a range, each in a plain frame.
    ///
    /// A chunk that is a delta itself gives its own bases instead, so that reading stays one step deep.
    pub(in crate::job) fn bases(
        &self,
        before: &Inode,
        offset: u64,
        len: u64,
    ) -> Result<Vec<ChunkPointer>, StoreError> {
        let mut bases = Vec::new();
        if !self.delta {
            return Ok(bases);
        }
        let Some(content) = self.repository.content(before) else { return Ok(bases) };
        let end = offset.saturating_add(len).saturating_add(MARGIN);
        let mut prefix_len = 0;
        for extent in content.extents_from(offset.saturating_sub(MARGIN)) {
            let Ok(extent) = extent else { break };
            if extent.offset >= end {
                break;
            }
            let location = extent.chunk.location;
            // What cannot be read now cannot be a base either.
            let Ok(frame) = self.repository.frames().frame(location.file, location.frame) else { break };
            let candidates = match frame.header().bases.as_slice() {
                [] => vec![extent.chunk],
                deeper => deeper.to_vec(),
            };
            for base in candidates {
                if bases.contains(&base) {
                    continue;
                }
                prefix_len += u64::from(base.len);
                if prefix_len > PREFIX_LEN_MAX || bases.len() >= BASE_COUNT_MAX as usize {
                    return Ok(bases);
                }
                bases.push(base);
            }
        }
        Ok(bases)
    }

    /// The bytes of the bases one after the other; `None` if one cannot be read.
    pub(in crate::job) fn prefix(&self, bases: &[ChunkPointer]) -> Option<Vec<u8>> {
        let mut prefix = Vec::new();
        for base in bases {
            prefix.extend_from_slice(self.repository.frames().chunk_there(base).ok()?.bytes());
        }
        Some(prefix)
    }

    /// Tells whether all that a file points to is there, and none of it was found damaged.
    pub(in crate::job) fn is_whole(&self, inode: &Inode) -> bool {
        if self.damaged.is_more {
            return false;
        }
        let is_whole = |extent: &Extent| {
            self.is_present(extent.chunk.location.file) && !self.damaged.contains(&extent.chunk.fingerprint)
        };
        let xattrs = match &inode.xattrs {
            Xattrs::Stored { extents, .. } => &extents[..],
            Xattrs::Inline(_) => &[],
        };
        if !xattrs.iter().all(is_whole) {
            return false;
        }
        match &inode.detail {
            Detail::Regular { content: Content::Inline(extents), .. } => extents.iter().all(is_whole),
            // A long list is walked only if there is something to be found; `verify` does it otherwise.
            Detail::Regular { .. } if !self.damaged.is_empty() => {
                let content = self.repository.content(inode);
                content.is_some_and(|content| {
                    content.extents_from(0).all(|extent| extent.is_ok_and(|extent| is_whole(&extent)))
                })
            }
            _ => true,
        }
    }
}
