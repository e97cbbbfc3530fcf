//! The suites `pjdfstest` and `fsx`, where they are installed: `make posix` and `make soak` do that.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Stage;
use crate::support::{Site, can_mount};

// The suite has 398 tests. 13 would remount the file system read-only with the helper of mount(8), which
// refuses that (`*::erofs_*`); `link::link_count_max` is for systems that tell a bound. One fails, for a
// reason: `rename::updates_link_parent` wants directories to count those below in their links, and here,
// as on btrfs, they have one link: programs then do not conclude anything from it.
const PASSED_COUNT_MIN: u64 = 383;

fn program(variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
    if named.is_none() {
        eprintln!("skipped: {variable} names no program; see 'make posix' and 'make soak'");
    }
    named
}

// Mappings and all: what the tests of this project do not do, because mapping a file is unsafe.
#[test]
fn a_long_run_of_fsx_finds_nothing() {
    if !can_mount() {
        return;
    }
    let Some(program) = program("FSX") else { return };
    let count = std::env::var("FSX_OPERATIONS").unwrap_or_else(|_| "20000".to_owned());
    let configuration =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/mount/staging/fsx.toml"));
    let seed_count = std::env::var("FSX_SEED_COUNT").map_or(10, |count| count.parse::<u32>().unwrap());
    // Each write through a mapping ends with an msync(2), which a disk takes milliseconds for: in memory a million
    // operations end within minutes.
    let memory = Path::new("/dev/shm");
    let stage = if memory.is_dir() { Stage::on(Site::within(memory)) } else { Stage::new() };
    for seed in 1..=seed_count {
        // The second is one that the kernel leaves to the server.
        let path = stage.path(if seed % 2 == 0 { "fsx" } else { "fsx.db" });
        println!("seed {seed}, {count} operations");
        let output = Command::new(&program)
            .args(["-N", &count, "-S", &seed.to_string(), "-f"])
            .arg(&configuration)
            .arg(&path)
            .current_dir(&stage.site.root)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_suite_of_posix_tests_passes() {
    if !can_mount() {
        return;
    }
    let Some(program) = program("PJDFSTEST") else { return };
    let stage = Stage::new();
    let configuration =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/mount/staging/pjdfstest.toml"));
    let output = Command::new(program)
        .arg("-c")
        .arg(configuration)
        .arg("-p")
        .arg(stage.root()) // Another file system, to which nothing can be linked or renamed.
        .args(["-s", "/dev/shm"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines().filter(|line| line.contains("FAILED")) {
        println!("{line}");
    }
    let summary = text.lines().find(|line| line.starts_with("Summary:")).expect("a summary");
    println!("{summary}");
    let passed = summary.split(", ").find_map(|part| part.strip_suffix(" passed")?.parse::<u64>().ok());
    assert!(passed.expect("a count") >= PASSED_COUNT_MIN, "{text}");
}
