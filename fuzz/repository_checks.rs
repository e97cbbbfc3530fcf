//! What must hold for any bytes in the place of a sealed file of a repository.
//!
//! As in `checks.rs`: the fuzz targets call the functions with what the fuzzer finds;
//! `tests/repository/whole_files.rs` with the golden files, damaged. Checksums are put right, page by page and
//! frame by frame, so that what lies behind them is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use reelfs::checksum::crc32;
use reelfs::format::bdf::{self, BdfHeader};
use reelfs::format::dtf::{self, DtfHeader};
use reelfs::format::frame::{self, FrameLengths};
use reelfs::format::page::{self, ALIGNMENT, PageHeader};
use reelfs::format::record::{Content, Detail, ROOT_OBJECT};
use reelfs::format::seal::{SEAL_LEN, Seal};
use reelfs::id::{FileId, Ordinal};
use reelfs::repo::bdf_file::BdfFile;
use reelfs::repo::content::ContentReader;
use reelfs::repo::frames::FrameReader;
use reelfs::repo::pages::PageReader;
use reelfs::repo::{Generation, Node};
use reelfs::storage::MemoryStorage;

/// A parser's name, and what must hold for it.
pub(crate) type Check = (&'static str, fn(&[u8]));

/// All checks; each has a fuzz target of its name.
pub(crate) const ALL: &[Check] = &[("bdf_file", bdf_file), ("dtf_file", dtf_file)];

macro_rules! golden {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../fixtures/repository/v1/", $name)).as_slice())),*]
    };
}

/// The golden repository's sealed files.
pub(crate) const FILES: [(&str, &[u8]); 4] = golden![
    "clients/sample/2026-11-21T04-00-00Z.1.dtf",
    "clients/sample/2026-11-21T05-00-00Z.2.dtf",
    "full/sample/aa73616d706c65206f6e6520626466aa.bdf",
    "delta/sample/bb73616d706c652074776f20626466bb.bdf",
];
const REPOSITORY: FileId = FileId(*b"\x01sample repo id\x01");
const CACHE_BYTES: u64 = 1 << 20;
/// Most entries and bytes that are read of a tree that may have no end.
const ENTRY_COUNT_MAX: usize = 2000;
const READ_LEN_MAX: u64 = 2 << 20;

/// Content by generation and path; nothing where it cannot be read.
type Contents = BTreeMap<(u32, Vec<u8>), Option<Vec<u8>>>;

struct Reader {
    pages: PageReader,
    frames: FrameReader,
}

impl Reader {
    // The golden repository, with other bytes in the place of one of its files.
    fn new(replaced: usize, bytes: &[u8]) -> Self {
        let storage = MemoryStorage::new();
        for (index, (name, golden)) in FILES.iter().enumerate() {
            storage.put(name, if index == replaced { bytes } else { golden });
        }
        let storage = Arc::new(storage);
        let pages = PageReader::new(storage.clone(), REPOSITORY, CACHE_BYTES);
        let frames = FrameReader::new(storage, REPOSITORY, CACHE_BYTES);
        Self { pages, frames }
    }

    fn contents(&self) -> Contents {
        let mut found = Contents::new();
        for number in [1, 2] {
            let ordinal = Ordinal::new(number).expect("in range");
            if let Ok(generation) = Generation::open(&self.pages, ordinal) {
                self.walk(&generation, number, &mut found);
            }
        }
        found
    }

    fn walk(&self, generation: &Generation, number: u32, found: &mut Contents) {
        let mut left = vec![(ROOT_OBJECT, Vec::new())];
        let mut entered = BTreeSet::new();
        let mut count = 0;
        while let Some((object, above)) = left.pop() {
            if !entered.insert(object) {
                continue;
            }
            let Ok(listing) = generation.list(&self.pages, object, None) else { continue };
            for entry in listing {
                count += 1;
                if count > ENTRY_COUNT_MAX {
                    return;
                }
                let Ok(entry) = entry else { continue };
                let path = [&above[..], b"/", &entry.name].concat();
                let inode = match (entry.inode, entry.node) {
                    (Some(inode), _) => Ok(inode),
                    (None, Node::Object { object, .. }) => generation.object(&self.pages, object),
                    (None, _) => continue,
                };
                let Ok(inode) = inode else { continue };
                match (&inode.detail, entry.node) {
                    (Detail::Directory { .. }, Node::Object { object, .. }) => left.push((object, path)),
                    (Detail::Regular { size, content, .. }, _) => {
                        let bytes = self.read(content, *size);
                        found.insert((number, path), bytes);
                    }
                    _ => {}
                }
            }
        }
    }

    fn read(&self, content: &Content, size: u64) -> Option<Vec<u8>> {
        let reader = ContentReader::new(&self.pages, &self.frames, content, size);
        let _edges = (reader.seek_data(0), reader.seek_hole(0), reader.is_ready(0, 1));
        let len = usize::try_from(size.min(READ_LEN_MAX)).expect("little");
        let bytes = reader.read(0, len).ok()?;
        assert_eq!(bytes.len(), len);
        Some(bytes)
    }
}

