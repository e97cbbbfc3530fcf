//! A client's staging that is damaged: told with exit status 12, set aside by `discard`, and in nobody else's way.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::staging::{Mounted, stage};
use crate::support::{Ended, Sandbox};

fn ends_with(directory: &Path, end: &str) -> PathBuf {
    let mut found: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(end) || path.to_str().unwrap().contains(end));
    found.sort();
    found.pop().unwrap_or_else(|| panic!("nothing in {directory:?} ends with {end}"))
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

fn flip_middle(path: &Path) {
    flip(path, fs::metadata(path).unwrap().len() / 2);
}

fn halve(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn assert_damaged(ended: &Ended, client: &str, path: &Path) {
    assert_eq!(ended.code, 12, "{ended:?}");
    let at = path.to_str().unwrap();
    assert!(ended.error.contains(&format!("staging of {client} (")), "{ended:?}");
    assert!(ended.error.contains(at), "{at} is missing from {ended:?}");
    assert!(ended.error.contains("\nhint: ") && ended.error.contains("reelfs discard"), "{ended:?}");
}

/// All files below a directory with their bytes.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            // RocksDB writes of each attempt to open it.
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                left.push(path);
            } else if !name.starts_with("LOG") && name != "LOCK" {
                found.push((path.strip_prefix(directory).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn aside(sandbox: &Sandbox) -> PathBuf {
    ends_with(&sandbox.repository().join("staging"), ".damaged-web1")
}

type Damage = (&'static str, fn(&Path) -> PathBuf);

const DAMAGES: [Damage; 10] = [
    ("a table with a flipped byte", |place| {
        let table = ends_with(&place.join("meta"), ".sst");
        flip_middle(&table);
        table
    }),
    ("a table that is cut", |place| {
        let table = ends_with(&place.join("meta"), ".sst");
        halve(&table);
        table
    }),
    ("a log with a flipped byte", |place| {
        let log = ends_with(&place.join("meta"), ".log");
        flip_middle(&log);
        place.join("meta")
    }),
    ("a log that is cut", |place| {
        let log = ends_with(&place.join("meta"), ".log");
        halve(&log);
        log
    }),
    ("a log that is gone", |place| {
        let log = ends_with(&place.join("meta"), ".log");
        fs::remove_file(&log).unwrap();
        log
    }),
    ("a manifest that is cut", |place| {
        let manifest = ends_with(&place.join("meta"), "MANIFEST-");
        halve(&manifest);
        manifest
    }),
    ("no name of the manifest", |place| {
        let current = place.join("meta/CURRENT");
        fs::remove_file(&current).unwrap();
        current
    }),
    ("no database", |place| {
        fs::remove_dir_all(place.join("meta")).unwrap();
        place.join("meta")
    }),
    ("nothing that was written", |place| {
        fs::remove_dir_all(place.join("data")).unwrap();
        place.join("data")
    }),
    ("no number", |place| {
        let slot = place.join("slot");
        fs::write(&slot, "?").unwrap();
        slot
    }),
];

#[test]
fn damaged_staging_is_told_and_left_alone_until_a_discard_sets_it_aside_and_works_again_then() {
    for (what, damage) in DAMAGES {
        println!("{what}");
        let sandbox = Sandbox::with_repository();
        stage(&sandbox, "web1", &[("committed", b"once")]);
        sandbox.good(&["commit", "web1"]);
        // The first goes to a table when the second is written to the log.
        stage(&sandbox, "web1", &[("first", &[1; 9000])]);
        stage(&sandbox, "web1", &[("second", &[2; 9000])]);
        stage(&sandbox, "other", &[("file", b"of another client")]);
        let place = sandbox.repository().join("staging/web1");
        let path = damage(&place);
        let before = contents(&place);
        for command in [&["staging", "web1"][..], &["commit", "web1"], &["stage", "web1"]] {
            assert_damaged(&sandbox.run(command), "web1", &path);
        }
        let listed = sandbox.run(&["staging"]);
        assert_eq!(listed.code, 12, "{listed:?}");
        assert!(listed.out.contains("\nother "), "{listed:?}");
        // To find out that only `data` is gone the database must be opened, and RocksDB rewrites its log.
        let is_rewritten = path.ends_with("data");
        assert!(
            is_rewritten || contents(&place) == before,
            "what is damaged is not changed by who looks at it"
        );
        let ended = sandbox.run(&["discard", "web1"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let aside = aside(&sandbox);
        assert!(ended.error.contains(aside.to_str().unwrap()), "{ended:?}");
        assert!(ended.out.starts_with("staging of web1 shows web1@"), "{ended:?}");
        assert!(is_rewritten || contents(&aside) == before, "nothing of it is removed");
        stage(&sandbox, "web1", &[("third", b"after it")]);
        sandbox.good(&["commit", "web1"]);
        assert_eq!(sandbox.saved(), ["committed", "third"]);
        sandbox.good(&["commit", "other"]);
    }
}

#[test]
fn a_client_whose_staging_is_damaged_is_dropped_while_it_is_mounted_and_others_go_on() {
    let sandbox = Sandbox::with_repository();
    stage(&sandbox, "web1", &[("first", &[1; 9000])]);
    stage(&sandbox, "web1", &[("second", &[2; 9000])]);
    let table = ends_with(&sandbox.repository().join("staging/web1/meta"), ".sst");
    flip_middle(&table);
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let (web1, other) = (mounted.1.join("staging/web1"), mounted.1.join("staging/other"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "of another client").unwrap();
    for refused in [fs::metadata(&web1).err(), fs::remove_dir(&web1).err()] {
        assert_eq!(refused.and_then(|error| error.raw_os_error()), Some(libc::EIO));
    }
    assert_damaged(&sandbox.run(&["commit", "web1"]), "web1", &table);
    let listed = sandbox.run(&["staging"]);
    assert_eq!((listed.code, listed.out.contains("\nother ")), (12, true), "{listed:?}");
    let ended = sandbox.run(&["discard", "web1", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let told: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(told["set_aside"]["path"], aside(&sandbox).to_str().unwrap());
    assert_eq!(told["set_aside"]["files"], 2);
    assert_eq!(fs::read_dir(&web1).unwrap().count(), 0);
    fs::write(web1.join("again"), "after it").unwrap();
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.saved(), ["again"]);
    sandbox.good(&["commit", "other"]);
    mounted.umount();
}

#[test]
fn staging_that_is_found_damaged_while_it_is_used_is_dropped_all_the_same() {
    let sandbox = Sandbox::with_repository();
    let names: Vec<String> = (0..4000).map(|number| format!("a name that is long enough {number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"content"[..])).collect();
    stage(&sandbox, "web1", &files);
    stage(&sandbox, "web1", &[("later", b"so that the first are in a table")]);
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let web1 = mounted.1.join("staging/web1");
    let mut open = fs::File::open(web1.join("later")).unwrap();
    let meta = sandbox.repository().join("staging/web1/meta");
    for entry in fs::read_dir(&meta).unwrap() {
        let path = entry.unwrap().path();
        let len = fs::metadata(&path).unwrap().len();
        if path.extension().is_some_and(|extension| extension == "sst") && len > 100_000 {
            (0..len / 8192).for_each(|index| flip(&path, index * 8192 + 4000));
        }
    }
    let refused = names.iter().find_map(|name| fs::metadata(web1.join(name)).err());
    assert_eq!(refused.and_then(|error| error.raw_os_error()), Some(libc::EIO));
    assert_damaged(&sandbox.run(&["commit", "web1", "--now"]), "web1", &meta);
    let ended = sandbox.run(&["discard", "web1"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains(aside(&sandbox).to_str().unwrap()), "{ended:?}");
    assert!(std::io::Read::read(&mut open, &mut [0; 8]).is_err(), "it is of what was dropped");
    drop(open);
    assert_eq!(fs::read_dir(&web1).unwrap().count(), 0);
    fs::write(web1.join("again"), "after it").unwrap();
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.saved(), ["again"]);
    mounted.umount();
}
