//! Trees that come back as they were.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;

use reelfs::job::restore::RestoreOptions;
use reelfs::live::Overwrite;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::tempdir;

use crate::support::{assert_same, backup, in_memory, look, open, random, restore, restore_with};

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Everything of DESIGN 2.8 that this machine allows.
fn make_everything(root: &Path) {
    let is_root = rustix::process::geteuid().is_root();
    fs::create_dir_all(root.join("dir/deep/er")).unwrap();
    fs::create_dir(root.join("empty dir")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("small"), b"small").unwrap();
    fs::write(root.join("dir/deep/er/twin"), b"small").unwrap();
    fs::write(root.join("large"), random(1, 3 << 20)).unwrap();
    fs::write(root.join("dir/text"), "some text that compresses well\n".repeat(20_000)).unwrap();
    fs::write(root.join("dir").join(OsStr::from_bytes(b"caf\xe9 \xff\n\x1b[31m")), b"bytes").unwrap();
    fs::write(root.join("n".repeat(255)), b"long name").unwrap();
    symlink("dir/text", root.join("link")).unwrap();
    symlink("x".repeat(4095), root.join("long link")).unwrap();
    symlink("nowhere", root.join("dir/dangling")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 1 << 20).unwrap();
    sparse.write_all_at(&random(2, 300 << 10), 8 << 20).unwrap();
    sparse.set_len(32 << 20).unwrap();
    let hole = File::create(root.join("only a hole")).unwrap();
    hole.set_len(5 << 20).unwrap();
    fs::hard_link(root.join("large"), root.join("dir/large too")).unwrap();
    fs::hard_link(root.join("large"), root.join("dir/deep/large three")).unwrap();
    fs::write(root.join("attributes"), b"x").unwrap();
    rustix::fs::setxattr(root.join("attributes"), "user.key", b"value\0\xff", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(root.join("dir/deep"), "user.big", &random(3, 3000), XattrFlags::empty()).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_bits_truncate(0o640), 0).unwrap();
    rustix::fs::mknodat(CWD, root.join("socket"), FileType::Socket, Mode::from_bits_truncate(0o600), 0)
        .unwrap();
    if is_root {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::RUSR, device).unwrap();
        chown(root.join("attributes"), Some(u32::MAX - 1), Some(70_000)).unwrap();
    }
    fs::set_permissions(root.join("small"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("empty dir"), fs::Permissions::from_mode(0o1777)).unwrap();
    set_mtime(&root.join("small"), -86_400 * 365, 123_456_789);
    set_mtime(&root.join("link"), 1_000_000_000, 1);
    set_mtime(&root.join("dir/deep"), 2_000_000_000, 999_999_999);
    fs::set_permissions(root.join("dir/deep/er"), fs::Permissions::from_mode(0o500)).unwrap();
}

#[test]
fn a_tree_with_everything_comes_back_as_it_was() {
    let source = tempdir().unwrap();
    make_everything(source.path());
    let (memory, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    let target = tempdir().unwrap();
    let summary = restore(&open(&memory), generation, &target.path().join("made"));
    assert_same(&target.path().join("made"), &look(source.path()));
    assert_eq!(summary.link_count, 2);
    assert_eq!(backup(&repository, None, source.path()), None, "nothing changed");
}

#[test]
fn a_path_in_the_generation_is_restored_alone() {
    let source = tempdir().unwrap();
    make_everything(source.path());
    let (_, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    let target = tempdir().unwrap();
    let options = RestoreOptions::default();
    for path in ["small", "/dir/dangling", "dir/large too"] {
        restore_with(&repository, generation, path, target.path(), &options);
    }
    restore_with(&repository, generation, "dir/deep", &target.path().join("d"), &options);
    assert_eq!(fs::read(target.path().join("small")).unwrap(), b"small");
    assert_eq!(fs::read(target.path().join("large too")).unwrap(), random(1, 3 << 20));
    assert_eq!(fs::read_link(target.path().join("dangling")).unwrap(), Path::new("nowhere"));
    assert_eq!(fs::read(target.path().join("d/er/twin")).unwrap(), b"small");
    for path in ["absent", "small/x", "../etc", "dir/../small"] {
        let progress = reelfs::progress::Progress::new();
        let result = reelfs::job::restore::run(
            &repository,
            generation.ordinal,
            path.as_bytes(),
            target.path(),
            &options,
            &progress,
        );
        assert!(result.unwrap_err().to_string().contains("does not exist"), "{path}");
    }
}

#[test]
fn what_exists_gives_way_as_the_policy_says() {
    let source = tempdir().unwrap();
    make_everything(source.path());
    let (_, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    let target = tempdir().unwrap();
    restore(&repository, generation, target.path());
    let object_count = look(source.path()).len() as u64;
    let again = |overwrite| {
        let options = RestoreOptions { overwrite, ..RestoreOptions::default() };
        restore_with(&repository, generation, "", target.path(), &options)
    };
    for overwrite in [Overwrite::IfChanged, Overwrite::Never, Overwrite::IfNewer] {
        let summary = again(overwrite);
        assert!(summary.is_complete(), "{summary:?}");
        assert_eq!(summary.kept_count + summary.directory_count, object_count, "{overwrite:?}");
    }
    fs::write(target.path().join("small"), b"edited").unwrap();
    assert_eq!(again(Overwrite::Never).files.files, 0);
    assert_eq!(again(Overwrite::IfNewer).files.files, 0);
    assert_eq!(fs::read(target.path().join("small")).unwrap(), b"edited");
    assert_eq!(again(Overwrite::IfChanged).files.files, 1);
    assert_eq!(fs::read(target.path().join("small")).unwrap(), b"small");
    again(Overwrite::Always);
    assert_same(target.path(), &look(source.path()));
}

#[test]
fn a_trial_counts_and_writes_nothing() {
    let source = tempdir().unwrap();
    make_everything(source.path());
    let (_, repository) = in_memory();
    let generation = backup(&repository, None, source.path()).unwrap();
    let target = tempdir().unwrap();
    let options = RestoreOptions { dry_run: true, ..RestoreOptions::default() };
    let trial = restore_with(&repository, generation, "", &target.path().join("new"), &options);
    assert!(!target.path().join("new").exists());
    let done = restore(&repository, generation, target.path());
    let counts = |summary: &reelfs::job::restore::RestoreSummary| {
        (summary.files, summary.directory_count, summary.symlink_count, summary.other_count)
    };
    assert_eq!(counts(&trial), counts(&done));
}
