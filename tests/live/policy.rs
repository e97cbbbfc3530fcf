//! What happens to objects that are in the target already.

use std::fs;
use std::os::unix::fs::symlink;

use reelfs::format::record::{Content, Detail, Inode, Time, Xattrs};
use reelfs::live::{Decision, LiveError, Node, Overwrite, Target, TargetOptions};

use crate::tree::{open_target, plain};

fn inode(size: u64, seconds: i64) -> Inode {
    let time = Time { seconds, nanoseconds: 0 };
    let content = Content::Inline(Vec::new());
    Inode {
        permissions: 0o644,
        uid: 0,
        gid: 0,
        mtime: time,
        ctime: time,
        atime: time,
        source_inode: 1,
        is_staging_number: false,
        link_count: 1,
        inconsistent: false,
        xattrs: Xattrs::NONE,
        detail: Detail::Regular { size, signature: None, content },
    }
}

fn decides_to_write(overwrite: Overwrite, inode: &Inode) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let options = TargetOptions { overwrite, ..TargetOptions::default() };
    let target = Target::open(directory.path(), options).unwrap();
    assert_eq!(target.root().decide(b"none", inode).unwrap(), Decision::Write);
    let file = target.root().create_file(b"file").unwrap();
    file.write_at(b"12345", 0).unwrap();
    let mtime = Time { seconds: 100, nanoseconds: 0 };
    let _placed = file.commit(&reelfs::live::Metadata { mtime, ..plain() }).unwrap();
    target.root().decide(b"file", inode).unwrap() == Decision::Write
}

#[test]
fn each_policy_keeps_what_it_says() {
    let (same, longer, newer, older) = (inode(5, 100), inode(6, 100), inode(5, 101), inode(5, 99));
    for (overwrite, expected) in [
        (Overwrite::Always, [true, true, true, true]),
        (Overwrite::IfChanged, [false, true, true, true]),
        (Overwrite::IfNewer, [false, false, true, false]),
        (Overwrite::Never, [false, false, false, false]),
    ] {
        let found = [&same, &longer, &newer, &older].map(|inode| decides_to_write(overwrite, inode));
        assert_eq!(found, expected, "{overwrite:?}");
    }
}

#[test]
fn what_is_never_overwritten_stays_even_if_it_came_after_the_decision() {
    let directory = tempfile::tempdir().unwrap();
    let options = TargetOptions { overwrite: Overwrite::Never, ..TargetOptions::default() };
    let target = Target::open(directory.path(), options).unwrap();
    let root = target.root();
    let pending = root.create_file(b"name").unwrap();
    fs::write(directory.path().join("name"), b"theirs").unwrap();
    assert!(matches!(pending.commit(&plain()), Err(LiveError::InTheWay { .. })));
    assert!(matches!(root.create_symlink(b"name", b"x", &plain()), Err(LiveError::InTheWay { .. })));
    assert!(matches!(root.create_directory(b"name"), Err(LiveError::InTheWay { .. })));
    let placed = root.create_file(b"other").unwrap().commit(&plain()).unwrap();
    let linked = root.link(b"name", root, b"other", placed.identity.unwrap());
    assert!(matches!(linked, Err(LiveError::InTheWay { .. })));
    assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing half-made stays");
}

#[test]
fn every_kind_replaces_every_other() {
    let directory = tempfile::tempdir().unwrap();
    let target = open_target(directory.path());
    let root = target.root();
    let path = directory.path().join("name");
    let first = root.create_file(b"first").unwrap().commit(&plain()).unwrap().identity.unwrap();
    let restore: [&dyn Fn(); 5] = [
        &|| drop(root.create_file(b"name").unwrap().commit(&plain()).unwrap()),
        &|| drop(root.create_symlink(b"name", b"nowhere", &plain()).unwrap()),
        &|| drop(root.create_node(b"name", Node::Fifo, &plain()).unwrap()),
        &|| drop(root.create_directory(b"name").unwrap()),
        &|| root.link(b"name", root, b"first", first).unwrap(),
    ];
    for before in restore {
        for after in restore {
            before();
            after();
            assert!(fs::symlink_metadata(&path).is_ok());
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing half-made stays");
        }
    }
}

#[test]
fn a_directory_that_is_not_empty_is_in_the_way_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("name/below")).unwrap();
    let target = open_target(directory.path());
    let error = target.root().create_file(b"name").unwrap().commit(&plain()).unwrap_err();
    assert!(
        error.to_string().ends_with("name is in the way: it is a directory that is not empty"),
        "{error}"
    );
    assert!(target.root().create_symlink(b"name", b"x", &plain()).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing half-made stays");
}

#[test]
fn a_file_that_is_not_committed_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    symlink("unchanged", directory.path().join("name")).unwrap();
    let target = open_target(directory.path());
    let pending = target.root().create_file(b"name").unwrap();
    pending.write_at(b"half", 0).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    drop(pending);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(fs::read_link(directory.path().join("name")).unwrap().to_str(), Some("unchanged"));
    target.sync().unwrap();
}
