//! `tools/reader/reelfs_reader.py`, the second implementation of the formats, on the golden repository and
//! on what reelfs writes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use reelfs::id::{FileId, GenerationTime};
use reelfs::job::backup::{self, BackupOptions};
use reelfs::progress::Progress;
use reelfs::repo::Repository;
use reelfs::repo::generation_writer::WriterInputs;
use tempfile::TempDir;

use crate::sample;

/// The Pythons to try: one from elsewhere may come first and not see the system's modules.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];

fn python() -> Option<&'static str> {
    PYTHONS.into_iter().find(|python| {
        let found = Command::new(python).args(["-c", "import zstandard"]).output();
        found.is_ok_and(|output| output.status.success())
    })
}

fn reader(arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/reader/reelfs_reader.py");
    Command::new(python().expect("asked before"))
        .arg("-B")
        .arg(script)
        .args(["--verify"])
        .args(arguments)
        .output()
        .expect("python runs")
}

// `make deps` installs the module; on a machine that cannot have it the reader has nothing to show.
fn is_usable() -> bool {
    let usable = python().is_some();
    if !usable {
        eprintln!("skipped: python3 has no module zstandard");
    }
    usable
}

fn golden_repository() -> (TempDir, String) {
    let directory = TempDir::new().expect("a temporary directory");
    sample::write_golden(directory.path());
    let path = directory.path().to_str().expect("UTF-8").to_owned();
    (directory, path)
}

#[test]
fn it_lists_all_kinds_of_objects_with_their_attributes() {
    if !is_usable() {
        return;
    }
    let (_directory, repo) = golden_repository();
    let output = reader(&["list", &repo, "sample@2026-11-21T04"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let owner = "1000 4294967294";
    let time = "1969-12-31T00:00:00Z";
    let expected = [
        format!("-rw-r----- {owner} 5 {time} caf\\xe9"),
        format!("drwxr-s--- {owner} 0 {time} directory"),
        format!("brw-rw---- {owner} 7,300 {time} directory/block"),
        format!("crw-rw-rw- {owner} 1,3 {time} directory/character"),
        format!("prw------- {owner} 0 {time} directory/fifo"),
        format!("-rws--x--x {owner} 12 {time} directory/hard-b"),
        format!("srw------- {owner} 0 {time} directory/socket"),
        format!("-rw-r----- {owner} 0 {time} empty"),
        format!("-rws--x--x {owner} 12 {time} hard-a"),
        format!("-rw------- {owner} 1048576 {time} holes"),
        format!("lrwxrwxrwx {owner} 11 {time} link -> ../outside\\xff"),
        format!("-rw-r----- {owner} 0 {time} many-attributes"),
        format!("-rw-r----- {owner} {} {time} text", sample::text(false).len()),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn it_extracts_what_went_in() {
    if !is_usable() {
        return;
    }
    let (directory, repo) = golden_repository();
    for (address, changed) in [("sample", true), ("sample@-2", false)] {
        let target = directory.path().join(format!("out{changed}"));
        let output = reader(&["extract", &repo, address, target.to_str().expect("UTF-8")]);
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        // Owners, devices and attributes need rights or a file system that this machine may not give.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{complaints}");
        assert!(fs::read(target.join("text")).expect("extracted") == sample::text(changed));
        assert_eq!(fs::read(target.join("hard-a")).expect("extracted"), b"hard linked\n");
        let metadata = |name: &str| fs::symlink_metadata(target.join(name)).expect("extracted");
        assert_eq!(metadata("hard-a").ino(), metadata("directory/hard-b").ino());
        assert_eq!((metadata("hard-a").nlink(), metadata("hard-a").permissions().mode()), (2, 0o104_711));
        assert_eq!((metadata("text").mtime(), metadata("text").mtime_nsec()), (-86_400, 123_456_789));
        assert_eq!(metadata("directory").mtime(), -86_400);
        assert!(metadata("link").is_symlink() && metadata("directory/fifo").file_type().is_fifo());
        let holes = fs::read(target.join("holes")).expect("extracted");
        assert_eq!((holes.len(), &holes[65_536..65_546]), (1 << 20, &b"not empty\n"[..]));
        assert_eq!(holes.iter().filter(|byte| **byte != 0).count(), 20);
        assert!(metadata("holes").blocks() < 1024, "holes take no room");
    }
}

#[test]
fn it_finds_every_damaged_byte_of_a_bdf() {
    if !is_usable() {
        return;
    }
    let (_directory, repo) = golden_repository();
    let clean = reader(&["check", &repo]);
    assert_eq!(String::from_utf8_lossy(&clean.stdout), "2 generations, 3 frames, 5 chunks\n");
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stderr));
    let delta = fs::read_dir(Path::new(&repo).join("delta/sample")).expect("exists").next();
    let path = delta.expect("one BDF").expect("readable").path();
    let bytes = fs::read(&path).expect("readable");
    for at in (0..bytes.len()).step_by(bytes.len() / 12) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).expect("writable");
        let status = reader(&["check", &repo]).status.code();
        assert_eq!(status, Some(12), "byte {at}");
    }
}

