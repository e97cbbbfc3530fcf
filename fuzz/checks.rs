//! What must hold for any bytes at all, one function for each parser.
//!
//! Each takes bytes and panics if the parser does, or if what it read is not what it would write and
//! read again. The fuzz targets call them with what the fuzzer finds; `tests/repository/format.rs` with
//! golden bytes, each damaged in every place, and with what fuzzing has found before. Where a checksum
//! would stop everything, it is put right first, so that the code behind it is reached.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use reelfs::checksum::crc32;
use reelfs::chunk::compress::Decompressor;
use reelfs::format::bdf::{self, BdfHeader};
use reelfs::format::config::Config;
use reelfs::format::dtf::{self, DtfFooter, DtfHeader};
use reelfs::format::frame::{self, Codec, FrameHeader, FrameLengths};
use reelfs::format::page::{self, Page, PageHeader, TreeKind};
use reelfs::format::record::{Extent, Record, Xattrs, entry_key, split_key};
use reelfs::format::seal::{SEAL_LEN, Seal};
use reelfs::id::{ClientName, FileId, GenerationTime};
use reelfs::index::staging::{EntryRow, ObjectRow, TreeState};
use reelfs::job::control::Request;
use reelfs::live::Exclusions;
use reelfs::repo::Address;

/// A parser's name, and what must hold for it.
pub(crate) type Check = (&'static str, fn(&[u8]));

/// All checks; each has a fuzz target of its name.
pub(crate) const ALL: &[Check] = &[
    ("address", address),
    ("bdf_footer", bdf_footer),
    ("bdf_header", bdf_header),
    ("compress", compress),
    ("config", config),
    ("control_request", control_request),
    ("dtf_footer", dtf_footer),
    ("dtf_header", dtf_header),
    ("exclusions", exclusions),
    ("extent", extent),
    ("frame", frame),
    ("names", names),
    ("page", page),
    ("record", record),
    ("seal", seal),
    ("staging_rows", staging_rows),
    ("xattr_list", xattr_list),
];

/// Identity of the file that golden frames and pages are in.
pub(crate) const FILE: FileId = FileId(*b"fixture file id.");
/// Most bytes that a check lets a decompressor make.
const PLAIN_LEN_MAX: usize = 1 << 20;

/// The header of a BDF.
pub(crate) fn bdf_header(data: &[u8]) {
    let mut bytes = padded::<{ bdf::HEADER_LEN }>(data);
    let _as_it_is = BdfHeader::decode(&bytes);
    mend(&mut bytes, &[]);
    if let Ok(header) = BdfHeader::decode(&bytes) {
        let again = header.encode().try_into().expect("a header has its length");
        assert_eq!(BdfHeader::decode(&again), Ok(header));
    }
}

/// The footer of a BDF.
pub(crate) fn bdf_footer(data: &[u8]) {
    let _as_it_is = bdf::decode_footer(data, 0);
    if let Ok(frames) = bdf::decode_footer(data, crc32(&[data])) {
        assert_eq!(bdf::encode_footer(&frames), data);
    }
}

/// The header and the tables of a frame.
pub(crate) fn frame(data: &[u8]) {
    let _as_it_is = FrameHeader::decode(data, FILE, 0);
    let mut bytes = data.to_vec();
    let Some((fixed, tables)) = bytes.split_first_chunk_mut::<{ frame::HEADER_LEN }>() else {
        return;
    };
    let Ok(lengths) = FrameLengths::peek(fixed) else {
        return;
    };
    assert!(lengths.total() >= frame::HEADER_LEN + lengths.stored_len);
    let Some(tables) = tables.get(..lengths.tables_len) else {
        assert!(FrameHeader::decode(&bytes, FILE, 0).is_err());
        return;
    };
    let covered = crc32(&[&FILE.0, &fixed[..frame::HEADER_LEN - 4], tables]);
    fixed[frame::HEADER_LEN - 4..].copy_from_slice(&covered.to_le_bytes());
    let offset = u64::from_le_bytes(fixed[24..32].try_into().expect("eight bytes"));
    if let Ok(header) = FrameHeader::decode(&bytes, FILE, offset) {
        assert_eq!(FrameHeader::decode(&header.encode(FILE, offset), FILE, offset).as_ref(), Ok(&header));
        let mut start = 0;
        for chunk in &header.chunks {
            assert_eq!(header.chunk_at(start), Some(*chunk));
            start += chunk.len;
        }
        assert_eq!(start, header.plain_len);
    }
}

/// A page: its header, its payload, and every record in it.
pub(crate) fn page(data: &[u8]) {
    let _as_it_is = PageHeader::decode(data, FILE, 0).map(|_| ());
    let mut bytes = data.to_vec();
    if bytes.len() < page::HEADER_LEN {
        return;
    }
    let Ok(stored_len) = PageHeader::peek_stored_len(bytes.first_chunk().expect("long enough")) else {
        return;
    };
    let Some(stored) = bytes[page::HEADER_LEN..].get(..stored_len as usize) else {
        return;
    };
    let crc = crc32(&[&FILE.0, &bytes[..page::HEADER_LEN - 4], stored]);
    bytes[page::HEADER_LEN - 4..page::HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    let offset = u64::from_le_bytes(bytes[20..28].try_into().expect("eight bytes"));
    let Ok((header, stored)) = PageHeader::decode(&bytes, FILE, offset) else {
        return;
    };
    let payload = match header.codec {
        Codec::Raw => stored.to_vec(),
        Codec::Zstd => match Decompressor::new().decompress(stored, header.plain_len as usize, &[]) {
            Ok(plain) => plain,
            Err(_) => return,
        },
    };
    if let Ok(page) = Page::new(&header, payload) {
        walk_page(&page, &header);
    }
}

fn walk_page(page: &Page, header: &PageHeader) {
    assert_eq!(page.len(), header.record_count as usize);
    for (index, (key, value)) in page.records_from(0).enumerate() {
        assert_eq!(page.search(key), Ok(index));
        assert_eq!(page.child_index(key), index);
        let _child = page.child(index);
        match page.tree() {
            TreeKind::Directory => record(value),
            TreeKind::Extents => drop(Extent::decode(key, value)),
        }
        if let Ok((object, name)) = split_key(key) {
            assert_eq!(entry_key(object, name), key);
        }
    }
}

/// The header of a DTF.
pub(crate) fn dtf_header(data: &[u8]) {
    let mut bytes = padded::<{ dtf::HEADER_LEN }>(data);
    let _as_it_is = DtfHeader::decode(&bytes);
    mend(&mut bytes, &[]);
    if let Ok(header) = DtfHeader::decode(&bytes) {
        let again = header.encode().try_into().expect("a header has its length");
        assert_eq!(DtfHeader::decode(&again), Ok(header));
    }
}

/// The footer of a DTF.
pub(crate) fn dtf_footer(data: &[u8]) {
    let _as_it_is = DtfFooter::decode(data, 0);
    if let Ok(footer) = DtfFooter::decode(data, crc32(&[data])) {
        let again = footer.encode();
        assert_eq!(DtfFooter::decode(&again, crc32(&[&again])), Ok(footer));
    }
}

/// The seal.
pub(crate) fn seal(data: &[u8]) {
    let mut bytes = padded::<SEAL_LEN>(data);
    let file_len = u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes"));
    let _as_it_is = Seal::decode(&bytes, file_len);
    mend(&mut bytes, &[]);
    if let Ok(seal) = Seal::decode(&bytes, file_len) {
        assert_eq!(seal.footer_offset + seal.footer_len + SEAL_LEN as u64, file_len);
        let again = seal.encode().try_into().expect("a seal has its length");
        assert_eq!(Seal::decode(&again, file_len), Ok(seal));
    }
}

/// The value of a record in a directory tree.
pub(crate) fn record(data: &[u8]) {
    if let Ok(record) = Record::decode(data) {
        let again = record.encode();
        assert_eq!(Record::decode(&again).as_ref(), Ok(&record));
        assert!(again.len() <= data.len(), "no value has a shorter spelling than the one written");
        let _totals = (record.totals(b""), record.totals(b"name"));
        if let Record::Inode(inode) = record {
            assert!(inode.permissions <= 0o7777);
            let _shown = (inode.size(), inode.kind().letter());
        }
    }
}

/// A record of an extent tree: the key is the first eight bytes.
pub(crate) fn extent(data: &[u8]) {
    let Some((key, value)) = data.split_first_chunk::<8>() else {
        return;
    };
    if let Ok(extent) = Extent::decode(key, value) {
        let mut again = Vec::new();
        extent.put_value(&mut again);
        assert_eq!(Extent::decode(&Extent::key(extent.offset), &again), Ok(extent));
        assert!(extent.len > 0 && u64::from(extent.skip) + extent.len <= extent.chunk.len.into());
        assert!(extent.offset + extent.len <= i64::MAX.cast_unsigned());
    }
}

/// Extended attributes as kept in a BDF.
pub(crate) fn xattr_list(data: &[u8]) {
    if let Ok(list) = Xattrs::decode_list(data) {
        assert_eq!(Xattrs::decode_list(&Xattrs::encode_list(&list)), Ok(list));
    }
}

/// The configuration of a repository.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(config) = Config::parse(text) {
        let again = Config::parse(&config.to_text()).expect("what was written can be read");
        assert_eq!(again, config);
        assert_eq!(again.repository_id().to_string(), config.id);
    }
}

