//! A plain commit of a frozen epoch: every touched file is stored whole. What `job` does better is tested there.

use reelfs::format::frame::{ChunkInfo, ChunkPointer, Codec, Location};
use reelfs::format::record::{
    Content, Detail, Extent, FileKind, INLINE_XATTR_LEN_MAX, Inode, Record, Xattrs,
};
use reelfs::id::{Fingerprint, GenerationTime, Ordinal};
use reelfs::repo::Repository;
use reelfs::repo::bdf_writer::PreparedFrame;
use reelfs::repo::generation_writer::{Base, GenerationWriter, WriterInputs};
use reelfs::repo::staging::{FrozenChange, FrozenEpoch, FrozenObject, FrozenTarget};

use crate::support::{client, new_id};

fn store(writer: &mut GenerationWriter<'_>, bytes: &[u8]) -> Vec<Extent> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let len = u32::try_from(bytes.len()).unwrap();
    let fingerprint = Fingerprint::of(bytes);
    let frame = PreparedFrame {
        codec: Codec::Raw,
        stored: bytes.to_vec(),
        plain_len: len,
        chunks: vec![ChunkInfo { len, fingerprint }],
        bases: Vec::new(),
    };
    let place = writer.append_frame(&frame).unwrap();
    let location = Location { file: place.file, frame: place.offset, start: 0 };
    let chunk = ChunkPointer { fingerprint, len, location };
    vec![Extent { offset: 0, len: len.into(), skip: 0, chunk }]
}

fn record(writer: &mut GenerationWriter<'_>, object: FrozenObject) -> Inode {
    let FrozenObject { mut inode, content, number } = object;
    if let (Some(frozen), Detail::Regular { size, signature, content, .. }) = (content, &mut inode.detail) {
        let bytes = frozen.read(0, usize::MAX).unwrap();
        assert_eq!(bytes.len() as u64, *size, "object {number}");
        let mut position = 0;
        for segment in frozen.segments() {
            let segment = segment.unwrap();
            assert_eq!(segment.offset, position, "segments follow each other");
            assert!(segment.len > 0);
            position += segment.len;
        }
        assert_eq!(position, *size, "segments cover the file");
        *signature = Some(Fingerprint::of(&bytes));
        *content = Content::Inline(store(writer, &bytes));
    }
    if let Xattrs::Inline(list) = &inode.xattrs {
        let encoded = Xattrs::encode_list(list);
        if encoded.len() > INLINE_XATTR_LEN_MAX {
            let extents = store(writer, &encoded);
            inode.xattrs = Xattrs::Stored { len: encoded.len() as u64, extents };
        }
    }
    inode
}

/// Writes a generation; returns its number, and whether it exists now.
pub(crate) fn write(repository: &Repository, frozen: &FrozenEpoch<'_>, commit: bool) -> Ordinal {
    let now = GenerationTime::from_seconds(1_795_233_600).unwrap();
    let inputs = WriterInputs { now, new_id: Box::new(new_id) };
    let mut writer = GenerationWriter::begin(repository, &client(), inputs, Base::Latest).unwrap();
    assert_eq!(
        writer.previous().map(|previous| previous.ordinal()),
        frozen.base().map(|base| base.ordinal()),
        "the base is the last generation"
    );
    let (next_linked, next_directory) = frozen.next_ids();
    let first_new = writer
        .previous()
        .map_or(reelfs::format::record::FIRST_DIRECTORY_OBJECT, |previous| previous.footer.next_directory);
    for _ in first_new..next_directory {
        writer.new_directory();
    }
    let first_linked = writer
        .previous()
        .map_or(reelfs::format::record::FIRST_LINKED_OBJECT, |previous| previous.footer.next_linked);
    for _ in first_linked..next_linked {
        writer.new_linked();
    }
    let mut last = None;
    for change in frozen.changes() {
        match change.unwrap() {
            FrozenChange::Directory(object) => {
                let key = (object.number, Vec::new());
                assert!(last.as_ref().is_none_or(|last| *last < key), "keys ascend");
                last = Some(key);
                let number = object.number;
                let inode = record(&mut writer, object);
                writer.put(number, b"", &Record::Inode(inode)).unwrap();
            }
            FrozenChange::Linked { object, file } => {
                let inode = record(&mut writer, file);
                writer.put(object, b"", &Record::Inode(inode)).unwrap();
            }
            FrozenChange::RemovedObject { object } => writer.remove(object, b""),
            FrozenChange::Entry { directory, name, target } => {
                let key = (directory, name.clone());
                assert!(last.as_ref().is_none_or(|last| *last < key), "keys ascend");
                last = Some(key);
                match target {
                    FrozenTarget::Removed => writer.remove(directory, &name),
                    FrozenTarget::Directory { object } => {
                        let link = Record::Link { kind: FileKind::Directory, object };
                        writer.put(directory, &name, &link).unwrap();
                    }
                    FrozenTarget::Linked { kind, object } => {
                        let link = Record::Link { kind, object };
                        writer.put(directory, &name, &link).unwrap();
                    }
                    FrozenTarget::Object(object) => {
                        let inode = record(&mut writer, *object);
                        writer.put(directory, &name, &Record::Inode(inode)).unwrap();
                    }
                }
            }
        }
    }
    let ordinal = writer.id().ordinal;
    frozen.announce(ordinal).unwrap();
    if commit {
        writer.commit(b"", b"").unwrap();
    }
    ordinal
}

/// Commits what is pending.
pub(crate) fn commit(repository: &Repository, frozen: FrozenEpoch<'_>) -> Ordinal {
    let ordinal = write(repository, &frozen, true);
    frozen.finish(ordinal).unwrap();
    ordinal
}
