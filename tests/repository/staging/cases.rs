//! Single cases, each with a name.

use std::fs;

use reelfs::repo::staging::{ROOT, RenameMode, SetAttributes, StagingError, XattrMode};

use super::commit::commit;
use super::support::{Place, caller, file_count, find, names, read};
use crate::support::{backup, random, verify};

#[test]
fn a_new_client_takes_a_file_and_shows_it_after_a_commit() {
    let place = Place::new();
    let tree = place.create();
    let (entry, handle) = tree.create_file(ROOT, b"file", 0o644, caller(), None).unwrap();
    tree.write(&handle, 0, b"content", false, caller()).unwrap();
    let directory = tree.make_directory(ROOT, b"directory", 0o755, caller()).unwrap().number();
    tree.make_symlink(directory, b"link", b"../file", caller()).unwrap();
    assert_eq!(read(&tree, "file"), b"content");
    commit(&place.repository, tree.freeze().unwrap());
    assert!(!tree.is_changed().unwrap());
    assert_eq!(read(&tree, "file"), b"content");
    assert_eq!(find(&tree, "file"), entry.number());
    assert_eq!(find(&tree, "directory"), directory);
    assert_eq!(tree.read_link(find(&tree, "directory/link")).unwrap(), b"../file");
    assert_eq!(names(&tree, ROOT), ["directory", "file"]);
    drop(handle);
    while tree.reclaim().unwrap() {}
    assert_eq!(file_count(&place.staging().join("data")), 0);
    drop(tree);
    let summary = verify(&place.repository, None);
    assert!(summary.is_sound(), "{summary:?}");
    assert_eq!(read(&place.open(), "file"), b"content");
}

#[test]
fn what_a_commit_leaves_goes_in_ranges_and_what_was_changed_since_the_freeze_stays() {
    let place = Place::new();
    let tree = place.create();
    let name = |number: usize| format!("file{number:03}");
    let write = |name: &str, text: &[u8]| {
        let handle = match tree.lookup(ROOT, name.as_bytes()) {
            Ok(entry) => tree.open_file(entry.number(), true, false, caller()).unwrap(),
            Err(_) => tree.create_file(ROOT, name.as_bytes(), 0o644, caller(), None).unwrap().1,
        };
        tree.write(&handle, 0, text, false, caller()).unwrap();
    };
    for number in 0..300 {
        write(&name(number), b"before");
    }
    let frozen = tree.freeze().unwrap();
    for number in [0, 100, 299] {
        write(&name(number), b"since!");
    }
    write("new", b"new");
    tree.unlink(ROOT, b"file150", caller()).unwrap();
    commit(&place.repository, frozen);
    while tree.reclaim().unwrap() {}
    assert_eq!(file_count(&place.staging().join("data")), 4);
    drop(tree);
    let tree = place.open();
    for number in (0..300).filter(|number| *number != 150) {
        let text: &[u8] = if [0, 100, 299].contains(&number) { b"since!" } else { b"before" };
        assert_eq!(read(&tree, &name(number)), text, "{number}");
    }
    assert_eq!(read(&tree, "new"), b"new");
    assert!(matches!(tree.lookup(ROOT, b"file150"), Err(StagingError::NotFound)));
    assert_eq!(tree.pending().unwrap().entry_count, 5);
}

#[test]
fn opening_changing_a_mode_and_opening_for_writing_copy_nothing() {
    let place = Place::new();
    fs::write(place.source().join("large"), random(1, 3 << 20)).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let number = find(&tree, "large");
    let set = SetAttributes { permissions: Some(0o600), uid: Some(7), ..SetAttributes::default() };
    tree.set_attributes(number, &set, caller()).unwrap();
    tree.set_xattr(number, b"user.a", b"b", XattrMode::Either, caller()).unwrap();
    drop(tree.open_file(number, true, false, caller()).unwrap());
    assert_eq!(file_count(&place.staging().join("data")), 0);
    assert_eq!(tree.attributes(number).unwrap().permissions, 0o600);
    assert_eq!(read(&tree, "large"), random(1, 3 << 20));
    let frozen = tree.freeze().unwrap();
    for change in frozen.changes() {
        if let reelfs::repo::staging::FrozenChange::Entry {
            target: reelfs::repo::staging::FrozenTarget::Object(object),
            ..
        } = change.unwrap()
        {
            assert!(object.content.is_none(), "the content is that of the base");
        }
    }
    commit(&place.repository, frozen);
    assert_eq!(tree.attributes(number).unwrap().uid, 7);
    assert_eq!(find(&tree, "large"), number);
}

