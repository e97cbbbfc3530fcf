//! Sparse files as GNU tar writes them: four ways to say where the bytes of the content belong.
//!
//! ```text
//! old   type flag S: in the header, 386 4 x (offset 12, length 12) | 482 more 1 | 483 size 12;
//!       while there is more, records of 0 21 x (offset 12, length 12) | 504 more 1
//! 0.0   keywords GNU.sparse.size, and for each piece GNU.sparse.offset, GNU.sparse.numbytes
//! 0.1   keywords GNU.sparse.size, .name, .map=offset,length,offset,length
//! 1.0   keywords GNU.sparse.major=1, .realsize, .name; the content begins with lines of decimal numbers, count and then
//!       offset and length of each piece, filled up with NULs to a whole record
//! ```
//!
//! Source: GNU tar manual, appendix "Storing Sparse Files".

use super::pax::Keyword;
use super::ustar::decode_number;
use super::{ArchiveError, RECORD_LEN, padded_len, shown};

/// Most pieces of one file.
const PIECE_COUNT_MAX: usize = 1 << 20;
/// Longest number of format 1.0 with its line feed.
const LINE_LEN_MAX: usize = 24;
const STRUCTURE: &str = "sparse map";

/// A file with holes: where its bytes, which follow one another in the archive, belong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sparse {
    /// Length of the file in bytes.
    pub size: u64,
    /// Offset and length of each piece, in order, without overlap.
    pub pieces: Vec<(u64, u64)>,
}

impl Sparse {
    /// Checks that pieces are in order, within the file, and as long together as the content.
    pub(super) fn check(self, content_len: u64, at: u64) -> Result<Self, ArchiveError> {
        let mut end = 0;
        let mut sum = 0_u64;
        for (offset, len) in &self.pieces {
            let is_next = *offset >= end && offset.checked_add(*len).is_some_and(|end| end <= self.size);
            if !is_next {
                return Err(wrong(
                    at,
                    "piece",
                    "pieces in order and within the file",
                    &format!("{offset},{len}"),
                ));
            }
            end = offset + len;
            sum = sum.saturating_add(*len);
        }
        if sum != content_len || self.size > u64::MAX >> 1 {
            return Err(wrong(at, "length", "that of the content", &sum.to_string()));
        }
        Ok(self)
    }

    fn add(&mut self, piece: (u64, u64), at: u64) -> Result<(), ArchiveError> {
        if self.pieces.len() >= PIECE_COUNT_MAX {
            let (len, len_max) = (self.pieces.len() as u64 + 1, PIECE_COUNT_MAX as u64);
            return Err(ArchiveError::Length { structure: STRUCTURE, offset: at, len, len_max });
        }
        // Empty pieces mark the end of the file.
        if piece.1 > 0 {
            self.pieces.push(piece);
        }
        Ok(())
    }

    /// Takes the pieces of a header or of a record behind it, from `start` on; tells whether more records follow.
    pub(super) fn add_record(
        &mut self,
        record: &[u8; RECORD_LEN],
        (start, count, more): (usize, usize, usize),
        at: u64,
    ) -> Result<bool, ArchiveError> {
        for index in 0..count {
            let field = |place: usize| record.get(place..place + 12).unwrap_or_default();
            let (offset, len) = (field(start + index * 24), field(start + index * 24 + 12));
            if offset.first() == Some(&0) {
                break;
            }
            let number = |field: &[u8]| {
                let number = decode_number(field).and_then(|number| u64::try_from(number).ok());
                number.ok_or_else(|| wrong(at, "number", "an octal number", &shown(field)))
            };
            self.add((number(offset)?, number(len)?), at)?;
        }
        Ok(record.get(more).is_some_and(|flag| !matches!(flag, 0 | b'0')))
    }
}

/// Pieces in a header of old GNU format, and in a record behind it.
pub(super) const IN_HEADER: (usize, usize, usize) = (386, 4, 482);
pub(super) const IN_RECORD: (usize, usize, usize) = (0, 21, 504);

/// What keywords say of holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// All.
    Map(Sparse),
    /// The size; where the pieces are stands at the beginning of the content.
    InContent {
        /// Length of the file in bytes.
        size: u64,
    },
}

pub(super) fn told(keywords: &[Keyword], at: u64) -> Result<Told, ArchiveError> {
    let number = |text: &[u8]| {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
        number.ok_or_else(|| wrong(at, "number", "a decimal number", &shown(text)))
    };
    let last = |name: &str| {
        keywords.iter().rev().find(|keyword| keyword.name == name).map(|keyword| &*keyword.value)
    };
    if last("GNU.sparse.major") == Some(b"1") {
        return Ok(Told::InContent { size: number(last("GNU.sparse.realsize").unwrap_or_default())? });
    }
    let Some(size) = last("GNU.sparse.size").or_else(|| last("GNU.sparse.realsize")) else {
        return Ok(Told::Nothing);
    };
    let mut sparse = Sparse { size: number(size)?, pieces: Vec::new() };
    if let Some(map) = last("GNU.sparse.map") {
        let mut numbers = map.split(|byte| *byte == b',').filter(|text| !text.is_empty()).map(number);
        while let Some(offset) = numbers.next() {
            let len =
                numbers.next().unwrap_or_else(|| Err(wrong(at, "map", "pairs of numbers", &shown(map))))?;
            sparse.add((offset?, len), at)?;
        }
        return Ok(Told::Map(sparse));
    }
    let mut offset = None;
    for keyword in keywords {
        match &*keyword.name {
            "GNU.sparse.offset" => offset = Some(number(&keyword.value)?),
            "GNU.sparse.numbytes" => {
                let begin =
                    offset.take().ok_or_else(|| wrong(at, "piece", "an offset before its length", ""))?;
                sparse.add((begin, number(&keyword.value)?), at)?;
            }
            _ => {}
        }
    }
    Ok(Told::Map(sparse))
}

