//! A repository on a disk that is full (F11, F12): what does not fit fails, is not seen, gives its space back,
//! and works once there is space.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::random::Random;
use crate::staging::stage;
use crate::support::{Ended, Sandbox};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 48 * MIB;

/// A file system of a fixed size, mounted where the repository will be.
struct SmallDisk {
    sandbox: Sandbox,
}

impl SmallDisk {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can mount a file system of a fixed size");
            return None;
        }
        let sandbox = Sandbox::new();
        let at = sandbox.repository();
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE},mode=700"), "small"]).arg(&at);
        assert!(mount.status().unwrap().success());
        let disk = Self { sandbox };
        assert_eq!(disk.sandbox.run(&["init"]).code, 0);
        Some(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.sandbox.repository().join("ballast")
    }

    /// Takes all space but so many bytes.
    fn leave(&self, bytes: u64) {
        fs::remove_file(self.ballast()).unwrap_or_default();
        let space = nix::sys::statvfs::statvfs(&self.sandbox.repository()).unwrap();
        let free = space.blocks_available() * space.fragment_size();
        let taken = fs::File::create(self.ballast()).unwrap();
        nix::fcntl::fallocate(
            &taken,
            nix::fcntl::FallocateFlags::empty(),
            0,
            free.saturating_sub(bytes).try_into().unwrap(),
        )
        .unwrap();
    }

    fn free_all(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn generation_count(&self) -> usize {
        self.sandbox.generations().len()
    }

    fn expect_refused(&self, ended: &Ended, what: &str) {
        assert_eq!(ended.code, 1, "{what}: {ended:?}");
        let says_why = ended.error.contains("No space left on device") || ended.error.contains("no space");
        assert!(says_why, "{what}: {ended:?}");
        assert!(self.sandbox.stored(".partial").is_empty(), "{what}: no space is given back");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What a failed test left is taken off all the same.
        let _unmounted = nix::mount::umount2(&self.sandbox.repository(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_backup_onto_a_full_disk_fails_gives_space_back_and_works_once_there_is_space() {
    let Some(disk) = SmallDisk::new() else { return };
    let sandbox = &disk.sandbox;
    sandbox.write("first", Random(11).bytes(300_000));
    sandbox.backup(&[]);
    for number in 0..40_u64 {
        sandbox.write(&format!("d/{number}"), Random(number + 20).bytes(100_000));
    }
    let mut refused_count = 0;
    // From nothing at all, over the log of the index and the data, to what is enough.
    for left in [0, 4, 16, 64, 128, 256, 512, 1024, 2048, 3072, 3900, 4096, 4400, 5000, 8000] {
        disk.leave(left << 10);
        let what = format!("{left} KiB left");
        let ended = sandbox.run_backup(&[]);
        if ended.code == 0 {
            assert!(left > 3900, "{what}: {ended:?}");
            break;
        }
        refused_count += 1;
        disk.expect_refused(&ended, &what);
        assert_eq!(disk.generation_count(), 1, "{what}");
        let verified = sandbox.run(&["verify"]);
        assert_eq!(verified.code, 0, "{what}: {verified:?}");
    }
    assert!(refused_count > 8, "{refused_count} of the backups found no space");
    disk.free_all();
    sandbox.backup(&["--always"]);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    let target = sandbox.path("target");
    sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
    let same = Command::new("diff").arg("-r").arg(sandbox.source()).arg(&target).status().unwrap();
    assert!(same.success());
}

#[test]
fn a_commit_onto_a_full_disk_fails_loses_nothing_staged_and_works_once_there_is_space() {
    let Some(disk) = SmallDisk::new() else { return };
    let sandbox = &disk.sandbox;
    let content = Random(12).bytes(6_000_000);
    stage(sandbox, "web1", &[("large", &content), ("small", b"small")]);
    for left in [0, 16, 64, 256, 1024, 3000, 5800] {
        disk.leave(left << 10);
        let what = format!("{left} KiB left");
        let ended = sandbox.run(&["commit", "web1"]);
        disk.expect_refused(&ended, &what);
        assert_eq!(disk.generation_count(), 0, "{what}");
        // To open what is staged takes a little.
        disk.leave(2 * MIB);
        let status = &sandbox.json(&["staging", "web1"])[0];
        assert_eq!(status["changed"], true, "{what}: it is staged as before");
    }
    disk.free_all();
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    let target = sandbox.path("target");
    sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
    assert!(fs::read(target.join("large")).unwrap() == content);
}

#[test]
fn what_is_staged_on_a_full_disk_can_be_discarded() {
    let Some(disk) = SmallDisk::new() else { return };
    let sandbox = &disk.sandbox;
    stage(sandbox, "web1", &[("large", &Random(13).bytes(6_000_000))]);
    // What a reserve leaves.
    disk.leave(2 * MIB);
    sandbox.good(&["discard", "web1"]);
    stage(sandbox, "web1", &[("new", b"new")]);
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.saved(), ["new"]);
}
