//! Paths of objects by their numbers.

use std::fs;

use reelfs::repo::staging::{ROOT, RenameMode, StagingTree};

use super::driver::Random;
use super::support::{Place, caller, find};
use crate::support::backup;

const COUNT: usize = 3000;

fn name(index: usize) -> String {
    format!("d{index:04}")
}

fn path(tree: &StagingTree, number: u64) -> String {
    String::from_utf8(tree.path(number).unwrap()).unwrap()
}

#[test]
fn paths_of_directories_beside_each_other_are_found_without_reading_all_for_each() {
    let place = Place::new();
    for index in 0..COUNT {
        fs::create_dir_all(place.source().join("all").join(name(index))).unwrap();
    }
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let mut numbers: Vec<(usize, u64)> =
        (0..COUNT).map(|index| (index, find(&tree, &format!("all/{}", name(index))))).collect();
    let seed = 3;
    let mut random = Random::new(seed);
    for round in 0..2 {
        for (index, number) in &numbers {
            assert_eq!(path(&tree, *number), format!("all/{}", name(*index)), "seed {seed}");
        }
        let searched = tree.searched_count();
        // Each once, those of the last step once more, and the root.
        assert!(searched < 2 * COUNT as u64, "{searched} entries were read in {} rounds", round + 1);
        for at in (1..COUNT).rev() {
            numbers.swap(at, random.below(at + 1));
        }
    }
}

#[test]
fn the_path_of_a_directory_is_where_it_is_now() {
    let place = Place::new();
    fs::create_dir_all(place.source().join("a/b/c")).unwrap();
    backup(&place.repository, None, &place.source());
    let tree = place.create();
    let number = find(&tree, "a/b/c");
    assert_eq!(path(&tree, number), "a/b/c");
    let (above, replaced) = (find(&tree, "a"), find(&tree, "a/b"));
    tree.rename((above, b"b"), (ROOT, b"moved"), RenameMode::Replace, caller()).unwrap();
    assert_eq!(path(&tree, number), "moved/c");
    let other = tree.make_directory(above, b"b", 0o755, caller()).unwrap().number();
    assert_eq!((path(&tree, other), path(&tree, replaced)), ("a/b".to_owned(), "moved".to_owned()));
    tree.rename((replaced, b"c"), (replaced, b"d"), RenameMode::Replace, caller()).unwrap();
    assert_eq!(path(&tree, number), "moved/d");
    tree.remove_directory(replaced, b"d", caller()).unwrap();
    assert!(tree.path(number).is_err());
}
