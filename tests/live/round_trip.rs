//! A copy through the library is equal in everything that a file system keeps.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use reelfs::format::record::Time;
use reelfs::live::{Metadata, SourceDirectory};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::tree::{Copy, is_root, look, open_target, places, plain};

/// user::rw-, user:1000:r--, group::r--, mask::rw-, other::--- as the kernel hands it out (acl(5), version 2).
const ACCESS_ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16,
    0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];
/// `cap_net_raw=ep`, version 2 of capabilities(7).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    if let Err(error) = rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        eprintln!("left out, {name} is not possible here: {error}");
    }
}

fn set_times(path: &Path, mtime: (i64, i64), atime: (i64, i64)) {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_owner(path: &Path, uid: u32, gid: u32) {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_files(root: &Path) {
    fs::create_dir_all(root.join("directory/empty")).unwrap();
    for name in [&b"plain"[..], b"\xff\xfe\n\x1b[31m", &[b'n'; 255], b" ", b"-rf", b"..."] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("directory/first"), b"linked").unwrap();
    fs::hard_link(root.join("directory/first"), root.join("directory/second")).unwrap();
    fs::hard_link(root.join("directory/first"), root.join("third")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&[7; 65536], 1 << 20).unwrap();
    sparse.write_all_at(&[8; 4096], 5 << 20).unwrap();
    sparse.set_len(10 << 20).unwrap();
    File::create(root.join("all hole")).unwrap().set_len(3 << 20).unwrap();
    symlink(OsStr::from_bytes(&[b'l'; 4095]), root.join("long link")).unwrap();
    symlink("/", root.join("root link")).unwrap();
    drop(UnixListener::bind(root.join("socket")).unwrap());
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_bits_truncate(0o640), 0).unwrap();
    set_mode(&root.join("directory"), 0o1755);
    set_xattr(&root.join("plain"), "user.text", b"value");
    set_xattr(&root.join("plain"), "user.empty", b"");
    set_xattr(&root.join("plain"), "user.long", &[b'x'; 1000]);
    set_xattr(&root.join("plain"), "system.posix_acl_access", &ACCESS_ACL);
    set_xattr(&root.join("directory"), "system.posix_acl_default", &ACCESS_ACL);
}

fn make_what_only_root_may(root: &Path) {
    let mode = Mode::from_bits_truncate(0o660);
    let device = |name: &str, kind, major, minor| {
        rustix::fs::mknodat(CWD, root.join(name), kind, mode, rustix::fs::makedev(major, minor)).unwrap();
    };
    device("character", FileType::CharacterDevice, 4095, 1_048_575);
    device("block", FileType::BlockDevice, 7, 300);
    for name in ["character", "fifo", "root link", "plain", "directory"] {
        set_xattr(&root.join(name), "trusted.mark", name.as_bytes());
        set_owner(&root.join(name), 4_294_967_294, 4_294_967_293);
    }
    fs::write(root.join("program"), b"#!/bin/false\n").unwrap();
    set_owner(&root.join("program"), 1000, 70_000);
    set_mode(&root.join("program"), 0o6755);
    set_xattr(&root.join("program"), "security.capability", &CAPABILITY);
}

fn make_times(root: &Path) {
    set_times(&root.join("plain"), (-2, 999_999_999), (1, 1));
    set_times(&root.join("third"), (-1_000_000_000, 1), (0, 0));
    set_times(&root.join("root link"), (5_000_000_000, 123_456_789), (2, 2));
    set_times(&root.join("fifo"), (-1, 0), (3, 3));
    set_times(&root.join("directory/empty"), (-86_400, 5), (4, 4));
    set_times(&root.join("directory"), (1, 500_000_000), (5, 5));
    set_times(root, (0, 1), (6, 6));
}

#[test]
fn a_copy_is_equal_in_everything() {
    for place in places() {
        let (source, target) = (place.path.join("source"), place.path.join("target"));
        fs::create_dir(&source).unwrap();
        make_files(&source);
        if is_root("owners, devices, trusted attributes, capabilities") {
            make_what_only_root_may(&source);
        }
        make_times(&source);
        let before = look(&source);
        // The second copy replaces what the first one made.
        for _ in 0..2 {
            let mut copy = Copy::default();
            copy.tree(&SourceDirectory::open_root(&source).unwrap(), open_target(&target).root());
            assert_eq!(copy.shortfalls.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
            let (found, expected) = (look(&target), look(&source));
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>(),
                "{}",
                place.name
            );
            for (path, object) in &expected {
                assert_eq!(&found[path], object, "{}: {}", place.name, path.display());
            }
            assert_eq!(before, expected, "{}: reading leaves no trace", place.name);
        }
    }
}

#[test]
fn a_tree_deeper_than_the_longest_path_is_copied() {
    let directory = tempfile::tempdir().unwrap();
    let name = [b'd'; 255];
    let mut bottom = open_target(&directory.path().join("source")).root().clone();
    for _ in 0..40 {
        bottom = bottom.create_directory(&name).unwrap();
    }
    let _placed = bottom.create_file(b"file").unwrap().commit(&plain()).unwrap();
    let target = open_target(&directory.path().join("target"));
    let source = SourceDirectory::open_root(&directory.path().join("source")).unwrap();
    Copy::default().tree(&source, target.root());
    let path = [&name[..]; 40].join(&b"/"[..]);
    let bottom = target.directory(&path).unwrap();
    let mtime = bottom.attributes_of(b"file").unwrap().unwrap().mtime;
    assert_eq!(mtime, Time { seconds: 1, nanoseconds: 2 });
    assert!(bottom.path().len() > 40 * 255);
}

#[test]
fn an_acl_of_the_target_is_not_inherited() {
    for place in places() {
        set_xattr(&place.path, "system.posix_acl_default", &ACCESS_ACL);
        let target = open_target(&place.path);
        let _placed = target.root().create_file(b"file").unwrap().commit(&plain()).unwrap();
        let directory = target.root().create_directory(b"directory").unwrap();
        let none = directory.set_metadata(&Metadata { permissions: 0o750, ..plain() });
        assert!(none.is_empty(), "{none:?}");
        let seen = SourceDirectory::open_root(&place.path).unwrap();
        for (name, permissions) in [(&b"file"[..], 0o644), (b"directory", 0o750)] {
            assert_eq!(seen.xattrs_of(name).unwrap(), [], "{}", place.name);
            assert_eq!(seen.attributes_of(name).unwrap().permissions, permissions);
        }
    }
}
