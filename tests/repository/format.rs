//! Formats against golden bytes in `fixtures/format`: both ways, each bit flipped, cut at each length.
//!
//! Golden files are never changed: a repository of today must be readable in thirty years. With
//! `UPDATE_FIXTURES=1` in the environment the tests write those that are missing, and only those.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reelfs::checksum::crc32;
use reelfs::format::FormatError;
use reelfs::format::bdf::{self, Area, BdfHeader, FrameSpan};
use reelfs::format::config::Config;
use reelfs::format::dtf::{DtfFooter, DtfHeader, Totals};
use reelfs::format::frame::{ChunkInfo, ChunkPointer, Codec, FrameHeader, Location};
use reelfs::format::page::{self, Page, PageHeader, PageRef, TreeKind};
use reelfs::format::record::{Content, Detail, Extent, FileKind, Inode, Record, Time, Xattrs, entry_key};
use reelfs::format::seal::Seal;
use reelfs::id::{FileId, Fingerprint, GenerationTime, Ordinal};

use crate::checks::{self, FILE};

const REPOSITORY: FileId = FileId(*b"fixture of repo.");
const FRAME_OFFSET: u64 = 4096;
const PAGE_OFFSET: u64 = 192;
const SEALED_LEN: u64 = 128 + 1000 + 28 + 64;

/// Reads bytes and writes what was read.
type Again = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// One structure with its golden bytes.
struct Case {
    name: &'static str,
    // The check of `fuzz/checks.rs` that is for it.
    check: &'static str,
    bytes: Vec<u8>,
    again: Again,
    // Whether a checksum covers every byte, so that every change must be an error.
    checksummed: bool,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Bytes of a fixture, which is written first if it is missing and may be.
pub(crate) fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = fixture(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().expect("a fixture has a directory")).expect("fixtures are writable");
        fs::write(&path, bytes).expect("fixtures are writable");
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ordinal(number: u32) -> Ordinal {
    Ordinal::new(number).expect("in range")
}

fn pointer(text: &[u8], frame: u64, start: u32) -> ChunkPointer {
    let len = u32::try_from(text.len()).expect("short");
    ChunkPointer { fingerprint: Fingerprint::of(text), len, location: Location { file: FILE, frame, start } }
}

fn extent(offset: u64) -> Extent {
    Extent { offset, len: 9, skip: 3, chunk: pointer(b"the text of a chunk", FRAME_OFFSET, 77) }
}

fn page_ref() -> PageRef {
    PageRef { ordinal: ordinal(7), offset: 640, stored_len: 4000 }
}

fn inode(detail: Detail, xattrs: Xattrs) -> Record {
    let link_count = if matches!(detail, Detail::Regular { .. }) { 2 } else { 1 };
    Record::Inode(named(link_count, detail, xattrs))
}

fn named(link_count: u32, detail: Detail, xattrs: Xattrs) -> Inode {
    Inode {
        permissions: 0o4755,
        uid: u32::MAX - 1,
        gid: 100,
        mtime: Time { seconds: -1, nanoseconds: 999_999_999 },
        ctime: Time { seconds: 1_795_233_600, nanoseconds: 1 },
        atime: Time { seconds: i64::MIN, nanoseconds: 0 },
        source_inode: u64::MAX,
        is_staging_number: false,
        link_count,
        inconsistent: true,
        xattrs,
        detail,
    }
}

fn regular(content: Content, signature: Option<Fingerprint>) -> Detail {
    Detail::Regular { size: 1 << 40, signature, content }
}

fn attributes() -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![(b"security.capability".to_vec(), vec![0, 255, 1]), (b"user.empty".to_vec(), Vec::new())]
}

fn headers() -> Vec<Case> {
    let bdf = BdfHeader {
        file: FILE,
        repository: REPOSITORY,
        area: Area::Delta,
        client: "web1.example".parse().expect("valid"),
        ordinal: ordinal(42),
        written_seconds: -2,
    };
    let dtf = DtfHeader {
        file: FILE,
        repository: REPOSITORY,
        ordinal: ordinal(Ordinal::MAX),
        previous: Some(ordinal(41)),
        client: "x".repeat(64).parse().expect("valid"),
        time: GenerationTime::from_seconds(1_795_233_600).expect("valid"),
    };
    let seal = Seal { footer_offset: 1128, footer_len: 28, file: FILE, footer_crc: 0x1234_5678 };
    vec![
        case("bdf-header", "bdf_header", bdf.encode(), true, |bytes| {
            Some(BdfHeader::decode(bytes.try_into().ok()?).ok()?.encode())
        }),
        case("dtf-header", "dtf_header", dtf.encode(), true, |bytes| {
            Some(DtfHeader::decode(bytes.try_into().ok()?).ok()?.encode())
        }),
        case("seal", "seal", seal.encode(), true, |bytes| {
            Some(Seal::decode(bytes.try_into().ok()?, SEALED_LEN).ok()?.encode())
        }),
    ]
}

