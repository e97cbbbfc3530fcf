//! The objects of a set of cartridges, and which pieces of them make a whole.
//!
//! An object may have been written more than once: again from its beginning when a cartridge with a part of it was
//! gone, cut at other places, or with other content. So its pieces may overlap, and some may lead nowhere. It is there
//! whole if some of them follow one another from its first byte to its last one.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::catalogue::{Catalogue, CatalogueError};
use crate::id::FileId;
use crate::tape::archive::SegmentEntry;

/// A piece of an object on one of the cartridges of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The cartridge.
    pub volume: FileId,
    /// Where on it.
    pub segment: SegmentEntry,
}

impl Piece {
    fn end(&self) -> u64 {
        self.segment.offset.saturating_add(self.segment.len)
    }

    // Those of one length of the object together, in order.
    fn key(&self) -> (u64, u64, u64) {
        (self.segment.total, self.segment.offset, self.segment.len)
    }
}

/// The objects of a set of cartridges by their names, with all their pieces.
#[derive(Debug, Default, Clone)]
pub struct SetContent {
    objects: BTreeMap<Arc<str>, Pieces>,
}

#[derive(Debug, Default, Clone)]
struct Pieces {
    // By length of the object, offset and length.
    all: Vec<Piece>,
    // Length of the object as it was written last.
    newest_total: u64,
    whole: OnceLock<Whole>,
}

#[derive(Debug, Clone)]
enum Whole {
    No,
    All,
    Some(Vec<Piece>),
}

impl SetContent {
    /// Reads the indexes of these cartridges, which belong to one set, in order of their numbers.
    ///
    /// # Errors
    /// [`CatalogueError`] if one is damaged or cannot be read.
    pub fn read(catalogue: &Catalogue, volumes: &[FileId]) -> Result<Self, CatalogueError> {
        let mut content = Self::default();
        for volume in volumes {
            for segment in catalogue.segments(*volume)? {
                content.add(*volume, segment);
            }
        }
        Ok(content)
    }

    /// Adds a segment, in the order in which they were written; the same bytes written again take the place of the
    /// first.
    pub fn add(&mut self, volume: FileId, segment: SegmentEntry) {
        let pieces = self.objects.entry(Arc::clone(&segment.name)).or_default();
        pieces.whole = OnceLock::new();
        pieces.newest_total = segment.total;
        let piece = Piece { volume, segment };
        match pieces.all.binary_search_by_key(&piece.key(), Piece::key) {
            Ok(index) => {
                if let Some(known) = pieces.all.get_mut(index) {
                    *known = piece;
                }
            }
            Err(index) => pieces.all.insert(index, piece),
        }
    }

    /// Takes what a cartridge holds in place of all that was known of it.
    pub fn replace(&mut self, volume: FileId, segments: impl IntoIterator<Item = SegmentEntry>) {
        for pieces in self.objects.values_mut() {
            if pieces.all.iter().any(|piece| piece.volume == volume) {
                pieces.all.retain(|piece| piece.volume != volume);
                pieces.whole = OnceLock::new();
            }
        }
        for segment in segments {
            self.add(volume, segment);
        }
        self.objects.retain(|_, pieces| !pieces.all.is_empty());
    }

    /// Names of all objects, also of those of which a piece is missing, in order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.objects.keys()
    }

    /// Names of all objects from this one on.
    pub fn names_from<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        let bounds = (std::ops::Bound::Included(first), std::ops::Bound::Unbounded);
        self.objects.range::<str, _>(bounds).map(|(name, _)| name)
    }

    /// The pieces of an object that is there whole, each once, in order.
    #[must_use]
    pub fn complete(&self, name: &str) -> Option<&[Piece]> {
        let pieces = self.objects.get(name)?;
        match pieces.whole.get_or_init(|| pieces.find_whole()) {
            Whole::No => None,
            Whole::All => Some(&pieces.all),
            Whole::Some(chosen) => Some(chosen),
        }
    }

    /// Where an object begins: its first piece.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&Piece> {
        self.complete(name).and_then(<[Piece]>::first).or_else(|| self.objects.get(name)?.all.first())
    }

    /// How far an object of this length is there from its beginning on: number of the first segment that is missing,
    /// and bytes before it.
    #[must_use]
    pub fn begun(&self, name: &str, total: u64) -> (u32, u64) {
        let (mut next, mut end) = (0, 0);
        let Some(pieces) = self.objects.get(name) else { return (0, 0) };
        loop {
            let first = pieces.all.partition_point(|piece| piece.key() < (total, end, 0));
            let here = pieces.all.get(first..).unwrap_or_default();
            let here =
                here.iter().take_while(|piece| (piece.segment.total, piece.segment.offset) == (total, end));
            // The longest one is the last of them.
            let Some(piece) =
                here.filter(|piece| piece.segment.segment == next && piece.segment.len > 0).last()
            else {
                return (next, end);
            };
            (next, end) = (next.saturating_add(1), piece.end());
        }
    }
}

