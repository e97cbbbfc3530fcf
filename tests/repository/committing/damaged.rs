//! Commits on a generation of which something cannot be read any more.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use reelfs::format::frame::Location;
use reelfs::format::page::TreeKind;
use reelfs::format::record::{Content, Detail, Extent, Inode, ROOT_OBJECT, Xattrs, entry_key};
use reelfs::id::Ordinal;
use reelfs::repo::staging::XattrMode;
use reelfs::repo::tree::Tree;
use reelfs::repo::{CacheBytes, Generation, Repository};

use super::scene::{Scene, Staged};
use crate::support::random;

fn latest(scene: &Scene) -> Arc<Generation> {
    let last = *scene.repository.generations(&super::scene::name("web1")).unwrap().last().unwrap();
    scene.repository.generation(last.ordinal).unwrap()
}

fn inode(scene: &Scene, path: &str) -> Inode {
    let found = latest(scene).lookup(scene.repository.pages(), ROOT_OBJECT, path.as_bytes());
    found.unwrap().unwrap().inode.unwrap()
}

/// Damages a page of a tree.
fn damage_page(scene: &Scene, (ordinal, offset): (Ordinal, u64)) {
    let directory = scene.root().join("clients/web1");
    let suffix = format!(".{ordinal}.dtf");
    let mut names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let path = names.find(|path| path.to_str().unwrap().ends_with(&suffix)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset + 40).unwrap();
    file.write_all_at(&bytes.map(|byte| !byte), offset + 40).unwrap();
}

/// Damages the frame that holds this byte of a file in a client's latest generation.
fn damage(scene: &Scene, client: &str, path: &str, offset: u64) {
    let last = *scene.repository.generations(&super::scene::name(client)).unwrap().last().unwrap();
    let generation = scene.repository.generation(last.ordinal).unwrap();
    let entry = generation.lookup(scene.repository.pages(), ROOT_OBJECT, path.as_bytes()).unwrap().unwrap();
    let inode = entry.inode.unwrap();
    let extent = scene.repository.content(&inode).unwrap().extents_from(offset).next().unwrap().unwrap();
    damage_frame(scene, client, extent.chunk.location);
}

fn damage_frame(scene: &Scene, client: &str, location: Location) {
    let name = format!("{}.bdf", location.file);
    let places = ["full", "delta"].map(|area| scene.root().join(area).join(client).join(&name));
    let bdf = places.iter().find(|place| place.exists()).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(bdf).unwrap();
    let mut bytes = [0; 64];
    let at = location.frame + 2000;
    file.read_exact_at(&mut bytes, at).unwrap();
    file.write_all_at(&bytes.map(|byte| !byte), at).unwrap();
}

/// The same repository with nothing of it in memory.
fn opened_anew(scene: &mut Scene, staged: Staged) -> Staged {
    drop(staged);
    scene.repository = Arc::new(Repository::open(&scene.root(), CacheBytes::default()).unwrap());
    scene.reopen("web1")
}

