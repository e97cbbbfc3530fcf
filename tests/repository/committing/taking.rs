//! A commit takes every kind of change, and what staging shows afterwards is the generation.

use reelfs::repo::CacheBytes;
use reelfs::repo::Repository;

use super::scene::{Scene, name};
use crate::support::random;

#[test]
fn what_was_staged_is_a_generation_that_reads_back() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.make_directory("etc");
    staged.make_directory("etc/deep");
    staged.write("etc/hosts", b"127.0.0.1 localhost\n");
    staged.write("etc/deep/large", &random(1, 3_000_000));
    staged.write("empty", b"");
    staged.symlink("etc/hosts", "link");
    staged.link("etc/hosts", "etc/deep/second name");
    let summary = scene.commit(&staged);
    assert!(summary.is_complete());
    assert_eq!(summary.stored.new.files, 4);
    assert_eq!(scene.read(&summary), staged.seen());
    assert!(!staged.tree.is_changed().unwrap());
    scene.verify();
}

#[test]
fn every_kind_of_change_is_in_the_next_generation_and_old_ones_stay() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    for directory in ["keep", "gone", "moved"] {
        staged.make_directory(directory);
        staged.write(&format!("{directory}/file"), directory.as_bytes());
        staged.write(&format!("{directory}/large"), &random(directory.len() as u64, 400_000));
    }
    staged.link("keep/file", "keep/other name");
    let first = scene.commit(&staged);
    let before = staged.seen();
    staged.unlink("gone/file");
    staged.unlink("gone/large");
    staged.remove_directory("gone");
    staged.rename("moved", "keep/moved");
    staged.rename("keep/moved/file", "file at the top");
    staged.make_directory("new");
    staged.write("new/file", b"new");
    staged.unlink("keep/other name");
    staged.link("keep/large", "new/large");
    staged.patch("keep/large", 1000, b"changed in place");
    staged.truncate("keep/moved/large", 100_000);
    let second = scene.commit(&staged);
    assert_eq!(scene.read(&second), staged.seen());
    assert_eq!(scene.read(&first), before);
    scene.verify();
    // And a process that opens it anew sees the same.
    let seen = staged.seen();
    drop(staged);
    let again = scene.reopen("web1");
    assert_eq!(again.seen(), seen);
    assert!(!again.tree.is_changed().unwrap());
}

#[test]
fn a_new_directory_below_a_moved_one_and_one_that_replaces_a_file_are_taken() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.make_directory("a");
    staged.make_directory("a/b");
    staged.write("a/b/file", b"1");
    staged.write("name", b"a file");
    scene.commit(&staged);
    staged.rename("a/b", "b");
    staged.make_directory("b/c");
    staged.write("b/c/file", b"2");
    staged.rename("a", "b/c/a");
    staged.unlink("name");
    staged.make_directory("name");
    staged.write("name/file", b"3");
    let summary = scene.commit(&staged);
    assert_eq!(scene.read(&summary), staged.seen());
    scene.verify();
}

#[test]
fn without_a_change_there_is_no_generation_unless_it_is_wanted() {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("file", b"content");
    scene.commit(&staged);
    let nothing = scene.try_commit(&staged).unwrap();
    assert!(nothing.stored.committed.is_none());
    // A file that is opened for writing and not written is as it was.
    drop(staged.open("file", false));
    assert!(scene.try_commit(&staged).unwrap().stored.committed.is_none());
    scene.options.always = true;
    let summary = scene.commit(&staged);
    assert_eq!(summary.added_bytes, 0);
    assert_eq!(scene.repository.generations(&name("web1")).unwrap().len(), 2);
}

#[test]
fn a_touch_that_changes_nothing_but_the_time_of_the_touch_makes_no_generation() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("file", b"content");
    staged.set_permissions("file", 0o600);
    scene.commit(&staged);
    staged.set_permissions("file", 0o600);
    assert!(scene.try_commit(&staged).unwrap().stored.committed.is_none());
    staged.set_permissions("file", 0o640);
    let summary = scene.commit(&staged);
    assert_eq!((summary.added_bytes, summary.read_bytes), (0, 0), "a change of mode copies no data");
    assert_eq!(summary.stored.modified.files, 1);
}

#[test]
fn one_number_holds_over_epochs_and_a_rename() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.make_directory("d");
    staged.write("d/file", &random(3, 200_000));
    let numbers = (staged.number("d"), staged.number("d/file"));
    scene.commit(&staged);
    assert_eq!((staged.number("d"), staged.number("d/file")), numbers);
    staged.rename("d/file", "file");
    staged.patch("file", 0, b"x");
    scene.commit(&staged);
    assert_eq!((staged.number("d"), staged.number("file")), numbers);
    drop(staged);
    let again = scene.reopen("web1");
    assert_eq!((again.number("d"), again.number("file")), numbers);
}

#[test]
fn staging_that_stands_on_an_older_generation_is_committed_on_that() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("old", b"old");
    let first = scene.commit(&staged);
    staged.make_directory("directory");
    staged.write("directory/new", b"new");
    staged.unlink("old");
    scene.commit(&staged);
    staged.tree.restage(Some(first.stored.committed.as_ref().unwrap().id.ordinal)).unwrap();
    assert_eq!(staged.seen().keys().collect::<Vec<_>>(), ["old"]);
    staged.make_directory("other");
    staged.write("other/file", b"other");
    let third = scene.commit(&staged);
    assert_eq!(scene.read(&third).into_keys().collect::<Vec<_>>(), ["old", "other", "other/file"]);
    scene.verify();
    let repository = Repository::open(&scene.root(), CacheBytes::default()).unwrap();
    assert_eq!(repository.generations(&name("web1")).unwrap().len(), 3);
}

#[test]
fn what_came_to_nothing_is_pending_no_more() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("file", b"content");
    staged.set_permissions("file", 0o600);
    scene.commit(&staged);
    staged.set_permissions("file", 0o640);
    staged.set_permissions("file", 0o600);
    assert!(staged.tree.is_changed().unwrap());
    assert!(scene.try_commit(&staged).unwrap().stored.committed.is_none());
    assert!(!staged.tree.is_changed().unwrap());
    assert_eq!(staged.seen()["file"], b"content");
    // And what is done next is not.
    staged.write("file", b"new");
    let after = scene.commit(&staged);
    assert_eq!(scene.read(&after)["file"], b"new");
    scene.verify();
}

#[test]
fn staging_that_was_set_to_an_older_generation_makes_it_the_newest() {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("file", b"good");
    let good = scene.commit(&staged).stored.committed.unwrap().id;
    staged.write("file", b"bad");
    scene.commit(&staged);
    staged.tree.restage(Some(good.ordinal)).unwrap();
    let rolled_back = scene.commit(&staged);
    assert_eq!(scene.read(&rolled_back)["file"], b"good");
    assert!(scene.try_commit(&staged).unwrap().stored.committed.is_none(), "it is the newest now");
    scene.verify();
}