/// Reads the map at the beginning of the content of format 1.0, record by record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MapReader {
    sparse: Sparse,
    line: Vec<u8>,
    count: Option<u64>,
    offset: Option<u64>,
    read_bytes: u64,
}

impl MapReader {
    pub(super) fn new(size: u64) -> Self {
        let sparse = Sparse { size, pieces: Vec::new() };
        Self { sparse, line: Vec::new(), count: None, offset: None, read_bytes: 0 }
    }

    /// Takes the next record; returns the map and its length in bytes when it is complete.
    pub(super) fn push(
        &mut self,
        record: &[u8; RECORD_LEN],
        at: u64,
    ) -> Result<Option<(Sparse, u64)>, ArchiveError> {
        for byte in record {
            if self.count == Some(0) {
                break;
            }
            self.read_bytes += 1;
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > LINE_LEN_MAX {
                    return Err(wrong(at, "line", "a decimal number", &shown(&self.line)));
                }
                continue;
            }
            self.take_line(at)?;
        }
        let is_done = self.count == Some(0);
        Ok(is_done.then(|| (std::mem::take(&mut self.sparse), padded_len(self.read_bytes))))
    }

    fn take_line(&mut self, at: u64) -> Result<(), ArchiveError> {
        let line = std::mem::take(&mut self.line);
        let number = std::str::from_utf8(&line).ok().and_then(|text| text.parse::<u64>().ok());
        let number = number.ok_or_else(|| wrong(at, "line", "a decimal number", &shown(&line)))?;
        match (self.count, self.offset.take()) {
            (None, _) => self.count = Some(number),
            (_, None) => self.offset = Some(number),
            (Some(left), Some(offset)) => {
                self.sparse.add((offset, number), at)?;
                self.count = Some(left - 1);
            }
        }
        Ok(())
    }
}

fn wrong(offset: u64, field: &'static str, expected: &'static str, found: &str) -> ArchiveError {
    ArchiveError::Field { structure: STRUCTURE, offset, field, expected, found: found.to_owned() }
}

#[cfg(test)]
mod test {
    use super::*;

    fn keywords(pairs: &[(&str, &str)]) -> Vec<Keyword> {
        let keyword = |(name, value): &(&str, &str)| Keyword {
            name: (*name).to_owned(),
            value: value.as_bytes().to_vec(),
        };
        pairs.iter().map(keyword).collect()
    }

    #[test]
    fn each_format_tells_the_same_map() {
        let expected = Sparse { size: 9000, pieces: vec![(0, 512), (4096, 100)] };
        let zero = [
            ("GNU.sparse.size", "9000"),
            ("GNU.sparse.offset", "0"),
            ("GNU.sparse.numbytes", "512"),
            ("GNU.sparse.offset", "4096"),
            ("GNU.sparse.numbytes", "100"),
            ("GNU.sparse.offset", "9000"),
            ("GNU.sparse.numbytes", "0"),
        ];
        assert_eq!(told(&keywords(&zero), 0), Ok(Told::Map(expected.clone())));
        let one = [("GNU.sparse.size", "9000"), ("GNU.sparse.map", "0,512,4096,100,9000,0")];
        assert_eq!(told(&keywords(&one), 0), Ok(Told::Map(expected.clone())));
        let major = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9000")];
        assert_eq!(told(&keywords(&major), 0), Ok(Told::InContent { size: 9000 }));
        let mut record = [0; RECORD_LEN];
        let text = b"2\n0\n512\n4096\n100\n";
        record[..text.len()].copy_from_slice(text);
        assert_eq!(MapReader::new(9000).push(&record, 0), Ok(Some((expected.clone(), 512))));
        let mut header = [0; RECORD_LEN];
        for (index, number) in [0_u64, 512, 4096, 100].iter().enumerate() {
            header[386 + index * 12..][..12].copy_from_slice(format!("{number:011o} ").as_bytes());
        }
        let mut sparse = Sparse { size: 9000, pieces: Vec::new() };
        assert_eq!(sparse.add_record(&header, IN_HEADER, 0), Ok(false));
        assert_eq!(sparse.clone().check(612, 0), Ok(expected));
        assert!(sparse.check(613, 0).is_err());
    }

    #[test]
    fn hostile_maps_are_refused() {
        for map in ["1", "x,1", "0,18446744073709551615", "5,5,3,1", "0,1,1", "-1,2"] {
            let told = told(&keywords(&[("GNU.sparse.size", "10"), ("GNU.sparse.map", map)]), 0);
            let refused = match told {
                Ok(Told::Map(sparse)) => {
                    let sum = sparse.pieces.iter().fold(0_u64, |sum, (_, len)| sum.saturating_add(*len));
                    sparse.check(sum, 0).is_err()
                }
                other => other.is_err(),
            };
            assert!(refused, "{map}");
        }
        let mut reader = MapReader::new(10);
        assert!(reader.push(&[b'1'; RECORD_LEN], 0).is_err());
        let mut record = [0; RECORD_LEN];
        record[..21].copy_from_slice(b"18446744073709551615\n");
        assert!(MapReader::new(10).push(&record, 0).is_err(), "NULs are no number");
    }
}
