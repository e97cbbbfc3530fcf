//! What a commit writes follows what changed, not what exists.

use reelfs::format::frame::{ChunkPointer, Location};
use reelfs::format::record::{Content, Detail, Extent, FileKind, Inode, ROOT_OBJECT, Record, Time, Xattrs};
use reelfs::id::{FileId, Fingerprint};
use reelfs::repo::Repository;
use reelfs::repo::generation_writer::{Base, Committed, GenerationWriter};

use crate::support::{client, in_memory, inputs};

fn inode(detail: Detail) -> Inode {
    let time = Time { seconds: 1_790_000_000, nanoseconds: 123_456_789 };
    Inode {
        permissions: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: time,
        ctime: time,
        atime: time,
        source_inode: 1_234_567,
        is_staging_number: false,
        link_count: 1,
        inconsistent: false,
        xattrs: Xattrs::NONE,
        detail,
    }
}

fn file(number: u64, version: u64) -> Record {
    let fingerprint = Fingerprint::of(&[number.to_le_bytes(), version.to_le_bytes()].concat());
    let location = Location { file: FileId([7; 16]), frame: number / 40 * 200_000, start: 5000 };
    let chunk = ChunkPointer { fingerprint, len: 5000, location };
    let extents = vec![Extent { offset: 0, len: 5000, skip: 0, chunk }];
    let (signature, content) = (Some(fingerprint), Content::Inline(extents));
    Record::Inode(inode(Detail::Regular { size: 5000, signature, content }))
}

pub(crate) fn name(number: u64) -> Vec<u8> {
    format!("document-{number:07}.txt").into_bytes()
}

fn begin(repository: &Repository) -> GenerationWriter<'_> {
    GenerationWriter::begin(repository, &client(), inputs(), Base::Latest).unwrap()
}

/// Commits a directory of so many files; returns its object id.
pub(crate) fn fill(repository: &Repository, count: u64) -> u64 {
    let mut writer = begin(repository);
    let root = Record::Inode(inode(Detail::Directory { parent: ROOT_OBJECT }));
    writer.put(ROOT_OBJECT, b"", &root).unwrap();
    let directory = writer.new_directory();
    let link = Record::Link { kind: FileKind::Directory, object: directory };
    writer.put(ROOT_OBJECT, b"directory", &link).unwrap();
    writer.put(directory, b"", &root).unwrap();
    for number in 0..count {
        writer.put(directory, &name(number), &file(number, 1)).unwrap();
    }
    let committed = writer.commit(b"", b"").unwrap();
    assert_eq!(committed.totals.file_count, count);
    directory
}

fn change(repository: &Repository, directory: u64, numbers: impl Iterator<Item = u64>) -> Committed {
    let mut writer = begin(repository);
    for number in numbers {
        writer.put(directory, &name(number), &file(number, 2)).unwrap();
    }
    writer.commit(b"", b"").unwrap()
}

#[test]
fn one_change_costs_a_few_pages_however_large_the_directory_is() {
    for (count, bound) in [(10, 4 << 10), (10_000, 32 << 10), (1_000_000, 64 << 10)] {
        let (_, repository) = in_memory();
        let directory = fill(&repository, count);
        let one = change(&repository, directory, std::iter::once(count / 2));
        println!("1 change among {count} entries of a directory: {} bytes", one.dtf_bytes);
        assert!(one.dtf_bytes < bound, "{} bytes for 1 of {count}", one.dtf_bytes);
        assert_eq!(one.totals.file_count, count);
        if count < 1_000_000 {
            continue;
        }
        let spread = change(&repository, directory, (0..100).map(|number| number * 10_000 + 77));
        println!("100 changes spread over {count} files: {} bytes", spread.dtf_bytes);
        assert!(spread.dtf_bytes < 2 << 20, "{} bytes for 100 of {count}", spread.dtf_bytes);
        let opened = repository.generation(spread.id.ordinal).unwrap();
        for (number, version) in [(77, 2), (500_000, 2), (500_001, 1), (999_999, 1), (990_077, 2)] {
            let found = opened.lookup(repository.pages(), directory, &name(number)).unwrap().unwrap();
            assert_eq!(Record::Inode(found.inode.unwrap()), file(number, version), "{number}");
        }
    }
}

