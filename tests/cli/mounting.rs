//! `reelfs mount` and `reelfs umount`, as far as the command itself goes; `tests/mount` has the rest.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::support::{Sandbox, can_mount};

/// Takes the mount away, whatever the test does.
struct Mounted<'a>(&'a Sandbox, String);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let ended = self.0.run(&["umount", "--lazy", &self.1]);
        if !std::thread::panicking() {
            assert_eq!(ended.code, 0, "{ended:?}");
        }
    }
}

#[test]
fn owners_and_permissions_are_mapped_by_name_or_number() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    sandbox.write("f", "content");
    sandbox.backup(&[]);
    let at = sandbox.path("mnt");
    fs::create_dir(&at).unwrap();
    let at = at.to_str().unwrap().to_owned();
    for (arguments, owner) in [
        (&["--uid", "daemon", "--gid", "77", "--umask", "027"][..], (1, 77)),
        (&["--uid", "1234", "--umask", "027", "-o", "noexec"], (1234, 0)),
    ] {
        sandbox.good(&[&["mount", &at, "web1@latest"], arguments].concat());
        let _mounted = Mounted(&sandbox, at.clone());
        let metadata = Path::new(&at).join("f").metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (owner.0, owner.1, 0o640));
    }
    for (arguments, says) in [
        (["--uid", "no such user"], "'no such user' is not a user"),
        (["--umask", "888"], "'888' is not an octal number"),
    ] {
        let ended = sandbox.run(&["mount", &at, "web1@latest", arguments[0], arguments[1]]);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.error.contains(says), "{ended:?}");
    }
}

fn mount_count(at: &str) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.split(' ').nth(4).is_some_and(|place| place.starts_with(at))).count()
}

#[test]
fn umount_takes_off_a_mount_whose_daemon_is_dead() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let mountpoint = sandbox.path("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let shown = mountpoint.to_str().unwrap();
    sandbox.good(&["mount", shown]);
    assert_eq!(mount_count(shown), 4);
    // The supervisor may start another server before its own turn comes.
    let is_dead = || nix::sys::statvfs::statvfs(&mountpoint) == Err(nix::errno::Errno::ENOTCONN);
    let is_killed = (0..1000).any(|_| {
        kill_processes_that_name(shown);
        std::thread::sleep(std::time::Duration::from_millis(10));
        is_dead()
    });
    assert!(is_killed, "no process names {shown}");
    let ended = sandbox.run(&["umount", shown]);
    let left = mount_count(shown);
    while mount_count(shown) > 0 {
        nix::mount::umount2(&mountpoint, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
    assert_eq!((ended.code, left), (0, 0), "{ended:?}");
}

fn kill_processes_that_name(text: &str) {
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.windows(text.len()).any(|window| window == text.as_bytes()) {
            let _gone =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[test]
fn umount_takes_off_all_that_mount_has_mounted() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "x");
    sandbox.backup(&[]);
    let mountpoint = sandbox.path("mnt");
    fs::create_dir(&mountpoint).unwrap();
    let shown = mountpoint.to_str().unwrap();
    let mount_count = || mount_count(shown);
    for (options, count) in [("submount", 4), ("nosubmount", 3), ("nosubmount,nostaging,notapes", 1)] {
        sandbox.good(&["mount", "-o", options, shown]);
        let mounted = mount_count();
        let ended = sandbox.run(&["umount", shown]);
        let left = mount_count();
        if ended.code != 0 {
            sandbox.good(&["umount", "--lazy", shown]);
        }
        assert_eq!((mounted, left, ended.code), (count, 0, 0), "{options}: {ended:?}");
    }
}