#[test]
fn a_damaged_chunk_leaves_no_file_that_looks_right_and_spares_the_others() {
    if !is_usable() {
        return;
    }
    let (directory, repo) = golden_repository();
    let delta = fs::read_dir(Path::new(&repo).join("delta/sample")).expect("exists").next();
    let path = delta.expect("one BDF").expect("readable").path();
    let mut bytes = fs::read(&path).expect("readable");
    bytes[128 + 72 + 36 + 64 + 3] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let target = directory.path().join("out");
    let output = reader(&["extract", &repo, "sample", target.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("text: chunk "));
    assert!(!target.join("text").exists());
    assert_eq!(fs::read(target.join("directory/hard-b")).expect("extracted"), b"hard linked\n");
}

#[test]
fn it_reads_the_golden_repository_that_reelfs_wrote() {
    if !is_usable() {
        return;
    }
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repository/written-v1");
    let repo = repo.to_str().expect("UTF-8");
    let clean = reader(&["check", repo]);
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stderr));
    let directory = TempDir::new().expect("a temporary directory");
    for (address, age) in [("host@-3", 0), ("host@-2", 1), ("host", 2), ("other", 2)] {
        let target = directory.path().join(address);
        let output = reader(&["extract", repo, address, target.to_str().expect("UTF-8")]);
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        // Owners, devices and attributes need rights or a file system that this machine may not give.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{complaints}");
        let read = |name: &str| fs::read(target.join(name)).expect("extracted");
        let metadata = |name: &str| fs::symlink_metadata(target.join(name)).expect("extracted");
        // The second one is compressed against the first.
        let text: String = (400_000..=460_000).map(|number| format!("{number}\n")).collect();
        let text = if age > 0 { text.replace("430000", "changed") } else { text };
        assert!(read("text") == text.as_bytes(), "{address}");
        assert_eq!(metadata("link").ino(), metadata("deep/link").ino());
        assert_eq!(metadata("text").ino() == metadata("deep/er/text").ino(), age == 0, "sed made a new file");
        assert_eq!(target.join("again").exists(), age == 2);
        let holes = read("holes");
        assert_eq!((holes.len(), &holes[1_500_000..1_500_004]), (3_000_000, &b"data"[..]));
        assert_eq!(holes[0], if age == 2 { b'x' } else { 0 });
        assert!(metadata("holes").blocks() < 512, "holes take no room");
        assert_eq!(fs::read_dir(target.join("etc/many")).expect("extracted").count(), [300, 298, 0][age]);
        assert_eq!(
            (metadata("etc/short").mtime(), metadata("etc/short").mtime_nsec()),
            (-86_400, 123_456_789)
        );
    }
}

#[test]
fn it_extracts_what_reelfs_has_backed_up() {
    if !is_usable() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let (source, repo) = (directory.path().join("source"), directory.path().join("repo"));
    fs::create_dir_all(source.join("many")).expect("writable");
    for number in 0..2000_u32 {
        let text = format!("file {number}\n").repeat(number as usize % 50);
        fs::write(source.join(format!("many/{number:04}")), text).expect("writable");
    }
    let large: Vec<u8> = (0..600_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(source.join("large"), &large).expect("writable");
    std::os::unix::fs::symlink("elsewhere", source.join("link")).expect("writable");
    fs::hard_link(source.join("link"), source.join("many/link")).expect("writable");
    let repository = Repository::create(&repo, FileId([1; 16])).expect("a new repository");
    back_up(&repository, &source, 1);
    fs::write(source.join("many/0042"), "changed").expect("writable");
    fs::remove_file(source.join("many/0043")).expect("writable");
    back_up(&repository, &source, 2);
    let repo = repo.to_str().expect("UTF-8");
    assert_eq!(reader(&["check", repo]).status.code(), Some(0));
    for (address, changed) in [("sample@-2", false), ("sample", true)] {
        let target = directory.path().join(address);
        let output = reader(&["extract", repo, address, target.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read(target.join("large")).expect("extracted") == large);
        assert_eq!(target.join("many/0043").exists(), !changed);
        let inode = |name| fs::symlink_metadata(target.join(name)).expect("extracted").ino();
        assert_eq!(inode("link"), inode("many/link"));
        assert_eq!(fs::read_link(target.join("link")).expect("extracted"), Path::new("elsewhere"));
        for number in (0..2000_u32).filter(|number| !matches!(number, 42 | 43)) {
            let name = format!("many/{number:04}");
            assert!(fs::read(source.join(&name)).ok() == fs::read(target.join(&name)).ok(), "{name}");
        }
        assert_eq!(fs::read(target.join("many/0042")).expect("extracted") == b"changed", changed);
    }
}

fn back_up(repository: &Repository, source: &Path, number: u8) {
    let mut count = 0;
    let new_id = move || {
        count += 1;
        FileId([number, count, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
    };
    let now = GenerationTime::from_seconds(1_795_233_600 + i64::from(number)).expect("in range");
    let inputs = WriterInputs { now, new_id: Box::new(new_id) };
    let client = "sample".parse().expect("valid");
    let options = BackupOptions::default();
    let summary = backup::run(repository, None, &client, source, &options, inputs, &Progress::new())
        .expect("backed up");
    assert!(summary.is_complete() && summary.committed.is_some());
}
