//! Takes into the catalogue what a cartridge holds: its index, trees, and the lists of extended attributes that trees
//! do not hold themselves, so that questions about metadata move no tape.
//!
//! A tree is kept whatever its length, unless that would leave too little of the disk free. Of one that goes on on
//! another cartridge each scan keeps the piece that is on its own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

use super::catalogue::{Catalogue, piece_name};
use super::error::TapeJobError;
use super::lists::{LIST_BYTES_MAX, ListKeeper, ListTotals};
use super::order;
use super::port::Port;
use super::sets::{MetadataFrom, VolumeSet};
use crate::format::config;
use crate::id::{FileId, Ordinal};
use crate::progress::Progress;
use crate::repo::CacheBytes;
use crate::storage::StorageError;
use crate::tape::archive::{SegmentEntry, VolumeDescription};
use crate::tape::drive::Drive;
use crate::tape::reader::{VolumeIndex, VolumeReader};

/// Longest configuration of a repository that is kept, in bytes.
const CONFIGURATION_LEN_MAX: u64 = 1 << 20;
/// Part of the disk that stays free when a tree is kept.
const FREE_PART: u64 = 20;

/// How much is kept of a cartridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepLimits {
    /// Longest tree that is kept, in bytes; what leaves a twentieth of the disk free if not given.
    pub tree_bytes_max: Option<u64>,
    /// Most bytes of lists of extended attributes.
    pub list_bytes_max: u64,
}

impl Default for KeepLimits {
    fn default() -> Self {
        Self { tree_bytes_max: None, list_bytes_max: LIST_BYTES_MAX }
    }
}

/// How a cartridge is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanOptions {
    /// Go through the whole cartridge instead of believing its index, and read trees again.
    pub is_full: bool,
    /// How much is kept.
    pub limits: KeepLimits,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedVolume {
    /// What the cartridge is.
    pub description: VolumeDescription,
    /// What is on it.
    pub index: VolumeIndex,
    /// Trees that were not kept, for want of room or by the limit: their generations cannot be listed.
    pub trees_left_out: Vec<Arc<str>>,
    /// What became of lists of extended attributes.
    pub lists: ListTotals,
}

/// Takes over into the catalogue what a cartridge of ours holds.
///
/// # Errors
/// [`TapeJobError`] if the cartridge cannot be read or the catalogue not be written.
pub fn scan_volume(
    catalogue: &Catalogue,
    drive: &mut Drive,
    options: ScanOptions,
    progress: &Progress,
) -> Result<ScannedVolume, TapeJobError> {
    let mut reader = VolumeReader::open(drive)?;
    let description = described(catalogue, reader.description());
    let index = if options.is_full { reader.scan(progress)? } else { reader.index(progress)? };
    let mut scan =
        Scan { catalogue, volume: description.volume, options, reader, trees_left_out: Vec::new(), progress };
    // Trees first: a cartridge that the catalogue knows can be listed.
    for piece in pieces(&index.segments) {
        scan.keep(piece)?;
    }
    catalogue.put(&description, index.header.as_ref(), &index.segments)?;
    let lists = scan.keep_lists(&description, &index)?;
    order::make_newest(catalogue, description.set, progress)?;
    Ok(ScannedVolume { description, index, trees_left_out: scan.trees_left_out, lists })
}

// A description that is damaged tells neither repository nor pool: what was known of that cartridge holds.
fn described(catalogue: &Catalogue, found: &VolumeDescription) -> VolumeDescription {
    let known = match catalogue.volume(found.volume) {
        _ if found.is_described() => None,
        Ok(known) => known,
        Err(error) => {
            log::warn!("{}", crate::job::chain(&error));
            None
        }
    };
    known.map_or_else(|| found.clone(), |known| known.description)
}

/// The segments of trees and of the configuration, those of one object that follow one another together.
fn pieces(segments: &[SegmentEntry]) -> Vec<&[SegmentEntry]> {
    let follows = |left: &SegmentEntry, right: &SegmentEntry| {
        left.name == right.name && left.offset.checked_add(left.len) == Some(right.offset)
    };
    let is_kept = |segment: &SegmentEntry| {
        let is_small = segment.name.as_ref() == config::FILE_NAME && segment.total <= CONFIGURATION_LEN_MAX;
        segment.name.ends_with(".dtf") || is_small
    };
    let all = segments.chunk_by(follows);
    all.filter(|piece| piece.first().is_some_and(is_kept)).collect()
}

