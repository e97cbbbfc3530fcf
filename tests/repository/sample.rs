//! A small but complete repository, put together record by record from the formats alone.
//!
//! Two generations of a client: the second one points into the first one's DTF and holds a file
//! compressed against its previous version. It has one of everything that a generation can hold. The
//! golden copy in `fixtures/repository/v1` is never changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reelfs::checksum::crc32;
use reelfs::chunk::compress::{Compressor, Decompressor};
use reelfs::format::bdf::{self, Area, BdfHeader, FrameSpan};
use reelfs::format::config::Config;
use reelfs::format::dtf::{self, DtfFooter, DtfHeader, Totals};
use reelfs::format::frame::{ChunkInfo, ChunkPointer, Codec, FrameHeader, Location};
use reelfs::format::page::{self, ALIGNMENT, Page, PageHeader, PageRef, TreeKind};
use reelfs::format::record::{
    Content, Detail, Extent, FIRST_DIRECTORY_OBJECT, FIRST_LINKED_OBJECT, FileKind, Inode, ROOT_OBJECT,
    Record, Time, Xattrs, entry_key,
};
use reelfs::format::seal::{SEAL_LEN, Seal};
use reelfs::id::{FileId, Fingerprint, GenerationTime, Ordinal};

use crate::format::golden;

pub(crate) const REPOSITORY: FileId = FileId(*b"\x01sample repo id\x01");
pub(crate) const CLIENT: &str = "sample";
const FIRST_SECONDS: i64 = 1_795_233_600;

pub(crate) type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Text of a file that the second generation changes.
pub(crate) fn text(changed: bool) -> Vec<u8> {
    let mut text: Vec<u8> = (0..2000_u32).flat_map(|n| format!("line {}\n", n * 7919).into_bytes()).collect();
    if changed {
        text[10_000..10_007].copy_from_slice(b"changed");
    }
    text
}

/// Writes a BDF.
pub(crate) struct BdfMaker {
    file: FileId,
    bytes: Vec<u8>,
    spans: Vec<FrameSpan>,
}

impl BdfMaker {
    pub(crate) fn new(file: FileId, area: Area, ordinal: Ordinal) -> Self {
        let header = BdfHeader {
            file,
            repository: REPOSITORY,
            area,
            client: CLIENT.parse().expect("valid"),
            ordinal,
            written_seconds: FIRST_SECONDS,
        };
        Self { file, bytes: header.encode(), spans: Vec::new() }
    }

    pub(crate) fn frame(&mut self, chunks: &[&[u8]], bases: &[(ChunkPointer, &[u8])]) -> Vec<ChunkPointer> {
        let plain = chunks.concat();
        let prefix = bases.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<_>>();
        let stored = Compressor::new(3).compress(&plain, &prefix).expect("compresses");
        let codec = if stored.is_some() { Codec::Zstd } else { Codec::Raw };
        let stored = stored.unwrap_or_else(|| plain.clone());
        let offset = self.bytes.len() as u64;
        let info = |chunk: &&[u8]| ChunkInfo { len: len_u32(chunk), fingerprint: Fingerprint::of(chunk) };
        let header = FrameHeader {
            codec,
            stored_len: len_u32(&stored),
            plain_len: len_u32(&plain),
            payload_crc: crc32(&[&stored]),
            chunks: chunks.iter().map(info).collect(),
            bases: bases.iter().map(|(pointer, _)| *pointer).collect(),
        };
        let start_len = self.bytes.len();
        self.bytes.extend(header.encode(self.file, offset));
        self.bytes.extend(stored);
        let len = len_u32(&self.bytes[start_len..]);
        self.spans.push(FrameSpan { offset, len, chunk_count: len_u32(&header.chunks) });
        let mut start = 0;
        let place = |chunk: &ChunkInfo| {
            let location = Location { file: self.file, frame: offset, start };
            start += chunk.len;
            ChunkPointer { fingerprint: chunk.fingerprint, len: chunk.len, location }
        };
        header.chunks.iter().map(place).collect()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        sealed(self.bytes, &bdf::encode_footer(&self.spans), self.file)
    }
}

fn len_u32<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).expect("short")
}

fn sealed(mut bytes: Vec<u8>, footer: &[u8], file: FileId) -> Vec<u8> {
    let footer_offset = bytes.len() as u64;
    bytes.extend_from_slice(footer);
    let seal = Seal { footer_offset, footer_len: footer.len() as u64, file, footer_crc: crc32(&[footer]) };
    bytes.extend(seal.encode());
    bytes
}

/// Writes a DTF.
pub(crate) struct DtfMaker {
    file: FileId,
    ordinal: Ordinal,
    bytes: Vec<u8>,
}

