//! Memory does not grow with the number of files (`make soak` asks for many more of them).

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::Sandbox;

const FILES_PER_DIRECTORY: u64 = 100;
const FEW: u64 = 40_000;
const MANY: u64 = 160_000;
// Caches fill up to their bounds meanwhile. A table of all chunks, as backups once had, went beyond both.
const GROWTH_MAX_KIB: u64 = 40 << 10;
const PEAK_MAX_KIB: u64 = 80 << 10;

/// Runs a program to its end and tells the most memory that it had resident, in KiB, as the kernel counts it.
fn peak_kib(mut command: Command) -> u64 {
    let shown = format!("{command:?}");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        // The kernel keeps the highest value: only what comes after the last look is missed.
        let status = fs::read_to_string(&status_file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(value.unwrap_or(0));
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    assert!(status.success(), "{shown}: {status}");
    peak
}

fn make_files(root: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let directory = number / FILES_PER_DIRECTORY;
        let path = root.join(format!("{}/{}", directory / 100, directory % 100));
        if number.is_multiple_of(FILES_PER_DIRECTORY) {
            fs::create_dir_all(&path).unwrap();
        }
        fs::write(path.join(format!("file-{number}")), format!("content of {number}")).unwrap();
    }
}

/// The most memory of each command on a repository of its own, in KiB.
fn peaks(sandbox: &Sandbox, name: &str) -> Vec<(&'static str, u64)> {
    let (source, repository, target) = (sandbox.source(), sandbox.path(name), sandbox.path("target"));
    let (source, target) = (source.to_str().unwrap(), target.to_str().unwrap());
    let peak = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("REELFS_REPO", &repository);
        peak_kib(command)
    };
    peak(&["init"]);
    // Each thread more takes some megabytes.
    let backup = ["backup", source, "--client", "web1", "--jobs", "2"];
    let mut peaks = vec![("first backup", peak(&backup)), ("repeated backup", peak(&backup))];
    fs::remove_file(sandbox.source().join("0/0/file-0")).unwrap();
    for (what, arguments) in [
        ("backup that reads all", &["backup", source, "--client", "web1", "--jobs", "2", "--checksum"][..]),
        ("baseline", &["backup", source, "--client", "web1", "--jobs", "2", "--full"]),
        ("comparison", &["diff", "web1@-2", "web1"]),
        ("search", &["find", "web1", "--name", "file-9"]),
        ("verification", &["verify"]),
        ("rebuild", &["rebuild"]),
        ("restore", &["restore", "web1", target, "--jobs", "2"]),
    ] {
        peaks.push((what, peak(arguments)));
    }
    fs::write(sandbox.source().join("0/0/file-0"), "content of 0").unwrap();
    for directory in [Path::new(target), &repository] {
        fs::remove_dir_all(directory).unwrap();
    }
    peaks
}

fn check_growth(few: u64, many: u64, growth_max_kib: u64, peak_max_kib: u64) {
    let sandbox = Sandbox::new();
    make_files(&sandbox.source(), 0..few);
    let of_few = peaks(&sandbox, "few");
    make_files(&sandbox.source(), few..many);
    let of_many = peaks(&sandbox, "many");
    let mut too_much = Vec::new();
    for ((what, before), (_, after)) in of_few.iter().zip(&of_many) {
        println!("{what}: {before} KiB with {few} files, {after} KiB with {many}");
        // Others have caches of pages and of the index, which a first backup hardly fills.
        let caches_kib = if *what == "first backup" { 0 } else { 32 << 10 };
        if *after > before + growth_max_kib + caches_kib || *after > peak_max_kib + caches_kib {
            too_much.push(*what);
        }
    }
    assert_eq!(too_much, [""; 0], "grow with the number of files");
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    check_growth(FEW, MANY, GROWTH_MAX_KIB, PEAK_MAX_KIB);
}

#[test]
#[ignore = "takes many minutes; `make soak` runs it"]
fn memory_does_not_grow_up_to_a_million_files() {
    let many = std::env::var("REELFS_MEMORY_FILES").map_or(1_000_000, |count| count.parse().unwrap());
    check_growth(many / 400 * 100, many, 32 << 10, 112 << 10);
}

#[test]
fn memory_that_a_program_takes_is_seen() {
    let peak = |len: &str| {
        let mut command = Command::new("dd");
        command.args(["if=/dev/zero", "of=/dev/null", "count=20", &format!("bs={len}")]);
        peak_kib(command)
    };
    let (small, large) = (peak("64K"), peak("48M"));
    assert!(large > small + (40 << 10), "{small} and {large} KiB");
}

#[test]
fn a_file_of_more_extents_than_memory_holds_comes_back_in_each_generation() {
    const BLOCK_LEN: u64 = 4096;
    let sandbox = Sandbox::with_repository();
    let path = sandbox.source().join("sparse");
    let file = fs::File::create(&path).unwrap();
    for number in 0..6000_u64 {
        file.write_all_at(&number.to_le_bytes().repeat(512), number * 2 * BLOCK_LEN).unwrap();
    }
    let first = sandbox.backup(&[]);
    file.write_all_at(b"changed", 4321 * 2 * BLOCK_LEN).unwrap();
    file.write_all_at(b"no hole any more", 1235 * BLOCK_LEN).unwrap();
    file.sync_all().unwrap();
    let second = sandbox.backup(&[]);
    assert!(second["added_bytes"].as_u64() < Some(100_000), "{first} {second}");
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    assert_eq!(sandbox.stored(".partial"), Vec::<std::path::PathBuf>::new());
    let target = sandbox.path("target");
    sandbox.good(&["restore", "web1", target.to_str().unwrap(), "--verify"]);
    let same = Command::new("cmp").arg(&path).arg(target.join("sparse")).status();
    assert!(same.unwrap().success());
    // The file system's own blocks, of the list of extents, count too.
    let [restored, saved] = [&target.join("sparse"), &path].map(|path| fs::metadata(path).unwrap().blocks());
    assert!(restored.abs_diff(saved) < 256, "{restored} {saved}");
}

#[test]
fn more_files_with_several_names_than_memory_holds_are_whole_in_each_generation() {
    const COUNT: u64 = 20_000;
    let sandbox = Sandbox::with_repository();
    for directory in ["first", "second", "third"] {
        fs::create_dir(sandbox.source().join(directory)).unwrap();
    }
    for number in 0..COUNT {
        let first = sandbox.source().join(format!("first/{number}"));
        fs::write(&first, number.to_le_bytes()).unwrap();
        fs::hard_link(&first, sandbox.source().join(format!("second/{}", COUNT - number))).unwrap();
    }
    sandbox.backup(&[]);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    for number in (0..COUNT).step_by(3) {
        let names = [format!("second/{}", COUNT - number), format!("third/{number}")];
        let [second, third] = names.map(|name| sandbox.source().join(name));
        fs::hard_link(&second, third).unwrap();
        if number.is_multiple_of(2) {
            fs::remove_file(second).unwrap();
        }
    }
    sandbox.backup(&[]);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    let target = sandbox.path("target");
    sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
    for number in (0..COUNT).step_by(7) {
        let name = format!("first/{number}");
        let links = |root: &Path| fs::metadata(root.join(&name)).unwrap().nlink();
        assert_eq!(links(&target), links(&sandbox.source()), "{name}");
    }
    let same = Command::new("diff").args(["-r", "-q"]).arg(sandbox.source()).arg(&target).status();
    assert!(same.unwrap().success());
}
