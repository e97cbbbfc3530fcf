//! Trees that come back as they were.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use reelfs::format::record::Time;
use reelfs::index::{Index, RfeKey};
use reelfs::job::backup::BackupOptions;
use reelfs::job::index::rebuild;
use reelfs::job::restore::RestoreOptions;
use reelfs::live::Overwrite;
use reelfs::progress::Progress;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::tempdir;

use crate::support::{
    assert_same, backup, in_memory, look, open, random, restore, restore_with, try_backup, verify,
};

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What has a second name, and is no regular file.
const LINKED: [&str; 4] = ["link", "fifo", "socket", "null"];

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
    for name in LINKED.into_iter().filter(|name| root.join(name).symlink_metadata().is_ok()) {
        fs::hard_link(root.join(name), root.join("dir").join(format!("{name} too"))).unwrap();
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
    let other_count =
        LINKED.iter().filter(|name| source.path().join(name).symlink_metadata().is_ok()).count();
    assert_eq!(summary.link_count, 2 + other_count as u64);
    assert_eq!(backup(&repository, None, source.path()), None, "nothing changed");
}

#[test]
fn names_of_what_is_no_file_come_and_go_over_generations() {
    let source = tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    symlink("somewhere", at("a")).unwrap();
    rustix::fs::mknodat(CWD, at("f"), FileType::Fifo, Mode::from_bits_truncate(0o640), 0).unwrap();
    let (memory, repository) = in_memory();
    let step = |what: &str| {
        let generation = backup(&repository, None, source.path()).expect("something changed");
        let target = tempdir().unwrap();
        restore(&open(&memory), generation, target.path());
        assert_same(target.path(), &look(source.path()));
        let verified = verify(&repository, None);
        assert!(verified.is_sound(), "{what}: {verified:?}");
        assert_eq!(backup(&repository, None, source.path()), None, "{what}: nothing changed");
    };
    step("one name each");
    fs::hard_link(at("a"), at("dir/a")).unwrap();
    fs::hard_link(at("f"), at("dir/f")).unwrap();
    step("a second name");
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::remove_file(at("a")).unwrap();
    step("the first name went, another came");
    fs::remove_file(at("dir/f")).unwrap();
    fs::write(at("dir/f"), b"a file now").unwrap();
    step("a file took a name");
    fs::hard_link(at("dir/f"), at("c")).unwrap();
    fs::remove_file(at("b")).unwrap();
    fs::hard_link(at("f"), at("b")).unwrap();
    step("names go from one kind to another");
    fs::remove_dir_all(at("dir")).unwrap();
    step("a directory went with its names");
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

type Step = (&'static str, fn(&Path));

/// One change after the other.
const STEPS: [Step; 18] = [
    ("nothing below a new directory", |root| fs::create_dir_all(root.join("new/er/deep")).unwrap()),
    ("a file becomes a directory", |root| {
        fs::remove_file(root.join("empty")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        fs::write(root.join("empty/file"), b"x").unwrap();
    }),
    ("a directory becomes a file", |root| {
        fs::remove_dir_all(root.join("new")).unwrap();
        fs::write(root.join("new"), b"file").unwrap();
    }),
    ("a link becomes a file", |root| {
        fs::remove_file(root.join("link")).unwrap();
        fs::write(root.join("link"), b"no link").unwrap();
    }),
    ("a file becomes a link", |root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink("dir", root.join("link")).unwrap();
    }),
    ("a directory becomes a link", |root| {
        fs::rename(root.join("dir"), root.join("moved")).unwrap();
        symlink("moved", root.join("dir")).unwrap();
    }),
    ("a directory comes back under its name", |root| {
        fs::remove_file(root.join("dir")).unwrap();
        fs::rename(root.join("moved"), root.join("dir")).unwrap();
    }),
    ("a hard link more", |root| fs::hard_link(root.join("large"), root.join("large four")).unwrap()),
    ("a hard link less", |root| fs::remove_file(root.join("large")).unwrap()),
    ("a single file gets a second name", |root| {
        fs::hard_link(root.join("small"), root.join("dir/small too")).unwrap();
    }),
    ("a second name goes", |root| fs::remove_file(root.join("small")).unwrap()),
    ("a group is split", |root| {
        let content = fs::read(root.join("large four")).unwrap();
        fs::remove_file(root.join("large four")).unwrap();
        fs::write(root.join("large four"), content).unwrap();
        fs::hard_link(root.join("large four"), root.join("large five")).unwrap();
    }),
    ("two groups change places", |root| {
        fs::rename(root.join("large five"), root.join("swap")).unwrap();
        fs::rename(root.join("dir/large too"), root.join("large five")).unwrap();
        fs::rename(root.join("swap"), root.join("dir/large too")).unwrap();
    }),
    ("only attributes", |root| {
        fs::set_permissions(root.join("dir/text"), fs::Permissions::from_mode(0o600)).unwrap();
        rustix::fs::setxattr(root.join("dir/text"), "user.new", b"1", XattrFlags::empty()).unwrap();
        rustix::fs::removexattr(root.join("attributes"), "user.key").unwrap();
    }),
    ("content in place, also in a group", |root| {
        let large = File::options().write(true).open(root.join("large five")).unwrap();
        large.write_all_at(b"in place", 1_000_000).unwrap();
        let sparse = File::options().write(true).open(root.join("sparse")).unwrap();
        sparse.write_all_at(b"in a hole", 20 << 20).unwrap();
    }),
    ("a file cut short, another made longer", |root| {
        File::options().write(true).open(root.join("sparse")).unwrap().set_len(4 << 20).unwrap();
        File::options().write(true).open(root.join("only a hole")).unwrap().set_len(6 << 20).unwrap();
    }),
    ("a renamed directory", |root| fs::rename(root.join("dir"), root.join("renamed")).unwrap()),
    ("all is gone", |root| {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }),
];

#[test]
fn every_kind_of_change_makes_a_generation_that_comes_back_as_it_was() {
    for with_index in [false, true] {
        let source = tempdir().unwrap();
        make_everything(source.path());
        let index_directory = tempdir().unwrap();
        let index = with_index.then(|| Index::open(index_directory.path()).unwrap());
        let (memory, repository) = in_memory();
        let mut taken = vec![("begin", backup(&repository, index.as_ref(), source.path()).unwrap())];
        let mut expected = vec![look(source.path())];
        for (what, change) in &STEPS {
            change(source.path());
            let generation = backup(&repository, index.as_ref(), source.path());
            taken.push((what, generation.unwrap_or_else(|| panic!("{what}: no generation"))));
            expected.push(look(source.path()));
            assert_eq!(backup(&repository, index.as_ref(), source.path()), None, "{what}: nothing changed");
        }
        let repository = open(&memory);
        for ((what, generation), expected) in taken.iter().zip(&expected) {
            let target = tempdir().unwrap();
            println!("{what}");
            restore(&repository, *generation, target.path());
            assert_same(target.path(), expected);
        }
        let found = verify(&open(&memory), None);
        assert_eq!(found.damages, []);
        assert_eq!(found.unreferenced, Vec::<String>::new());
    }
}

/// Nanoseconds with which a file of this name and size has the wanted key, if there are any.
fn forge_nanoseconds(name: &[u8], size: u64, seconds: i64, wanted: RfeKey) -> Option<u32> {
    // The state after the part that is given, which a checksum ends with inverting.
    let given = reelfs::checksum::crc32(&[name, &size.to_le_bytes(), &seconds.to_le_bytes()]) ^ u32::MAX;
    // Thirty-two steps of the polynomial back from the wanted state.
    let back = (0..32).fold(wanted.0 ^ u32::MAX, |state: u32, _| {
        if state >> 31 == 1 { ((state ^ 0xedb8_8320) << 1) | 1 } else { state << 1 }
    });
    Some(back ^ given).filter(|nanoseconds| *nanoseconds < 1_000_000_000)
}

#[test]
fn two_files_with_the_same_key_and_different_content_are_both_right() {
    // More than one chunk: what is one chunk has no record of its own.
    const LEN: usize = 300_000;
    let source = tempdir().unwrap();
    let root = source.path();
    let (one, other) = (random(31, LEN), random(32, LEN));
    fs::write(root.join("one"), &one).unwrap();
    let time = Time { seconds: 1_700_000_000, nanoseconds: 5 };
    set_mtime(&root.join("one"), time.seconds, time.nanoseconds.into());
    let key = RfeKey::of(b"one", LEN as u64, time);
    let index_directory = tempdir().unwrap();
    let index = Index::open(index_directory.path()).unwrap();
    let (_, repository) = in_memory();
    backup(&repository, Some(&index), root).unwrap();

    let (seconds, nanoseconds) = (1_700_000_000..)
        .find_map(|seconds| Some((seconds, forge_nanoseconds(b"another", LEN as u64, seconds, key)?)))
        .unwrap();
    assert_eq!(RfeKey::of(b"another", LEN as u64, Time { seconds, nanoseconds }), key, "forged");
    fs::write(root.join("another"), &other).unwrap();
    set_mtime(&root.join("another"), seconds, nanoseconds.into());
    // And one that is the same in name, size and time, also with other content, and one that is a copy.
    for (directory, content) in [("changed", random(33, LEN)), ("copied", one.clone())] {
        fs::create_dir(root.join(directory)).unwrap();
        fs::write(root.join(directory).join("one"), content).unwrap();
        set_mtime(&root.join(directory).join("one"), time.seconds, time.nanoseconds.into());
    }
    let options = BackupOptions::default();
    let summary = try_backup(&repository, Some(&index), root, &options).unwrap();
    assert_eq!((summary.new.files, summary.redundant.files), (3, 1), "{summary:?}");
    let target = tempdir().unwrap();
    restore(&repository, summary.committed.unwrap().id, target.path());
    assert_same(target.path(), &look(root));
    assert_eq!(fs::read(target.path().join("another")).unwrap(), other);
}

#[test]
fn a_small_file_is_redundant_if_its_bytes_are_stored_whatever_its_name_and_time() {
    let source = tempdir().unwrap();
    let root = source.path();
    fs::write(root.join("one"), random(51, 5000)).unwrap();
    set_mtime(&root.join("one"), 1_700_000_000, 5);
    let index_directory = tempdir().unwrap();
    let index = Index::open(index_directory.path()).unwrap();
    let (_, repository) = in_memory();
    backup(&repository, Some(&index), root).unwrap();
    let time = Time { seconds: 1_700_000_000, nanoseconds: 5 };
    assert_eq!(index.candidates(RfeKey::of(b"one", 5000, time)).unwrap(), [], "the chunk's record is enough");
    assert_eq!(index.chunks().count(), 1);

    fs::copy(root.join("one"), root.join("of another name and time")).unwrap();
    fs::write(root.join("of the same length"), random(52, 5000)).unwrap();
    let options = BackupOptions::default();
    let summary = try_backup(&repository, Some(&index), root, &options).unwrap();
    assert_eq!((summary.new.files, summary.redundant.files), (2, 1), "{summary:?}");
    let target = tempdir().unwrap();
    restore(&repository, summary.committed.unwrap().id, target.path());
    assert_same(target.path(), &look(root));
}

#[test]
fn the_index_names_the_bdf_of_each_chunk_also_when_it_is_opened_again() {
    let (source, directory) = (tempdir().unwrap(), tempdir().unwrap());
    let (_, repository) = in_memory();
    for number in 0..4_u64 {
        let index = Index::open(&directory.path().join("index")).unwrap();
        for part in 0..2_u64 {
            let seed = number * 2 + part;
            fs::write(source.path().join(format!("file {seed}")), random(seed, 5000)).unwrap();
            backup(&repository, Some(&index), source.path()).unwrap();
        }
    }
    let fresh = Index::open(&directory.path().join("fresh")).unwrap();
    rebuild(&repository, &fresh, &Progress::new()).unwrap();
    let expected: Vec<_> = fresh.chunks().map(Result::unwrap).collect();
    let bdfs: HashSet<_> = expected.iter().map(|chunk| chunk.location.file).collect();
    assert_eq!((expected.len(), bdfs.len()), (8, 8));
    let path = directory.path().join("index");
    for opened in [Index::open_read_only(&path), Index::open(&path)] {
        let opened = opened.unwrap();
        assert_eq!(opened.chunks().map(Result::unwrap).collect::<Vec<_>>(), expected);
        for chunk in &expected {
            assert_eq!(opened.chunk(&chunk.fingerprint).unwrap(), Some(*chunk));
        }
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_kept_and_reported() {
    let source = tempdir().unwrap();
    let path = source.path().join("busy");
    fs::write(&path, random(41, 24 << 20)).unwrap();
    fs::write(source.path().join("quiet"), b"quiet").unwrap();
    let is_over = AtomicBool::new(false);
    let (_, repository) = in_memory();
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&path).unwrap();
            for number in 0_u64.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                file.write_all_at(&number.to_le_bytes(), number * 4096 % (24 << 20)).unwrap();
            }
        });
        let summary = try_backup(&repository, None, source.path(), &BackupOptions::default()).unwrap();
        is_over.store(true, Ordering::Relaxed);
        summary
    });
    assert_eq!((summary.inconsistent_count, summary.failed_count), (1, 0), "{summary:?}");
    assert_eq!(summary.inconsistent[0].path, "busy");
    let committed = summary.committed.unwrap();
    assert_eq!(committed.totals.inconsistent_count, 1);
    let target = tempdir().unwrap();
    restore(&repository, committed.id, target.path());
    assert_eq!(fs::metadata(target.path().join("busy")).unwrap().len(), 24 << 20);
    // Once it is quiet, the next backup takes it in again, though size and times are the same.
    let next = backup(&repository, None, source.path()).unwrap();
    restore(&repository, next, &target.path().join("next"));
    assert_same(&target.path().join("next"), &look(source.path()));
}
