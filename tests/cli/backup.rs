//! What a backup takes in, what it leaves out, and what it tells.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::Sandbox;

#[test]
fn a_summary_counts_what_was_new_changed_and_gone() {
    let sandbox = Sandbox::with_repository();
    for name in ["a", "b", "directory/c"] {
        sandbox.write(name, format!("content of {name}"));
    }
    let first = sandbox.backup(&["--message", "one"]);
    assert_eq!(first["new"]["files"], 3);
    assert_eq!(first["files"], 3);
    let again = sandbox.backup(&[]);
    assert!(again["generation"].is_null() && again["address"].is_null(), "{again}");
    assert_eq!(again["unchanged"]["files"], 3);
    sandbox.write("a", "changed");
    fs::remove_file(sandbox.source().join("b")).unwrap();
    let third = sandbox.backup(&[]);
    assert_eq!((&third["modified"]["files"], &third["removed"]), (&1.into(), &1.into()), "{third}");
    let listed = sandbox.json(&["list", "web1"]);
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["message"], &listed[0]["files"]), (&"one".into(), &3.into()));
    assert_eq!(listed[1]["previous"], listed[0]["ordinal"]);
    assert!(sandbox.backup(&["--always"])["generation"].is_string());
}

#[test]
fn patterns_come_from_the_policy_the_user_the_files_and_the_command_line() {
    let sandbox = Sandbox::with_repository();
    for name in ["policy", "user", "file", "line", "kept", "directory/line"] {
        sandbox.write(name, "");
    }
    let settings = sandbox.repository().join("reelfs.toml");
    let text = fs::read_to_string(&settings).unwrap();
    assert!(text.contains("exclude = []"), "{text}");
    fs::write(&settings, text.replace("exclude = []", "exclude = [\"/policy\"]")).unwrap();
    fs::create_dir_all(sandbox.path("config/reelfs")).unwrap();
    fs::write(sandbox.path("config/reelfs/exclude"), "# mine\n/user\n").unwrap();
    let patterns = sandbox.path("patterns");
    fs::write(&patterns, "/file\r\n").unwrap();
    let from = ["--exclude-from", patterns.to_str().unwrap(), "--exclude", "/line"];
    let summary = sandbox.backup(&from);
    assert_eq!(sandbox.saved(), ["directory/", "directory/line", "kept"]);
    assert_eq!(summary["excluded"], 4);
    sandbox.backup(&["--no-user-exclude", "--exclude", "line", "--exclude", "!/line"]);
    assert_eq!(sandbox.saved(), ["directory/", "file", "kept", "line", "user"]);
}

#[test]
fn a_backup_of_one_file_system_keeps_a_mount_point_and_nothing_in_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can mount");
        return;
    }
    let sandbox = Sandbox::with_repository();
    sandbox.write("here", "kept");
    let other = sandbox.source().join("directory/other");
    fs::create_dir_all(&other).unwrap();
    mount(Some("reelfs-test"), &other, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0751")).unwrap();
    let _mounted = Mounted(other);
    sandbox.write("directory/other/below/there", "of the other file system");
    sandbox.backup(&[]);
    let everything =
        ["directory/", "directory/other/", "directory/other/below/", "directory/other/below/there"];
    assert_eq!(sandbox.saved(), [&everything[..], &["here"]].concat());
    let summary = sandbox.backup(&["--one-file-system"]);
    assert_eq!(sandbox.saved(), ["directory/", "directory/other/", "here"]);
    assert_eq!((&summary["excluded"], &summary["removed"]), (&1.into(), &2.into()), "{summary}");
    assert!(sandbox.backup(&["-x"])["generation"].is_null());
    sandbox.backup(&[]);
    assert_eq!(sandbox.saved().len(), 5);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
}

/// A file system that goes away with this.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn caches_and_what_is_marked_nodump_are_left_out_if_asked() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# by a test\n");
    sandbox.write("cache/large", "");
    sandbox.write("pretender/CACHEDIR.TAG", "no signature");
    sandbox.write("nodump", "");
    let marked = Command::new("chattr").arg("+d").arg(sandbox.source().join("nodump")).output();
    let is_marked = marked.is_ok_and(|output| output.status.success());
    sandbox.backup(&["--exclude-caches", "--exclude-nodump"]);
    let mut expected = vec!["cache/", "cache/CACHEDIR.TAG", "nodump", "pretender/", "pretender/CACHEDIR.TAG"];
    // Not every file system knows the mark.
    expected.retain(|name| !(is_marked && *name == "nodump"));
    assert_eq!(sandbox.saved(), expected);
    sandbox.backup(&[]);
    assert!(sandbox.saved().contains(&"cache/large".to_owned()));
    assert!(sandbox.saved().contains(&"nodump".to_owned()));
}

#[test]
fn an_index_that_is_missing_or_damaged_is_made_again() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("a", "the same content");
    sandbox.backup(&[]);
    let index = sandbox.repository().join("index");
    fs::remove_dir_all(&index).unwrap();
    sandbox.write("b", "the same content");
    let ended = sandbox.run_backup(&[]);
    assert!(ended.code == 0 && ended.error.contains("index is missing"), "{ended:?}");
    assert_eq!(sandbox.json(&["list"])[1]["added_bytes"], 0, "the index knows what is stored");
    fs::write(index.join("CURRENT"), "").unwrap();
    sandbox.write("c", "the same content");
    let ended = sandbox.run_backup(&[]);
    assert!(ended.code == 0 && ended.error.contains("warning: index "), "{ended:?}");
    assert_eq!(sandbox.json(&["list"])[2]["added_bytes"], 0);
    let names = fs::read_dir(sandbox.repository()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_str().unwrap().starts_with("index.damaged-")).count(), 1);
    fs::remove_dir_all(&index).unwrap();
    let rebuilt = sandbox.json(&["rebuild"]).remove(0);
    assert_eq!((&rebuilt["generations"], &rebuilt["chunks"]), (&3.into(), &1.into()));
    let stats = sandbox.json(&["stats"]).remove(0);
    assert_eq!((&stats["generations"], &stats["index_chunks"]), (&3.into(), &1.into()));
}

#[test]
fn a_restore_brings_back_what_was_saved() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("directory/file", "content");
    symlink("../elsewhere", sandbox.source().join("directory/link")).unwrap();
    fs::hard_link(sandbox.source().join("directory/file"), sandbox.source().join("second")).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.path("target");
    let shown = target.to_str().unwrap();
    let trial = sandbox.json(&["restore", "web1", shown, "--dry-run"]).remove(0);
    assert!(trial["files"] == 1 && trial["links"] == 1 && !target.exists(), "{trial}");
    let summary = sandbox.json(&["restore", "web1", shown, "--verify"]).remove(0);
    assert_eq!((&summary["files"], &summary["failed"]), (&1.into(), &0.into()));
    let same =
        Command::new("diff").args(["-r", "--no-dereference"]).arg(sandbox.source()).arg(&target).status();
    assert!(same.unwrap().success());
    fs::write(target.join("second"), "mine").unwrap();
    sandbox.good(&["restore", "web1:second", shown, "--overwrite", "never"]);
    assert_eq!(fs::read(target.join("second")).unwrap(), b"mine");
    sandbox.good(&["restore", "web1:second", shown]);
    assert_eq!(fs::read(target.join("second")).unwrap(), b"content");
}
