//! Reads tar archives of any program, record by record, without input or output of its own.

use super::pax::{Keyword, decode_records};
use super::sparse::{self, MapReader, Sparse, Told};
use super::ustar::{Header, decode_header, decode_number};
use super::{ArchiveError, RECORD_LEN, padded_len, shown};

/// Longest content of a pax or long-name header that is read into memory, in bytes.
const EXTENSION_LEN_MAX: u64 = 1 << 20;
/// Most extension headers before one entry.
const EXTENSION_COUNT_MAX: u32 = 16;
/// Most global keywords kept.
const GLOBAL_COUNT_MAX: usize = 256;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Hard link to an earlier entry.
    HardLink,
    /// Symbolic link.
    Symlink,
    /// Directory.
    Directory,
    /// Any other type flag: devices, FIFOs, vendor types; its content can be skipped.
    Other(u8),
}

/// One entry: its header, with what extended headers say put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name as it is in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of content.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Time of change, seconds since 1970.
    pub mtime_seconds: i64,
    /// Nanoseconds after that.
    pub mtime_nanoseconds: u32,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Where the content belongs, if the file has holes.
    pub sparse: Option<Sparse>,
    /// Offset in the file at which the content goes on, and length of the whole file, if it began on another volume.
    pub continued: Option<(u64, u64)>,
    /// Keywords of its own extended header.
    pub keywords: Vec<Keyword>,
    /// Offset of its first header from the start of the archive.
    pub header_offset: u64,
    /// Offset of its content from the start of the archive.
    pub content_offset: u64,
}

impl Entry {
    /// The value of a keyword of its extended header.
    #[must_use]
    pub fn keyword(&self, name: &str) -> Option<&[u8]> {
        self.keywords.iter().rev().find(|keyword| keyword.name == name).map(|keyword| &*keyword.value)
    }
}

/// What a record came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Part of a header: more is needed.
    Header,
    /// A global header is complete: [`Parser::global`] has changed.
    Global,
    /// An entry begins; its content follows, see [`Parser::content_left`].
    Entry(Box<Entry>),
    /// Content: so many bytes of the record, the rest is padding.
    Content(usize),
    /// The first record of zeros: the archive ends here.
    End,
}

#[derive(Debug, Clone)]
enum State {
    Header,
    Extension { type_flag: u8, size: u64, bytes: Vec<u8> },
    // Records of an old sparse map, and a map at the beginning of the content, come before the entry.
    OldMap { entry: Box<Entry>, sparse: Sparse },
    Map { entry: Box<Entry>, reader: MapReader },
    Content { left: u64 },
    Ended,
}

/// Reads an archive as records are pushed into it.
#[derive(Debug, Clone)]
pub struct Parser {
    offset: u64,
    state: State,
    global: Vec<Keyword>,
    extended: Vec<Keyword>,
    extension_count: u32,
    header_offset: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            offset: 0,
            state: State::Header,
            global: Vec::new(),
            extended: Vec::new(),
            extension_count: 0,
            header_offset: 0,
        }
    }
}

impl Parser {
    /// Starts at the first record of an archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes taken so far: the offset of the next record.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Global keywords that hold now.
    #[must_use]
    pub fn global(&self) -> &[Keyword] {
        &self.global
    }

    /// Bytes of the present entry's content, with padding, that were neither pushed nor skipped.
    #[must_use]
    pub fn content_left(&self) -> u64 {
        match self.state {
            State::Content { left } => padded_len(left),
            _ => 0,
        }
    }

    /// Bytes of the present entry's content, without padding, that were neither pushed nor skipped.
    #[must_use]
    pub fn data_left(&self) -> u64 {
        match self.state {
            State::Content { left } => left,
            _ => 0,
        }
    }

