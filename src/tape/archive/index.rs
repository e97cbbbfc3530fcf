//! Lists of the segments on a cartridge, as text: the index of a commit, the closing index, and the
//! manifest of a part.
//!
//! A list is lines of JSON: a header, a line for each segment, a last line with their count and the BLAKE3
//! of all lines before it. So it can be read with any tool, and a cut or changed one is noticed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ArchiveError, BLOCK_LEN, BlockAddress, FORMAT_VERSION, NAME_LEN_MAX, SEGMENT_COUNT_MAX};
use crate::id::{FileId, Fingerprint, FingerprintHasher};
use crate::path;

const STRUCTURE: &str = "index";
/// Longest line in bytes, with its line feed.
const LINE_LEN_MAX: usize = 16 * 1024;
/// Most bytes of names of objects that are lacking in a header.
const LACKING_BYTES_MAX: usize = 4096;

/// What a list covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexKind {
    /// The segments of one part.
    Manifest,
    /// What was committed since the index before it.
    Partial,
    /// Everything on the cartridge.
    Closing,
}

/// First line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexHeader {
    /// What the list covers.
    pub kind: IndexKind,
    /// Number of the index on this cartridge, from 1; of a manifest: of the part.
    pub number: u64,
    /// Set of cartridges.
    pub set: FileId,
    /// The cartridge.
    pub volume: FileId,
    /// Number of the cartridge in its set, from 1.
    pub sequence: u32,
    /// Barcode.
    pub barcode: String,
    /// First block of the index part before, which a partial index continues.
    pub previous_loi: Option<u64>,
    /// Time of writing, seconds since 1970.
    pub written_seconds: i64,
    /// What was written, for people.
    pub session: String,
    /// Until when the cartridge must not be written over, seconds since 1970.
    pub retain_until_seconds: Option<i64>,
    /// Whether the set goes on with another cartridge.
    pub is_continued: bool,
    /// What the set lacks, as far as its writer knew; `None` if that was not written, as by earlier versions.
    pub lacking: Option<Lacking>,
}

/// Objects that are needed and not on the cartridges of a set, because they could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lacking {
    /// Names of some of them.
    pub names: Vec<String>,
    /// Number of the others.
    pub more_count: u64,
}

impl Lacking {
    /// Takes as many names as the first line of a list has room for, and counts the others.
    #[must_use]
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut lacking = Self::default();
        let mut room = LACKING_BYTES_MAX;
        for name in names {
            match room.checked_sub(name.len() + 3).filter(|_| is_valid_object_name(name)) {
                Some(left) => {
                    room = left;
                    lacking.names.push(name.to_owned());
                }
                None => lacking.more_count = lacking.more_count.saturating_add(1),
            }
        }
        lacking
    }
}

/// One segment: a piece of an object, one entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Name of the object.
    pub name: Arc<str>,
    /// Number of the segment in its object, from 0.
    pub segment: u32,
    /// Offset of the segment in its object, in bytes.
    pub offset: u64,
    /// Length of the segment in bytes.
    pub len: u64,
    /// Length of the object in bytes.
    pub total: u64,
    /// BLAKE3 of the segment.
    pub fingerprint: Fingerprint,
    /// BLAKE3 of the whole object; with the last segment, if it is known.
    pub object_fingerprint: Option<Fingerprint>,
    /// Time of change of the object, seconds since 1970.
    pub mtime_seconds: i64,
    /// Number of the tape file.
    pub part: u64,
    /// Where the content begins.
    pub address: BlockAddress,
}

impl SegmentEntry {
    /// Tells whether it ends its object.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.offset.saturating_add(self.len) >= self.total
    }

    /// Name of the entry in the archive: that of the object, and a number if it has several segments.
    #[must_use]
    pub fn file_name(&self) -> String {
        segment_file_name(&self.name, self.segment, self.len < self.total)
    }

    fn check(&self) -> Result<(), &'static str> {
        if !is_valid_object_name(&self.name) {
            return Err("the name is not a relative path of plain names");
        }
        let end = self.offset.checked_add(self.len).filter(|end| *end <= self.total);
        if end.is_none() || self.len > super::SEGMENT_LEN_MAX || (self.segment == 0) != (self.offset == 0) {
            return Err("the segment is not within its object");
        }
        if self.address.byte as usize >= BLOCK_LEN {
            return Err("the byte is not in a block");
        }
        Ok(())
    }
}

