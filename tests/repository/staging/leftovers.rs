//! What a process that was killed leaves behind does not come back.

use std::fs;

use reelfs::repo::staging::{ROOT, StagingTree};

use super::support::{Place, caller, names};

#[test]
fn a_tree_that_was_being_removed_when_the_process_was_killed_does_not_come_back_with_the_next_one() {
    let place = Place::new();
    let tree = place.create();
    drop(tree.create_file(ROOT, b"old", 0o644, caller(), None).unwrap());
    tree.close().unwrap();
    // The first thing that goes; then the kill came.
    fs::remove_file(place.staging().join("slot")).unwrap();
    let clients = StagingTree::clients(&place.repository).unwrap();
    assert!(clients.is_empty(), "{clients:?}");
    let tree = place.create();
    assert_eq!(names(&tree, ROOT), [""; 0]);
    drop(tree.create_file(ROOT, b"new", 0o644, caller(), None).unwrap());
    tree.close().unwrap();
    assert_eq!(names(&place.open(), ROOT), ["new"]);
}
