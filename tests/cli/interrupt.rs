//! A backup that is interrupted leaves the repository as it was.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Random, Sandbox};

// A backup that has begun to write the second generation.
fn running() -> (Sandbox, Child) {
    let sandbox = Sandbox::with_repository();
    sandbox.write("first", "content");
    sandbox.backup(&[]);
    for number in 1..5_u64 {
        sandbox.write(&format!("large-{number}"), Random(number).bytes(32 << 20));
    }
    let source = sandbox.source();
    let mut child = sandbox
        .command(&["backup", source.to_str().unwrap(), "--client", "web1", "--jobs", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while sandbox.stored(".partial").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    (sandbox, child)
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

// What a signal does once the next generation is being written.
fn interrupted(signal: Signal) -> (Sandbox, Option<i32>, String) {
    let (sandbox, child) = running();
    send(&child, signal);
    let output = child.wait_with_output().unwrap();
    (sandbox, output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_interrupted_backup_ends_with_130_and_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (sandbox, code, error) = interrupted(signal);
        assert_eq!(code, Some(130), "{error}");
        assert_eq!(error, "reelfs: error: interrupted\n");
        assert_eq!(sandbox.generations().len(), 1);
        assert_eq!(sandbox.stored(".partial"), Vec::<std::path::PathBuf>::new());
        assert_eq!(sandbox.stored(".bdf").len(), 1);
        sandbox.backup(&[]);
        assert_eq!(sandbox.generations().len(), 2);
    }
}

#[test]
fn a_killed_backup_is_cleared_away_by_the_next_one() {
    let (sandbox, code, _) = interrupted(Signal::SIGKILL);
    assert_eq!(code, None);
    assert_eq!(sandbox.generations().len(), 1);
    assert_eq!(sandbox.saved(), ["first"]);
    fs::remove_file(sandbox.source().join("large-1")).unwrap();
    sandbox.backup(&[]);
    assert_eq!(sandbox.stored(".partial"), Vec::<std::path::PathBuf>::new());
    assert_eq!(sandbox.saved(), ["first", "large-2", "large-3", "large-4"]);
}

#[test]
fn a_second_writer_is_refused_until_the_first_one_is_killed() {
    let (sandbox, mut child) = running();
    send(&child, Signal::SIGSTOP);
    let writers = [sandbox.run_backup(&[]), sandbox.run(&["rebuild"])];
    // Who only reads does not wait for a writer, not even for one that hangs.
    let readers = [&["list"][..], &["ls", "web1"], &["verify"]].map(|arguments| sandbox.run(arguments).code);
    send(&child, Signal::SIGKILL);
    child.wait().unwrap();
    for ended in writers {
        assert!(ended.code == 11 && ended.error.contains("hint: "), "{ended:?}");
    }
    assert_eq!(readers, [0; 3]);
    assert!(sandbox.repository().join("lock").exists(), "the file stays, the lock does not");
    sandbox.backup(&[]);
    assert_eq!(sandbox.generations().len(), 2);
}
