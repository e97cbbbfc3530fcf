//! Bounds on space, whoever writes: the server, or the kernel by itself.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use reelfs::job::control::{CommitRequest, Request};

use super::Stage;
use super::committed::ask;
use crate::support::{Random, Site, can_mount, shell, shell_ok, wait_until};

const MIB: u64 = 1 << 20;

/// A small file system in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(len: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        shell_ok(&format!("mount -t tmpfs -o size={len} small $1"), &[directory.path()]);
        Self(directory)
    }

    /// The same with ext4, which frees what is removed a moment later; nothing where that cannot be mounted.
    fn ext4(len: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            "truncate -s {len} $1/image && mkfs.ext4 -q -m 0 $1/image && mkdir $1/disk && mount -o loop $1/image $1/disk"
        );
        let made = shell(&script, &[directory.path()]);
        if !made.status.success() {
            eprintln!("skipped: {}", String::from_utf8_lossy(&made.stderr));
            return None;
        }
        Some(Self(directory))
    }

    fn path(&self) -> PathBuf {
        let inner = self.0.path().join("disk");
        if inner.is_dir() { inner } else { self.0.path().to_owned() }
    }

    fn available(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = nix::mount::umount2(&self.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

fn policy(site: &Site, text: &str) {
    let path = site.repository.join("reelfs.toml");
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, format!("{before}\n[client.web1]\n{text}\n")).unwrap();
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

// Bytes that files below take.
fn taken(directory: &Path) -> u64 {
    let blocks = shell_ok("find $1 -type f -printf '%b\\n'", &[directory]);
    blocks.lines().map(|line| line.parse::<u64>().unwrap() * 512).sum()
}

#[test]
fn a_client_takes_no_more_than_its_cap_from_its_first_file_on() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    policy(&site, "space.cap_bytes = 8388608");
    let stage = Stage::on(site);
    let mut first = File::create(stage.path("first")).unwrap();
    let mut written = 0;
    let refusal = loop {
        match first.write(&[7; 65_536]) {
            Ok(count) => written += count as u64,
            Err(error) => break error,
        }
    };
    assert!(is_full(&refusal), "{refusal}");
    assert!((7 * MIB..=8 * MIB).contains(&written), "{written}");
    assert!(taken(&stage.site.repository.join("staging/web1/data")) <= 8 * MIB);
    let other = File::create(stage.path("other")).and_then(|mut other| other.write_all(&[7; 1 << 20]));
    assert!(is_full(&other.unwrap_err()));
    drop(first);
    fs::remove_file(stage.path("first")).unwrap();
    wait_until("there is room again", || fs::write(stage.path("other"), [7; 1 << 20]).is_ok());
}

#[test]
fn the_reserve_is_there_for_a_commit_when_the_kernel_has_filled_the_disk() {
    if !can_mount() {
        return;
    }
    let disk = SmallDisk::new(192 * MIB);
    let site = Site::within(&disk.path());
    policy(&site, "space.reserve_bytes = 25165824");
    let stage = Stage::on(site);
    let held = stage.site.repository.join("staging/web1/reserve");
    let held_bytes = || fs::metadata(&held).map_or(0, |metadata| metadata.blocks() * 512);
    let mut file = File::create(stage.path("large")).unwrap();
    let mut write = || file.write_all(&[0; 1 << 20]);
    while disk.available() > 32 * MIB {
        write().unwrap();
    }
    wait_until("the reserve is held", || held_bytes() >= 24 * MIB);
    let refusal = loop {
        if let Err(error) = write() {
            break error;
        }
    };
    assert!(is_full(&refusal), "{refusal}");
    assert!(held_bytes() + disk.available() >= 24 * MIB, "{} {}", held_bytes(), disk.available());
    // The file is open still.
    let request = CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() };
    ask(&stage, &Request::Commit(request));
    drop(file);
    wait_until("the reserve is free", || held_bytes() == 0);
    // Who opens a file now writes through the server, which knows the bound.
    let large = fs::metadata(stage.path("large")).unwrap().len();
    assert!(large > 140 * MIB, "{large}");
    ask(&stage, &Request::Discard { client: "web1".into() });
    wait_until("there is room again", || disk.available() > 100 * MIB);
    fs::write(stage.path("again"), [0; 1 << 20]).unwrap();
}

#[test]
fn what_was_removed_a_moment_ago_is_in_nobodys_way_on_a_disk_that_is_nearly_full() {
    if !can_mount() {
        return;
    }
    let Some(disk) = SmallDisk::ext4(160 * MIB) else { return };
    let site = Site::within(&disk.path());
    policy(&site, "space.reserve_bytes = 16777216");
    let stage = Stage::on(site);
    println!("seed 83");
    let bytes = Random(83).bytes(70 * MIB);
    for round in 0..6 {
        let written = fs::write(stage.path("large"), &bytes);
        assert!(written.is_ok(), "{round}: {written:?}");
        // It is replaced by one of another name, by one that is renamed onto it, by a shorter one.
        let replaced = match round % 3 {
            0 => fs::remove_file(stage.path("large")),
            1 => fs::rename(stage.path("large"), stage.path("other"))
                .and_then(|()| fs::remove_file(stage.path("other"))),
            _ => fs::write(stage.path("large"), "short"),
        };
        replaced.unwrap();
    }
}

#[test]
fn what_was_removed_a_moment_ago_does_not_count_for_the_cap() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    policy(&site, "space.cap_bytes = 33554432");
    let stage = Stage::on(site);
    for round in 0..6 {
        let written = fs::write(stage.path("large"), vec![7; 24 << 20]);
        assert!(written.is_ok(), "{round}: {written:?}");
        fs::remove_file(stage.path("large")).unwrap();
    }
}

#[test]
fn a_commit_has_the_space_of_what_was_removed_a_moment_ago() {
    if !can_mount() {
        return;
    }
    let Some(disk) = SmallDisk::ext4(160 * MIB) else { return };
    let site = Site::within(&disk.path());
    policy(&site, "space.reserve_bytes = 4194304");
    let stage = Stage::on(site);
    println!("seed 84");
    let mut random = Random(84);
    fs::write(stage.path("kept"), random.bytes(30 * MIB)).unwrap();
    fs::write(stage.path("large"), random.bytes(disk.available() - 20 * MIB)).unwrap();
    shell_ok("sync -f $1", &[&disk.path()]);
    assert!(disk.available() < 25 * MIB, "{}", disk.available());
    fs::remove_file(stage.path("large")).unwrap();
    let request = CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() };
    ask(&stage, &Request::Commit(request));
}