/// A compressed payload: the first byte is the length of the prefix, the second one that of the result
/// in units of 4 KiB.
pub(crate) fn compress(data: &[u8]) {
    let [prefix_len, plain_len, rest @ ..] = data else {
        return;
    };
    let (prefix, stored) = rest.split_at(rest.len().min((*prefix_len).into()));
    let plain_len = usize::from(*plain_len) << 12;
    assert!(plain_len <= PLAIN_LEN_MAX);
    if let Ok(plain) = Decompressor::new().decompress(stored, plain_len, prefix) {
        assert_eq!(plain.len(), plain_len);
    }
}

/// Names of clients, generations and files.
pub(crate) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<ClientName>() {
        Ok(name) => assert_eq!(name.to_string(), text),
        Err(error) => assert!(error.to_string().chars().all(|c| !c.is_control())),
    }
    if let Ok(id) = text.parse::<FileId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(time) = text.parse::<GenerationTime>() {
        assert_eq!(time.to_string(), text);
        assert!(time.next() >= time);
    }
    let seconds = data.first_chunk::<8>().map(|bytes| i64::from_le_bytes(*bytes));
    if let Some(time) = seconds.and_then(GenerationTime::from_seconds) {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
}

/// What names a generation or a path in it on a command line.
pub(crate) fn address(data: &[u8]) {
    match Address::parse(OsStr::from_bytes(data)) {
        Ok(address) => {
            assert!(!address.path.starts_with(b"/"));
            assert!(address.to_string().chars().all(|c| !c.is_control()));
        }
        Err(error) => assert!(error.to_string().chars().all(|c| !c.is_control())),
    }
}