#[test]
fn a_damaged_frame_below_what_was_written_stops_no_commit() {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    staged.write("large", &random(1, 3 << 20));
    staged.write("small", &random(2, 60_000));
    scene.commit(&staged);
    damage(&scene, "web1", "large", (3 << 20) - 1);
    damage(&scene, "web1", "small", 0);
    let staged = opened_anew(&mut scene, staged);
    let (half, page) = (random(3, 1_500_000), random(4, 4096));
    staged.patch("large", 0, &half);
    staged.patch("small", 4096, &page);
    staged.write("new", &random(5, 100_000));
    let progress = reelfs::progress::Progress::new();
    let preview = scene.commit_of(&staged, &progress).preview(&mut |_| {}).unwrap();
    let summary = scene.commit(&staged);
    let named: Vec<_> = summary.unreadable.listed.iter().map(|problem| &*problem.path).collect();
    assert_eq!(named, ["large", "small"]);
    assert!(summary.unreadable.listed[0].reason.contains(".bdf"), "{:?}", summary.unreadable);
    assert!(!summary.is_complete());
    assert_eq!((preview.added_bytes, preview.unreadable.count), (summary.added_bytes, 2));
    assert_eq!((scene.method("large"), scene.method("small")), ("fda", "fda"));
    let generation =
        scene.repository.generation(summary.stored.committed.as_ref().unwrap().id.ordinal).unwrap();
    let read = |path: &str, offset: u64, len: usize| {
        let found = generation.lookup(scene.repository.pages(), ROOT_OBJECT, path.as_bytes()).unwrap();
        let inode = found.unwrap().inode.unwrap();
        scene.repository.content(&inode).unwrap().read(offset, len).ok()
    };
    assert!(read("large", 0, half.len()) == Some(half), "what was written");
    assert!(read("large", 1_510_000, 100_000) == Some(random(1, 3 << 20)[1_510_000..1_610_000].to_vec()));
    assert!(read("large", 2 << 20, 1 << 20).is_none(), "what is damaged is not made up");
    assert!(read("small", 4096, 4096) == Some(page));
    assert!(read("small", 0, 4096).is_none());
    assert!(read("new", 0, 100_000) == Some(random(5, 100_000)));
    // The next one has nothing to do with it.
    staged.patch("large", 1 << 20, &random(6, 8192));
    let summary = scene.commit(&staged);
    assert!(summary.is_complete(), "{summary:?}");
}

#[test]
fn a_damaged_list_of_attributes_that_was_not_touched_stops_no_commit_and_stays_where_it_is() {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    let (value, names) = (random(1, 5000), ["written", "renamed", "linked", "other"]);
    for (number, name) in (0..).zip(names) {
        staged.write(name, &random(10 + number, 3000));
        // One list, which is stored once.
        let number = staged.number(name);
        staged.tree.set_xattr(number, b"user.long", &value, XattrMode::Either, staged.caller()).unwrap();
    }
    scene.commit(&staged);
    let lists = names.map(|name| inode(&scene, name).xattrs);
    let Xattrs::Stored { extents, .. } = &lists[0] else { panic!("it is long") };
    let location = extents[0].chunk.location;
    staged.patch("written", 0, b"written");
    staged.rename("renamed", "moved");
    staged.link("linked", "linked too");
    staged.set_permissions("other", 0o600);
    damage_frame(&scene, "web1", location);
    let staged = opened_anew(&mut scene, staged);
    let seen = staged.seen();
    let progress = reelfs::progress::Progress::new();
    scene.commit_of(&staged, &progress).preview(&mut |_| {}).unwrap();
    let summary = scene.commit(&staged);
    assert!(summary.is_complete(), "nothing of it was looked at: {summary:?}");
    assert_eq!(scene.read(&summary), seen);
    for (name, list) in ["written", "moved", "linked too", "other"].into_iter().zip(lists) {
        assert_eq!(inode(&scene, name).xattrs, list, "{name}");
    }
}

