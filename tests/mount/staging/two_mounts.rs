//! A repository that is mounted twice: a client's staging is in one of the mounts at a time, and commands find it there.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use reelfs::job::control::{Answer, CommitRequest, Daemon, Request};

use super::Stage;
use crate::support::{Mount, can_mount, kill, shell_ok, wait_until};

// The second mount, on another directory.
fn mount_again(stage: &Stage) -> Mount {
    let mountpoint = stage.site.root.join("other");
    fs::create_dir_all(&mountpoint).unwrap();
    shell_ok(
        "REELFS_REPO=$2 $1 $3 -o staging",
        &[Path::new(env!("CARGO_BIN_EXE_mountd")), &stage.site.repository, &mountpoint],
    );
    Mount { mountpoint }
}

fn is_busy(error: Option<io::Error>) -> bool {
    error.is_some_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

// Asks the daemon that has the client, once there is one.
fn ask(stage: &Stage, request: &Request) -> Answer {
    let begun = Instant::now();
    loop {
        if let Daemon::One(mut daemon) = Daemon::find(&stage.site.repository, request.client()).unwrap()
            && daemon.ask(request).is_ok()
            && let Ok(Some(answer)) = daemon.answer()
            && !matches!(answer, Answer::Failed(_))
        {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody answers {request:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn commit(stage: &Stage, client: &str) -> Answer {
    ask(
        stage,
        &Request::Commit(CommitRequest { client: client.into(), now: true, ..CommitRequest::default() }),
    )
}

fn socket_count(stage: &Stage) -> usize {
    let names = fs::read_dir(stage.site.repository.join("staging")).unwrap();
    names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().starts_with(".control")).count()
}

#[test]
fn commands_reach_the_mount_that_has_the_client_also_after_servers_were_killed() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let other = mount_again(&stage);
    let theirs = other.path("staging/web2");
    fs::create_dir(&theirs).unwrap();
    wait_until("both mounts answer", || socket_count(&stage) == 2);
    for round in 0..3 {
        fs::write(stage.path("ours"), format!("{round}")).unwrap();
        fs::write(theirs.join("theirs"), format!("{round}")).unwrap();
        for client in ["web1", "web2"] {
            assert!(
                matches!(commit(&stage, client), Answer::Commit(done) if done.new.files + done.modified.files == 1)
            );
        }
        assert!(is_busy(fs::metadata(stage.mount().path("staging/web2")).err()));
        assert!(is_busy(fs::metadata(other.path("staging/web1")).err()));
        // Servers come back, on whatever sockets.
        match round {
            0 => other.kill_server(),
            _ => {
                stage.mount().kill_server();
                other.kill_server();
            }
        }
    }
    // One that is gone for good leaves its socket, and the other has the client from then on.
    wait_until("the other mount is dead", || {
        let processes = other.processes("");
        // A supervisor may just be starting a server again.
        processes.iter().for_each(|pid| kill(*pid, nix::sys::signal::Signal::SIGKILL));
        processes.is_empty()
    });
    wait_until("its client can be used", || fs::metadata(stage.mount().path("staging/web2")).is_ok());
    fs::write(stage.mount().path("staging/web2/ours"), "now").unwrap();
    assert!(matches!(commit(&stage, "web2"), Answer::Commit(done) if done.new.files == 1));
    drop(other);
    let again = mount_again(&stage);
    wait_until("the new mount answers", || socket_count(&stage) == 2);
    assert!(is_busy(fs::metadata(again.path("staging/web2")).err()));
}

#[test]
fn a_client_that_another_mount_has_is_busy_until_that_is_unmounted() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let other = mount_again(&stage);
    let (ours, theirs) = (stage.mount().path("staging/web2"), other.path("staging/web2"));
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), "theirs").unwrap();
    wait_until("both mounts answer", || socket_count(&stage) == 2);
    assert!(is_busy(fs::metadata(&ours).err()));
    drop(other);
    assert_eq!(fs::read(ours.join("file")).unwrap(), b"theirs");
}

#[test]
fn nobody_waits_for_a_client_whose_server_is_away_but_who_goes_there() {
    use reelfs::repo::staging::{Caller, MountClaims, OpenMode, StagingOptions, StagingTree};
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    // What the supervisor of a mount keeps while its server is away.
    let claims = std::sync::Arc::new(MountClaims::open(&stage.site.repository).unwrap());
    let options = StagingOptions {
        mount: Some(std::sync::Arc::clone(&claims)),
        ..StagingOptions::new(OpenMode::Fresh, Vec::new())
    };
    let caller = Caller { uid: 0, gid: 0, umask: 0, now: reelfs::format::record::Time::default() };
    let repository = std::sync::Arc::new(stage.site.open());
    drop(StagingTree::create(repository, &"web2".parse().unwrap(), &options, caller, 0o755).unwrap());
    drop(options);
    let (ended, waiting) = mpsc::channel();
    let at = stage.mount().path("staging/web2");
    let waiter = thread::spawn(move || ended.send(fs::metadata(at).err()).unwrap());
    assert!(waiting.recv_timeout(Duration::from_millis(500)).is_err(), "it is waited for");
    let begun = Instant::now();
    for number in 0..50 {
        fs::write(stage.path(&format!("file{number}")), "ours").unwrap();
    }
    assert_eq!(fs::read_dir(stage.root()).unwrap().count(), 50);
    assert!(waiting.try_recv().is_err(), "others waited, too: {:?}", begun.elapsed());
    // The mount is gone, and who waits gets it.
    drop(claims);
    assert!(waiting.recv().unwrap().is_none());
    waiter.join().unwrap();
}
