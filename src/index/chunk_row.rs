//! Rows of the column family `chunks`: where a chunk is, and which BDF a number stands for.
//!
//! Sixteen bytes of file id in each row would be a third of it, so BDFs have numbers. Their rows stand before
//! those of all chunks, as no fingerprint begins with 16 zeros.
//!
//! ```text
//! chunk        key:   fingerprint 32
//!              value: number of the BDF, frame offset, start in the frame's payload, length, as varints; or 32
//!                     bytes as written before BDFs had numbers: file id 16, offset 8, start 4, length 4
//! number       key:   28 zeros, number 4
//!              value: file id 16
//! BDF          key:   16 zeros, file id 16
//!              value: number 4
//! ```

use std::collections::HashMap;

use crate::codec::{DecodeError, Reader, put_varint};
use crate::format::frame::{ChunkPointer, Location};
use crate::id::{FileId, Fingerprint};

const KEY_LEN: usize = 32;
// Of the rows as they were before, and of no other.
const FULL_LEN: usize = 32;
const ZEROS_LEN: usize = 16;
// Of BDFs whose numbers are known, about 50 bytes each.
const KNOWN_COUNT_MAX: usize = 1024;

/// The greatest key of a number.
pub(super) const LAST_NUMBER_KEY: [u8; KEY_LEN] = number_key(u32::MAX);

/// Key of the row that says which BDF a number stands for.
pub(super) const fn number_key(number: u32) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    [key[28], key[29], key[30], key[31]] = number.to_be_bytes();
    key
}

/// Key of the row that says which number a BDF has.
pub(super) fn file_key(file: FileId) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    for (target, byte) in key.iter_mut().skip(ZEROS_LEN).zip(file.0) {
        *target = byte;
    }
    key
}

/// The number whose row has this key.
pub(super) fn number_of_key(key: &[u8]) -> Option<u32> {
    let number = key.strip_prefix(&[0; KEY_LEN - 4])?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

/// The fingerprint whose row has this key, if it is the row of a chunk.
pub(super) fn fingerprint_of_key(key: &[u8]) -> Option<Fingerprint> {
    let fingerprint = <[u8; KEY_LEN]>::try_from(key).ok()?;
    (!key.starts_with(&[0; ZEROS_LEN])).then_some(Fingerprint(fingerprint))
}

/// The value of a chunk whose BDF has this number.
pub(super) fn encode(number: u32, chunk: &ChunkPointer) -> Vec<u8> {
    let mut value = Vec::with_capacity(16);
    put_varint(&mut value, number.into());
    put_varint(&mut value, chunk.location.frame);
    put_varint(&mut value, chunk.location.start.into());
    put_varint(&mut value, chunk.len.into());
    value
}

/// The BDF of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// Its number.
    Number(u32),
    /// Itself, in a row as it was written before.
    Id(FileId),
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) file: File,
    frame: u64,
    start: u32,
    len: u32,
}

impl Row {
    /// Reads the value of a chunk.
    pub(super) fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let row = if value.len() == FULL_LEN {
            Self {
                file: File::Id(FileId(reader.array("file id")?)),
                frame: u64::from_be_bytes(reader.array("frame")?),
                start: u32::from_be_bytes(reader.array("start")?),
                len: u32::from_be_bytes(reader.array("length")?),
            }
        } else {
            Self {
                file: File::Number(reader.varint_u32("BDF number")?),
                frame: reader.varint("frame")?,
                start: reader.varint_u32("start")?,
                len: reader.varint_u32("length")?,
            }
        };
        reader.finish("record")?;
        Ok(row)
    }

    /// The chunk, whose BDF is this one.
    pub(super) fn pointer(self, fingerprint: Fingerprint, file: FileId) -> ChunkPointer {
        let Self { frame, start, len, .. } = self;
        ChunkPointer { fingerprint, len, location: Location { file, frame, start } }
    }
}

/// The numbers that were asked for last, so that they are not looked up for each chunk.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    files: HashMap<u32, FileId>,
    last: Option<(FileId, u32)>,
    /// The next one to give, once the last one given is known.
    pub(super) next: Option<u32>,
}

impl Numbers {
    pub(super) fn file(&self, number: u32) -> Option<FileId> {
        self.files.get(&number).copied()
    }

    pub(super) fn number(&self, file: FileId) -> Option<u32> {
        self.last.filter(|(last, _)| *last == file).map(|(_, number)| number)
    }

    pub(super) fn note(&mut self, file: FileId, number: u32) {
        if self.files.len() >= KNOWN_COUNT_MAX {
            self.files.clear();
        }
        self.files.insert(number, file);
        self.last = Some((file, number));
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_row_says_what_was_written_with_a_number_and_as_before() {
        let file = FileId([7; 16]);
        for (frame, start, len) in [(128, 0, 1), (u64::MAX, u32::MAX, u32::MAX), (300, 70_000, 1 << 20)] {
            let fingerprint = Fingerprint::of(b"x");
            let chunk = ChunkPointer { fingerprint, len, location: Location { file, frame, start } };
            for number in [0, 1, 300, u32::MAX] {
                let value = encode(number, &chunk);
                assert!(value.len() < FULL_LEN);
                let row = Row::decode(&value).expect("a row");
                assert_eq!((row.file, row.pointer(fingerprint, file)), (File::Number(number), chunk));
                for len in 0..value.len() {
                    assert!(Row::decode(&value[..len]).is_err(), "{len} of {}", value.len());
                }
            }
            let before =
                [&file.0[..], &frame.to_be_bytes(), &start.to_be_bytes(), &len.to_be_bytes()].concat();
            let row = Row::decode(&before).expect("a row");
            assert_eq!((row.file, row.pointer(fingerprint, file)), (File::Id(file), chunk));
        }
    }

    #[test]
    fn the_rows_of_numbers_and_of_chunks_are_told_apart() {
        for number in [0, 1, 255, u32::MAX] {
            assert_eq!(number_of_key(&number_key(number)), Some(number));
            assert_eq!(fingerprint_of_key(&number_key(number)), None);
            assert!(number_key(number) <= LAST_NUMBER_KEY);
        }
        let file = FileId([9; 16]);
        assert_eq!((number_of_key(&file_key(file)), fingerprint_of_key(&file_key(file))), (None, None));
        assert!(file_key(file) > LAST_NUMBER_KEY);
        let fingerprint = Fingerprint::of(b"x");
        assert_eq!(fingerprint_of_key(&fingerprint.0), Some(fingerprint));
        assert_eq!(number_of_key(&fingerprint.0), None);
    }
}