    /// Tells whether the archive has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Passes over content that the caller does not look at; returns how many bytes that are, whole
    /// records, at most `len_max`.
    pub fn skip_content(&mut self, len_max: u64) -> u64 {
        let State::Content { left } = &mut self.state else {
            return 0;
        };
        let records = len_max / RECORD_LEN as u64 * RECORD_LEN as u64;
        let skipped = padded_len(*left).min(records);
        *left = left.saturating_sub(skipped);
        if *left == 0 {
            self.state = State::Header;
        }
        self.offset = self.offset.saturating_add(skipped);
        skipped
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`ArchiveError`] if it cannot stand here; the archive cannot be read on.
    pub fn push(&mut self, record: &[u8; RECORD_LEN]) -> Result<Step, ArchiveError> {
        let at = self.offset;
        let step = match std::mem::replace(&mut self.state, State::Ended) {
            State::Header => self.push_header(record, at)?,
            State::Extension { type_flag, size, bytes } => {
                self.push_extension(type_flag, size, bytes, record, at)?
            }
            State::OldMap { mut entry, mut sparse } => {
                if sparse.add_record(record, sparse::IN_RECORD, at)? {
                    self.state = State::OldMap { entry, sparse };
                    Step::Header
                } else {
                    entry.sparse = Some(sparse.check(entry.size, at)?);
                    entry.content_offset = at.saturating_add(RECORD_LEN as u64);
                    self.begin_content(entry)
                }
            }
            State::Map { mut entry, mut reader } => match reader.push(record, at)? {
                None => {
                    self.state = State::Map { entry, reader };
                    Step::Header
                }
                Some((sparse, len)) => {
                    entry.size = entry.size.checked_sub(len).ok_or_else(|| short_map(&entry, len, at))?;
                    entry.content_offset = entry.content_offset.saturating_add(len);
                    entry.sparse = Some(sparse.check(entry.size, at)?);
                    self.begin_content(entry)
                }
            },
            State::Content { left } => {
                let taken = left.min(RECORD_LEN as u64);
                self.state = after_content(left - taken);
                Step::Content(usize::try_from(taken).unwrap_or(RECORD_LEN))
            }
            State::Ended => Step::End,
        };
        self.offset = at.saturating_add(RECORD_LEN as u64);
        Ok(step)
    }

    fn push_header(&mut self, record: &[u8; RECORD_LEN], at: u64) -> Result<Step, ArchiveError> {
        let Some(header) = decode_header(record, at)? else {
            return Ok(Step::End);
        };
        if self.extension_count == 0 {
            self.header_offset = at;
        }
        if matches!(header.type_flag, b'x' | b'X' | b'g' | b'L' | b'K') {
            self.extension_count += 1;
            let too_long = header.size > EXTENSION_LEN_MAX;
            if too_long || self.extension_count > EXTENSION_COUNT_MAX {
                return Err(ArchiveError::Length {
                    structure: "extended header",
                    offset: at,
                    len: if too_long { header.size } else { self.extension_count.into() },
                    len_max: if too_long { EXTENSION_LEN_MAX } else { EXTENSION_COUNT_MAX.into() },
                });
            }
            self.state =
                State::Extension { type_flag: header.type_flag, size: header.size, bytes: Vec::new() };
            if header.size == 0 {
                return self.finish_extension(header.type_flag, &[], at);
            }
            return Ok(Step::Header);
        }
        self.begin_entry(header, record, at)
    }

    fn push_extension(
        &mut self,
        type_flag: u8,
        size: u64,
        mut bytes: Vec<u8>,
        record: &[u8; RECORD_LEN],
        at: u64,
    ) -> Result<Step, ArchiveError> {
        let missing = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(bytes.len());
        bytes.extend(record.iter().take(missing));
        if (bytes.len() as u64) < size {
            self.state = State::Extension { type_flag, size, bytes };
            return Ok(Step::Header);
        }
        let start = (at + RECORD_LEN as u64).saturating_sub(padded_len(size));
        self.finish_extension(type_flag, &bytes, start)
    }

    fn finish_extension(&mut self, type_flag: u8, bytes: &[u8], start: u64) -> Result<Step, ArchiveError> {
        self.state = State::Header;
        let until_nul = || bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        match type_flag {
            b'L' => self.extended.push(Keyword { name: "path".to_owned(), value: until_nul() }),
            b'K' => self.extended.push(Keyword { name: "linkpath".to_owned(), value: until_nul() }),
            b'g' => {
                for keyword in decode_records(bytes, start)? {
                    self.global.retain(|known| known.name != keyword.name);
                    if !keyword.value.is_empty() && self.global.len() < GLOBAL_COUNT_MAX {
                        self.global.push(keyword);
                    }
                }
                // It belongs to the archive, not to the entry behind it.
                if self.extended.is_empty() {
                    self.extension_count = 0;
                }
                return Ok(Step::Global);
            }
            _ => self.extended.extend(decode_records(bytes, start)?),
        }
        Ok(Step::Header)
    }

