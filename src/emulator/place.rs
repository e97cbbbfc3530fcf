//! Places on a tape: where an object stands in the image file, and a sparse index of them.

use std::io;

use serde::{Deserialize, Serialize};

use super::tap::{Found, Object, Tap};

/// Most marks in an index; beyond that every second one goes.
const MARKS_MAX: usize = 4096;
/// Bytes between two marks at first.
const SPACING_BYTES: u64 = 1 << 20;

/// A place between two objects of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Logical object identifier: count of blocks and filemarks before it.
    pub(super) object: u64,
    /// Count of filemarks before it.
    pub(super) filemarks: u64,
    /// Offset in the image file in bytes.
    pub(super) offset: u64,
}

impl Place {
    /// Tells whether so many objects have room before it: none is shorter than four bytes.
    pub(super) fn is_sound(self) -> bool {
        self.object <= self.offset / 4 && self.filemarks <= self.object
    }

    /// The place after one more object.
    pub(super) fn after(self, object: Object, end: u64) -> Self {
        let filemarks = self.filemarks + u64::from(object == Object::Filemark);
        Self { object: self.object + 1, filemarks, offset: end }
    }

    /// The place before the object in front.
    pub(super) fn before(self, object: Object, start: u64) -> Self {
        let filemarks = self.filemarks.saturating_sub(u64::from(object == Object::Filemark));
        Self { object: self.object.saturating_sub(1), filemarks, offset: start }
    }
}

/// Some places in ascending order; it can always be made again by a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    spacing_bytes: u64,
    places: Vec<Place>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { spacing_bytes: SPACING_BYTES, places: Vec::new() }
    }
}

impl Marks {
    /// Takes note of a place if it is far enough behind the last one.
    pub(super) fn note(&mut self, place: Place) {
        let last = self.places.last().copied().unwrap_or_default();
        let far = place.offset >= last.offset.saturating_add(self.spacing_bytes);
        if !far || place.object <= last.object {
            return;
        }
        self.places.push(place);
        if self.places.len() > MARKS_MAX {
            self.spacing_bytes = self.spacing_bytes.saturating_mul(2);
            let mut keep = false;
            self.places.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// Forgets all places behind an offset.
    pub(super) fn cut(&mut self, offset: u64) {
        self.places.retain(|place| place.offset <= offset);
    }

    /// Tells whether the places can be true: ascending, and in a file of this length.
    pub(super) fn is_sound(&self, file_len: u64) -> bool {
        let ascending = self.places.is_sorted_by(|a, b| a.object < b.object && a.offset < b.offset);
        let inside = self.places.last().is_none_or(|last| last.offset <= file_len);
        let sound = self.places.iter().all(|place| place.is_sound());
        ascending
            && inside
            && sound
            && self.places.len() <= MARKS_MAX + 1
            && self.spacing_bytes >= SPACING_BYTES
    }

    /// The last place with at most `object` objects before it; the beginning if there is none.
    pub(super) fn at_or_before_object(&self, object: u64) -> Place {
        let end = self.places.partition_point(|place| place.object <= object);
        end.checked_sub(1).and_then(|last| self.places.get(last)).copied().unwrap_or_default()
    }

    /// The last place with fewer than `filemarks` filemarks before it; the beginning if there is none.
    pub(super) fn before_filemark(&self, filemarks: u64) -> Place {
        let end = self.places.partition_point(|place| place.filemarks < filemarks);
        end.checked_sub(1).and_then(|last| self.places.get(last)).copied().unwrap_or_default()
    }

    /// The last place.
    pub(super) fn last(&self) -> Place {
        self.places.last().copied().unwrap_or_default()
    }
}

/// The end of what is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct EndOfData {
    /// Where it is.
    pub(super) place: Place,
    /// Length of the image file in bytes; more than the offset of the place if something torn follows.
    pub(super) file_len: u64,
    /// There is no end-of-data mark: what follows is torn.
    pub(super) is_torn: bool,
}

impl EndOfData {
    /// Tells whether it can be true.
    pub(super) fn is_sound(self) -> bool {
        self.place.is_sound() && self.place.offset <= self.file_len
    }
}

/// Finds the end of data by going forward from a place.
pub(super) fn scan(tap: &Tap, from: Place, marks: &mut Marks) -> io::Result<EndOfData> {
    let file_len = tap.len()?;
    let mut place = from;
    loop {
        match tap.next(place.offset, file_len)? {
            Found::Object { object, end, .. } => {
                place = place.after(object, end);
                marks.note(place);
            }
            Found::End => return Ok(EndOfData { place, file_len, is_torn: false }),
            Found::Torn => return Ok(EndOfData { place, file_len, is_torn: true }),
        }
    }
}
