//! Brings the index up to date with sealed files: after a commit, and from nothing.

use std::collections::HashSet;

use thiserror::Error;

use crate::format::bdf;
use crate::format::frame::{ChunkPointer, Location};
use crate::format::page::{Page, PageRef};
use crate::format::record::{Content, Detail, Record, split_key};
use crate::id::{ClientName, FileId, Fingerprint};
use crate::index::{Index, IndexBatch, IndexError, RfeKey, RfeRecord};
use crate::progress::{Cancelled, Progress};
use crate::repo::node::{Node, RecordAddress};
use crate::repo::pages::read_sealed;
use crate::repo::{GenerationId, ReadError, RepoError, Repository};

/// Why the index could not be brought up to date.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IndexingError {
    /// A sealed file could not be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// The index could not be written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The operation was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The new index cannot take the place of the old one.
    #[error("cannot replace the old index")]
    Replace {
        /// The refusal.
        source: std::io::Error,
    },
}

impl From<ReadError> for IndexingError {
    fn from(error: ReadError) -> Self {
        Self::Repo(error.into())
    }
}

/// What a rebuild found.
#[derive(Debug, Default)]
pub struct RebuildSummary {
    /// Generations read.
    pub generation_count: u64,
    /// BDFs read.
    pub bdf_count: u64,
    /// Chunks indexed.
    pub chunk_count: u64,
    /// Files or parts of files that could not be read, with the reason; they are not in the index.
    pub failed: Vec<String>,
}

/// Adds a new generation's chunks and files to the index.
///
/// # Errors
/// [`IndexingError`] if a file cannot be read or the index not be written.
pub fn index_generation(
    repository: &Repository,
    index: &Index,
    client: &ClientName,
    generation: GenerationId,
    bdfs: &[FileId],
) -> Result<(), IndexingError> {
    let mut batch = IndexBatch::default();
    for file in bdfs {
        index_bdf(repository, index, *file, &mut batch)?;
    }
    index_pages(repository, index, client, generation, &mut batch, &mut |error| Err(error.into()))?;
    index.write(batch)?;
    index.sync()?;
    Ok(())
}

/// Fills an empty index from all sealed files of the repository.
///
/// # Errors
/// [`IndexingError`] if directories cannot be listed or the index not be written; what single files
/// refuse is in the summary.
pub fn rebuild(
    repository: &Repository,
    index: &Index,
    progress: &Progress,
) -> Result<RebuildSummary, IndexingError> {
    let mut summary = RebuildSummary::default();
    for (file, client, area) in
        crate::repo::frames::all_bdfs(&**repository.storage()).map_err(RepoError::from)?
    {
        progress.check()?;
        let mut batch = IndexBatch::default();
        match index_bdf(repository, index, file, &mut batch) {
            Ok(count) => summary.chunk_count += count,
            Err(IndexingError::Repo(error)) => {
                let name = crate::repo::frames::bdf_name(area, client.as_str(), file);
                summary.failed.push(format!("{name}: {}", super::chain(&error)));
            }
            Err(error) => return Err(error),
        }
        index.write(batch)?;
        summary.bdf_count += 1;
        progress.add(1, 0);
    }
    for client in repository.clients()? {
        for generation in repository.generations(&client)? {
            progress.check()?;
            let mut batch = IndexBatch::default();
            let failed = &mut summary.failed;
            let name = format!("{client}@{}", generation.time);
            let mut note = |error: ReadError| {
                failed.push(format!("{name}: {}", super::chain(&error)));
                Ok(())
            };
            index_pages(repository, index, &client, generation, &mut batch, &mut note)?;
            index.write(batch)?;
            summary.generation_count += 1;
            progress.add(1, 0);
        }
    }
    index.sync()?;
    Ok(summary)
}