/// Name of a segment's entry in an archive.
#[must_use]
pub(in crate::tape) fn segment_file_name(object: &str, segment: u32, is_one_of_many: bool) -> String {
    if is_one_of_many { format!("{object}.{segment:05}") } else { object.to_owned() }
}

/// The list of checksums behind the segments of a part, as `b3sum` writes it.
#[must_use]
pub(in crate::tape) fn checksums_of(part: &[SegmentEntry]) -> String {
    part.iter().map(|entry| format!("{}  {}\n", entry.fingerprint, entry.file_name())).collect()
}

/// Tells whether a text can name an object: a relative path of valid names, without control characters,
/// that no entry of ours and no numbered segment can have.
#[must_use]
pub(in crate::tape) fn is_valid_object_name(name: &str) -> bool {
    let has_number = name
        .rsplit_once('.')
        .is_some_and(|(_, digits)| digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit()));
    let is_reserved = matches!(name, super::MANIFEST_NAME | super::CHECKSUMS_NAME | super::NEXT_VOLUME_NAME);
    name.len() <= NAME_LEN_MAX
        && !has_number
        && !is_reserved
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| path::is_valid_name(part.as_bytes()))
}

/// A decoded line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexLine {
    /// The first.
    Header(Box<IndexHeader>),
    /// One for each segment.
    Segment(Box<SegmentEntry>),
    /// The last: the list is whole and unchanged.
    End {
        /// Segments listed.
        segment_count: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct HeaderLine {
    reelfs_tape: u32,
    kind: IndexKind,
    number: u64,
    set: String,
    volume: String,
    sequence: u32,
    barcode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_loi: Option<u64>,
    written: i64,
    #[serde(default)]
    session: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retain_until: Option<i64>,
    #[serde(default)]
    continued: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lacking: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lacking_more: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct SegmentLine {
    name: String,
    segment: u32,
    offset: u64,
    len: u64,
    total: u64,
    blake3: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object_blake3: Option<String>,
    mtime: i64,
    part: u64,
    loi: u64,
    byte: u32,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    segments: u64,
    blake3: String,
}

/// Makes the lines of a list one by one.
#[derive(Debug)]
pub(in crate::tape) struct IndexEncoder {
    hasher: FingerprintHasher,
    segment_count: u64,
}

impl IndexEncoder {
    /// Starts a list; returns it with its first line.
    pub(in crate::tape) fn new(header: &IndexHeader) -> (Self, String) {
        let mut encoder = Self { hasher: FingerprintHasher::default(), segment_count: 0 };
        let line = encoder.line(&HeaderLine {
            reelfs_tape: FORMAT_VERSION,
            kind: header.kind,
            number: header.number,
            set: header.set.to_string(),
            volume: header.volume.to_string(),
            sequence: header.sequence,
            barcode: header.barcode.clone(),
            previous_loi: header.previous_loi,
            written: header.written_seconds,
            session: header.session.clone(),
            retain_until: header.retain_until_seconds,
            continued: header.is_continued,
            lacking: header.lacking.as_ref().map(|lacking| lacking.names.clone()),
            lacking_more: header.lacking.as_ref().map(|lacking| lacking.more_count).filter(|more| *more > 0),
        });
        (encoder, line)
    }

    /// The line of the next segment.
    pub(in crate::tape) fn segment(&mut self, entry: &SegmentEntry) -> String {
        self.segment_count += 1;
        self.line(&SegmentLine {
            name: entry.name.as_ref().to_owned(),
            segment: entry.segment,
            offset: entry.offset,
            len: entry.len,
            total: entry.total,
            blake3: entry.fingerprint.to_string(),
            object_blake3: entry.object_fingerprint.map(|fingerprint| fingerprint.to_string()),
            mtime: entry.mtime_seconds,
            part: entry.part,
            loi: entry.address.loi,
            byte: entry.address.byte,
        })
    }

    /// The last line.
    pub(in crate::tape) fn end(mut self) -> String {
        let line = EndLine { segments: self.segment_count, blake3: self.hasher.finish().to_string() };
        self.line(&line)
    }

    fn line<T: Serialize>(&mut self, value: &T) -> String {
        let mut line = serde_json::to_string(value).expect("texts and numbers can be written as JSON");
        line.push('\n');
        self.hasher.update(line.as_bytes());
        line
    }
}

/// Encodes a whole list.
#[must_use]
pub fn encode_index<'a>(
    header: &IndexHeader,
    segments: impl IntoIterator<Item = &'a SegmentEntry>,
) -> String {
    let (mut encoder, mut text) = IndexEncoder::new(header);
    for entry in segments {
        text.push_str(&encoder.segment(entry));
    }
    text.push_str(&encoder.end());
    text
}

/// Reads a list as its bytes come.
#[derive(Debug, Default)]
pub struct IndexDecoder {
    pending: Vec<u8>,
    hasher: FingerprintHasher,
    line_count: u64,
    segment_count: u64,
    is_ended: bool,
}

impl IndexDecoder {
    /// Starts at the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and gives the lines that they complete to `found`.
    ///
    /// # Errors
    /// [`ArchiveError`] if a line is not one, stands in the wrong place, or the list was changed.
    pub fn push(&mut self, bytes: &[u8], mut found: impl FnMut(IndexLine)) -> Result<(), ArchiveError> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.pending.len() + piece.len() > LINE_LEN_MAX {
                return Err(self.error("the line is longer than 16 KiB"));
            }
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.pending);
                found(self.line(&line)?);
            }
        }
        Ok(())
    }

    /// Checks that the last line was there.
    ///
    /// # Errors
    /// [`ArchiveError::Cut`] if not.
    pub fn finish(&self) -> Result<(), ArchiveError> {
        if self.is_ended && self.pending.is_empty() {
            return Ok(());
        }
        Err(ArchiveError::Cut { structure: STRUCTURE, offset: self.line_count })
    }

    fn error(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Line { structure: STRUCTURE, line: self.line_count + 1, reason: reason.into() }
    }

    fn line(&mut self, line: &[u8]) -> Result<IndexLine, ArchiveError> {
        if self.is_ended {
            return Err(self.error("something follows the last line"));
        }
        let decoded = if self.line_count == 0 { self.header(line)? } else { self.segment_or_end(line)? };
        self.hasher.update(line);
        self.line_count += 1;
        Ok(decoded)
    }

    fn header(&self, line: &[u8]) -> Result<IndexLine, ArchiveError> {
        let json: HeaderLine = serde_json::from_slice(line).map_err(|error| self.error(error.to_string()))?;
        if json.reelfs_tape != FORMAT_VERSION {
            return Err(ArchiveError::Version {
                structure: STRUCTURE,
                found: json.reelfs_tape,
                expected: FORMAT_VERSION,
            });
        }
        let id = |text: &str| text.parse().map_err(|_| self.error("an id is not 32 hexadecimal digits"));
        if !super::is_valid_barcode(&json.barcode) {
            return Err(self.error("the barcode is none"));
        }
        Ok(IndexLine::Header(Box::new(IndexHeader {
            kind: json.kind,
            number: json.number,
            set: id(&json.set)?,
            volume: id(&json.volume)?,
            sequence: json.sequence,
            barcode: json.barcode,
            previous_loi: json.previous_loi,
            written_seconds: json.written,
            session: json.session,
            retain_until_seconds: json.retain_until,
            is_continued: json.continued,
            lacking: json.lacking.map(|names| {
                let mut lacking = Lacking::of(names.iter().map(String::as_str));
                lacking.more_count = lacking.more_count.saturating_add(json.lacking_more.unwrap_or(0));
                lacking
            }),
        })))
    }

    fn segment_or_end(&mut self, line: &[u8]) -> Result<IndexLine, ArchiveError> {
        let fingerprint = |text: &str| {
            decode_fingerprint(text).ok_or_else(|| self.error("a BLAKE3 is not 64 hexadecimal digits"))
        };
        if let Ok(end) = serde_json::from_slice::<EndLine>(line)
            && !line.starts_with(b"{\"name\"")
        {
            let stored = fingerprint(&end.blake3)?;
            let computed = self.hasher.finish();
            if stored != computed {
                let (stored, computed) = (stored.to_string(), computed.to_string());
                return Err(ArchiveError::Fingerprint { structure: STRUCTURE, stored, computed });
            }
            if end.segments != self.segment_count {
                return Err(self.error(format!("{} segments, {} listed", end.segments, self.segment_count)));
            }
            self.is_ended = true;
            return Ok(IndexLine::End { segment_count: end.segments });
        }
        let json: SegmentLine =
            serde_json::from_slice(line).map_err(|error| self.error(error.to_string()))?;
        let object_fingerprint = json.object_blake3.as_deref().map(fingerprint).transpose()?;
        let entry = SegmentEntry {
            segment: json.segment,
            offset: json.offset,
            len: json.len,
            total: json.total,
            fingerprint: fingerprint(&json.blake3)?,
            object_fingerprint,
            mtime_seconds: json.mtime,
            part: json.part,
            address: BlockAddress { loi: json.loi, byte: json.byte },
            name: json.name.into(),
        };
        entry.check().map_err(|reason| self.error(reason))?;
        self.segment_count += 1;
        if self.segment_count > SEGMENT_COUNT_MAX {
            return Err(self.error("more segments than a cartridge can have"));
        }
        Ok(IndexLine::Segment(Box::new(entry)))
    }
}

