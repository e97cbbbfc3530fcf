//! Makes a repository of many generations of many files through the library, for `bench/`.
//!
//! Usage: `bench-synthesize REPO GENERATIONS FILES`. The first generation has FILES files of 4 KiB in
//! directories of 100; each further one changes ten files spread over the tree. All content is one
//! chunk, since only the trees are measured.

use std::error::Error;
use std::path::Path;

use reelfs::format::frame::{ChunkInfo, ChunkPointer, Codec, Location};
use reelfs::format::record::{Content, Detail, Extent, FileKind, Inode, ROOT_OBJECT, Record, Time, Xattrs};
use reelfs::id::{FileId, Fingerprint, GenerationTime};
use reelfs::repo::bdf_writer::PreparedFrame;
use reelfs::repo::generation_writer::{Base, GenerationWriter, WriterInputs};
use reelfs::repo::{CacheBytes, Repository};

const FILES_PER_DIRECTORY: u64 = 100;
const DIRECTORIES_PER_DIRECTORY: u64 = 100;
const CHANGES_PER_GENERATION: u64 = 10;
const START_SECONDS: i64 = 1_700_000_000;

fn id(number: u64) -> FileId {
    let fingerprint = Fingerprint::of(&number.to_le_bytes());
    FileId(*fingerprint.0.first_chunk().expect("a fingerprint is longer than an id"))
}

fn inputs(generation: u64) -> WriterInputs {
    let mut count = generation << 8;
    let seconds = START_SECONDS + i64::try_from(generation).unwrap_or_default() * 3600;
    let now = GenerationTime::from_seconds(seconds).expect("a time of this century");
    let new_id = Box::new(move || {
        count += 1;
        id(count)
    });
    WriterInputs { now, new_id }
}

fn inode(number: u64, detail: Detail) -> Record {
    let time = Time {
        seconds: START_SECONDS - i64::try_from(number % 65_536).unwrap_or_default(),
        nanoseconds: 123_456_789,
    };
    Record::Inode(Inode {
        permissions: if matches!(detail, Detail::Directory { .. }) { 0o755 } else { 0o644 },
        uid: 1000,
        gid: 1000,
        mtime: time,
        ctime: time,
        atime: time,
        source_inode: number,
        is_staging_number: false,
        link_count: 1,
        inconsistent: false,
        xattrs: Xattrs::NONE,
        detail,
    })
}

fn file(number: u64, chunk: ChunkPointer) -> Record {
    let extent = Extent { offset: 0, len: chunk.len.into(), skip: 0, chunk };
    let content = Content::Inline(vec![extent]);
    inode(number, Detail::Regular { size: 4096, signature: Some(chunk.fingerprint), content })
}

fn file_name(number: u64) -> Vec<u8> {
    format!("file-{number:08}.txt").into_bytes()
}

/// Writes the first generation and returns the object ids of the directories with files.
fn first(
    writer: &mut GenerationWriter<'_>,
    files: u64,
    chunk: ChunkPointer,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let directories = files.div_ceil(FILES_PER_DIRECTORY);
    let groups = directories.div_ceil(DIRECTORIES_PER_DIRECTORY);
    writer.put(ROOT_OBJECT, b"", &inode(1, Detail::Directory { parent: ROOT_OBJECT }))?;
    let group_ids: Vec<u64> = (0..groups).map(|_| writer.new_directory()).collect();
    for (group, object) in group_ids.iter().enumerate() {
        let link = Record::Link { kind: FileKind::Directory, object: *object };
        writer.put(ROOT_OBJECT, format!("group-{group:05}").as_bytes(), &link)?;
    }
    let directory_ids: Vec<u64> = (0..directories).map(|_| writer.new_directory()).collect();
    for (group, members) in
        group_ids.iter().zip(directory_ids.chunks(usize::try_from(DIRECTORIES_PER_DIRECTORY)?))
    {
        writer.put(*group, b"", &inode(*group, Detail::Directory { parent: ROOT_OBJECT }))?;
        for (number, object) in members.iter().enumerate() {
            let link = Record::Link { kind: FileKind::Directory, object: *object };
            writer.put(*group, format!("directory-{number:03}").as_bytes(), &link)?;
        }
    }
    for (index, object) in (0..).zip(&directory_ids) {
        let group = group_ids[usize::try_from(index / DIRECTORIES_PER_DIRECTORY)?];
        writer.put(*object, b"", &inode(*object, Detail::Directory { parent: group }))?;
        for number in index * FILES_PER_DIRECTORY..((index + 1) * FILES_PER_DIRECTORY).min(files) {
            writer.put(*object, &file_name(number), &file(number, chunk))?;
        }
    }
    Ok(directory_ids)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, generations, files] = &arguments[..] else {
        return Err("usage: bench-synthesize REPO GENERATIONS FILES".into());
    };
    let (generations, files): (u64, u64) = (generations.parse()?, files.parse()?);
    let repository = Repository::create(Path::new(root), id(0))?;
    drop(repository);
    let repository = Repository::open(Path::new(root), CacheBytes::default())?;
    let client = "web1".parse()?;
    let data = vec![b'x'; 4096];
    let fingerprint = Fingerprint::of(&data);
    let mut chunk =
        ChunkPointer { fingerprint, len: 4096, location: Location { file: id(0), frame: 0, start: 0 } };
    let mut directories = Vec::new();
    for generation in 1..=generations {
        let mut writer = GenerationWriter::begin(&repository, &client, inputs(generation), Base::Latest)?;
        if generation == 1 {
            let chunks = vec![ChunkInfo { len: 4096, fingerprint }];
            let stored = data.clone();
            let frame =
                PreparedFrame { codec: Codec::Raw, stored, plain_len: 4096, chunks, bases: Vec::new() };
            let place = writer.append_frame(&frame)?;
            chunk.location = Location { file: place.file, frame: place.offset, start: 0 };
            directories = first(&mut writer, files, chunk)?;
        }
        for change in 0..CHANGES_PER_GENERATION.min(files) {
            // A stride that spreads the changes over the whole tree.
            let number = (generation * 7_919 + change * (files / CHANGES_PER_GENERATION.min(files))) % files;
            let object = directories[usize::try_from(number / FILES_PER_DIRECTORY)?];
            if generation > 1 {
                writer.put(object, &file_name(number), &file(number + generation, chunk))?;
            }
        }
        writer.commit(b"", b"/synthetic")?;
    }
    Ok(())
}