fn index_bdf(
    repository: &Repository,
    index: &Index,
    file: FileId,
    batch: &mut IndexBatch,
) -> Result<u64, IndexingError> {
    let bdf = repository.frames().bdf(file)?;
    let (seal, footer) = read_sealed(bdf.file(), file)?;
    let spans = bdf::decode_footer(&footer, seal.footer_crc).map_err(|source| ReadError::Format {
        path: bdf.file().path().to_owned(),
        offset: seal.footer_offset,
        source,
    })?;
    let mut count = 0;
    for span in spans {
        let header = bdf.read_header(span.offset)?;
        let mut start = 0;
        for info in &header.chunks {
            let location = Location { file, frame: span.offset, start };
            let chunk = ChunkPointer { fingerprint: info.fingerprint, len: info.len, location };
            if !is_better_known(repository, index, &chunk)? {
                index.put_chunk(batch, &chunk)?;
            }
            start += info.len;
            count += 1;
        }
        if batch.is_full() {
            index.write(std::mem::take(batch))?;
        }
    }
    Ok(count)
}

// A chunk is stored twice when it was found damaged in the first place: the whole one counts.
fn is_better_known(
    repository: &Repository,
    index: &Index,
    chunk: &ChunkPointer,
) -> Result<bool, IndexingError> {
    let known = index.chunk(&chunk.fingerprint)?;
    Ok(known.is_some_and(|known| {
        known.location != chunk.location
            && known.len == chunk.len
            && repository.frames().chunk_there(&known).is_ok()
    }))
}

// Every page belongs to one DTF, so that the pages of all DTFs together are all there are.
fn index_pages(
    repository: &Repository,
    index: &Index,
    client: &ClientName,
    generation: GenerationId,
    batch: &mut IndexBatch,
    failed: &mut dyn FnMut(ReadError) -> Result<(), IndexingError>,
) -> Result<(), IndexingError> {
    let root = match repository.generation(generation.ordinal) {
        Ok(opened) => opened.footer.root,
        Err(error) => return failed(error),
    };
    let mut left = vec![(root, None)];
    // A damaged tree may lead to the same page again and again.
    let mut seen = HashSet::new();
    while let Some((at, level_above)) = left.pop() {
        if at.ordinal != generation.ordinal || !seen.insert(at.offset) {
            continue;
        }
        let page = match repository.pages().page_once(at) {
            Ok(page) => page,
            Err(error) => {
                failed(error)?;
                continue;
            }
        };
        if level_above.is_some_and(|above| page.level() >= above) {
            let (ordinal, offset) = (at.ordinal, at.offset);
            failed(ReadError::PageMismatch { ordinal, offset, what: "level" })?;
            continue;
        }
        if page.level() > 0 {
            for slot in (0..page.len()).rev() {
                if let Ok(child) = page.child(slot) {
                    left.push((child, Some(page.level())));
                }
            }
            continue;
        }
        index_leaf(index, client, at, &page, batch)?;
        if batch.is_full() {
            index.write(std::mem::take(batch))?;
        }
    }
    Ok(())
}

fn index_leaf(
    index: &Index,
    client: &ClientName,
    at: PageRef,
    page: &Page,
    batch: &mut IndexBatch,
) -> Result<(), IndexingError> {
    for (slot, (key, value)) in page.records_from(0).enumerate() {
        let (Ok((_, name)), Ok(Record::Inode(inode))) = (split_key(key), Record::decode(value)) else {
            continue;
        };
        let Detail::Regular { size, signature: Some(signature), content } = &inode.detail else { continue };
        let (size, signature) = (*size, *signature);
        if size == 0 || name.is_empty() || inode.inconsistent || is_one_chunk(content, size, signature) {
            continue;
        }
        let Ok(slot) = u16::try_from(slot) else { continue };
        let node = Node::Entry(RecordAddress { ordinal: at.ordinal, offset: at.offset, slot });
        let rfe = RfeKey::of(name, size, inode.mtime);
        // One record per common file, whichever client brought it first.
        let known = index.candidates(rfe)?.iter().any(|record| record.may_match(size, signature));
        if !known {
            index.put_file(batch, rfe, &RfeRecord::new(node.to_number(), client, size, signature));
        }
    }
    Ok(())
}

// The chunk's own record, found by the signature, is that of the file.
fn is_one_chunk(content: &Content, size: u64, signature: Fingerprint) -> bool {
    let Content::Inline(extents) = content else { return false };
    matches!(&extents[..], [only] if only.offset == 0
        && only.len == size
        && only.skip == 0
        && u64::from(only.chunk.len) == size
        && only.chunk.fingerprint == signature)
}
