//! What a backup sees of a tree that others use meanwhile.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use reelfs::live::{LiveError, SourceDirectory};
use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps};

use crate::tree::places;

#[test]
fn entries_come_in_order_of_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b", "a", "B", "\u{e4}", "a.b", "a-b"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    for _ in 0..2 {
        let names: Vec<_> = source.scan(None).unwrap().map(|entry| entry.unwrap().name).collect();
        assert_eq!(names, [&b"B"[..], b"a", b"a-b", b"a.b", b"b", "\u{e4}".as_bytes()]);
    }
}

#[test]
fn a_directory_that_is_written_meanwhile_is_listed_without_errors() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("stays"), b"").unwrap();
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for number in 0..200 {
                    fs::write(directory.path().join(format!("{number}")), b"x").unwrap();
                }
                for number in 0..200 {
                    fs::remove_file(directory.path().join(format!("{number}"))).unwrap();
                }
            }
        });
        for _ in 0..100 {
            let entries = source.scan(None).unwrap().map(Result::unwrap).collect::<Vec<_>>();
            assert!(entries.iter().all(|entry| entry.attributes.is_ok()), "{entries:?}");
            assert!(entries.iter().any(|entry| entry.name == b"stays"));
            assert!(entries.windows(2).all(|pair| pair[0].name < pair[1].name));
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn only_the_file_that_was_found_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), b"one").unwrap();
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    let found = source.attributes_of(b"file").unwrap();
    assert!(source.open_file(b"file", &found).is_ok());

    fs::write(path("other"), b"two").unwrap();
    fs::rename(path("other"), path("file")).unwrap();
    assert!(matches!(source.open_file(b"file", &found), Err(LiveError::Replaced { .. })));

    fs::remove_file(path("file")).unwrap();
    symlink("/etc/passwd", path("file")).unwrap();
    assert!(matches!(source.open_file(b"file", &found), Err(LiveError::Refused { .. })));
    assert!(source.open_directory(b"file").is_err());

    fs::remove_file(path("file")).unwrap();
    // Nobody writes into it: an open that waits would never return.
    rustix::fs::mknodat(CWD, path("file"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(source.open_file(b"file", &found), Err(LiveError::Replaced { .. })));

    symlink("/etc", path("directory")).unwrap();
    assert!(source.open_directory(b"directory").is_err());
    for name in [&b".."[..], b".", b"", b"a/b"] {
        assert!(matches!(source.open_directory(name), Err(LiveError::Name { .. })));
        assert!(matches!(source.attributes_of(name), Err(LiveError::Name { .. })));
    }
}

#[test]
fn a_change_while_reading_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"one").unwrap();
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    let file = source.open_file(b"file", &source.attributes_of(b"file").unwrap()).unwrap();
    assert!(file.attributes_now().unwrap().is_unchanged_since(file.attributes()));
    File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    assert!(!file.attributes_now().unwrap().is_unchanged_since(file.attributes()));
}

#[test]
fn reading_keeps_the_access_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"content").unwrap();
    let time = Timespec { tv_sec: 1000, tv_nsec: 1 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    let file = source.open_file(b"file", &source.attributes_of(b"file").unwrap()).unwrap();
    let mut bytes = [0; 100];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 7);
    assert_eq!(file.read_at(&mut bytes, 3).unwrap(), 4);
    assert_eq!(file.read_at(&mut bytes, 1000).unwrap(), 0);
    assert_eq!(fs::metadata(&path).unwrap().atime(), 1000);
}

#[test]
fn holes_are_told_from_data() {
    for place in places() {
        let file = File::create(place.path.join("file")).unwrap();
        file.write_all_at(&[1; 65536], 1 << 20).unwrap();
        file.write_all_at(&[1; 65536], 4 << 20).unwrap();
        file.set_len(8 << 20).unwrap();
        drop(file);
        File::create(place.path.join("hole")).unwrap().set_len(1 << 20).unwrap();
        fs::write(place.path.join("full"), [1; 10_000]).unwrap();
        let source = SourceDirectory::open_root(&place.path).unwrap();
        for (name, expected) in [
            (&b"file"[..], &[(1 << 20, 65536), (4 << 20, 65536)][..]),
            (b"hole", &[]),
            (b"full", &[(0, 10_000)]),
        ] {
            let found = source.attributes_of(name).unwrap();
            let file = source.open_file(name, &found).unwrap();
            let ranges: Result<Vec<_>, _> = file.data_ranges().collect();
            assert_eq!(ranges.unwrap(), expected, "{} {name:?}", place.name);
            assert_eq!(found.may_have_holes(), name != b"full", "{} {name:?}", place.name);
        }
    }
}

#[test]
fn cache_directories_have_the_right_signature() {
    let directory = tempfile::tempdir().unwrap();
    let tag = directory.path().join("CACHEDIR.TAG");
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    assert!(!source.is_cache_directory());
    fs::write(&tag, b"Signature: 8a477f597d28d172789f06886806bc55\n# more").unwrap();
    assert!(source.is_cache_directory());
    fs::write(&tag, b"Signature: 8a477f597d28d172789f06886806bc5X").unwrap();
    assert!(!source.is_cache_directory());
    fs::write(&tag, b"Signature").unwrap();
    assert!(!source.is_cache_directory());
    fs::rename(&tag, directory.path().join("elsewhere")).unwrap();
    symlink("elsewhere", &tag).unwrap();
    assert!(!source.is_cache_directory());
}

#[test]
fn the_nodump_flag_is_seen_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::create(directory.path().join("file")).unwrap();
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    let is_nodump =
        || source.open_file(b"file", &source.attributes_of(b"file").unwrap()).unwrap().is_nodump();
    assert!(!is_nodump());
    assert!(!source.is_nodump());
    if let Err(error) = rustix::fs::ioctl_setflags(&file, IFlags::NODUMP) {
        eprintln!("skipped, the file system has no flags: {error}");
        return;
    }
    assert!(is_nodump());
}

#[test]
fn paths_are_told_whole_and_below_the_root() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("a/b")).unwrap();
    let source = SourceDirectory::open_root(directory.path()).unwrap();
    assert_eq!(source.relative_path(), b"");
    let below = source.open_directory(b"a").unwrap().open_directory(b"b").unwrap();
    assert_eq!(below.relative_path(), b"a/b");
    assert!(below.path().ends_with(b"/a/b"));
    let error = below.attributes_of(b"none").unwrap_err();
    assert!(error.is_not_found());
    assert!(error.to_string().ends_with("/a/b/none"), "{error}");
    let root = SourceDirectory::open_root("/".as_ref()).unwrap().open_directory(b"proc").unwrap();
    assert_eq!((root.path(), root.relative_path()), (&b"/proc"[..], &b"proc"[..]));
}
