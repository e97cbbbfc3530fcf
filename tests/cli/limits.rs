//! Too few descriptors (F26): a command does with less, or fails and leaves no trace.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::random::Random;
use crate::support::{Sandbox, can_mount, ended};

fn limited(sandbox: &Sandbox, limit: &str, arguments: &[&str]) -> Command {
    let command = sandbox.command(arguments);
    let mut limited = Command::new("prlimit");
    limited.args([limit, "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    limited
}

fn grow(sandbox: &Sandbox) {
    for number in 0..300_u64 {
        let len = if number % 30 == 0 { 700_000 } else { 3000 };
        sandbox.write(&format!("d{}/e{}/{number}", number % 20, number % 7), Random(number + 1).bytes(len));
    }
}

fn assert_saved(sandbox: &Sandbox) {
    let target = sandbox.path("target");
    sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
    let same = Command::new("diff").arg("-r").arg(sandbox.source()).arg(&target).status().unwrap();
    assert!(same.success());
    fs::remove_dir_all(target).unwrap();
}

#[test]
fn commands_with_64_descriptors_do_their_work() {
    let sandbox = Sandbox::with_repository();
    grow(&sandbox);
    let (source, target) = (sandbox.source(), sandbox.path("target"));
    for arguments in [
        &["backup", source.to_str().unwrap(), "--client", "web1"][..],
        &["verify"],
        &["rebuild"],
        &["backup", source.to_str().unwrap(), "--client", "web1", "--always"],
        &["restore", "web1", target.to_str().unwrap()],
    ] {
        let ended = ended(&mut limited(&sandbox, "--nofile=64", arguments));
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    }
    fs::remove_dir_all(target).unwrap();
    assert_saved(&sandbox);
}

#[test]
fn a_backup_with_too_few_descriptors_fails_and_never_saves_a_part() {
    let sandbox = Sandbox::with_repository();
    grow(&sandbox);
    let source = sandbox.source();
    let arguments = ["backup", source.to_str().unwrap(), "--client", "web1"];
    let mut failed_count = 0;
    for count in [6, 8, 12, 16, 20, 24, 28, 32, 40, 48] {
        let limit = format!("--nofile={count}");
        let ended = ended(&mut limited(&sandbox, &limit, &arguments));
        failed_count += usize::from(ended.code != 0);
        // Who cannot even load its libraries is ended by the loader.
        assert!([0, 1, 127].contains(&ended.code), "{limit}: {ended:?}");
        assert!(!ended.error.contains("not saved"), "{limit}: {ended:?}");
        assert_eq!(sandbox.run(&["verify"]).code, 0, "{limit}");
    }
    assert!(failed_count > 1, "{failed_count} of the limits were too low");
    sandbox.backup(&["--always"]);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    assert_saved(&sandbox);
}

#[test]
fn a_mount_with_64_descriptors_refuses_those_who_want_too_many_and_goes_on() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let at = sandbox.path("mnt");
    fs::create_dir(&at).unwrap();
    let mut mount = limited(&sandbox, "--nofile=64", &["mount", "-o", "staging", at.to_str().unwrap()]);
    let ended = ended(mount.process_group(0));
    assert_eq!(ended.code, 0, "{ended:?}");
    let root = at.join("staging/web1");
    fs::create_dir(&root).unwrap();
    let mut open = Vec::new();
    let mut refused = None;
    for number in 0..100 {
        match File::create(root.join(format!("open-{number}"))) {
            Ok(file) => open.push(file),
            Err(error) => refused = error.raw_os_error(),
        }
    }
    let expected = [libc::EMFILE, libc::ENFILE].map(Some);
    assert!(refused.is_none() || expected.contains(&refused), "{refused:?}");
    assert!(open.len() > 8, "{} files could be opened", open.len());
    drop(open);
    let mut last = String::new();
    let is_well = (0..200).any(|_| {
        let written = fs::write(root.join("after"), "after").map_err(|error| error.to_string());
        last = written.as_ref().err().cloned().unwrap_or_default();
        thread::sleep(Duration::from_millis(if written.is_err() { 50 } else { 0 }));
        written.is_ok()
    });
    assert!(is_well, "files can be written again once others are closed: {last}");
    // A commit that finds too few says so, and leaves what is staged to one that has more.
    let committed = sandbox.run(&["commit", "web1"]);
    let is_told = committed.code == 0 || committed.error.contains("Too many open files");
    assert!(is_told, "{committed:?}");
    let ended = sandbox.run(&["umount", at.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.good(&["cat", "web1:after"]), "after");
    assert_eq!(sandbox.run(&["verify"]).code, 0);
}