#[test]
fn a_small_write_into_a_large_file_reads_its_edges_only() {
    let place = Place::new();
    let file = fs::File::create(place.source().join("large")).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &random(2, 1 << 20), 512 << 20).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let number = find(&tree, "large");
    let handle = tree.open_file(number, true, false, caller()).unwrap();
    let offset = (512 << 20) + 1000;
    tree.write(&handle, offset, &[9; 8192], false, caller()).unwrap();
    let frozen = tree.freeze().unwrap();
    let mut written = Vec::new();
    for change in frozen.changes() {
        if let reelfs::repo::staging::FrozenChange::Entry {
            target: reelfs::repo::staging::FrozenTarget::Object(object),
            ..
        } = change.unwrap()
        {
            let content = object.content.unwrap();
            assert!(content.trusted && !content.open_for_writing);
            let segments: Vec<_> = content.segments().map(|segment| segment.unwrap()).collect();
            written.extend(
                segments.iter().filter(|s| s.kind == reelfs::repo::staging::SegmentKind::Written).copied(),
            );
        }
    }
    let len: u64 = written.iter().map(|segment| segment.len).sum();
    assert_eq!((written.len(), len), (1, 12_288), "{written:?}");
    drop(frozen);
    let mut expected = random(2, 1 << 20);
    expected[1000..9192].fill(9);
    assert_eq!(tree.read(&handle, 512 << 20, 1 << 20).unwrap(), expected);
    assert_eq!(tree.read(&handle, (512 << 20) - 4096, 4096).unwrap(), [0; 4096]);
}

#[test]
fn names_follow_the_rules_of_posix() {
    let place = Place::new();
    let tree = place.create();
    let a = tree.make_directory(ROOT, b"a", 0o755, caller()).unwrap().number();
    let b = tree.make_directory(a, b"b", 0o755, caller()).unwrap().number();
    tree.create_file(b, b"f", 0o644, caller(), None).unwrap();
    let rename = |from: (u64, &[u8]), to: (u64, &[u8]), mode| tree.rename(from, to, mode, caller());
    let replace = RenameMode::Replace;
    assert!(matches!(rename((ROOT, b"a"), (b, b"c"), replace), Err(StagingError::Invalid { .. })));
    assert!(matches!(rename((ROOT, b"a"), (a, b"c"), replace), Err(StagingError::Invalid { .. })));
    assert!(matches!(rename((b, b"f"), (ROOT, b"a"), replace), Err(StagingError::IsDirectory)));
    assert!(matches!(rename((a, b"b"), (b, b"f"), replace), Err(StagingError::Invalid { .. })));
    tree.make_directory(ROOT, b"d", 0o755, caller()).unwrap();
    assert!(matches!(rename((ROOT, b"d"), (b, b"f"), replace), Err(StagingError::NotDirectory)));
    assert!(matches!(rename((ROOT, b"d"), (a, b"b"), replace), Err(StagingError::NotEmpty)));
    assert!(matches!(rename((ROOT, b"d"), (ROOT, b"a"), RenameMode::NoReplace), Err(StagingError::Exists)));
    rename((ROOT, b"d"), (a, b"b"), RenameMode::Exchange).unwrap();
    assert_eq!(find(&tree, "d"), b);
    assert_eq!(tree.parent(b).unwrap(), ROOT);
    assert!(matches!(tree.remove_directory(ROOT, b"d", caller()), Err(StagingError::NotEmpty)));
    assert!(matches!(tree.unlink(ROOT, b"d", caller()), Err(StagingError::IsDirectory)));
    assert!(matches!(tree.remove_directory(b, b"f", caller()), Err(StagingError::NotDirectory)));
    assert!(matches!(tree.lookup(b, &[b'x'; 256]), Err(StagingError::NameTooLong { .. })));
    tree.unlink(b, b"f", caller()).unwrap();
    tree.remove_directory(ROOT, b"d", caller()).unwrap();
    assert!(matches!(tree.lookup(ROOT, b"d"), Err(StagingError::NotFound)));
}