fn decode_fingerprint(text: &str) -> Option<Fingerprint> {
    let (high, low) = text.split_at_checked(32)?;
    let high: FileId = high.parse().ok()?;
    let low: FileId = low.parse().ok()?;
    let mut bytes = [0; 32];
    for (target, byte) in bytes.iter_mut().zip(high.0.into_iter().chain(low.0)) {
        *target = byte;
    }
    Some(Fingerprint(bytes))
}

#[cfg(test)]
mod test {
    use super::*;

    fn header() -> IndexHeader {
        IndexHeader {
            kind: IndexKind::Partial,
            number: 2,
            set: FileId([1; 16]),
            volume: FileId([2; 16]),
            sequence: 1,
            barcode: "RL0001L8".to_owned(),
            previous_loi: Some(4),
            written_seconds: 1_795_233_600,
            session: "nightly".to_owned(),
            retain_until_seconds: None,
            is_continued: false,
            lacking: None,
        }
    }

    fn entry(name: &str) -> SegmentEntry {
        SegmentEntry {
            name: name.into(),
            segment: 0,
            offset: 0,
            len: 5,
            total: 5,
            fingerprint: Fingerprint::of(b"hello"),
            object_fingerprint: Some(Fingerprint::of(b"hello")),
            mtime_seconds: 7,
            part: 2,
            address: BlockAddress { loi: 12, byte: 1024 },
        }
    }