fn footers() -> Vec<Case> {
    let spans = [(128, 300, 2), (428, u32::MAX, 65_535), (u64::MAX, 0, 0)]
        .map(|(offset, len, chunk_count)| FrameSpan { offset, len, chunk_count });
    let bdf = bdf::encode_footer(&spans);
    let totals = Totals {
        file_count: 1,
        directory_count: 2,
        symlink_count: 300,
        other_count: 4,
        linked_count: 5,
        content_bytes: u64::MAX,
        xattr_count: 7,
        inconsistent_count: 8,
    };
    let mut dtf = DtfFooter {
        root: page_ref(),
        next_linked: 300,
        next_directory: (1 << 39) + 5,
        totals,
        added_bytes: 123_456_789,
        predecessor: None,
        message: b"before the upgrade".to_vec(),
        source: b"/srv/\xff".to_vec(),
    };
    let first = dtf.encode();
    dtf.predecessor = Some(ordinal(300));
    let later = dtf.encode();
    let [bdf_crc, first_crc, later_crc] = [&bdf, &first, &later].map(|bytes| crc32(&[bytes]));
    vec![
        case("bdf-footer", "bdf_footer", bdf, true, move |bytes| {
            bdf::decode_footer(bytes, bdf_crc).map(|spans| bdf::encode_footer(&spans)).ok()
        }),
        case("dtf-footer", "dtf_footer", first, true, move |bytes| {
            DtfFooter::decode(bytes, first_crc).map(|footer| footer.encode()).ok()
        }),
        case("dtf-footer-later", "dtf_footer", later, true, move |bytes| {
            DtfFooter::decode(bytes, later_crc).map(|footer| footer.encode()).ok()
        }),
    ]
}

fn frames() -> Vec<Case> {
    let chunk = |text: &[u8]| {
        let ChunkPointer { fingerprint, len, .. } = pointer(text, 0, 0);
        ChunkInfo { len, fingerprint }
    };
    let chunks = vec![chunk(b"one chunk"), chunk(b"and another one")];
    let plain = FrameHeader {
        codec: Codec::Raw,
        stored_len: 24,
        plain_len: 24,
        payload_crc: crc32(&[b"one chunkand another one"]),
        chunks: chunks.clone(),
        bases: Vec::new(),
    };
    let bases = vec![pointer(b"a base chunk", 128, 5), pointer(b"a second one", 9000, 0)];
    let delta =
        FrameHeader { codec: Codec::Zstd, stored_len: 20, plain_len: 24, payload_crc: 1, chunks, bases };
    let again = |bytes: &[u8]| {
        FrameHeader::decode(bytes, FILE, FRAME_OFFSET).map(|header| header.encode(FILE, FRAME_OFFSET)).ok()
    };
    vec![
        case("frame-plain", "frame", plain.encode(FILE, FRAME_OFFSET), true, again),
        case("frame-delta", "frame", delta.encode(FILE, FRAME_OFFSET), true, again),
    ]
}

fn page_bytes(level: u8, tree: TreeKind, records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let payload = page::encode_payload(records.iter().map(|(key, value)| (&key[..], &value[..])));
    let len = u32::try_from(payload.len()).expect("short");
    let record_count = u32::try_from(records.len()).expect("few");
    let header = PageHeader {
        level,
        codec: Codec::Raw,
        tree,
        stored_len: len,
        plain_len: len,
        record_count,
        base: None,
    };
    let mut bytes = header.encode(FILE, PAGE_OFFSET, &payload);
    bytes.extend_from_slice(&payload);
    bytes
}

fn page_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, payload) = PageHeader::decode(bytes, FILE, PAGE_OFFSET).ok()?;
    let page = Page::new(&header, payload.to_vec()).ok()?;
    let records: Vec<_> = page.records_from(0).map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    Some(page_bytes(page.level(), page.tree(), &records))
}

