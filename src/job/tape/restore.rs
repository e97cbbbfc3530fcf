//! Restores from cartridges alone: what the files need is asked for in the order of the tape, and written as it
//! comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::catalogue::{Catalogue, Piece, SetContent};
use super::devices::LibraryInputs;
use super::error::TapeJobError;
use super::recall::{RUN_BLOCKS, Recall, RecallOptions};
use super::sets::{MetadataFrom, VolumeSet};
use crate::format::bdf::Area;
use crate::format::frame;
use crate::format::record::{Detail, Extent, Inode, Xattrs};
use crate::id::{FileId, Ordinal};
use crate::job::restore::{self, RestoreOptions, RestoreSummary};
use crate::job::walk::{Walk, inode_of};
use crate::path;
use crate::progress::Progress;
use crate::repo::{CacheBytes, Node, Repository};
use crate::tape::archive::BlockAddress;

/// What is to be restored from a set.
#[derive(Debug)]
pub struct TapeRestore<'a> {
    /// The catalogue.
    pub catalogue: &'a Catalogue,
    /// The set.
    pub set: VolumeSet,
    /// The generation.
    pub generation: Ordinal,
    /// Path in it.
    pub path: &'a [u8],
    /// Directory to restore into.
    pub target: &'a Path,
}

/// Restores what stands at a path of a generation, from the cartridges of a set.
///
/// # Errors
/// [`TapeJobError`] if the restore could not go on. What single objects refuse is in the summary.
pub fn run(
    what: TapeRestore<'_>,
    options: &RestoreOptions,
    recall_options: RecallOptions,
    inputs: &LibraryInputs,
    progress: &Arc<Progress>,
) -> Result<RestoreSummary, TapeJobError> {
    let TapeRestore { catalogue, set, generation, path, target } = what;
    let content = set.content.clone();
    let cache_path = recall_options.cache.clone();
    // The bytes that people see are those restored, not those recalled.
    let recall = Recall::start(catalogue.clone(), inputs.clone(), recall_options, Arc::default());
    let recall = Arc::new(recall.map_err(|source| crate::storage::StorageError {
        operation: "create",
        path: path::display(cache_path.as_os_str().as_encoded_bytes()),
        source,
    })?);
    let reader = Arc::clone(&recall) as Arc<_>;
    let repository = set.open(catalogue, reader, CacheBytes::default(), MetadataFrom::Tape)?;
    if !options.dry_run {
        ask(&repository, &content, generation, path, &recall, progress)?;
    }
    Ok(restore::run(&repository, generation, path, target, options, progress)?)
}

// Asks for the data of all that is to be restored, before the first byte of it is read.
fn ask(
    repository: &Repository,
    content: &SetContent,
    generation: Ordinal,
    path: &[u8],
    recall: &Recall,
    progress: &Progress,
) -> Result<(), TapeJobError> {
    let mut wanted = Wanted { content, files: Vec::new(), runs: BTreeMap::new() };
    let generation = repository.generation(generation)?;
    let (mut node, mut inode) = (generation.root(), repository.inode(generation.root())?);
    for name in path::components(path) {
        let Node::Object { object, .. } = node else { return Ok(()) };
        // The restore itself tells what is wrong with the path.
        let Some(mut entry) = generation.lookup(repository.pages(), object, name)? else { return Ok(()) };
        inode = inode_of(repository, &mut entry, object)?;
        node = entry.node;
    }
    wanted.inode(repository, &inode);
    if let (Node::Object { object, .. }, Detail::Directory { .. }) = (node, &inode.detail) {
        for walked in Walk::new(repository, &generation, object, Vec::new()) {
            progress.check()?;
            // What cannot be read here is told by the restore.
            if let Ok(walked) = walked {
                wanted.inode(repository, &walked.inode);
            }
        }
    }
    for ((volume, _), loi) in wanted.runs {
        if let Err(error) = recall.prefetch(volume, loi) {
            log::info!("block {loi} is not asked for: {error}");
        }
    }
    Ok(())
}

/// Runs of blocks that are needed, by cartridge and number, each with a block in it.
struct Wanted<'a> {
    content: &'a SetContent,
    // BDFs met, with their names.
    files: Vec<(FileId, Option<String>)>,
    runs: BTreeMap<(FileId, u64), u64>,
}

impl Wanted<'_> {
    fn inode(&mut self, repository: &Repository, inode: &Inode) {
        if let Xattrs::Stored { extents, .. } = &inode.xattrs {
            extents.iter().for_each(|extent| self.extent(extent));
        }
        let Some(reader) = repository.content(inode) else { return };
        for extent in reader.extents_from(0) {
            match extent {
                Ok(extent) => self.extent(&extent),
                Err(error) => return log::info!("{error}"),
            }
        }
    }

    fn extent(&mut self, extent: &Extent) {
        let location = extent.chunk.location;
        let Some(name) = self.name(location.file) else { return };
        let Some(pieces) = self.content.complete(&name) else { return };
        // How long the frame is stands in the frame alone: as it is stored, what is needed of it ends before
        // the chunk's end decompressed.
        let len = frame::HEADER_LEN as u64 + u64::from(location.start) + u64::from(extent.chunk.len);
        let runs = &mut self.runs;
        each_run(pieces, location.frame, len, &mut |run, loi| {
            runs.entry(run).or_insert(loi);
        });
    }

    // The directory of a BDF is not in the pointer to it.
    fn name(&mut self, file: FileId) -> Option<String> {
        if let Some((_, name)) = self.files.iter().rev().find(|(known, _)| *known == file) {
            return name.clone();
        }
        let suffix = format!("/{file}.bdf");
        let areas = Area::ALL.map(Area::directory);
        let is_it = |name: &&Arc<str>| {
            name.ends_with(&suffix) && areas.iter().any(|area| name.split('/').next() == Some(area))
        };
        let name = self.content.names().find(is_it).map(|name| name.as_ref().to_owned());
        if let Some(pieces) = name.as_deref().and_then(|name| self.content.complete(name)) {
            // Its header is read before anything else of it.
            let runs = &mut self.runs;
            each_run(pieces, 0, 1, &mut |run, loi| {
                runs.entry(run).or_insert(loi);
            });
        }
        self.files.push((file, name.clone()));
        name
    }
}

// The runs in which these bytes of an object are, each with a block in it.
fn each_run(pieces: &[Piece], offset: u64, len: u64, found: &mut dyn FnMut((FileId, u64), u64)) {
    let end = offset.saturating_add(len);
    for Piece { volume, segment } in pieces {
        let (first, last) = (segment.offset.max(offset), (segment.offset + segment.len).min(end));
        if first >= last {
            continue;
        }
        let address = |offset: u64| -> BlockAddress { segment.address.plus(offset - segment.offset) };
        let (first, last) = (address(first).loi, address(last - 1).loi);
        for number in first / RUN_BLOCKS..=last / RUN_BLOCKS {
            found((*volume, number), (number * RUN_BLOCKS).max(first));
        }
    }
}