struct Scan<'a> {
    catalogue: &'a Catalogue,
    volume: FileId,
    options: ScanOptions,
    reader: VolumeReader<'a>,
    trees_left_out: Vec<Arc<str>>,
    progress: &'a Progress,
}

impl Scan<'_> {
    fn keep(&mut self, segments: &[SegmentEntry]) -> Result<(), TapeJobError> {
        let Some(first) = segments.first() else { return Ok(()) };
        let len: u64 = segments.iter().map(|segment| segment.len).sum();
        let name = piece_name(&first.name, first.offset, len, first.total);
        let kept = self.catalogue.open_file(self.volume, &name);
        if !self.options.is_full && kept.is_ok_and(|file| file.len() == len) {
            return Ok(());
        }
        // Without the configuration nothing of the set can be listed; it is short.
        if first.name.ends_with(".dtf") && !self.has_room(len)? {
            self.trees_left_out.push(Arc::clone(&first.name));
            return Ok(());
        }
        self.copy(&name, segments)
    }

    fn has_room(&self, len: u64) -> Result<bool, TapeJobError> {
        if let Some(most) = self.options.limits.tree_bytes_max {
            return Ok(len <= most);
        }
        let (free_bytes, total_bytes) = self.catalogue.space()?;
        Ok(free_bytes.saturating_sub(len) >= total_bytes / FREE_PART)
    }

    fn copy(&mut self, name: &str, segments: &[SegmentEntry]) -> Result<(), TapeJobError> {
        let (reader, progress) = (&mut self.reader, self.progress);
        let mut failed = None;
        let put = self.catalogue.put_file(self.volume, name, None, |file| {
            let path = file.path().to_owned();
            let copied = segments.iter().try_for_each(|segment| {
                reader.copy(segment, progress, |piece| Ok::<_, TapeJobError>(file.append(piece)?))
            });
            copied.map_err(|error| {
                failed = Some(error);
                // Any error keeps the file from getting its name; the first one is the one that counts.
                StorageError { operation: "write", path, source: io::Error::other("it cannot be copied") }
            })
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(put?),
        }
    }

    // The lists of all generations of the set, as far as they are on this cartridge.
    fn keep_lists(
        &mut self,
        description: &VolumeDescription,
        index: &VolumeIndex,
    ) -> Result<ListTotals, TapeJobError> {
        let mut damaged = |error| log::warn!("{}", crate::job::chain(&error));
        let sets = VolumeSet::all(self.catalogue, &mut damaged)?;
        let Some(set) = sets.into_iter().find(|set| set.id == description.set) else {
            return Ok(ListTotals::default());
        };
        let volumes: Vec<FileId> = set.volumes.iter().map(|known| known.description.volume).collect();
        let mut generations: Vec<Ordinal> =
            set.generations().into_values().flatten().map(|id| id.ordinal).collect();
        generations.sort_unstable();
        let places = places(&index.segments);
        let keeper =
            ListKeeper::new(self.catalogue, self.volume, &volumes, self.options.limits.list_bytes_max)?
                .in_order_of(&places);
        let (port, asked) = Port::new(self.volume);
        let catalogue = self.catalogue;
        let progress = self.progress;
        thread::scope(|scope| {
            let walk = scope.spawn(move || {
                let opened = set.open(catalogue, Arc::new(port), CacheBytes::default(), MetadataFrom::Kept);
                match opened {
                    // A set whose beginning was not scanned cannot be read at all.
                    Err(TapeJobError::NotOnTape { .. }) => Ok(ListTotals::default()),
                    Err(error) => Err(error),
                    Ok(repository) => keeper.run(&repository, &generations, progress),
                }
            });
            asked.into_iter().for_each(|asked| asked.serve(&mut self.reader));
            walk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

// Where the BDFs on a cartridge begin.
fn places(segments: &[SegmentEntry]) -> BTreeMap<FileId, u64> {
    let bdf = |segment: &SegmentEntry| {
        let (_, name) = segment.name.rsplit_once('/')?;
        Some((name.strip_suffix(".bdf")?.parse::<FileId>().ok()?, segment.address.loi))
    };
    // The first one of several segments counts.
    segments.iter().rev().filter_map(bdf).collect()
}