/// What the golden repository holds.
fn expected() -> &'static Contents {
    static EXPECTED: OnceLock<Contents> = OnceLock::new();
    EXPECTED.get_or_init(|| Reader::new(usize::MAX, &[]).contents())
}

/// A BDF: its frames can be told one by one, and what is read through sound trees is what was stored, or an error.
pub(crate) fn bdf_file(data: &[u8]) {
    for bytes in [data.to_vec(), mended_bdf(data)] {
        for (index, (name, golden)) in FILES.iter().enumerate().skip(2) {
            let reader = Reader::new(index, &bytes);
            let read = reader.contents();
            assert_eq!(read.len(), expected().len(), "the trees are sound");
            for (place, content) in read {
                assert!(content.is_none() || content == expected()[&place], "{place:?}: wrong bytes");
            }
            let storage = MemoryStorage::new();
            storage.put(name, &bytes);
            let id = BdfHeader::decode(golden.first_chunk().expect("long enough")).expect("golden").file;
            let Ok(file) = BdfFile::open(&storage, REPOSITORY, name, id) else { continue };
            for offset in (0..bytes.len() as u64).step_by(8) {
                if let Ok(header) = file.read_header(offset) {
                    assert!(header.plain_len > 0);
                    let _stored = file.read_stored(offset);
                }
            }
        }
    }
}

/// A DTF: to walk the tree ends, and nothing is read that does not have its fingerprint.
pub(crate) fn dtf_file(data: &[u8]) {
    for bytes in [data.to_vec(), mended_dtf(data)] {
        for index in [0, 1] {
            let _read = Reader::new(index, &bytes).contents();
        }
    }
}

/// A BDF whose checksums are right, and whose seal says where its footer is.
fn mended_bdf(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let Some(header) = bytes.first_chunk_mut::<{ bdf::HEADER_LEN }>() else { return bytes };
    mend(header);
    let Ok(header) = BdfHeader::decode(header) else { return bytes };
    mend_end(&mut bytes);
    let magic = &FILES[2].1[bdf::HEADER_LEN..][..4];
    for at in bdf::HEADER_LEN..bytes.len() {
        let Some(fixed) = bytes[at..].first_chunk::<{ frame::HEADER_LEN }>() else { break };
        if !fixed.starts_with(magic) {
            continue;
        }
        let Ok(lengths) = FrameLengths::peek(fixed) else { continue };
        let Some(whole) = bytes[at..].get_mut(..lengths.total()) else { continue };
        let (fixed, rest) = whole.split_at_mut(frame::HEADER_LEN);
        let (tables, stored) = rest.split_at(lengths.tables_len);
        let (covered, crcs) = fixed.split_at_mut(frame::HEADER_LEN - 8);
        crcs[..4].copy_from_slice(&crc32(&[stored]).to_le_bytes());
        let crc = crc32(&[&header.file.0, covered, &crcs[..4], tables]);
        crcs[4..].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

/// A DTF whose checksums are right, and whose seal says where its footer is.
fn mended_dtf(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let Some(header) = bytes.first_chunk_mut::<{ dtf::HEADER_LEN }>() else { return bytes };
    mend(header);
    let Ok(header) = DtfHeader::decode(header) else { return bytes };
    mend_end(&mut bytes);
    let alignment = usize::try_from(ALIGNMENT).expect("small");
    for at in (dtf::HEADER_LEN.next_multiple_of(alignment)..bytes.len()).step_by(alignment) {
        let Some(fixed) = bytes[at..].first_chunk() else { break };
        let Ok(stored_len) = PageHeader::peek_stored_len(fixed) else { continue };
        let Some(whole) = bytes[at..].get_mut(..page::HEADER_LEN + stored_len as usize) else { continue };
        let (fixed, stored) = whole.split_at_mut(page::HEADER_LEN);
        let (covered, crc) = fixed.split_at_mut(page::HEADER_LEN - 4);
        crc.copy_from_slice(&crc32(&[&header.file.0, covered, stored]).to_le_bytes());
    }
    bytes
}

// Footer and seal.
fn mend_end(bytes: &mut [u8]) {
    let len = bytes.len();
    let Some(end) = bytes.last_chunk_mut::<SEAL_LEN>() else { return };
    mend(end);
    let Ok(mut seal) = Seal::decode(end, len as u64) else { return };
    let range = usize::try_from(seal.footer_offset).unwrap_or(usize::MAX)..len - SEAL_LEN;
    let Some(footer) = bytes.get(range) else { return };
    seal.footer_crc = crc32(&[footer]);
    bytes[len - SEAL_LEN..].copy_from_slice(&seal.encode());
}

/// Puts the CRC-32 at the end right.
fn mend(bytes: &mut [u8]) {
    let (covered, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32(&[covered]).to_le_bytes());
}