fn pages() -> Vec<Case> {
    let root = inode(Detail::Directory { parent: 1 }, Xattrs::NONE).encode();
    let link = Record::Link { kind: FileKind::Directory, object: 2 }.encode();
    let leaf = [(entry_key(1, b""), root), (entry_key(1, b"sub"), link)];
    let mut child = Vec::new();
    page_ref().put(&mut child);
    let interior = [(entry_key(1, b""), child.clone()), (entry_key(9, b"n"), child)];
    let mut value = Vec::new();
    extent(0).put_value(&mut value);
    let extents = [(Extent::key(0).to_vec(), value.clone()), (Extent::key(1 << 33).to_vec(), value)];
    vec![
        case("page-leaf", "page", page_bytes(0, TreeKind::Directory, &leaf), true, page_again),
        case("page-interior", "page", page_bytes(1, TreeKind::Directory, &interior), true, page_again),
        case("page-extents", "page", page_bytes(0, TreeKind::Extents, &extents), true, page_again),
    ]
}

fn records() -> Vec<Case> {
    let inline = Content::Inline(vec![extent(0), extent(4096)]);
    let tree = Content::Tree { root: page_ref(), allocated: 123_456 };
    let stored = Xattrs::Stored { len: 9, extents: vec![extent(0)] };
    let attributed = Xattrs::Inline(attributes());
    let records = [
        ("record-link", Record::Link { kind: FileKind::Regular, object: (1 << 40) - 1 }),
        ("record-directory", inode(Detail::Directory { parent: 3 }, stored)),
        ("record-file", inode(regular(inline, Some(Fingerprint::of(b"all"))), Xattrs::NONE)),
        ("record-file-tree", inode(regular(tree, None), Xattrs::Inline(attributes()))),
        ("record-symlink", inode(Detail::Symlink { target: b"../\xff".to_vec() }, Xattrs::NONE)),
        ("record-character", inode(Detail::CharacterDevice { major: 1, minor: 3 }, Xattrs::NONE)),
        ("record-block", inode(Detail::BlockDevice { major: 4095, minor: 1 << 19 }, Xattrs::NONE)),
        ("record-fifo", inode(Detail::Fifo, Xattrs::NONE)),
        (
            "record-symlink-names",
            Record::Inode(named(3, Detail::Symlink { target: b"x".to_vec() }, attributed)),
        ),
        (
            "record-block-names",
            Record::Inode(named(300, Detail::BlockDevice { major: 8, minor: 1 }, Xattrs::NONE)),
        ),
        ("record-link-fifo", Record::Link { kind: FileKind::Fifo, object: 5 }),
        ("record-socket", inode(Detail::Socket, Xattrs::NONE)),
    ];
    let again = |bytes: &[u8]| Record::decode(bytes).map(|record| record.encode()).ok();
    let mut cases: Vec<Case> = records
        .into_iter()
        .map(|(name, record)| case(name, "record", record.encode(), false, again))
        .collect();
    let mut bytes = Extent::key(1 << 33).to_vec();
    extent(1 << 33).put_value(&mut bytes);
    cases.push(case("extent", "extent", bytes, false, |bytes| {
        let (key, value) = bytes.split_first_chunk::<8>()?;
        let extent = Extent::decode(key, value).ok()?;
        let mut again = Extent::key(extent.offset).to_vec();
        extent.put_value(&mut again);
        Some(again)
    }));
    cases.push(case("xattr-list", "xattr_list", Xattrs::encode_list(&attributes()), false, |bytes| {
        Xattrs::decode_list(bytes).map(|list| Xattrs::encode_list(&list)).ok()
    }));
    cases
}

fn case(
    name: &'static str,
    check: &'static str,
    bytes: Vec<u8>,
    checksummed: bool,
    again: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static,
) -> Case {
    Case { name, check, bytes, again: Box::new(again), checksummed }
}

fn cases() -> Vec<Case> {
    [headers(), footers(), frames(), pages(), records()].into_iter().flatten().collect()
}

fn check(name: &str) -> fn(&[u8]) {
    checks::ALL.iter().find(|(known, _)| *known == name).expect("every case has a check").1
}

#[test]
fn golden_bytes_are_written_and_read() {
    for Case { name, bytes, again, .. } in cases() {
        let golden = golden(&format!("format/v1/{name}.bin"), &bytes);
        assert!(bytes == golden, "{name} is written in another way than before");
        assert!(again(&golden).as_ref() == Some(&golden), "{name} is read in another way than before");
    }
}