impl DtfMaker {
    pub(crate) fn new(file: FileId, number: u32) -> Self {
        let ordinal = Ordinal::new(number).expect("in range");
        let header = DtfHeader {
            file,
            repository: REPOSITORY,
            ordinal,
            previous: Ordinal::new(number - 1),
            client: CLIENT.parse().expect("valid"),
            time: time(number),
        };
        Self { file, ordinal, bytes: header.encode() }
    }

    pub(crate) fn page(&mut self, level: u8, tree: TreeKind, records: &Records) -> PageRef {
        let alignment = usize::try_from(ALIGNMENT).expect("small");
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
        let offset = self.bytes.len() as u64;
        let plain = page::encode_payload(records.iter().map(|(key, value)| (&key[..], &value[..])));
        let stored = Compressor::new(3).compress(&plain, &[]).expect("compresses");
        let codec = if stored.is_some() { Codec::Zstd } else { Codec::Raw };
        let stored = stored.unwrap_or_else(|| plain.clone());
        let (stored_len, plain_len, record_count) = (len_u32(&stored), len_u32(&plain), len_u32(records));
        let header = PageHeader { level, codec, tree, stored_len, plain_len, record_count, base: None };
        self.bytes.extend(header.encode(self.file, offset, &stored));
        self.bytes.extend(stored);
        PageRef { ordinal: self.ordinal, offset, stored_len }
    }

    pub(crate) fn finish(self, root: PageRef, totals: Totals) -> Vec<u8> {
        let footer = DtfFooter {
            root,
            next_linked: FIRST_LINKED_OBJECT + 1,
            next_directory: FIRST_DIRECTORY_OBJECT + 1,
            totals,
            added_bytes: 0,
            predecessor: None,
            message: b"a sample".to_vec(),
            source: b"/srv/sample".to_vec(),
        };
        sealed(self.bytes, &footer.encode(), self.file)
    }
}

pub(crate) fn time(number: u32) -> GenerationTime {
    GenerationTime::from_seconds(FIRST_SECONDS + 3600 * i64::from(number - 1)).expect("valid")
}

pub(crate) fn inode(permissions: u16, detail: Detail, xattrs: Xattrs) -> Record {
    let mtime = Time { seconds: -86_400, nanoseconds: 123_456_789 };
    Record::Inode(Inode {
        permissions,
        uid: 1000,
        gid: u32::MAX - 1,
        mtime,
        ctime: Time { seconds: FIRST_SECONDS, nanoseconds: 1 },
        atime: mtime,
        source_inode: 12,
        is_staging_number: false,
        link_count: 1,
        inconsistent: false,
        xattrs,
        detail,
    })
}

pub(crate) fn whole(pointer: ChunkPointer, offset: u64) -> Extent {
    Extent { offset, len: pointer.len.into(), skip: 0, chunk: pointer }
}

pub(crate) fn regular(size: u64, content: Content) -> Detail {
    Detail::Regular { size, signature: None, content }
}

pub(crate) fn file(size: u64, extents: Vec<Extent>, xattrs: Xattrs) -> Record {
    inode(0o640, regular(size, Content::Inline(extents)), xattrs)
}

/// Entries of the root directory.
fn root_records(text: ChunkPointer, small: &[ChunkPointer], holes: PageRef) -> Records {
    let part = Extent { offset: 0, len: 5, skip: 6, chunk: text };
    let attributes = vec![(b"user.colour".to_vec(), b"blue".to_vec())];
    let stored = Xattrs::Stored { len: small[1].len.into(), extents: vec![whole(small[1], 0)] };
    let holes = regular(1 << 20, Content::Tree { root: holes, allocated: 10 });
    let link = |object, kind| Record::Link { kind, object };
    let mut records: Vec<(&[u8], Record)> = vec![
        (b"", inode(0o755, Detail::Directory { parent: ROOT_OBJECT }, Xattrs::NONE)),
        (b"caf\xe9", file(5, vec![part], Xattrs::Inline(attributes))),
        (b"directory", link(FIRST_DIRECTORY_OBJECT, FileKind::Directory)),
        (b"empty", file(0, Vec::new(), Xattrs::NONE)),
        (b"hard-a", link(FIRST_LINKED_OBJECT, FileKind::Regular)),
        (b"holes", inode(0o600, holes, Xattrs::NONE)),
        (b"link", inode(0o777, Detail::Symlink { target: b"../outside\xff".to_vec() }, Xattrs::NONE)),
        (b"many-attributes", file(0, Vec::new(), stored)),
        (b"text", file(text.len.into(), vec![whole(text, 0)], Xattrs::NONE)),
    ];
    records.sort_by_key(|(name, _)| name.to_vec());
    records.into_iter().map(|(name, record)| (entry_key(ROOT_OBJECT, name), record.encode())).collect()
}