impl Pieces {
    // What was written last counts first, if it is there whole.
    fn find_whole(&self) -> Whole {
        let mut groups: Vec<&[Piece]> =
            self.all.chunk_by(|left, right| left.segment.total == right.segment.total).collect();
        groups
            .sort_by_key(|group| group.first().is_none_or(|piece| piece.segment.total != self.newest_total));
        let Some(chosen) = groups.into_iter().find_map(chain) else { return Whole::No };
        if chosen.len() == self.all.len() {
            Whole::All
        } else {
            Whole::Some(chosen.into_iter().cloned().collect())
        }
    }
}

// Pieces, of those of one length of the object in order, that follow one another from the first byte to the last one.
fn chain(pieces: &[Piece]) -> Option<Vec<&Piece>> {
    // By offset, a piece from which the end is reached.
    let mut leading: BTreeMap<u64, &Piece> = BTreeMap::new();
    for piece in pieces.iter().rev() {
        let is_last = piece.end() == piece.segment.total;
        // One without bytes leads nowhere, unless there are none.
        let leads = piece.segment.len > 0 && leading.contains_key(&piece.end());
        if is_last || leads {
            leading.entry(piece.segment.offset).or_insert(piece);
        }
    }
    let mut found = vec![*leading.get(&0)?];
    while let Some(last) = found.last().filter(|last| last.end() != last.segment.total) {
        found.push(*leading.get(&last.end())?);
    }
    Some(found)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::id::Fingerprint;
    use crate::tape::archive::BlockAddress;

    const NAME: &str = "full/web1/a.bdf";
    const FIRST: FileId = FileId([1; 16]);
    const SECOND: FileId = FileId([2; 16]);

    fn segment(number: u32, offset: u64, end: u64, total: u64) -> SegmentEntry {
        SegmentEntry {
            name: NAME.into(),
            segment: number,
            offset,
            len: end - offset,
            total,
            fingerprint: Fingerprint::NONE,
            object_fingerprint: None,
            mtime_seconds: 0,
            part: 2,
            address: BlockAddress { loi: 9, byte: 0 },
        }
    }

    fn offsets(content: &SetContent) -> Option<Vec<(FileId, u64)>> {
        let pieces = content.complete(NAME)?;
        Some(pieces.iter().map(|piece| (piece.volume, piece.segment.offset)).collect())
    }

    #[test]
    fn an_object_that_was_written_again_and_cut_elsewhere_is_there_whole() {
        let mut content = SetContent::default();
        // What is left of the first time leads nowhere.
        content.add(FIRST, segment(1, 70, 100, 100));
        assert_eq!(offsets(&content), None);
        assert_eq!(content.begun(NAME, 100), (0, 0));
        content.add(FIRST, segment(0, 0, 60, 100));
        assert_eq!(content.begun(NAME, 100), (1, 60));
        content.add(SECOND, segment(1, 60, 80, 100));
        content.add(SECOND, segment(2, 80, 100, 100));
        assert_eq!(offsets(&content), Some(vec![(FIRST, 0), (SECOND, 60), (SECOND, 80)]));
        // A way that ends is not taken, however it begins.
        content.add(SECOND, segment(0, 0, 75, 100));
        assert_eq!(offsets(&content), Some(vec![(FIRST, 0), (SECOND, 60), (SECOND, 80)]));
        assert_eq!(content.first(NAME).map(|piece| piece.volume), Some(FIRST));
    }

    #[test]
    fn what_was_written_last_counts_if_it_is_whole() {
        let mut content = SetContent::default();
        content.add(FIRST, segment(0, 0, 50, 50));
        content.add(SECOND, segment(0, 0, 40, 90));
        assert_eq!(offsets(&content), Some(vec![(FIRST, 0)]));
        assert_eq!(content.begun(NAME, 90), (1, 40));
        content.add(SECOND, segment(1, 40, 90, 90));
        assert_eq!(offsets(&content), Some(vec![(SECOND, 0), (SECOND, 40)]));
        assert_eq!(
            content.complete(NAME).and_then(<[Piece]>::first).map(|piece| piece.segment.total),
            Some(90)
        );
    }

    #[test]
    fn what_a_cartridge_has_lost_counts_no_more() {
        let mut content = SetContent::default();
        content.add(FIRST, segment(0, 0, 50, 90));
        content.add(SECOND, segment(1, 50, 90, 90));
        assert!(content.complete(NAME).is_some());
        content.replace(SECOND, []);
        assert_eq!(offsets(&content), None);
        assert_eq!(content.begun(NAME, 90), (1, 50));
        content.replace(FIRST, []);
        assert_eq!(content.names().count(), 0);
    }

    #[test]
    fn an_object_without_bytes_is_there_whole_and_pieces_without_bytes_lead_nowhere() {
        let mut content = SetContent::default();
        content.add(FIRST, segment(0, 0, 0, 0));
        assert_eq!(offsets(&content), Some(vec![(FIRST, 0)]));
        let mut content = SetContent::default();
        content.add(FIRST, segment(0, 0, 0, 10));
        content.add(FIRST, segment(1, 5, 10, 10));
        assert_eq!(offsets(&content), None);
        assert_eq!(content.begun(NAME, 10), (0, 0));
    }
}