    fn decode(bytes: &[u8], piece_len: usize) -> Result<Vec<IndexLine>, ArchiveError> {
        let mut decoder = IndexDecoder::new();
        let mut lines = Vec::new();
        for piece in bytes.chunks(piece_len) {
            decoder.push(piece, |line| lines.push(line))?;
        }
        decoder.finish()?;
        Ok(lines)
    }

    #[test]
    fn a_list_comes_back_however_its_bytes_come() {
        let text = encode_index(&header(), [&entry("a/b"), &entry("c")]);
        for piece_len in [1, 7, 512, 1 << 20] {
            let lines = decode(text.as_bytes(), piece_len).expect("valid");
            let [IndexLine::Header(found), IndexLine::Segment(first), _, IndexLine::End { segment_count: 2 }] =
                &lines[..]
            else {
                panic!("{lines:?}")
            };
            assert_eq!((&**found, &**first), (&header(), &entry("a/b")));
        }
    }

    #[test]
    fn what_a_set_lacks_comes_back_and_has_a_limit() {
        let names: Vec<String> = (0..1000).map(|number| format!("delta/web1/{number:032}.bdf")).collect();
        for count in [0, 1, 1000] {
            let lacking = Lacking::of(names[..count].iter().map(String::as_str).chain(["../x"]));
            assert_eq!(lacking.names.len() as u64 + lacking.more_count, count as u64 + 1);
            assert_eq!(lacking.names[..], names[..lacking.names.len()]);
            let text = encode_index(&IndexHeader { lacking: Some(lacking.clone()), ..header() }, []);
            let lines = decode(text.as_bytes(), 100).expect("valid");
            let [IndexLine::Header(found), _] = &lines[..] else { panic!("{lines:?}") };
            assert_eq!(found.lacking, Some(lacking));
        }
        assert!(
            !encode_index(&header(), []).contains("lacking"),
            "an index of earlier versions is as it was"
        );
    }

    #[test]
    fn a_cut_or_changed_list_is_noticed() {
        let text = encode_index(&header(), [&entry("a/b"), &entry("c")]).into_bytes();
        for len in 0..text.len() {
            assert!(decode(&text[..len], 64).is_err(), "cut at {len}");
        }
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(decode(&changed, 64).is_err(), "byte {at} changed");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["/etc/passwd", "../x", "a/../b", "", "a//b", "a.00001", "MANIFEST", "a\nb", "a/"] {
            assert!(!is_valid_object_name(bad), "{bad}");
            let mut bad_entry = entry("x");
            bad_entry.name = bad.into();
            let text = encode_index(&header(), [&bad_entry]);
            assert!(decode(text.as_bytes(), 4096).is_err(), "{bad}");
        }
        assert!(is_valid_object_name("clients/web1/2026-11-21T04-00-00Z.dtf"));
    }
}