/// Entries of the other objects.
fn other_records(small: ChunkPointer) -> Records {
    const LINKED: u64 = FIRST_LINKED_OBJECT;
    const DIRECTORY: u64 = FIRST_DIRECTORY_OBJECT;
    let linked = regular(small.len.into(), Content::Inline(vec![whole(small, 0)]));
    let Record::Inode(linked) = inode(0o4711, linked, Xattrs::NONE) else { unreachable!("an inode") };
    let linked = Record::Inode(Inode { link_count: 2, ..linked });
    let entries: [(u64, &[u8], Record); 7] = [
        (LINKED, b"", linked),
        (DIRECTORY, b"", inode(0o2750, Detail::Directory { parent: ROOT_OBJECT }, Xattrs::NONE)),
        (DIRECTORY, b"block", inode(0o660, Detail::BlockDevice { major: 7, minor: 300 }, Xattrs::NONE)),
        (DIRECTORY, b"character", inode(0o666, Detail::CharacterDevice { major: 1, minor: 3 }, Xattrs::NONE)),
        (DIRECTORY, b"fifo", inode(0o600, Detail::Fifo, Xattrs::NONE)),
        (DIRECTORY, b"hard-b", Record::Link { kind: FileKind::Regular, object: LINKED }),
        (DIRECTORY, b"socket", inode(0o600, Detail::Socket, Xattrs::NONE)),
    ];
    entries.into_iter().map(|(object, name, record)| (entry_key(object, name), record.encode())).collect()
}

fn interior(children: [(Vec<u8>, PageRef); 2]) -> Records {
    let value = |reference: PageRef| {
        let mut value = Vec::new();
        reference.put(&mut value);
        value
    };
    children.into_iter().map(|(key, reference)| (key, value(reference))).collect()
}

/// All files of the repository by name.
pub(crate) fn repository() -> BTreeMap<String, Vec<u8>> {
    let ids = [b"\xaasample one bdf\xaa", b"\xbbsample two bdf\xbb"].map(|id| FileId(*id));
    let attributes: Vec<_> =
        (0..300).map(|n| (format!("user.attribute-{n:03}").into_bytes(), vec![b'v'; n])).collect();
    let small: [&[u8]; 3] = [b"hard linked\n", &Xattrs::encode_list(&attributes), b"not empty\n"];
    let mut full = BdfMaker::new(ids[0], Area::Full, Ordinal::new(1).expect("in range"));
    let text_pointer = full.frame(&[&text(false)], &[])[0];
    let small = full.frame(&small, &[]);
    let mut delta = BdfMaker::new(ids[1], Area::Delta, Ordinal::new(2).expect("in range"));
    let changed = delta.frame(&[&text(true)], &[(text_pointer, &text(false))])[0];

    let mut first = DtfMaker::new(FileId(*b"\xccsample one dtf\xcc"), 1);
    let value = |offset| {
        let mut value = Vec::new();
        whole(small[2], offset).put_value(&mut value);
        (Extent::key(offset).to_vec(), value)
    };
    let holes = first.page(0, TreeKind::Extents, &vec![value(64 << 10), value(512 << 10)]);
    let records = root_records(text_pointer, &small, holes);
    let left = first.page(0, TreeKind::Directory, &records);
    let right = first.page(0, TreeKind::Directory, &other_records(small[0]));
    let keys = [entry_key(1, b""), entry_key(FIRST_LINKED_OBJECT, b"")];
    let children = interior([(keys[0].clone(), left), (keys[1].clone(), right)]);
    let root = first.page(1, TreeKind::Directory, &children);
    let totals = records.iter().chain(&other_records(small[0])).fold(Totals::default(), |sum, record| {
        sum.plus(Record::decode(&record.1).expect("made here").totals(&record.0[8..]))
    });
    let first = first.finish(root, totals);

    let mut second = DtfMaker::new(FileId(*b"\xddsample two dtf\xdd"), 2);
    let left = second.page(0, TreeKind::Directory, &root_records(changed, &small, holes));
    let [key, other] = keys;
    let root = second.page(1, TreeKind::Directory, &interior([(key, left), (other, right)]));
    let second = second.finish(root, totals);
    BTreeMap::from([
        ("reelfs.toml".to_owned(), Config::new(REPOSITORY).to_text().into_bytes()),
        (format!("clients/{CLIENT}/{}.1.dtf", time(1)), first),
        (format!("clients/{CLIENT}/{}.2.dtf", time(2)), second),
        (format!("full/{CLIENT}/{}.bdf", ids[0]), full.finish()),
        (format!("delta/{CLIENT}/{}.bdf", ids[1]), delta.finish()),
    ])
}

