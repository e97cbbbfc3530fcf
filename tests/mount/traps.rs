//! Traps that other mounts of backups fell into, as far as no other test has them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::{Random, Site, as_nobody, can_mount, kill, shell, shell_ok};

#[test]
fn the_kernel_reads_as_far_ahead_as_it_is_told() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    site.backup("web1");
    for (options, kib) in [("ro", "1024"), ("ro,read_ahead=256", "256")] {
        let mount = site.mount(&["-o", options]);
        // An option of the mount could lower the kernel's 128 KiB, not raise them.
        let device = mountd::mountpoint::find(&mount.mountpoint).unwrap().device;
        let set = fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).unwrap();
        assert_eq!(set.trim(), kib, "{options}");
    }
}

#[test]
fn a_reader_that_gets_signals_reads_on() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let content = Random(11).bytes(24 << 20);
    fs::write(site.source.join("big"), &content).unwrap();
    site.backup("web1");
    // Nothing is read ahead, so that there is always a request to interrupt.
    let mount = site.mount(&["web1@latest", "-o", "read_ahead=4"]);
    let out = site.root.join("out");
    // dd has a handler for SIGUSR1, so each signal interrupts what it waits for.
    let mut dd = Command::new("dd")
        .arg(format!("if={}", mount.path("big").display()))
        .arg(format!("of={}", out.display()))
        .arg("bs=4096")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = i32::try_from(dd.id()).unwrap();
    // A signal before the handler is there would end it.
    crate::support::wait_until("dd has its handler", || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
        caught & (1 << (Signal::SIGUSR1 as u64 - 1)) != 0 || status.contains("State:\tZ")
    });
    let mut signal_count = 0;
    while dd.try_wait().unwrap().is_none() {
        kill(pid, Signal::SIGUSR1);
        signal_count += 1;
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    assert!(dd.wait().unwrap().success());
    assert!(fs::read(&out).unwrap() == content, "after {signal_count} signals");
    assert!(signal_count > 10, "only {signal_count} signals");
}

#[test]
fn links_that_lead_out_of_the_tree_can_be_forbidden() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "f").unwrap();
    symlink("f", site.source.join("near")).unwrap();
    symlink("/etc/passwd", site.source.join("far")).unwrap();
    site.backup("web1");
    for (options, code) in [("ro", true), ("ro,nosymfollow", false)] {
        let mount = site.mount(&["web1@latest", "-o", options]);
        for name in ["near", "far"] {
            assert_eq!(
                shell(&format!("cat $1/{name}"), &[&mount.mountpoint]).status.success(),
                code,
                "{name}"
            );
            assert!(mount.path(name).is_symlink());
        }
        assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), "f");
    }
}

#[test]
fn a_mount_taken_away_commits_nothing_and_loses_nothing_that_is_staged() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "f").unwrap();
    site.backup("web1");
    let mount = site.mount(&[]);
    fs::create_dir(mount.path("staging/web1")).unwrap();
    fs::write(mount.path("staging/web1/new"), "staged").unwrap();
    drop(mount);
    let generations = site.open().generations(&"web1".parse().unwrap()).unwrap();
    assert_eq!(generations.len(), 1, "to commit is a command of its own");
    let mount = site.mount(&[]);
    assert_eq!(fs::read_to_string(mount.path("staging/web1/new")).unwrap(), "staged");
}

#[test]
fn a_name_within_directories_of_that_name_is_no_loop() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::create_dir_all(site.source.join("a/b/b/b/a/b")).unwrap();
    fs::write(site.source.join("a/b/b/b/a/b/b"), "deep").unwrap();
    site.backup("web1");
    let mount = site.mount(&[]);
    let found = shell_ok("cd $1/clients/web1/latest/ && find . | sort 2>&1", &[&mount.mountpoint]);
    assert_eq!(found, ".\n./a\n./a/b\n./a/b/b\n./a/b/b/b\n./a/b/b/b/a\n./a/b/b/b/a/b\n./a/b/b/b/a/b/b\n");
    let numbers = shell_ok("find $1/clients -printf '%i\\n' | sort | uniq -d", &[&mount.mountpoint]);
    assert_eq!(numbers, "", "no number stands for two objects");
}

#[test]
fn set_id_bits_and_devices_have_no_effect_in_staging_either() {
    if !can_mount() {
        return;
    }
    let site = Site::new();
    let mount = site.mount(&[]);
    let root = mount.path("staging/web1");
    fs::create_dir(&root).unwrap();
    shell_ok("cp /usr/bin/id $1/id; chmod 4755 $1/id; mknod -m 666 $1/null c 1 3", &[&root]);
    assert!(as_nobody("test $($1/id -u) = 65534", &root));
    assert!(!shell("cat < $1/null", &[&root]).status.success());
}
