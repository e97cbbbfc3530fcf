//! What a process that was killed leaves behind does not come back, nor does a file that was replaced.

use std::fs;

use reelfs::repo::staging::{ROOT, RenameMode, StagingError, StagingTree};

use super::support::{Place, caller, names, read};

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

#[test]
fn a_file_that_was_replaced_before_it_was_opened_is_stale_and_not_empty() {
    let place = Place::new();
    let tree = place.create();
    for name in [b"old", b"new"] {
        let (entry, handle) = tree.create_file(ROOT, name, 0o644, caller(), None).unwrap();
        tree.write(&handle, 0, name, false, caller()).unwrap();
        drop(handle);
        tree.forget(entry.number(), 1);
    }
    // The kernel has looked the name up, and opens what it found.
    let found = tree.lookup(ROOT, b"old").unwrap().number();
    tree.rename((ROOT, b"new"), (ROOT, b"old"), RenameMode::Replace, caller()).unwrap();
    let opened = tree.open_file(found, false, false, caller());
    assert!(matches!(opened, Err(StagingError::Stale { .. })), "{opened:?}");
    let told = tree.attributes(found);
    assert!(matches!(told, Err(StagingError::Stale { .. })), "{told:?}");
    assert_eq!(read(&tree, "old"), b"new");
}

#[test]
fn the_slot_of_a_client_that_was_removed_is_not_the_next_ones() {
    let place = Place::new();
    let first = place.create();
    let slot = first.slot();
    first.remove().unwrap();
    let second = place.create();
    assert_eq!(second.slot(), slot + 1);
    second.remove().unwrap();
    // Behind the last one come those that are free before it.
    fs::write(place.root.join("staging/.last-slot"), "4095\n").unwrap();
    let third = place.create();
    assert_eq!(third.slot(), 1);
    // What cannot be read counts as nothing.
    third.remove().unwrap();
    fs::write(place.root.join("staging/.last-slot"), "65535\n").unwrap();
    assert_eq!(place.create().slot(), 1);
}