/// The golden copy, written below `target`.
pub(crate) fn write_golden(target: &Path) {
    for (name, bytes) in repository() {
        let path = target.join(&name);
        fs::create_dir_all(path.parent().expect("has a directory")).expect("writable");
        fs::write(path, golden(&format!("repository/v1/{name}"), &bytes)).expect("writable");
    }
}

fn seal_of(bytes: &[u8]) -> (Seal, &[u8]) {
    let len = bytes.len() as u64;
    let seal = bytes.last_chunk::<SEAL_LEN>().expect("long enough");
    let seal = Seal::decode(seal, len).expect("sealed");
    let footer = &bytes[usize::try_from(seal.footer_offset).expect("small")..bytes.len() - SEAL_LEN];
    (seal, footer)
}

#[test]
fn every_frame_of_the_golden_repository_is_read() {
    let mut chunks = BTreeMap::new();
    // `full` is read before `delta`, which has its base chunks there.
    for (name, bytes) in repository().iter().rev().filter(|(name, _)| name.ends_with(".bdf")) {
        let bytes = golden(&format!("repository/v1/{name}"), bytes);
        let header = BdfHeader::decode(bytes.first_chunk().expect("long enough")).expect("a BDF");
        let (seal, footer) = seal_of(&bytes);
        assert_eq!((header.file, header.repository), (seal.file, REPOSITORY));
        for span in bdf::decode_footer(footer, seal.footer_crc).expect("a footer") {
            let frame = &bytes[usize::try_from(span.offset).expect("small")..][..span.len as usize];
            let header = FrameHeader::decode(frame, seal.file, span.offset).expect("a frame");
            let stored = &frame[frame.len() - header.stored_len as usize..];
            let prefix: Vec<u8> =
                header.bases.iter().flat_map(|base| Vec::clone(&chunks[&base.fingerprint])).collect();
            let plain = match header.codec {
                Codec::Raw => stored.to_vec(),
                Codec::Zstd => Decompressor::new()
                    .decompress(stored, header.plain_len as usize, &prefix)
                    .expect("decompresses"),
            };
            let mut start = 0;
            for chunk in header.chunks {
                let bytes = plain[start..start + chunk.len as usize].to_vec();
                start += bytes.len();
                assert_eq!(Fingerprint::of(&bytes), chunk.fingerprint);
                chunks.insert(chunk.fingerprint, bytes);
            }
        }
    }
    assert_eq!(chunks.len(), 5);
    assert!(chunks.values().any(|bytes| *bytes == text(true)));
}

#[test]
fn every_page_of_the_golden_repository_is_read() {
    let mut files = BTreeMap::new();
    for (name, bytes) in repository().iter().filter(|(name, _)| name.ends_with(".dtf")) {
        let bytes = golden(&format!("repository/v1/{name}"), bytes);
        let header = DtfHeader::decode(bytes.first_chunk().expect("long enough")).expect("a DTF");
        assert!(name.contains(&format!("{}.{}.dtf", header.time, header.ordinal)), "{name}");
        files.insert(header.ordinal, (header.file, bytes));
    }
    let mut pending: Vec<PageRef> = Vec::new();
    for (_, bytes) in files.values() {
        let (seal, footer) = seal_of(bytes);
        pending.push(DtfFooter::decode(footer, seal.footer_crc).expect("a footer").root);
    }
    let mut totals = Totals::default();
    while let Some(reference) = pending.pop() {
        let (file, bytes) = &files[&reference.ordinal];
        assert!(reference.offset >= dtf::HEADER_LEN as u64);
        let at = usize::try_from(reference.offset).expect("small");
        let (header, stored) = PageHeader::decode(&bytes[at..], *file, reference.offset).expect("a page");
        let plain = match header.codec {
            Codec::Raw => stored.to_vec(),
            Codec::Zstd => {
                Decompressor::new().decompress(stored, header.plain_len as usize, &[]).expect("decompresses")
            }
        };
        let page = Page::new(&header, plain).expect("records in order");
        for (index, (key, value)) in page.records_from(0).enumerate() {
            if page.level() > 0 {
                pending.push(page.child(index).expect("a child"));
            } else {
                totals = totals.plus(Record::decode(value).expect("a record").totals(&key[8..]));
            }
        }
    }
    // Two generations, and the same counts in each.
    assert_eq!((totals.file_count, totals.directory_count, totals.linked_count), (14, 4, 2));
    assert_eq!((totals.symlink_count, totals.other_count, totals.xattr_count), (2, 8, 4));
}