    fn begin_entry(
        &mut self,
        header: Header,
        record: &[u8; RECORD_LEN],
        at: u64,
    ) -> Result<Step, ArchiveError> {
        let keywords = std::mem::take(&mut self.extended);
        let mut entry = Box::new(Entry {
            kind: kind_of(&header),
            name: header.name,
            size: header.size,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime_seconds: header.mtime_seconds,
            mtime_nanoseconds: 0,
            link: header.link,
            device: header.device,
            sparse: None,
            continued: None,
            keywords: Vec::new(),
            header_offset: self.header_offset,
            content_offset: at.saturating_add(RECORD_LEN as u64),
        });
        self.extension_count = 0;
        for keyword in self.global.iter().chain(&keywords) {
            apply(&mut entry, keyword, at)?;
        }
        entry.keywords = keywords;
        if header.type_flag == b'M' {
            let field = |place: usize| decode_number(record.get(place..place + 12).unwrap_or_default());
            let offset = field(369).and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0);
            // GNU tar writes the whole length here; others may not.
            let total = field(483).and_then(|total| u64::try_from(total).ok()).unwrap_or(0);
            entry.continued = Some((offset, total.max(offset.saturating_add(entry.size))));
        } else if let Some((name, place)) = continued_by_keywords(&self.global, &entry) {
            (entry.name, entry.continued) = (name, Some(place));
            // They are about the one entry that they stand before.
            self.global.retain(|keyword| !keyword.name.starts_with("GNU.volume."));
        }
        if header.type_flag == b'S' {
            return self.begin_old_sparse(entry, record, at);
        }
        if entry.kind == EntryKind::File {
            match sparse::told(&entry.keywords, at)? {
                Told::Nothing => {}
                Told::Map(sparse) => entry.sparse = Some(sparse.check(entry.size, at)?),
                Told::InContent { size } => {
                    self.state = State::Map { entry, reader: MapReader::new(size) };
                    return Ok(Step::Header);
                }
            }
        }
        if !has_content(&entry, header.has_magic) {
            entry.size = 0;
        }
        Ok(self.begin_content(entry))
    }

    fn begin_old_sparse(
        &mut self,
        mut entry: Box<Entry>,
        record: &[u8; RECORD_LEN],
        at: u64,
    ) -> Result<Step, ArchiveError> {
        let field = record.get(483..495).unwrap_or_default();
        let size = decode_number(field).and_then(|size| u64::try_from(size).ok());
        let mut sparse = Sparse { size: size.unwrap_or(entry.size), pieces: Vec::new() };
        if sparse.add_record(record, sparse::IN_HEADER, at)? {
            self.state = State::OldMap { entry, sparse };
            return Ok(Step::Header);
        }
        entry.sparse = Some(sparse.check(entry.size, at)?);
        Ok(self.begin_content(entry))
    }

    fn begin_content(&mut self, entry: Box<Entry>) -> Step {
        self.state = after_content(entry.size);
        Step::Entry(entry)
    }
}

// Links, directories and devices have no content, whatever their size field says.
fn has_content(entry: &Entry, has_magic: bool) -> bool {
    match entry.kind {
        EntryKind::Symlink | EntryKind::Directory | EntryKind::Other(b'3' | b'4' | b'6') => false,
        EntryKind::HardLink => entry.size > 0 && has_magic,
        _ => true,
    }
}

// In pax format GNU tar goes on with a file under a made-up name, and says which one it is in a global header.
fn continued_by_keywords(global: &[Keyword], entry: &Entry) -> Option<(Vec<u8>, (u64, u64))> {
    let find = |name: &str| global.iter().find(|keyword| keyword.name == name).map(|keyword| &*keyword.value);
    let number = |name| std::str::from_utf8(find(name)?).ok()?.parse::<u64>().ok();
    let name = find("GNU.volume.filename")?;
    let offset = number("GNU.volume.offset").filter(|_| entry.kind == EntryKind::File)?;
    let total = number("GNU.volume.size").unwrap_or(0).max(offset.saturating_add(entry.size));
    Some((name.to_vec(), (offset, total)))
}

fn short_map(entry: &Entry, len: u64, offset: u64) -> ArchiveError {
    let found = entry.size.to_string();
    let expected = if len == 0 { "a map" } else { "the length of the map at least" };
    ArchiveError::Field { structure: "sparse file", offset, field: "size", expected, found }
}

fn after_content(left: u64) -> State {
    if left == 0 { State::Header } else { State::Content { left } }
}

fn kind_of(header: &Header) -> EntryKind {
    match header.type_flag {
        // Before POSIX a directory was a file whose name ends with a slash.
        b'0' | 0 | b'7' if header.name.ends_with(b"/") => EntryKind::Directory,
        // S is a file with holes, M the rest of one that began on another volume (GNU).
        b'0' | 0 | b'7' | b'S' | b'M' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'5' => EntryKind::Directory,
        other => EntryKind::Other(other),
    }
}

