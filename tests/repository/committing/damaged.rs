//! Commits on a generation of which something cannot be read any more.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use reelfs::format::record::ROOT_OBJECT;
use reelfs::repo::{CacheBytes, Repository};

use super::scene::{Scene, Staged};
use crate::support::random;

/// Damages the frame that holds this byte of a file in a client's latest generation.
fn damage(scene: &Scene, client: &str, path: &str, offset: u64) {
    let last = *scene.repository.generations(&super::scene::name(client)).unwrap().last().unwrap();
    let generation = scene.repository.generation(last.ordinal).unwrap();
    let entry = generation.lookup(scene.repository.pages(), ROOT_OBJECT, path.as_bytes()).unwrap().unwrap();
    let inode = entry.inode.unwrap();
    let extent = scene.repository.content(&inode).unwrap().extents_from(offset).next().unwrap().unwrap();
    let name = format!("{}.bdf", extent.chunk.location.file);
    let places = ["full", "delta"].map(|area| scene.root().join(area).join(client).join(&name));
    let bdf = places.iter().find(|place| place.exists()).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(bdf).unwrap();
    let mut bytes = [0; 64];
    let at = extent.chunk.location.frame + 2000;
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
