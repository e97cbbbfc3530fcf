//! The golden repository as a whole (F37): every later version opens it, finds it sound, restores it to the same,
//! and goes on in it; a version that is not known is refused before anything is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use reelfs::checksum::crc32;

use crate::support::Sandbox;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/repository").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::write(to, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// A sandbox whose repository is a copy of the golden one.
fn golden() -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&fixture("v1"), &sandbox.repository());
    sandbox
}

fn files_below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            found.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// One line for each object below a directory, with all that was restored of it.
fn describe(root: &Path) -> String {
    let mut lines = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let mut line = String::new();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii();
        let (mode, links) = (metadata.mode(), if kind.is_dir() { 1 } else { metadata.nlink() });
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        write!(line, "/{name} {mode:o} {}:{}", metadata.uid(), metadata.gid()).unwrap();
        write!(line, " links {links} mtime {seconds}.{nanoseconds:09}").unwrap();
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            write!(line, " target {}", target.as_os_str().as_bytes().escape_ascii()).unwrap();
        } else if kind.is_block_device() || kind.is_char_device() {
            let device = metadata.rdev();
            let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
            write!(line, " device {major}:{minor}").unwrap();
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            write!(line, " size {} crc {:08x}", bytes.len(), crc32(&[&bytes])).unwrap();
        }
        write!(line, "{}", xattrs(&path)).unwrap();
        lines.push(line);
    }
    lines.sort();
    lines.join("\n") + "\n"
}

// Names, with a CRC of the values.
fn xattrs(path: &Path) -> String {
    let arguments = ["--absolute-names", "--no-dereference", "--dump", "--match=-", "--encoding=hex"];
    let output = Command::new("getfattr").args(arguments).arg("--").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let mut listed: Vec<_> =
        pairs.map(|(name, value)| format!(" {name}={:08x}", crc32(&[value.as_bytes()]))).collect();
    listed.sort();
    listed.concat()
}

#[test]
fn the_golden_repository_is_sound_comes_back_the_same_and_takes_a_generation() {
    let sandbox = golden();
    sandbox.good(&["verify"]);
    let generations = sandbox.generations();
    assert_eq!(generations, ["2026-11-21T04-00-00Z", "2026-11-21T05-00-00Z"]);
    for generation in &generations {
        let target = sandbox.path(generation);
        let address = format!("sample@{generation}");
        let ended = sandbox.run(&["restore", &address, target.to_str().unwrap(), "--verify"]);
        if !nix::unistd::geteuid().is_root() || Command::new("getfattr").output().is_err() {
            eprintln!("not compared: only root restores owners and devices, getfattr shows attributes");
            continue;
        }
        assert_eq!(ended.code, 0, "{ended:?}");
        let file = fixture("expected").join(format!("v1-{generation}.txt"));
        let described = describe(&target);
        if !file.exists() && std::env::var_os("UPDATE_FIXTURES").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &described).unwrap();
        }
        assert_eq!(described, fs::read_to_string(&file).unwrap(), "{generation}");
    }
    // The next generation stands on them; none of their bytes changes.
    let before = files_below(&fixture("v1"));
    sandbox.write("new", "new");
    let source = sandbox.source();
    sandbox.good(&["backup", source.to_str().unwrap(), "--client", "sample"]);
    sandbox.good(&["verify"]);
    assert_eq!(sandbox.good(&["cat", "sample:new"]), "new");
    assert_eq!(sandbox.good(&["cat", "sample@-2:hard-a"]), "hard linked\n");
    for (path, bytes) in before.iter().filter(|(path, _)| path.is_file()) {
        let name = path.strip_prefix(fixture("v1")).unwrap();
        assert!(fs::read(sandbox.repository().join(name)).unwrap() == *bytes, "{name:?} was changed");
    }
}

#[test]
fn a_repository_of_a_later_version_is_refused_before_anything_is_written() {
    let sandbox = golden();
    let file = sandbox.repository().join("reelfs.toml");
    let text = fs::read_to_string(&file).unwrap();
    let later = text.replace("version = 1", "version = 2\nnovelty = true");
    assert_ne!(text, later, "{text}");
    fs::write(&file, later).unwrap();
    let before = files_below(&sandbox.repository());
    let (source, target, at) = (sandbox.source(), sandbox.path("target"), sandbox.path("at"));
    fs::create_dir(&at).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for arguments in [
        &["backup", &path(&source), "--client", "sample"][..],
        &["backup", &path(&source), "--client", "new"],
        &["rebuild"],
        &["verify"],
        &["list"],
        &["stats"],
        &["ls", "sample"],
        &["restore", "sample", &path(&target)],
        &["commit", "sample"],
        &["stage", "sample"],
        &["discard", "sample"],
        &["staging"],
        &["mount", &path(&at)],
    ] {
        let ended = sandbox.run(arguments);
        assert_ne!(ended.code, 0, "{arguments:?}: {ended:?}");
        assert!(ended.error.contains("format version 2"), "{arguments:?}: {ended:?}");
    }
    assert!(!target.exists());
    assert_eq!(files_below(&sandbox.repository()), before);
}