// Puts a keyword of POSIX in place of the field of the header.
fn apply(entry: &mut Entry, keyword: &Keyword, at: u64) -> Result<(), ArchiveError> {
    let error = |field| ArchiveError::Field {
        structure: "pax header",
        offset: at,
        field,
        expected: "a decimal number",
        found: shown(&keyword.value),
    };
    let text = std::str::from_utf8(&keyword.value).unwrap_or_default();
    if keyword.value.is_empty() {
        return Ok(());
    }
    match &*keyword.name {
        "path" => entry.name.clone_from(&keyword.value),
        "linkpath" => entry.link.clone_from(&keyword.value),
        "size" => {
            let size = text.parse::<u64>().ok().filter(|size| *size <= u64::MAX >> 1);
            entry.size = size.ok_or_else(|| error("size"))?;
        }
        "uid" => entry.uid = text.parse().map_err(|_| error("uid"))?,
        "gid" => entry.gid = text.parse().map_err(|_| error("gid"))?,
        "mtime" => {
            (entry.mtime_seconds, entry.mtime_nanoseconds) =
                parse_time(text).ok_or_else(|| error("mtime"))?;
        }
        "SCHILY.devmajor" => entry.device.0 = text.parse().map_err(|_| error("SCHILY.devmajor"))?,
        "SCHILY.devminor" => entry.device.1 = text.parse().map_err(|_| error("SCHILY.devminor"))?,
        "GNU.sparse.name" => entry.name.clone_from(&keyword.value),
        _ => {}
    }
    Ok(())
}

/// Seconds since 1970, rounded down, and nanoseconds after that, of a time in a pax header: `[-]S[.F]`.
#[must_use]
pub fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (is_negative, plain) = text.strip_prefix('-').map_or((false, text), |plain| (true, plain));
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let seconds = whole.parse::<i64>().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds = digits.parse::<u32>().ok()?;
    Some(match (is_negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod test {
    use super::super::NewEntry;
    use super::super::entry::encode_global;
    use super::*;

    fn push_all(parser: &mut Parser, bytes: &[u8]) -> Result<Vec<Step>, ArchiveError> {
        assert_eq!(bytes.len() % RECORD_LEN, 0);
        bytes.as_chunks::<RECORD_LEN>().0.iter().map(|record| parser.push(record)).collect()
    }

    #[test]
    fn entries_come_back_with_keywords_long_names_and_their_places() {
        let name = format!("full/{}/x.bdf", "n".repeat(300));
        let entry = NewEntry {
            name: &name,
            size: 700,
            mtime_seconds: -5,
            keywords: vec![("REELFS.offset", "1073741824".to_owned())],
        };
        let mut bytes = encode_global(&[("REELFS.part", "7".to_owned())], 0);
        let start = bytes.len() as u64;
        bytes.extend(entry.encode());
        let content = bytes.len() as u64;
        bytes.extend([1; 1024]);
        bytes.extend([0; 1024]);
        let mut parser = Parser::new();
        let steps = push_all(&mut parser, &bytes).expect("valid");
        assert_eq!(parser.global()[0].value, b"7");
        let found: Vec<_> = steps
            .iter()
            .filter_map(|step| if let Step::Entry(entry) = step { Some(entry) } else { None })
            .collect();
        let [found] = &found[..] else { panic!("{found:?}") };
        assert_eq!(found.name, name.as_bytes());
        assert_eq!((found.size, found.mtime_seconds), (700, -5));
        assert_eq!((found.header_offset, found.content_offset), (start, content));
        assert_eq!(found.keyword("REELFS.offset"), Some(&b"1073741824"[..]));
        assert!(steps.ends_with(&[Step::Content(512), Step::Content(188), Step::End, Step::End]));
        assert!(parser.is_ended());
    }

    #[test]
    fn times_have_fractions_and_lie_before_1970_too() {
        for (text, expected) in [
            ("12", Some((12, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("1.1234567891", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("", None),
            ("1.x", None),
            ("--1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn content_can_be_skipped_without_being_seen() {
        let entry = NewEntry { name: "a", size: 1300, mtime_seconds: 0, keywords: Vec::new() };
        let mut parser = Parser::new();
        push_all(&mut parser, &entry.encode()).expect("valid");
        assert_eq!(parser.content_left(), 1536);
        assert_eq!(parser.skip_content(700), 512);
        assert_eq!(parser.skip_content(u64::MAX), 1024);
        assert_eq!((parser.content_left(), parser.offset()), (0, 2048));
        assert_eq!(parser.push(&[0; RECORD_LEN]), Ok(Step::End));
    }

    #[test]
    fn a_header_of_a_terabyte_allocates_nothing() {
        let header = Header { name: b"x".to_vec(), size: 1 << 32, type_flag: b'x', ..Header::default() };
        let error = Parser::new().push(&header.encode());
        assert!(matches!(error, Err(ArchiveError::Length { len_max: EXTENSION_LEN_MAX, .. })), "{error:?}");
        let empty = Header { name: b"x".to_vec(), type_flag: b'x', ..Header::default() }.encode();
        let mut parser = Parser::new();
        let error = (0..20).find_map(|_| parser.push(&empty).err());
        assert!(matches!(error, Some(ArchiveError::Length { .. })), "{error:?}");
    }
}