#[test]
fn a_file_whose_list_of_extents_is_damaged_where_it_was_written_waits_and_all_else_is_taken() {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    let handle = staged.open("pieces", true);
    for piece in 0..3000 {
        staged.write_at(&handle, piece * 8192, &random(piece, 4096));
    }
    drop(handle);
    staged.link("pieces", "pieces too");
    scene.commit(&staged);
    let Detail::Regular { content, .. } = inode(&scene, "pieces").detail else { panic!("a file") };
    let Content::Tree { root, .. } = content else { panic!("a tree") };
    let tree = Tree::new(scene.repository.pages(), root, TreeKind::Extents);
    let at = tree.get(&Extent::key(1500 * 8192)).unwrap().unwrap().address();
    staged.patch("pieces", 1500 * 8192 + 100, b"where it cannot be read");
    staged.patch("pieces", 0, b"and where it can");
    staged.write("new", b"new");
    damage_page(&scene, (at.ordinal, at.offset));
    let staged = opened_anew(&mut scene, staged);
    let progress = reelfs::progress::Progress::new();
    let preview = scene.commit_of(&staged, &progress).preview(&mut |_| {}).unwrap();
    let summary = scene.commit(&staged);
    for summary in [&preview, &summary] {
        let named: Vec<_> = summary.unreadable.listed.iter().map(|problem| &*problem.path).collect();
        assert_eq!(named, ["pieces"], "{summary:?}");
        assert!(summary.unreadable.listed[0].reason.contains("pending"), "{summary:?}");
        assert_eq!((summary.held_files().files, summary.stored.new.files), (3, 1));
    }
    assert_eq!(inode(&scene, "new").size(), 3);
    assert!(inode(&scene, "pieces").link_count == 2, "as it was");
    // Nothing is lost, and it goes on waiting.
    assert!(staged.tree.is_changed().unwrap());
    let handle = staged.tree.open_file(staged.number("pieces"), false, false, staged.caller()).unwrap();
    assert_eq!(staged.tree.read(&handle, 1500 * 8192 + 100, 23).unwrap(), b"where it cannot be read");
    drop(handle);
    staged.write("new", b"newer");
    let summary = scene.commit(&staged);
    assert_eq!((summary.unreadable.count, inode(&scene, "new").size()), (1, 5));
    // With a name that the generation does not have it cannot stay as it was: that is told, and how to go on.
    staged.link("pieces", "third");
    let error = reelfs::job::chain(&scene.try_commit(&staged).unwrap_err());
    assert!(error.starts_with("cannot read pieces: ") && error.contains(".dtf"), "{error}");
    // Written anew it has nothing to do with what is damaged.
    staged.write("pieces", b"written anew");
    let summary = scene.commit(&staged);
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(scene.read(&summary), staged.seen());
    assert_eq!(inode(&scene, "third").link_count, 3);
}

#[test]
fn a_damaged_page_of_the_tree_stops_only_a_commit_that_changes_what_it_holds() {
    let mut scene = Scene::new();
    let staged = scene.stage("web1");
    for number in 0..2000 {
        staged.write(&format!("file-{number:04}"), format!("{number}").as_bytes());
    }
    let older = scene.commit(&staged).stored.committed.unwrap().id.ordinal;
    for number in 0..2000 {
        staged.set_permissions(&format!("file-{number:04}"), 0o600);
    }
    scene.commit(&staged);
    let (first, pages) = (latest(&scene), scene.repository.pages());
    let found = first.tree(pages).get(&entry_key(ROOT_OBJECT, b"file-1000")).unwrap().unwrap();
    let at = found.address();
    staged.write("file-0001", b"beside it");
    staged.write("new", b"new");
    damage_page(&scene, (at.ordinal, at.offset));
    let staged = opened_anew(&mut scene, staged);
    let summary = scene.commit(&staged);
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!((inode(&scene, "file-0001").size(), inode(&scene, "new").size()), (9, 3));
    // What it holds can be changed only by who has it in memory still.
    damage_page(&scene, (at.ordinal, at.offset));
    let staged = opened_anew(&mut scene, staged);
    staged.patch("file-1000", 0, b"staged before it was damaged");
    damage_page(&scene, (at.ordinal, at.offset));
    let staged = opened_anew(&mut scene, staged);
    let error = scene.try_commit(&staged).unwrap_err();
    assert!(reelfs::job::chain(&error).contains(".dtf"), "{error}");
    assert!(staged.tree.is_changed().unwrap(), "nothing is lost");
    // As the manual tells: what is staged goes elsewhere, and an older generation is staged in its place.
    let handle = staged.tree.open_file(staged.number("file-1000"), false, false, staged.caller()).unwrap();
    let saved = staged.tree.read(&handle, 0, 100).unwrap();
    assert_eq!(saved, b"staged before it was damaged");
    drop(handle);
    staged.tree.discard().unwrap();
    staged.tree.restage(Some(older)).unwrap();
    staged.write("file-1000", &saved);
    let summary = scene.commit(&staged);
    assert!(summary.is_complete(), "{summary:?}");
    let read = scene.read(&summary);
    assert_eq!((read.len(), &read["file-1000"], &read["file-0999"][..]), (2000, &saved, &b"999"[..]));
}
