//! A commit that is cut off at any operation leaves the old state or the new one, and everything staged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use reelfs::id::ClientName;
use reelfs::index::Index;
use reelfs::repo::staging::StagingTree;
use reelfs::repo::{CacheBytes, Repository};

use super::faulty::{FaultyStorage, copy};
use super::scene::{Scene, Staged, name, staging_options};
use crate::support::random;

type Seen = BTreeMap<String, Vec<u8>>;

fn client() -> ClientName {
    name("web1")
}

/// A generation, and changes of every kind staged on it.
fn template() -> (Scene, Seen) {
    let scene = Scene::new();
    let staged = scene.stage("web1");
    staged.make_directory("gone");
    staged.write("gone/file", b"gone");
    staged.write("large", &random(1, 600_000));
    staged.write("linked", b"two names");
    staged.link("linked", "second");
    scene.commit(&staged);
    staged.unlink("gone/file");
    staged.remove_directory("gone");
    staged.make_directory("made");
    staged.write("made/file", &random(2, 50_000));
    staged.patch("large", 200_000, &random(3, 8192));
    staged.rename("second", "made/second");
    let seen = staged.seen();
    staged.tree.close().unwrap();
    (scene, seen)
}

impl Scene {
    // The repository in another directory, perhaps with storage that fails.
    fn moved(root: &Path, storage: Option<Arc<FaultyStorage>>) -> Self {
        let repository = match storage {
            Some(storage) => Repository::open_over(root, storage, CacheBytes::default()),
            None => Repository::open(root, CacheBytes::default()),
        };
        let mut scene = Self::new();
        scene.index = Some(Index::open(&root.join("index")).unwrap());
        scene.repository = Arc::new(repository.unwrap());
        scene
    }

    fn generation_count(&self) -> usize {
        self.repository.generations(&client()).unwrap().len()
    }
}

fn opened(scene: &Scene) -> Staged {
    let tree = StagingTree::open(Arc::clone(&scene.repository), &client(), &staging_options()).unwrap();
    Staged::new(tree)
}

/// Opens what was left, expects the old or the new state, and that the commit can be asked for again.
fn check(root: &Path, seen: &Seen, must_be_new: bool, what: &str) {
    let scene = Scene::moved(root, None);
    let staged = opened(&scene);
    let count = scene.generation_count();
    assert!(count == 2 || (count == 1 && !must_be_new), "{what}: {count} generations");
    assert_eq!(staged.seen(), *seen, "{what}: nothing that was staged is lost");
    let again = scene.try_commit(&staged).unwrap();
    assert_eq!(again.stored.committed.is_some(), count == 1, "{what}: the commit is made once");
    assert_eq!(scene.generation_count(), 2, "{what}");
    let last = *scene.repository.generations(&client()).unwrap().last().unwrap();
    assert_eq!(scene.read_generation(root, last.ordinal), *seen, "{what}");
    assert_eq!(staged.seen(), *seen, "{what}");
    let verified = crate::support::verify(&scene.repository, scene.index.as_ref());
    assert!(verified.is_sound(), "{what}: {verified:?}");
}

#[test]
fn a_commit_that_is_cut_off_anywhere_leaves_the_old_state_or_the_new_one_and_can_be_repeated() {
    let (template, seen) = template();
    let space = tempfile::tempdir().unwrap();
    let mut operation_count = u64::MAX;
    for number in 1.. {
        let what = format!("operation {number}");
        let root = space.path().join(format!("at-{number}"));
        let image = space.path().join(format!("image-{number}"));
        copy(&template.root(), &root);
        let (storage, stop) = FaultyStorage::new(&root, &image);
        let scene = Scene::moved(&root, Some(storage));
        let staged = opened(&scene);
        stop.set(number);
        let result = scene.try_commit(&staged);
        let is_done = result.as_ref().is_ok_and(|summary| summary.stored.committed.is_some());
        if stop.count() < number {
            assert!(is_done, "{what}: {result:?}");
            operation_count = number - 1;
            break;
        }
        assert_eq!(staged.seen(), seen, "{what}: the same process");
        drop((staged, scene));
        check(&image, &seen, false, &format!("killed at {what}"));
        check(&root, &seen, is_done, &format!("failed at {what}"));
        std::fs::remove_dir_all(&root).unwrap();
        std::fs::remove_dir_all(&image).unwrap();
    }
    assert!(operation_count > 15, "{operation_count}");
}

#[test]
fn writers_that_go_on_while_a_commit_fails_lose_nothing() {
    let (template, mut seen) = template();
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("repository");
    copy(&template.root(), &root);
    let (storage, stop) = FaultyStorage::new(&root, &space.path().join("image"));
    let scene = Scene::moved(&root, Some(storage));
    let staged = opened(&scene);
    let handle = staged.open("large", false);
    stop.set(12);
    assert!(scene.try_commit(&staged).is_err());
    staged.write_at(&handle, 0, b"written after the failure");
    seen.get_mut("large").unwrap()[..25].copy_from_slice(b"written after the failure");
    staged.write("after", b"after");
    seen.insert("after".to_owned(), b"after".to_vec());
    stop.set(u64::MAX);
    assert_eq!(staged.seen(), seen);
    let summary = scene.commit(&staged);
    let ordinal = summary.stored.committed.unwrap().id.ordinal;
    assert_eq!(scene.read_generation(&root, ordinal), seen);
}
