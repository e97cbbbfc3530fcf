//! Golden repositories as a whole (F37): every later version opens them, finds them as this one does, restores
//! them to the same, and goes on in them; a version that is not known is refused before anything is written.
//!
//! `v1` was put together from the formats alone, `written-v1` by the program. `UPDATE_FIXTURES=1` writes what is
//! missing, and only that.

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

/// A sandbox whose repository is a copy of a golden one.
fn golden(name: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&fixture(name), &sandbox.repository());
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
    // The path in it need not be UTF-8.
    let text = String::from_utf8_lossy(&output.stdout);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(name, _)| !name.starts_with("user.attribute-"));
    let mut listed: Vec<_> =
        pairs.map(|(name, value)| format!(" {name}={:08x}", crc32(&[value.as_bytes()]))).collect();
    listed.sort();
    listed.concat()
}

/// Restores every generation of a client, and compares with what is in `expected`.
fn compare_restored(sandbox: &Sandbox, golden: &str, client: &str, generations: &[String]) {
    for generation in generations {
        let target = sandbox.path(&format!("{client}-{generation}"));
        let address = format!("{client}@{generation}");
        let ended = sandbox.run(&["restore", &address, target.to_str().unwrap(), "--verify"]);
        if !nix::unistd::geteuid().is_root() || Command::new("getfattr").output().is_err() {
            eprintln!("not compared: only root restores owners and devices, getfattr shows attributes");
            continue;
        }
        // Some file systems have no room for the 300 attributes of `many-attributes`.
        let is_full = golden == "v1" && ended.error.lines().all(|line| line.contains("user.attribute-"));
        assert!(ended.code == 0 || ended.code == 3 && is_full, "{address}: {}", ended.code);
        let file = fixture("expected").join(format!("{golden}-{client}-{generation}.txt"));
        let described = describe(&target);
        if !file.exists() && is_update() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &described).unwrap();
        }
        assert_eq!(described, fs::read_to_string(&file).unwrap(), "{address}");
    }
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_FIXTURES").is_some()
}

fn generations_of(sandbox: &Sandbox, client: &str) -> Vec<String> {
    let listed = sandbox.json(&["list", client]);
    listed.iter().map(|one| one["generation"].as_str().unwrap().to_owned()).collect()
}

/// Backs up into a copy of a golden repository: the next generation stands on those that are there, none of whose
/// bytes changes.
fn go_on(sandbox: &Sandbox, golden: &str, client: &str) {
    let before = files_below(&fixture(golden));
    sandbox.write("new", "new");
    let source = sandbox.source();
    sandbox.good(&["backup", source.to_str().unwrap(), "--client", client]);
    assert_eq!(sandbox.good(&["cat", &format!("{client}:new")]), "new");
    // Marks of the last generation move on.
    let is_sealed = |path: &Path| path.is_file() && path.extension().is_none_or(|kind| kind != "last");
    for (path, bytes) in before.iter().filter(|(path, _)| is_sealed(path)) {
        let name = path.strip_prefix(fixture(golden)).unwrap();
        assert!(fs::read(sandbox.repository().join(name)).unwrap() == *bytes, "{name:?} was changed");
    }
}

#[test]
fn the_golden_repository_comes_back_the_same_and_takes_a_generation() {
    let sandbox = golden("v1");
    // `holes` says that it has 10 bytes of data and has 20: to notice that is what a verification is for.
    let ended = sandbox.run(&["verify"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    let damages = ended.out.lines().filter(|line| line.starts_with("damaged: "));
    assert!(damages.clone().all(|line| line.contains("extents cover 20 bytes")), "{ended:?}");
    assert_eq!(damages.count(), 2, "{ended:?}");
    let generations = generations_of(&sandbox, "sample");
    assert_eq!(generations, ["2026-11-21T04-00-00Z", "2026-11-21T05-00-00Z"]);
    compare_restored(&sandbox, "v1", "sample", &generations);
    go_on(&sandbox, "v1", "sample");
    assert_eq!(sandbox.good(&["cat", "sample@-2:hard-a"]), "hard linked\n");
}

/// Writes the golden repository of this version: three generations of one client and one of another.
fn write_golden(golden: &Path) {
    let sandbox = Sandbox::with_repository();
    let script = r#"
        set -eu; cd "$1"; umask 022
        mkdir -p etc/many deep/er
        seq 400000 460000 > text; printf short > etc/short; : > empty
        for i in $(seq 300); do echo "file $i" > etc/many/$i; done
        ln text deep/er/text; ln -s ../nowhere link; ln -P link deep/link; mkfifo fifo
        mknod null c 1 3; mknod disk b 8 300
        truncate -s 3000000 holes; printf data | dd of=holes bs=1 seek=1500000 conv=notrunc status=none
        setfattr -n user.comment -v "a comment" text; setfattr -n trusted.t -v 0x0001 deep
        chmod 4711 etc/short; chown 1000:4294967294 etc/short; chmod 2750 deep
        touch -d '1969-12-31 00:00:00.123456789 UTC' etc/short
        printf bytes > "$(printf 'caf\351')"
    "#;
    let run = |script: &str| {
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(sandbox.source()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let source = sandbox.source();
    let backup = |client: &str| {
        sandbox.good(&["backup", source.to_str().unwrap(), "--client", client]);
    };
    run(script);
    backup("host");
    run(
        r#"cd "$1"; sed -i s/430000/changed/ text; rm etc/many/7; mv etc/many/8 eight; echo more >> etc/many/9"#,
    );
    backup("host");
    run(
        r#"cd "$1"; rm -r etc/many; mkdir etc/many; ln deep/er/text again; printf x | dd of=holes bs=1 conv=notrunc"#,
    );
    backup("host");
    backup("other");
    for name in ["index", "lock", "staging"] {
        let path = sandbox.repository().join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
    copy(&sandbox.repository(), golden);
}

#[test]
fn the_golden_repository_that_was_written_is_sound_comes_back_the_same_and_takes_a_generation() {
    if !fixture("written-v1").exists() && is_update() {
        write_golden(&fixture("written-v1"));
    }
    let sandbox = golden("written-v1");
    sandbox.good(&["verify"]);
    for client in ["host", "other"] {
        let generations = generations_of(&sandbox, client);
        assert_eq!(generations.len(), if client == "host" { 3 } else { 1 });
        compare_restored(&sandbox, "written-v1", client, &generations);
    }
    go_on(&sandbox, "written-v1", "host");
    sandbox.good(&["verify"]);
    assert_eq!(sandbox.good(&["cat", "other:etc/short"]), "short");
}

#[test]
fn a_repository_of_a_later_version_is_refused_before_anything_is_written() {
    let sandbox = golden("v1");
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
