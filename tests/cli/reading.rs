//! Listing, searching and showing what a generation holds.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use crate::support::Sandbox;

#[test]
fn a_listing_looks_like_that_of_ls() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", vec![0; 1536]);
    fs::set_permissions(sandbox.source().join("file"), fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("target", sandbox.source().join("link")).unwrap();
    fs::create_dir(sandbox.source().join("directory")).unwrap();
    let file = fs::File::options().write(true).open(sandbox.source().join("file")).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(86_400_000_000_001);
    file.set_modified(time).unwrap();
    sandbox.backup(&[]);
    let listed = sandbox.good(&["ls", "web1"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("drwx") && lines[0].ends_with(" directory/"), "{listed}");
    assert!(
        lines[1].starts_with("-rwsr-x---") && lines[1].ends_with("    1.5 KiB 1970-01-02 00:00:00 file"),
        "{listed}"
    );
    assert!(lines[2].starts_with("lrwxrwxrwx") && lines[2].ends_with(" link -> target"), "{listed}");
    assert!(sandbox.good(&["ls", "--local", "web1:file"]).contains("1970-01-02 09:00:00"));
    let file = sandbox.json(&["ls", "web1:file"]).remove(0);
    assert_eq!((&file["size"], &file["mode"]), (&1536.into(), &"4750".into()));
    assert_eq!(file["mtime"], "1970-01-02T00:00:00.000000001Z");
    assert_eq!(sandbox.good(&["ls", "-d", "web1:directory"]).lines().count(), 1);
    assert_eq!(sandbox.good(&["ls", "web1:directory"]), "");
    assert_eq!(sandbox.good(&["ls", "web1", "web1:directory"]).lines().count(), 6);
}

#[test]
fn names_cannot_drive_the_terminal_and_are_exact_in_json() {
    let sandbox = Sandbox::with_repository();
    let names: [&[u8]; 4] = [b"red\x1b[31m", b"new\nline", b"caf\xe9", "\u{202e}gpj.exe".as_bytes()];
    for name in names {
        fs::write(sandbox.source().join(OsStr::from_bytes(name)), "found").unwrap();
    }
    sandbox.backup(&[]);
    for arguments in [&["ls", "web1"][..], &["ls", "-R", "web1"], &["find", "web1"], &["find", "-l", "web1"]]
    {
        let listed = sandbox.good(arguments);
        assert_eq!(listed.lines().count(), 4, "{arguments:?}");
        assert!(listed.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{arguments:?}");
    }
    let entries = sandbox.json(&["ls", "web1"]);
    let exact = entries.iter().find(|entry| entry["name"] == "caf\u{fffd}").unwrap();
    assert_eq!(exact["name_base64"], "Y2Fm6Q==");
    assert!(entries.iter().any(|entry| entry["name"] == "red\u{1b}[31m"));
    let found = sandbox.command(&["find", "web1", "--print0", "--name", "caf?"]).output().unwrap();
    let address = found.stdout.strip_suffix(b"\0").unwrap();
    let shown = sandbox.command(&["cat"]).arg(OsStr::from_bytes(address)).output().unwrap();
    assert_eq!(shown.stdout, b"found");
}

#[test]
fn generations_are_named_by_prefix_and_by_counting_back() {
    let sandbox = Sandbox::with_repository();
    for content in ["one", "two", "three"] {
        sandbox.write("file", content);
        sandbox.backup(&[]);
    }
    let names = sandbox.generations();
    for (generation, content) in [("latest", "three"), ("-1", "three"), ("-2", "two"), (&names[0], "one")] {
        assert_eq!(sandbox.good(&["cat", &format!("web1@{generation}:file")]), content);
    }
    assert_eq!(sandbox.good(&["cat", "web1@-3:file", "web1:/file"]), "onethree");
    let ambiguous = sandbox.run(&["cat", &format!("web1@{}:file", &names[0][..4])]);
    assert!(ambiguous.code == 1 && ambiguous.error.contains("several generations"), "{ambiguous:?}");
}

#[test]
fn holes_are_written_as_zeros() {
    let sandbox = Sandbox::with_repository();
    let file = fs::File::create(sandbox.source().join("sparse")).unwrap();
    file.set_len(3 << 20).unwrap();
    sandbox.backup(&[]);
    let output = sandbox.command(&["cat", "web1:sparse"]).output().unwrap();
    assert!(output.stdout == vec![0; 3 << 20]);
}

#[test]
fn a_short_file_with_a_hole_comes_back_with_the_hole() {
    let sandbox = Sandbox::with_repository();
    let file = fs::File::create(sandbox.source().join("short")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", 100_000).unwrap();
    file.sync_all().unwrap();
    sandbox.backup(&[]);
    let target = sandbox.path("restored");
    sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
    let (before, after) = (sandbox.source().join("short"), target.join("short"));
    assert_eq!(fs::read(&before).unwrap(), fs::read(&after).unwrap());
    let blocks = |path| fs::metadata(path).unwrap().blocks();
    assert!(blocks(&before) < 100, "the file system has no holes");
    assert_eq!(blocks(&after), blocks(&before));
}

#[test]
fn a_search_finds_by_name_kind_and_size_in_one_or_all_generations() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("etc/hosts", "one");
    sandbox.write("etc/Report.ODT", vec![1; 5000]);
    sandbox.write("kept", "kept");
    symlink("hosts", sandbox.source().join("etc/link")).unwrap();
    sandbox.backup(&[]);
    sandbox.write("etc/hosts", "two, and longer");
    sandbox.backup(&[]);
    let names = sandbox.generations();
    let found = |arguments: &[&str]| -> Vec<String> {
        let all: Vec<&str> = ["find", "web1"].iter().chain(arguments).copied().collect();
        let line = |line: &str| line.split_once('@').unwrap().1.to_owned();
        sandbox.good(&all).lines().map(line).collect()
    };
    let latest = |path: &str| format!("{}:{path}", names[1]);
    assert_eq!(found(&["--name", "ho*"]), [latest("etc/hosts")]);
    assert_eq!(found(&["--name", "*.odt", "-i"]), [latest("etc/Report.ODT")]);
    assert_eq!(found(&["--larger", "4K"]), [latest("etc/Report.ODT")]);
    assert_eq!(found(&["--type", "l"]), [latest("etc/link")]);
    assert_eq!(found(&["--path", "etc"]), [latest("etc")]);
    assert_eq!(found(&["--path", "*", "--type", "f"]), [latest("kept")]);
    assert_eq!(found(&["-a", "--name", "hosts"]), [format!("{}:etc/hosts", names[0]), latest("etc/hosts")]);
    assert_eq!(found(&["-a", "--name", "kept"]).len(), 1, "what did not change is shown once");
    assert_eq!(found(&["--name", "nothing"]), Vec::<String>::new());
}