#[test]
fn the_golden_configuration_is_written_and_read() {
    let config = Config::new(REPOSITORY);
    let golden = golden("format/v1/reelfs.toml", config.to_text().as_bytes());
    let text = String::from_utf8(golden).expect("UTF-8");
    assert_eq!(Config::parse(&text).expect("valid"), config);
    assert_eq!(config.to_text(), text);
    for line in 0..text.lines().count() {
        let fewer: String =
            text.lines().enumerate().filter(|(n, _)| *n != line).map(|(_, l)| format!("{l}\n")).collect();
        checks::config(fewer.as_bytes());
    }
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    for Case { name, check: check_name, bytes, again, checksummed } in cases() {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = again(&flipped);
            if checksummed {
                assert!(read.is_none(), "{name}: a flip of bit {bit} went unnoticed");
            }
            // Without a checksum it may be another valid value; then that one must hold together.
            check(check_name)(&flipped);
        }
    }
}

#[test]
fn what_is_cut_short_is_an_error() {
    for Case { name, check: check_name, bytes, again, .. } in cases() {
        for len in 0..bytes.len() {
            assert!(again(&bytes[..len]).is_none(), "{name}: {len} bytes of {} were enough", bytes.len());
            check(check_name)(&bytes[..len]);
        }
    }
}

#[test]
fn a_structure_of_another_file_or_place_is_refused() {
    let by_name = |wanted: &str| cases().into_iter().find(|case| case.name == wanted).expect("exists").bytes;
    let (frame, page) = (by_name("frame-plain"), by_name("page-leaf"));
    let other = FileId(*b"another file id.");
    assert!(matches!(FrameHeader::decode(&frame, other, FRAME_OFFSET), Err(FormatError::Checksum { .. })));
    assert!(matches!(FrameHeader::decode(&frame, FILE, 0), Err(FormatError::Misplaced { actual: 0, .. })));
    assert!(matches!(PageHeader::decode(&page, other, PAGE_OFFSET), Err(FormatError::Checksum { .. })));
    assert!(matches!(PageHeader::decode(&page, FILE, 256), Err(FormatError::Misplaced { stored: 192, .. })));
}

#[test]
fn a_version_that_is_not_known_is_named() {
    let mut bytes = headers().remove(0).bytes;
    bytes[8] = 2;
    let crc = crc32(&[&bytes[..124]]);
    bytes[124..].copy_from_slice(&crc.to_le_bytes());
    let error = BdfHeader::decode(&bytes.try_into().expect("a header")).expect_err("refused");
    assert_eq!(error.to_string(), "BDF header has format version 2, this program reads version 1");
}

#[test]
fn a_number_of_any_size_in_any_place_is_no_harm() {
    for Case { check: check_name, bytes, .. } in cases() {
        for (at, len) in [2, 4, 8].into_iter().flat_map(|len| (0..bytes.len()).map(move |at| (at, len))) {
            for value in [0, 1, u64::MAX, u64::MAX - 1, i64::MAX.cast_unsigned(), 1 << 31, 1 << 63] {
                let mut changed = bytes.clone();
                let Some(field) = changed.get_mut(at..at + len) else { continue };
                // The highest bytes of the number, so that a field of any length gets its largest value.
                let place = if value > u64::from(u16::MAX) { 8 - len } else { 0 };
                field.copy_from_slice(&value.to_le_bytes()[place..place + len]);
                // The checks put checksums right.
                check(check_name)(&changed);
            }
        }
    }
}

#[test]
fn what_fuzzing_has_found_before_holds_now() {
    for (name, check) in checks::ALL {
        for entry in fs::read_dir(fixture("fuzz").join(name)).into_iter().flatten() {
            check(&fs::read(entry.expect("fixtures are readable").path()).expect("fixtures are readable"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_hold_every_check(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for (_, check) in checks::ALL {
            check(&bytes);
        }
    }

    #[test]
    fn golden_bytes_changed_at_random_hold_every_check(
        index in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let cases = cases();
        let case = index.get(&cases);
        let mut bytes = case.bytes.clone();
        for (place, byte) in changes {
            *place.get_mut(&mut bytes) = byte;
        }
        check(case.check)(&bytes);
    }
}
