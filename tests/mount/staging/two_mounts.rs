//! A repository that is mounted twice: a client's staging is in one of the mounts at a time.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::Stage;
use crate::support::{Mount, can_mount, shell_ok};

// The second mount, on another directory.
fn mount_again(stage: &Stage) -> Mount {
    let mountpoint = stage.site.root.join("other");
    fs::create_dir(&mountpoint).unwrap();
    shell_ok(
        "REELFS_REPO=$2 $1 $3 -o staging",
        &[std::path::Path::new(env!("CARGO_BIN_EXE_mountd")), &stage.site.repository, &mountpoint],
    );
    Mount { mountpoint }
}

#[test]
fn nobody_waits_for_a_client_that_another_mount_has_but_who_goes_there() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let other = mount_again(&stage);
    let (ours, theirs) = (stage.mount().path("staging/web2"), other.path("staging/web2"));
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), "theirs").unwrap();
    let (ended, waiting) = mpsc::channel();
    let at = ours.clone();
    let waiter = thread::spawn(move || ended.send(fs::metadata(at).err()).unwrap());
    assert!(waiting.recv_timeout(Duration::from_millis(500)).is_err(), "it is waited for");
    let begun = Instant::now();
    for number in 0..50 {
        fs::write(stage.path(&format!("file{number}")), "ours").unwrap();
    }
    assert_eq!(fs::read_dir(stage.root()).unwrap().count(), 50);
    // The other mount lets go of it, and who waits gets it.
    assert!(waiting.try_recv().is_err(), "others waited, too: {:?}", begun.elapsed());
    drop(other);
    assert!(waiting.recv().unwrap().is_none());
    waiter.join().unwrap();
    assert_eq!(fs::read(ours.join("file")).unwrap(), b"theirs");
}
