//! Syncs of what is staged that fail once (F15): no later success covers what was written before.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use reelfs::job::control::{Answer, CommitRequest, ControlClient, Request};

use super::committed::ask;
use super::{Stage, has};
use crate::support::{can_mount, wait_until};

/// Lets calls of the server fail while it lives.
pub(super) struct Failing(Child);

impl Failing {
    // `when` counts the calls of each thread.
    fn new(stage: &Stage, call: &str, when: &str) -> Option<Self> {
        Self::inject(stage, call, &format!("error=EIO:when={when}"))
    }

    /// What happens at a call, as strace takes it.
    pub(super) fn inject(stage: &Stage, call: &str, what: &str) -> Option<Self> {
        let server = stage.mount().server().unwrap().to_string();
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &server]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut failing = Self(child);
        let is_traced = || {
            let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap_or_default();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_some_and(|pid| pid.trim() != "0")
        };
        for _ in 0..200 {
            if is_traced() {
                thread::sleep(Duration::from_millis(100));
                return Some(failing);
            }
            if failing.0.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("skipped: strace is not permitted");
        None
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let sent = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id().cast_signed()),
            nix::sys::signal::Signal::SIGTERM,
        );
        if sent.is_ok() {
            // It lets go of the server first.
            self.0.wait().unwrap();
        }
    }
}

#[test]
fn a_file_whose_sync_failed_is_never_said_to_be_synced_until_it_is_written_anew() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    let mut file = File::create(stage.path("file")).unwrap();
    file.write_all(b"may be lost").unwrap();
    let Some(failing) = Failing::new(&stage, "fsync", "1") else { return };
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    drop(failing);
    for _ in 0..8 {
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    }
    drop(file);
    assert_eq!(tells_of_failed_sync(&ask(&stage, &Request::Commit(request()))), Some(true));
    write_anew(&stage);
}

#[test]
fn a_server_that_starts_again_knows_of_a_sync_that_failed() {
    if !can_mount() || !has("strace") {
        return;
    }
    let mut stage = Stage::new();
    let mut file = File::create(stage.path("file")).unwrap();
    file.write_all(b"may be lost").unwrap();
    let Some(failing) = Failing::new(&stage, "fsync", "1") else { return };
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    drop(failing);
    stage.mount().kill_server();
    for _ in 0..2 {
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    }
    drop(file);
    stage.remount();
    wait_for_a_daemon(&stage);
    assert_eq!(tells_of_failed_sync(&ask(&stage, &Request::Commit(request()))), Some(true));
    write_anew(&stage);
    stage.remount();
    File::open(stage.path("file")).unwrap().sync_all().unwrap();
}

#[test]
fn what_the_system_could_not_write_later_is_told_with_the_commit_and_to_who_syncs() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    let mut file = File::create(stage.path("file")).unwrap();
    file.write_all(b"may be lost").unwrap();
    let Some(failing) = Failing::new(&stage, "sync_file_range", "1") else { return };
    assert_eq!(tells_of_failed_sync(&ask(&stage, &Request::Preview(request()))), Some(true));
    drop(failing);
    // The system would not say it again.
    assert_eq!(tells_of_failed_sync(&ask(&stage, &Request::Preview(request()))), Some(true));
    stage.mount().kill_server();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    drop(file);
    wait_for_a_daemon(&stage);
    assert_eq!(tells_of_failed_sync(&ask(&stage, &Request::Commit(request()))), Some(true));
    write_anew(&stage);
}

// A server takes files up before it takes commands.
fn wait_for_a_daemon(stage: &Stage) {
    wait_until("a daemon answers", || {
        ControlClient::connect(&stage.site.repository).is_ok_and(|daemon| daemon.is_some())
    });
}

fn request() -> CommitRequest {
    CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() }
}

fn tells_of_failed_sync(answers: &[Answer]) -> Option<bool> {
    answers.iter().find_map(|answer| match answer {
        Answer::Commit(commit) => Some(format!("{commit:?}").contains("could not be synced")),
        _ => None,
    })
}

fn write_anew(stage: &Stage) {
    fs::write(stage.path("file"), "written anew").unwrap();
    File::open(stage.path("file")).unwrap().sync_all().unwrap();
    let answers = ask(stage, &Request::Commit(request()));
    assert_eq!(tells_of_failed_sync(&answers), Some(false), "{answers:?}");
    assert_eq!(fs::read_to_string(stage.path("file")).unwrap(), "written anew");
}

#[test]
fn a_database_whose_log_could_not_be_synced_is_opened_anew_and_nothing_written_is_lost() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    for number in 0..20 {
        fs::write(stage.path(&format!("f{number}")), number.to_string()).unwrap();
    }
    let Some(failing) = Failing::new(&stage, "fdatasync", "1") else { return };
    let root = File::open(stage.root()).unwrap();
    assert_eq!(root.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
    // Nothing is said to be synced by a log of which nobody knows what is on the disk.
    assert!(root.sync_all().is_err() || stage.mount().server().is_none());
    drop(failing);
    wait_until("the server has started again and takes changes", || {
        thread::sleep(Duration::from_millis(100));
        fs::write(stage.path("after"), "after").is_ok()
    });
    root.sync_all().unwrap();
    for number in 0..20 {
        assert_eq!(fs::read_to_string(stage.path(&format!("f{number}"))).unwrap(), number.to_string());
    }
    ask(&stage, &Request::Commit(CommitRequest { client: "web1".into(), now: true, ..Default::default() }));
}
