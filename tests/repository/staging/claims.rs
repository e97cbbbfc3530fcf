//! A tree that a mount serves is opened by nobody else while the mount's server is away.

use std::sync::Arc;

use reelfs::repo::staging::{MountClaims, OpenMode, ROOT, StagingError, StagingOptions, StagingTree};

use super::support::{Place, caller, options, read};
use crate::support::client;

// As the supervisor hands it to each server.
fn serving(place: &Place, mode: OpenMode, claims: &Arc<MountClaims>) -> Result<StagingTree, StagingError> {
    let options = StagingOptions { mount: Some(Arc::clone(claims)), ..options(mode) };
    StagingTree::open(Arc::clone(&place.repository), &client(), &options)
}

fn by_command(place: &Place) -> Result<StagingTree, StagingError> {
    StagingTree::open(Arc::clone(&place.repository), &client(), &options(OpenMode::Fresh))
}

#[test]
fn while_the_server_of_a_mount_is_away_no_command_and_no_other_mount_opens_its_tree() {
    let place = Place::new();
    place.create().close().unwrap();
    let supervised = Arc::new(MountClaims::open(&place.root).unwrap());
    let tree = serving(&place, OpenMode::Fresh, &supervised).unwrap();
    let (entry, handle) = tree.create_file(ROOT, b"unnamed", 0o644, caller(), None).unwrap();
    tree.write(&handle, 0, b"still open", false, caller()).unwrap();
    tree.unlink(ROOT, b"unnamed", caller()).unwrap();
    // The server is killed: nothing of it is left but what the supervisor keeps.
    drop((handle, tree));
    let other = Arc::new(MountClaims::open(&place.root).unwrap());
    for opened in [by_command(&place), serving(&place, OpenMode::Fresh, &other)] {
        assert!(matches!(opened, Err(StagingError::Mounted)), "{opened:?}");
    }
    let tree = serving(&place, OpenMode::Takeover, &supervised).unwrap();
    let handle = tree.open_file(entry.number(), false, false, caller()).unwrap();
    assert_eq!(tree.read(&handle, 0, 100).unwrap(), b"still open");
    drop((handle, tree));
    // With the supervisor the mount is gone, and all that was open.
    drop(supervised);
    by_command(&place).unwrap().close().unwrap();
    drop(serving(&place, OpenMode::Fresh, &other).unwrap());
}

#[test]
fn a_tree_that_a_mount_has_closed_is_opened_by_others() {
    let place = Place::new();
    drop(place.create().create_file(ROOT, b"file", 0o644, caller(), None).unwrap());
    let supervised = Arc::new(MountClaims::open(&place.root).unwrap());
    serving(&place, OpenMode::Fresh, &supervised).unwrap().close().unwrap();
    let tree = by_command(&place).unwrap();
    assert_eq!(read(&tree, "file"), b"");
    // A mount that could not open it has no claim either.
    let refused = serving(&place, OpenMode::Fresh, &supervised);
    assert!(matches!(refused, Err(StagingError::Locked { .. })), "{refused:?}");
    drop((refused, tree));
    drop(by_command(&place).unwrap());
}
