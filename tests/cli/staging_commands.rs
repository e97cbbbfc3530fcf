//! What commands of staging say, and how they end when they are stopped.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::staging::{Mounted, stage};
use crate::support::{Random, Sandbox, ended};

#[test]
fn a_quiet_commit_of_what_is_not_safe_says_nothing_and_ends_with_3() {
    let sandbox = Sandbox::with_repository();
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let web1 = mounted.1.join("staging/web1");
    fs::create_dir(&web1).unwrap();
    let mut hot = fs::File::create(web1.join("hot")).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                hot.write_all(b"more").unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let loud = sandbox.run(&["commit", "web1", "--now"]);
        let quiet = sandbox.run(&["commit", "web1", "--now", "--quiet"]);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!((loud.code, loud.error.contains("hot: ")), (3, true), "{loud:?}");
        assert_eq!((quiet.code, quiet.out.as_str(), quiet.error.as_str()), (3, "", ""), "{quiet:?}");
    });
    drop(hot);
    mounted.umount();
}

#[test]
fn names_that_came_and_went_are_no_change() {
    let sandbox = Sandbox::with_repository();
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let web1 = mounted.1.join("staging/web1");
    fs::create_dir_all(web1.join("d")).unwrap();
    fs::write(web1.join("d/file"), "content").unwrap();
    sandbox.good(&["commit", "web1"]);
    for directory in ["", "d"] {
        fs::write(web1.join(directory).join("zz"), "").unwrap();
        assert_eq!(sandbox.json(&["staging", "web1"])[0]["changed"], true);
        fs::remove_file(web1.join(directory).join("zz")).unwrap();
        let status = &sandbox.json(&["staging", "web1"])[0];
        assert_eq!((&status["changed"], &status["changed_names"]), (&false.into(), &0.into()), "{status}");
    }
    // Attributes of a directory are.
    fs::set_permissions(web1.join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(sandbox.json(&["staging", "web1"])[0]["changed"], true);
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.generations().len(), 2);
    mounted.umount();
}

#[test]
fn what_no_generation_holds_is_not_told_as_nothing() {
    let sandbox = Sandbox::with_repository();
    stage(&sandbox, "web1", &[("file", b"content")]);
    let preview = &sandbox.json(&["commit", "web1", "--preview"])[0];
    // What it would hold.
    assert_eq!((&preview["holds"]["files"], &preview["new"]["files"]), (&1.into(), &1.into()));
    assert_eq!(sandbox.json(&["commit", "web1"])[0]["holds"]["files"], 1);
    assert!(sandbox.json(&["commit", "web1"])[0]["holds"].is_null(), "nothing changed");
}

#[test]
fn what_is_no_mount_of_ours_is_said_to_be_none_by_whoever_asks_and_stays() {
    let mut sandbox = Sandbox::with_repository();
    fs::create_dir(sandbox.path("plain")).unwrap();
    let plain = sandbox.path("plain").to_str().unwrap().to_owned();
    let is_told = |ended: &crate::support::Ended, path: &str| {
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.error.contains(&format!("{path} is not a mount")), "{ended:?}");
        assert!(ended.error.contains("hint: 'findmnt -t fuse.reelfs'"), "{ended:?}");
    };
    is_told(&sandbox.run(&["umount", &plain]), &plain);
    let proc = sandbox.run(&["umount", "/proc"]);
    is_told(&proc, "/proc");
    assert!(proc.error.contains("one of proc"), "{proc:?}");
    assert!(sandbox.run(&["umount", "/there/is/none"]).error.contains("does not exist"));
    if sandbox.give_to_nobody().is_none() {
        return;
    }
    is_told(&ended(&mut sandbox.command_as_nobody(&["umount", &plain])), &plain);
    is_told(&ended(&mut sandbox.command_as_nobody(&["umount", "/proc"])), "/proc");
}

#[test]
fn a_commit_that_is_stopped_has_given_the_repository_back_when_it_ends() {
    let sandbox = Sandbox::with_repository();
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let web1 = mounted.1.join("staging/web1");
    fs::create_dir(&web1).unwrap();
    println!("seed 85");
    fs::write(web1.join("large"), Random(85).bytes(200 << 20)).unwrap();
    let mut stopped_count = 0;
    for pause_ms in [20, 60, 100, 150, 200, 250] {
        let mut commit = sandbox.command(&["commit", "web1", "--quiet"]);
        let mut running = commit.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        let pid = nix::unistd::Pid::from_raw(running.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let code = running.wait().unwrap().code();
        stopped_count += u32::from(code == Some(130));
        // The next one is not refused for its lock.
        let next = sandbox.run(&["rebuild", "--quiet"]);
        assert_eq!(next.code, 0, "after {pause_ms} ms, {code:?}: {next:?}");
        let next = sandbox.run(&["commit", "web1", "--preview"]);
        assert_eq!(next.code, 0, "after {pause_ms} ms, {code:?}: {next:?}");
    }
    println!("{stopped_count} were stopped");
    sandbox.good(&["commit", "web1"]);
    mounted.umount();
}