#[test]
fn a_small_overwrite_in_a_large_file_costs_a_few_pages() {
    let (_, repository) = in_memory();
    let extents: Vec<_> = (0..100_000_u64)
        .map(|number| {
            let fingerprint = Fingerprint::of(&number.to_le_bytes());
            let location = Location { file: FileId([7; 16]), frame: number * 300_000, start: 0 };
            let chunk = ChunkPointer { fingerprint, len: 1 << 20, location };
            Extent { offset: number << 20, len: 1 << 20, skip: 0, chunk }
        })
        .collect();
    let size = 100_000 << 20;
    let large = |content| Record::Inode(inode(Detail::Regular { size, signature: None, content }));
    let mut writer = begin(&repository);
    let content = writer.content(extents.clone(), None).unwrap();
    let root = Record::Inode(inode(Detail::Directory { parent: ROOT_OBJECT }));
    writer.put(ROOT_OBJECT, b"", &root).unwrap();
    writer.put(ROOT_OBJECT, b"large", &large(content.clone())).unwrap();
    let whole = writer.commit(b"", b"").unwrap();

    let new = Extent { offset: (50_000 << 20) + 100_000, len: 8192, ..extents[3] };
    let changed = reelfs::format::splice::overwrite(&extents, new);
    assert_eq!(changed.len(), extents.len() + 2);
    let mut writer = begin(&repository);
    let content = writer.content(changed.clone(), Some(&content)).unwrap();
    writer.put(ROOT_OBJECT, b"large", &large(content)).unwrap();
    let one = writer.commit(b"", b"").unwrap();
    println!("8 KiB overwritten in 100 000 extents: {} bytes, whole list {}", one.dtf_bytes, whole.dtf_bytes);
    assert!(one.dtf_bytes < 48 << 10, "{}", one.dtf_bytes);
    let opened = repository.generation(one.id.ordinal).unwrap();
    let inode = opened.lookup(repository.pages(), ROOT_OBJECT, b"large").unwrap().unwrap().inode.unwrap();
    let read: Vec<_> = repository.content(&inode).unwrap().extents_from(0).map(Result::unwrap).collect();
    assert_eq!(read, changed);
}

#[test]
fn many_overwrites_of_a_large_file_are_what_overwrites_of_its_list_are() {
    let extent = |number: u64, offset: u64, len: u64| {
        let location = Location { file: FileId([7; 16]), frame: number * 300_000, start: 0 };
        let chunk = ChunkPointer { fingerprint: Fingerprint::of(&number.to_le_bytes()), len: 1000, location };
        Extent { offset, len, skip: 16, chunk }
    };
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for round in 0..40 {
        let (_, repository) = in_memory();
        let before: Vec<_> = (0..3000_u64)
            .filter(|number| !number.is_multiple_of(7))
            .map(|number| extent(number, number * 500, 200 + below(301)))
            .collect();
        let (mut covered, mut new, mut end) = (Vec::new(), Vec::new(), below(1000));
        // Ranges within an extent, over several, next to each other, and behind the end.
        while end < 1_600_000 {
            let len = 1 + below(if round % 2 == 0 { 200 } else { 3000 });
            covered.push((end, len));
            let skipped = below(3) * below(len) / 2;
            if len - skipped > 1 && below(4) > 0 {
                new.push(extent(1 << 20 | end, end + skipped, (len - skipped - below(2)).min(900)));
            }
            end += len + below(2) * below(20_000);
        }
        let mut expected = covered
            .iter()
            .fold(before.clone(), |left, (offset, len)| reelfs::format::splice::punch(&left, *offset, *len));
        expected.extend(&new);
        expected.sort_unstable_by_key(|extent| extent.offset);
        let root = Record::Inode(inode(Detail::Directory { parent: ROOT_OBJECT }));
        let large = |content| Detail::Regular { size: 1 << 30, signature: None, content };
        let mut writer = begin(&repository);
        let content = writer.content(before, None).unwrap();
        writer.put(ROOT_OBJECT, b"", &root).unwrap();
        writer.put(ROOT_OBJECT, b"large", &Record::Inode(inode(large(content.clone())))).unwrap();
        writer.commit(b"", b"").unwrap();
        let mut writer = begin(&repository);
        let content = writer.spliced_content(&content, &covered, new).unwrap();
        let allocated = expected.iter().map(|extent| extent.len).sum::<u64>();
        assert!(matches!(content, Content::Tree { allocated: found, .. } if found == allocated), "{round}");
        writer.put(ROOT_OBJECT, b"large", &Record::Inode(inode(large(content.clone())))).unwrap();
        writer.commit(b"", b"").unwrap();
        let large = inode(large(content));
        let read = repository.content(&large).unwrap();
        let read: Vec<_> = read.extents_from(0).map(Result::unwrap).collect();
        assert_eq!(read, expected, "round {round}");
    }
}
