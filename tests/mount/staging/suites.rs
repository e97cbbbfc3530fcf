//! `fio` and `stress-ng`, where they are installed: data that is verified after it was written in many ways, and
//! everything that a file system is asked for, by many at once.

use std::process::Command;

use super::{Stage, has};
use crate::support::can_mount;

// Name, and what is special about it. The names of databases are those that the kernel leaves to the server.
const FIO_JOBS: [(&str, &[&str]); 9] = [
    ("random", &["--rw=randwrite", "--ioengine=psync", "--bsrange=512-64k"]),
    ("mapped", &["--rw=randwrite", "--ioengine=mmap", "--bs=4k"]),
    ("queued", &["--rw=randwrite", "--ioengine=libaio", "--iodepth=8", "--direct=1", "--bs=4k"]),
    ("direct", &["--rw=write", "--ioengine=psync", "--direct=1", "--bs=64k"]),
    ("synced", &["--rw=randwrite", "--ioengine=psync", "--fsync=64", "--bs=4k"]),
    ("vectors", &["--rw=randwrite", "--ioengine=pvsync", "--bsrange=1k-256k"]),
    ("appended", &["--rw=write", "--ioengine=psync", "--file_append=1", "--bs=7k"]),
    ("two.db", &["--rw=randwrite", "--ioengine=psync", "--bsrange=512-64k"]),
    ("mapped.db", &["--rw=randwrite", "--ioengine=mmap", "--bs=4k"]),
];

#[test]
fn what_fio_writes_it_reads_again() {
    if !can_mount() || !has("fio") {
        return;
    }
    let stage = Stage::new();
    for (name, arguments) in FIO_JOBS {
        let output = Command::new("fio")
            .args([
                "--size=8m",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--do_verify=1",
                "--allow_file_create=1",
            ])
            .args(["--name", name, "--filename", name, "--directory"])
            .arg(stage.root())
            .args(arguments)
            .current_dir(&stage.site.root)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("err= 0"), "{name}: {said}");
        println!("{name}: err= 0");
    }
}

// Those that ask for nothing but what is in the directory. The others of its class either need another kind
// of file system or device (binderfs, bind-mount, procfs, handle, ioprio, eventfd) or are slow.
const STRESSORS: [&str; 14] = [
    "access",
    "chmod",
    "chown",
    "copy-file",
    "dentry",
    "dirdeep",
    "fallocate",
    "fpunch",
    "getdent",
    "hdd",
    "locka",
    "rename",
    "utime",
    "xattr",
];

#[test]
fn what_stress_ng_does_to_file_systems_works() {
    if !can_mount() || !has("stress-ng") {
        return;
    }
    let all = std::env::var("STRESSORS").ok();
    let names: Vec<&str> = match &all {
        Some(all) => all.split_whitespace().collect(),
        None => STRESSORS.to_vec(),
    };
    let seconds = if all.is_some() { "3" } else { "1" };
    let stage = Stage::new();
    let mut failed = Vec::new();
    for name in names {
        let output = Command::new("stress-ng")
            .args([&format!("--{name}"), "2", "--timeout", seconds, "--verify", "--temp-path"])
            .arg(stage.root())
            .current_dir(&stage.site.root)
            .output()
            .unwrap();
        // 2: it failed; 3: not enough of something, or not for this system; 4: not there.
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_skipped = said.contains("skipped");
        println!(
            "{name}: {}",
            if is_skipped {
                "skipped by itself"
            } else if code == Some(0) {
                "passed"
            } else {
                "failed"
            }
        );
        if code != Some(0) && !is_skipped {
            failed.push(format!("{name}: {code:?}\n{said}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