/// A line on the control socket.
pub(crate) fn control_request(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let again = serde_json::to_vec(&request).expect("plain values can be written as JSON");
        assert_eq!(serde_json::from_slice::<Request>(&again).expect("what was written can be read"), request);
    }
}

/// Patterns that leave something out, one in a line; the last line is a path.
pub(crate) fn exclusions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let path = lines.pop().unwrap_or_default();
    match Exclusions::new(&[("list".to_owned(), lines.clone())]) {
        Ok(exclusions) => {
            let path = path.trim_start_matches('/').as_bytes();
            let found = [true, false].map(|is_directory| exclusions.is_excluded(path, is_directory));
            assert!(!exclusions.is_empty() || found == [false, false]);
            // The same list again changes nothing: the last pattern that matches decides.
            let twice = [("list".to_owned(), lines.clone()), ("again".to_owned(), lines)];
            let twice = Exclusions::new(&twice).expect("the same patterns");
            assert_eq!([true, false].map(|is_directory| twice.is_excluded(path, is_directory)), found);
        }
        Err(error) => assert!((1..=lines.len()).contains(&error.line), "{error}"),
    }
}

/// A row of staging, of each sort.
pub(crate) fn staging_rows(data: &[u8]) {
    if let Ok(row) = EntryRow::decode(data) {
        assert_eq!(EntryRow::decode(&row.encode()), Ok(row));
    }
    if let Ok(row) = ObjectRow::decode(data) {
        let _shown = row.object.as_ref().map(|state| state.kind());
        assert!(row.memory_len() >= 64);
        assert_eq!(ObjectRow::decode(&row.encode()), Ok(row));
    }
    if let Ok(state) = TreeState::decode(data) {
        assert_eq!(TreeState::decode(&state.encode()), Ok(state));
    }
}

/// The first `N` bytes, with zeros behind if there are fewer.
fn padded<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let len = data.len().min(N);
    bytes[..len].copy_from_slice(&data[..len]);
    bytes
}

/// Puts the CRC-32 at the end right.
fn mend(bytes: &mut [u8], before: &[u8]) {
    let (covered, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32(&[before, covered]).to_le_bytes());
}
