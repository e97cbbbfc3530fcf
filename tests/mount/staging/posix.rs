//! The suites `pjdfstest` and `fsx`, where they are installed: `make posix` and `make soak` do that.

use std::fs::File;
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

// fsx 0.3.2 never unmaps what it maps to read: a process may have 65 530 mappings on Linux, which about 700 000
// operations reach, and long before that each truncation takes milliseconds to look through them. So a long
// run is many processes one after the other, each with a seed of its own.
const PROCESS_OPERATION_COUNT_MAX: u64 = 25_000;

// Mappings and all: what the tests of this project do not do, because mapping a file is unsafe.
#[test]
fn a_long_run_of_fsx_finds_nothing() {
    if !can_mount() {
        return;
    }
    let Some(program) = program("FSX") else { return };
    let operation_count = number("FSX_OPERATIONS", 20_000);
    let seed_count = number("FSX_SEED_COUNT", 10);
    // Each write through a mapping ends with an msync(2), which a disk takes milliseconds for: in memory a million
    // operations end within minutes.
    let memory = Path::new("/dev/shm");
    let stage = if memory.is_dir() { Stage::on(Site::within(memory)) } else { Stage::new() };
    for seed in 1..=seed_count {
        println!("seed {seed}, {operation_count} operations");
        // The first goes through the server, the second past it.
        let path = stage.path(if seed % 2 == 0 { "fsx" } else { "fsx.seen" });
        let process_count = operation_count.div_ceil(PROCESS_OPERATION_COUNT_MAX);
        for process in 0..process_count {
            let count =
                PROCESS_OPERATION_COUNT_MAX.min(operation_count - process * PROCESS_OPERATION_COUNT_MAX);
            let _held = (seed % 2 == 0).then(|| make_for_kernel(&path));
            run_fsx(&program, &stage, &path, count, seed + process * seed_count);
        }
    }
}

/// Makes an empty file, which the kernel reads and writes by itself for as long as the result is open.
pub(super) fn make_for_kernel(path: &Path) -> File {
    let _gone = std::fs::remove_file(path);
    File::options().write(true).create_new(true).open(path).unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |count| count.parse().expect("a number in the environment"))
}

fn run_fsx(program: &Path, stage: &Stage, path: &Path, operation_count: u64, seed: u64) {
    let configuration =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/mount/staging/fsx.toml"));
    let output = Command::new(program)
        .args(["-N", &operation_count.to_string(), "-S", &seed.to_string(), "-f"])
        .arg(&configuration)
        .arg(path)
        .current_dir(&stage.site.root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "fsx -N {operation_count} -S {seed}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
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
