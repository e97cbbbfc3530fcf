//! How many requests the kernel sends: it keeps what it was told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use super::Stage;
use crate::support::can_mount;

const FILE_COUNT: u64 = 300;

pub(super) fn requests(stage: &Stage) -> BTreeMap<String, u64> {
    let status = fs::read_to_string(stage.mount().path(".reelfs/status")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    serde_json::from_value(status["staging_requests"].clone()).unwrap()
}

pub(super) fn count(requests: &BTreeMap<String, u64>, kind: &str) -> u64 {
    requests.get(kind).copied().unwrap_or_default()
}

// Writes each file under another name first, as rsync does.
fn write_and_rename(stage: &Stage, text: &str) {
    for number in 0..FILE_COUNT {
        let temporary = stage.path(&format!("d/.f{number}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, stage.path(&format!("d/f{number}"))).unwrap();
    }
}

// What a look at each file costs; also the sum of what was seen.
fn look(stage: &Stage) -> (u64, Vec<(i64, i64, u64)>) {
    let before = count(&requests(stage), "getattr");
    let seen = (0..FILE_COUNT).map(|number| {
        let found = stage.path(&format!("d/f{number}")).symlink_metadata().unwrap();
        (found.ctime(), found.ctime_nsec(), found.nlink())
    });
    let seen = seen.collect();
    (count(&requests(stage), "getattr") - before, seen)
}

#[test]
fn files_that_were_renamed_are_looked_at_without_a_request_for_each_and_seen_as_they_are() {
    if !can_mount() {
        return;
    }
    let mut stage = Stage::new();
    fs::create_dir(stage.path("d")).unwrap();
    // The directory is listed when it came to rest. A look before that costs a request for each file, which can
    // happen where other programs are busy; then it is tried again.
    let deadline = Instant::now() + Duration::from_secs(60);
    let seen = loop {
        write_and_rename(&stage, "text");
        std::thread::sleep(Duration::from_millis(300));
        let (request_count, seen) = look(&stage);
        if request_count < FILE_COUNT / 10 {
            break seen;
        }
        assert!(Instant::now() < deadline, "{request_count} requests for {FILE_COUNT} files");
    };
    // A fresh mount knows nothing from before.
    stage.remount();
    assert_eq!(look(&stage).1, seen);
}

#[test]
fn what_changes_while_directories_are_listed_is_seen_as_it_is() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    for name in ["d", "other"] {
        fs::create_dir(stage.path(name)).unwrap();
    }
    for round in 0..10 {
        write_and_rename(&stage, &format!("{round}"));
        std::thread::sleep(Duration::from_millis(40));
        // Names come and go beside the listing of the directory that they are also in.
        for number in 0..FILE_COUNT {
            let (file, link) = (stage.path(&format!("d/f{number}")), stage.path(&format!("other/f{number}")));
            fs::hard_link(&file, &link).unwrap();
            assert_eq!(file.symlink_metadata().unwrap().nlink(), 2);
            fs::remove_file(&link).unwrap();
            assert_eq!(file.symlink_metadata().unwrap().nlink(), 1);
        }
    }
}

#[test]
fn a_path_through_a_client_is_walked_without_asking_for_the_client_each_time() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    fs::write(stage.path("f"), "x").unwrap();
    fs::metadata(stage.path("f")).unwrap();
    let before = count(&requests(&stage), "lookup");
    for _ in 0..100 {
        fs::metadata(stage.path("f")).unwrap();
    }
    assert!(count(&requests(&stage), "lookup") - before < 10);
}
