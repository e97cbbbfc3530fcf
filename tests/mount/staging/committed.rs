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

// Holds an inode without having it open, as a working directory and a watch do.
fn held(path: &std::path::Path) -> File {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).custom_flags(libc::O_PATH).open(path).unwrap()
}

#[test]
fn what_is_discarded_is_not_seen_of_what_is_held_without_being_open() {
    use std::os::unix::fs::MetadataExt as _;
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    fs::create_dir(stage.path("d")).unwrap();
    fs::write(stage.path("d/f"), "committed").unwrap();
    commit(&stage);
    let changed = |path: &str| {
        let found = stage.path(path).metadata().unwrap();
        (found.mtime(), found.mtime_nsec())
    };
    for is_killed in [false, true] {
        let before = changed("d");
        let kept = (held(&stage.path("d")), held(&stage.path("d/f")));
        fs::write(stage.path("d/f"), "DISCARDED").unwrap();
        fs::create_dir(stage.path("d/new")).unwrap();
        let gone = held(&stage.path("d/new"));
        assert_eq!(fs::read_to_string(stage.path("d/f")).unwrap(), "DISCARDED");
        assert_ne!(changed("d"), before);
        if is_killed {
            let killed = stage.mount().server();
            stage.mount().kill_server();
            wait_until("another server answers", || {
                stage.mount().server().is_some_and(|server| killed != Some(server))
                    && ControlClient::connect(&stage.site.repository).is_ok_and(|daemon| daemon.is_some())
            });
        }
        ask(&stage, &Request::Discard { client: "web1".into() });
        assert_eq!(fs::read_to_string(stage.path("d/f")).unwrap(), "committed", "killed: {is_killed}");
        assert_eq!(changed("d"), before, "killed: {is_killed}");
        assert!(!stage.path("d/new").exists(), "killed: {is_killed}");
        drop((kept, gone));
    }
}

#[test]
fn a_file_is_not_opened_as_what_was_discarded_and_as_it_is_when_that_is_closed() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    fs::write(stage.path("file"), "committed").unwrap();
    commit(&stage);
    // Emptied, it is written by the kernel itself.
    let mut open = File::create(stage.path("file")).unwrap();
    open.write_all(b"discarded").unwrap();
    ask(&stage, &Request::Discard { client: "web1".into() });
    for _ in 0..2 {
        let opened = File::options().read(true).write(true).open(stage.path("file"));
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }
    drop(open);
    // The kernel tells of a closed file a moment later.
    wait_until("it can be opened", || File::open(stage.path("file")).is_ok());
    assert_eq!(fs::read_to_string(stage.path("file")).unwrap(), "committed");
    fs::write(stage.path("file"), "written anew").unwrap();
    assert_eq!(fs::read_to_string(stage.path("file")).unwrap(), "written anew");
}

#[test]
fn a_directory_of_a_removed_client_that_is_held_is_not_the_next_ones() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let dead = held(&stage.root());
    fs::remove_dir(stage.root()).unwrap();
    let next = stage.mount().path("staging/web2");
    fs::create_dir(&next).unwrap();
    fs::create_dir(next.join("d")).unwrap();
    assert_eq!(fs::read_dir(&next).unwrap().count(), 1);
    drop(dead);
}

#[test]
fn what_is_written_through_a_mapping_while_it_is_committed_is_marked_or_whole() {
    if !can_mount() || !has("python3") {
        return;
    }
    let stage = Stage::new();
    // What was written before says nothing then.
    let policy = "[staging.safe]\nquiet = \"0s\"\n";
    let config = stage.site.repository.join("reelfs.toml");
    let known = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{known}\n{policy}")).unwrap();
    let (script, path) = (stage.site.root.join("map.py"), stage.path("mapped"));
    // Counts in the first page, then in the last one: the last is never ahead of the first.
    fs::write(
        &script,
        "import mmap, sys\n\
         file = open(sys.argv[1], 'w+b')\n\
         file.write(bytes(range(256)) * 262144)\n\
         file.flush()\n\
         view = mmap.mmap(file.fileno(), 0)\n\
         last, n = len(view) - 8, 0\n\
         while True:\n\
         \x20 n += 1\n\
         \x20 view[0:8] = n.to_bytes(8, 'little')\n\
         \x20 view[last:last + 8] = n.to_bytes(8, 'little')\n\
         \x20 if n == 1: print('ready', flush=True)\n",
    )
    .unwrap();
    let mut command = std::process::Command::new("python3");
    let mut writer = command.arg(&script).arg(&path).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(writer.stdout.take().unwrap()),
        &mut String::new(),
    )
    .unwrap();
    let answers = ask(
        &stage,
        &Request::Commit(CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() }),
    );
    writer.kill().unwrap();
    writer.wait().unwrap();
    let is_marked = answers.iter().any(|answer| match answer {
        Answer::Commit(commit) => format!("{:?}", commit.inconsistent).contains("mapped"),
        _ => false,
    });
    wait_until("the generation is shown", || generation_count(&stage) == 1);
    let stored = fs::read(stage.mount().path("clients/web1/latest/mapped")).unwrap();
    let number = |at: usize| u64::from_le_bytes(stored[at..at + 8].try_into().unwrap());
    let (first, last) = (number(0), number(stored.len() - 8));
    assert!(is_marked || last <= first, "{first} {last}");
}
