//! Trees that no writer makes: a chain of directories with whatever entries.

use reelfs::format::record::{
    Detail, FIRST_DIRECTORY_OBJECT, FileKind, Inode, ROOT_OBJECT, Record, Time, Xattrs,
};
use reelfs::id::ClientName;
use reelfs::repo::generation_writer::{Base, GenerationWriter, WriterInputs};
use reelfs::repo::{GenerationId, Repository};

/// Directories below each other: with two names each, 2^DEPTH ways lead to the last.
pub(crate) const DEPTH: u64 = 60;

/// The record of an object that belongs to this user.
pub(crate) fn record(detail: Detail) -> Record {
    let owner = rustix::process::geteuid().as_raw();
    Record::Inode(Inode {
        permissions: 0o755,
        uid: owner,
        gid: rustix::process::getegid().as_raw(),
        mtime: Time::default(),
        ctime: Time::default(),
        atime: Time::default(),
        source_inode: 1,
        is_staging_number: false,
        link_count: 1,
        inconsistent: false,
        xattrs: Xattrs::NONE,
        detail,
    })
}

/// An entry that leads to a directory.
pub(crate) fn directory(object: u64) -> Record {
    Record::Link { kind: FileKind::Directory, object }
}

/// A generation with `root`'s entries and then a chain of directories, each with `entries`, which are given the
/// number of the directory, of the one above and of the one below.
pub(crate) fn chain(
    repository: &Repository,
    client: &ClientName,
    inputs: WriterInputs,
    entries: impl Fn(u64, u64, u64) -> Vec<(&'static str, Record)>,
) -> GenerationId {
    let mut writer = GenerationWriter::begin(repository, client, inputs, Base::Nothing).unwrap();
    writer.put(ROOT_OBJECT, b"", &record(Detail::Directory { parent: ROOT_OBJECT })).unwrap();
    let first = writer.new_directory();
    assert_eq!(first, FIRST_DIRECTORY_OBJECT);
    for (name, record) in entries(ROOT_OBJECT, ROOT_OBJECT, first) {
        writer.put(ROOT_OBJECT, name.as_bytes(), &record).unwrap();
    }
    let mut above = ROOT_OBJECT;
    for object in first..first + DEPTH {
        writer.put(object, b"", &record(Detail::Directory { parent: above })).unwrap();
        let below = writer.new_directory();
        let below = if object + 1 < first + DEPTH { below } else { first };
        for (name, record) in entries(object, above, below) {
            writer.put(object, name.as_bytes(), &record).unwrap();
        }
        above = object;
    }
    writer.commit(b"", b"/").unwrap().id
}
