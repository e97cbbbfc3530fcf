//! What is staged becomes a generation while the tree is mounted and used.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};

use reelfs::job::control::{Answer, CommitRequest, ControlClient, Refusal, Request};

use super::{Stage, has};
use crate::support::{Random, can_mount, shell_ok, wait_until};
use crate::tree::{grow, look};

pub(super) fn try_ask(stage: &Stage, request: &Request) -> Result<Vec<Answer>, Refusal> {
    let mut daemon = ControlClient::connect(&stage.site.repository).unwrap().expect("a daemon answers");
    daemon.ask(request).unwrap();
    let mut answers = Vec::new();
    loop {
        match daemon.answer().unwrap().expect("an answer") {
            Answer::Done => return Ok(answers),
            Answer::Failed(refusal) => return Err(refusal),
            answer => answers.push(answer),
        }
    }
}

pub(super) fn ask(stage: &Stage, request: &Request) -> Vec<Answer> {
    try_ask(stage, request).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

pub(super) fn commit(stage: &Stage) {
    let request = CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() };
    ask(stage, &Request::Commit(request));
}

pub(super) fn generation_count(stage: &Stage) -> usize {
    // Without `latest`.
    fs::read_dir(stage.mount().path("clients/web1")).map_or(0, |entries| entries.count() - 1)
}

#[test]
fn staging_becomes_a_generation_and_goes_on() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let mut stage = Stage::new();
    println!("seed 41");
    grow(&stage.site.source, &mut Random(41), 300);
    shell_ok("rsync -aHAX $1/ $2/", &[&stage.site.source, &stage.root()]);
    let numbers = shell_ok("cd $1; find . -printf '%i %p\\0' | sort -z | md5sum", &[&stage.root()]);
    commit(&stage);
    wait_until("the generation is shown", || generation_count(&stage) == 1);
    let latest = stage.mount().path("clients/web1/latest/");
    let (mut committed, mut staged) = (look(&latest), look(&stage.root()));
    // The directory of a generation has the generation's date.
    committed.remove(std::path::Path::new(""));
    staged.remove(std::path::Path::new(""));
    assert!(committed == staged);
    assert_eq!(shell_ok("rsync -aHAXi --delete $1/ $2/", &[&stage.site.source, &stage.root()]), "");
    let again = shell_ok("cd $1; find . -printf '%i %p\\0' | sort -z | md5sum", &[&stage.root()]);
    assert_eq!(again, numbers, "objects keep their numbers");
    fs::write(stage.path("new"), "new").unwrap();
    commit(&stage);
    wait_until("the second is the latest", || {
        fs::read_to_string(stage.mount().path("clients/web1/latest/new")).is_ok_and(|text| text == "new")
    });
    let before = look(&stage.root());
    stage.remount();
    assert!(look(&stage.root()) == before);
}

#[test]
fn files_stay_open_over_a_commit_and_what_is_written_then_is_the_next_generation() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let open = |name: &str| {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).open(stage.path(name)).unwrap()
    };
    let (mut plain, mut database) = (open("plain"), open("x.db"));
    for file in [&mut plain, &mut database] {
        file.write_all(&[b'1'; 9000]).unwrap();
    }
    commit(&stage);
    for file in [&mut plain, &mut database] {
        file.write_all(&[b'2'; 9000]).unwrap();
    }
    let expected = [vec![b'1'; 9000], vec![b'2'; 9000]].concat();
    for name in ["plain", "x.db"] {
        assert!(fs::read(stage.path(name)).unwrap() == expected, "{name}");
    }
    wait_until("the generation is shown", || generation_count(&stage) == 1);
    let first = stage.mount().path("clients/web1/latest/");
    assert_eq!(fs::read(first.join("x.db")).unwrap().len(), 9000);
    drop((plain, database));
    commit(&stage);
    wait_until("the second is the latest", || {
        fs::read(first.join("x.db")).is_ok_and(|bytes| bytes.len() == 18_000)
    });
    for name in ["plain", "x.db"] {
        assert!(fs::read(first.join(name)).unwrap() == expected, "{name}");
        assert!(fs::read(stage.path(name)).unwrap() == expected, "{name}");
    }
}

#[test]
fn a_generation_is_seen_as_soon_as_its_commit_has_ended() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    for round in 0..8 {
        fs::write(stage.path("file"), round.to_string()).unwrap();
        // What is not there yet, and what was the latest, is known to the kernel.
        let latest = stage.mount().path("clients/web1/latest/file");
        let before = fs::read_to_string(&latest).ok();
        assert_ne!(before, Some(round.to_string()));
        commit(&stage);
        assert_eq!(fs::read_to_string(&latest).ok(), Some(round.to_string()), "after {before:?}");
    }
}

#[test]
fn what_is_discarded_is_not_seen_any_more() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    fs::write(stage.path("kept"), "first").unwrap();
    commit(&stage);
    fs::write(stage.path("kept"), "second").unwrap();
    fs::write(stage.path("new"), "new").unwrap();
    let mut text = String::new();
    File::open(stage.path("kept")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "second");
    ask(&stage, &Request::Discard { client: "web1".into() });
    assert_eq!(fs::read_to_string(stage.path("kept")).unwrap(), "first");
    assert!(!stage.path("new").exists());
    assert_eq!(fs::read_dir(stage.root()).unwrap().count(), 1);
    fs::write(stage.path("new"), "again").unwrap();
    assert_eq!(fs::read_to_string(stage.path("new")).unwrap(), "again");
}
