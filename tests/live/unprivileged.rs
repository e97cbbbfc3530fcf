//! A restore by somebody who is not root: what is not allowed is told, the rest is done.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use reelfs::live::{Device, Metadata, Node};

use crate::tree::{PLAIN, open_target, plain};

/// Where the test that runs as another user finds its directory.
const TARGET: &str = "REELFS_TEST_TARGET";
const NOBODY: u32 = 65534;

#[test]
fn a_normal_user_restores_what_is_allowed() {
    if !rustix::process::geteuid().is_root() {
        let directory = tempfile::tempdir().unwrap();
        return restore_as_this_user(directory.path());
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "unprivileged::runs_as_another_user", "--nocapture"]);
    test.env(TARGET, directory.path()).current_dir("/").uid(NOBODY).gid(NOBODY);
    match test.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("skipped, another user cannot run the tests: {error}"),
    }
}

#[test]
fn runs_as_another_user() {
    if let Some(directory) = std::env::var_os(TARGET) {
        restore_as_this_user(directory.as_ref());
    }
}

fn restore_as_this_user(directory: &std::path::Path) {
    let target = open_target(&directory.join("target"));
    let root = target.root();
    let xattrs = [
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (b"trusted.mark".to_vec(), b"x".to_vec()),
        (b"user.mark".to_vec(), b"y".to_vec()),
    ];
    let of_root = Metadata { permissions: 0o6555, xattrs: &xattrs, ..PLAIN };
    let placed = root.create_file(b"program").unwrap().commit(&of_root).unwrap();
    let what: Vec<_> = placed.shortfalls.iter().map(|shortfall| shortfall.what.as_str()).collect();
    let expected =
        ["owner", "set-id bits", "extended attribute security.capability", "extended attribute trusted.mark"];
    assert_eq!(what, expected);
    let found = fs::metadata(directory.join("target/program")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime(), found.mtime_nsec()), (0o555, 1, 2));
    let mut value = [0; 10];
    assert_eq!(rustix::fs::getxattr(directory.join("target/program"), "user.mark", &mut value), Ok(1));

    let device = Node::BlockDevice(Device { major: 7, minor: 0 });
    let placed = root.create_node(b"device", device, &of_root).unwrap();
    assert_eq!((placed.identity, placed.shortfalls.len()), (None, 1));
    assert!(placed.shortfalls[0].to_string().starts_with("cannot restore device of "));
    let socket = root.create_node(b"socket", Node::Socket, &plain()).unwrap();
    assert!(socket.shortfalls.is_empty(), "{:?}", socket.shortfalls);
    let link = root.create_symlink(b"link", b"/", &plain()).unwrap();
    assert!(link.shortfalls.is_empty(), "{:?}", link.shortfalls);

    // A second restore into a directory that the first one left without write permission.
    let read_only = Metadata { permissions: 0o555, ..plain() };
    for _ in 0..2 {
        let below = root.create_directory(b"directory").unwrap();
        let _placed = below.create_file(b"file").unwrap().commit(&read_only).unwrap();
        assert!(below.set_metadata(&read_only).is_empty());
    }
    let mode = fs::metadata(directory.join("target/directory")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o555);
    fs::set_permissions(directory.join("target/directory"), fs::Permissions::from_mode(0o755)).unwrap();
}
