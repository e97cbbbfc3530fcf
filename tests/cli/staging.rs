//! `commit`, `staging`, `stage` and `discard` on trees that nobody has mounted.

use std::sync::Arc;

use reelfs::format::record::{ROOT_OBJECT, Time};
use reelfs::id::ClientName;
use reelfs::repo::staging::{Caller, MountClaims, OpenMode, StagingOptions, StagingTree};
use reelfs::repo::{CacheBytes, Repository};

use crate::kill_points::{can_trace, strace};
use crate::support::{Ended, Sandbox};

fn options() -> StagingOptions {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();
    let mut options = StagingOptions::new(OpenMode::Fresh, boot);
    // Some tests are on small disks.
    options.limits.reserve_bytes = 0;
    options
}

fn caller() -> Caller {
    let now = Time { seconds: 1_795_233_600, nanoseconds: 0 };
    Caller { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw(), umask: 0, now }
}

/// Writes files into a client's staging, as a mount would.
pub(crate) fn stage(sandbox: &Sandbox, client: &str, files: &[(&str, &[u8])]) {
    let repository = Arc::new(Repository::open(&sandbox.repository(), CacheBytes::default()).unwrap());
    let name: ClientName = client.parse().unwrap();
    let tree = if StagingTree::clients(&repository).unwrap().contains(&name) {
        StagingTree::open(repository, &name, &options()).unwrap()
    } else {
        StagingTree::create(repository, &name, &options(), caller(), 0o755).unwrap()
    };
    for (path, bytes) in files {
        let handle = match tree.lookup(ROOT_OBJECT, path.as_bytes()) {
            Ok(entry) => tree.open_file(entry.number(), true, true, caller()).unwrap(),
            Err(_) => tree.create_file(ROOT_OBJECT, path.as_bytes(), 0o644, caller(), None).unwrap().1,
        };
        tree.write(&handle, 0, bytes, false, caller()).unwrap();
    }
    tree.close().unwrap();
}

fn hinted(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.error.contains(words), "{words:?} is missing from {}", ended.error);
    assert!(ended.error.contains("\nhint: "), "{}", ended.error);
}

#[test]
fn what_is_staged_is_listed_previewed_committed_and_there() {
    let sandbox = Sandbox::with_repository();
    assert_eq!(sandbox.good(&["staging"]), "");
    stage(&sandbox, "web1", &[("hosts", b"127.0.0.1 localhost\n"), ("large", &[7; 300_000])]);
    let listed = sandbox.good(&["staging"]);
    assert!(listed.starts_with("CLIENT  BASE "), "{listed}");
    assert!(listed.contains("web1    empty ") && listed.contains("changed, not mounted"), "{listed}");
    let status = sandbox.json(&["staging", "web1"]);
    assert_eq!((&status[0]["changed"], &status[0]["base"]), (&true.into(), &serde_json::Value::Null));
    let preview = sandbox.good(&["commit", "web1", "--preview", "--verbose"]);
    assert!(preview.contains("sfp   hosts  20 B: written anew\n"), "{preview}");
    assert!(preview.contains("  new        2 files, 293.0 KiB\n"), "{preview}");
    assert!(sandbox.generations().is_empty(), "a preview makes nothing");
    let committed = sandbox.json(&["commit", "web1", "--message", "first"]);
    assert_eq!(committed[0]["new"]["files"], 2);
    assert_eq!(sandbox.saved(), ["hosts", "large"]);
    assert_eq!(sandbox.good(&["cat", "web1:hosts"]), "127.0.0.1 localhost\n");
    let generations = sandbox.json(&["list", "web1"]);
    assert_eq!(
        (&generations[0]["message"], &generations[0]["source"]),
        (&"first".into(), &"staging/web1".into())
    );
    let nothing = sandbox.good(&["commit", "web1"]);
    assert!(nothing.starts_with("web1: nothing changed, no generation was made"), "{nothing}");
    sandbox.good(&["commit", "web1", "--always"]);
    assert_eq!(sandbox.generations().len(), 2);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
}

#[test]
fn a_second_client_with_the_same_file_adds_no_data() {
    let sandbox = Sandbox::with_repository();
    for client in ["web1", "web2"] {
        stage(&sandbox, client, &[("same", &b"the same text in both\n".repeat(9000)[..])]);
    }
    sandbox.good(&["commit", "web1"]);
    let second = sandbox.json(&["commit", "web2"]);
    assert_eq!(second[0]["added_bytes"], 0, "{second:?}");
    let chunks = sandbox.good(&["commit", "web2", "--preview"]);
    assert!(chunks.contains("unchanged"), "{chunks}");
}

#[test]
fn changes_are_dropped_and_an_older_generation_is_staged() {
    let sandbox = Sandbox::with_repository();
    stage(&sandbox, "web1", &[("file", b"one")]);
    sandbox.good(&["commit", "web1"]);
    stage(&sandbox, "web1", &[("file", b"two")]);
    sandbox.good(&["commit", "web1"]);
    stage(&sandbox, "web1", &[("file", b"three")]);
    for address in ["web1@-2", "web1@latest", "web1"] {
        let refused = sandbox.run(&["stage", address]);
        hinted(&refused, 1, "staging of web1 has changes that would be lost (names changed: ");
        assert!(refused.error.contains("bytes of disk: 4096"), "{address}: {}", refused.error);
        assert_eq!(sandbox.json(&["staging", "web1"])[0]["changed"], true, "{address}");
    }
    let dropped = sandbox.good(&["discard", "web1"]);
    assert!(dropped.starts_with("staging of web1 shows web1@20"), "{dropped}");
    let first = sandbox.generations()[0].clone();
    let staged = sandbox.json(&["stage", "web1@-2"]);
    assert_eq!(staged[0]["base"], first.as_str());
    stage(&sandbox, "web1", &[("other", b"beside the first")]);
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.good(&["cat", "web1:file"]), "one");
    assert_eq!(sandbox.saved(), ["file", "other"]);
    assert_eq!(sandbox.generations().len(), 3);
}

#[test]
fn a_backup_into_a_client_with_staged_changes_is_refused_and_without_staging_moves_on() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("saved", "saved by a backup");
    stage(&sandbox, "web1", &[("file", b"staged")]);
    hinted(&sandbox.run_backup(&[]), 1, "staging of web1 has changes that are in no generation");
    assert!(sandbox.generations().is_empty());
    sandbox.good(&["commit", "web1"]);
    sandbox.backup(&[]);
    let latest = sandbox.generations().last().unwrap().clone();
    let status = sandbox.json(&["staging", "web1"]);
    assert_eq!(status[0]["base"], latest.as_str(), "staging shows what the backup saved");
    assert_eq!(status[0]["changed"], false);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    let sandbox = Sandbox::with_repository();
    hinted(&sandbox.run(&["commit", "web1"]), 1, "client web1 has no staging");
    hinted(&sandbox.run(&["discard", "web1"]), 1, "client web1 has no staging");
    hinted(&sandbox.run(&["stage", "web1"]), 1, "no client web1");
    assert_eq!(sandbox.run(&["stage", "web1@latest:etc"]).code, 2);
    assert_eq!(sandbox.run(&["commit", "../web1"]).code, 2);
    assert_eq!(sandbox.run(&["commit", "web1", "--preview", "--always"]).code, 2);
    let long = "x".repeat(5000);
    stage(&sandbox, "web1", &[("file", b"1")]);
    assert_eq!(sandbox.run(&["commit", "web1", "--message", &long]).code, 2);
    // Somebody else writes to the repository.
    let repository = Repository::open(&sandbox.repository(), CacheBytes::default()).unwrap();
    let lock = repository.lock().unwrap();
    hinted(&sandbox.run(&["commit", "web1"]), 11, "locked by another process");
    let mut waiting = sandbox.command(&["commit", "web1", "--wait", "--quiet"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    // And somebody else has the tree open.
    let tree = StagingTree::open(Arc::new(repository), &"web1".parse().unwrap(), &options()).unwrap();
    let ended = sandbox.run(&["commit", "web1"]);
    hinted(&ended, 11, "staging of web1 is open in another process");
    assert!(ended.error.contains("waiting for the daemon that serves staging"), "{ended:?}");
    drop(tree);
}

/// Mounts, and takes the mount away when dropped.
pub(crate) struct Mounted<'s>(&'s Sandbox, pub(crate) std::path::PathBuf);

impl<'s> Mounted<'s> {
    pub(crate) fn new(sandbox: &'s Sandbox) -> Option<Self> {
        Self::at(sandbox, "mnt")
    }

    fn at(sandbox: &'s Sandbox, name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/dev/fuse").exists() {
            eprintln!("skipped: only root can mount");
            return None;
        }
        let at = sandbox.path(name);
        std::fs::create_dir_all(&at).unwrap();
        let mounted = Self(sandbox, at);
        mounted.mount();
        Some(mounted)
    }

    fn mount(&self) {
        let ended = self.0.run(&["mount", self.1.to_str().unwrap()]);
        assert_eq!(
            ended.code, 0,
            "mountd is expected beside reelfs, as a build of the workspace has it: {ended:?}"
        );
    }

    pub(crate) fn umount(&self) {
        self.0.good(&["umount", self.1.to_str().unwrap()]);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        for path in [self.1.join("staging"), self.1.clone()] {
            let _gone = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

#[test]
fn a_commit_and_a_mount_right_after_a_umount_wait_for_the_daemon_to_end() {
    let sandbox = Sandbox::with_repository();
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    let staging = mounted.1.join("staging/web1");
    std::fs::create_dir(&staging).unwrap();
    for round in 0..3 {
        for index in 0..200 {
            std::fs::write(staging.join(format!("{round}-{index}")), vec![b'x'; 20_000]).unwrap();
        }
        mounted.umount();
        let committed = sandbox.json(&["commit", "web1"]);
        assert_eq!(committed[0]["new"]["files"], 200, "{committed:?}");
        mounted.mount();
        // And commands at once after a mount, by the daemon or without.
        std::fs::write(staging.join("more"), "more").unwrap();
        mounted.umount();
        mounted.mount();
        assert_eq!(std::fs::read_to_string(staging.join("more")).unwrap(), "more");
        sandbox.good(&["commit", "web1"]);
        std::fs::remove_file(staging.join("more")).unwrap();
    }
}

#[test]
fn a_commit_waits_for_a_daemon_that_is_being_started_again_and_loses_nothing_that_is_open() {
    use std::io::BufRead as _;
    let sandbox = Sandbox::with_repository();
    let root = sandbox.repository();
    let repository = Arc::new(Repository::open(&root, CacheBytes::default()).unwrap());
    // What the supervisor of a mount keeps while its server is away.
    let supervised = Arc::new(MountClaims::open(&root).unwrap());
    let serving = |mode| StagingOptions { mode, mount: Some(Arc::clone(&supervised)), ..options() };
    let client: ClientName = "web1".parse().unwrap();
    let fresh = serving(OpenMode::Fresh);
    let tree = StagingTree::create(Arc::clone(&repository), &client, &fresh, caller(), 0o755).unwrap();
    let (named, handle) = tree.create_file(ROOT_OBJECT, b"named", 0o644, caller(), None).unwrap();
    tree.write(&handle, 0, b"one ", false, caller()).unwrap();
    let (unnamed, open) = tree.create_file(ROOT_OBJECT, b"unnamed", 0o644, caller(), None).unwrap();
    tree.write(&open, 0, b"has no name", false, caller()).unwrap();
    tree.unlink(ROOT_OBJECT, b"unnamed", caller()).unwrap();
    drop((handle, open, tree));
    let mut commit = sandbox.command(&["commit", "web1", "--now"]);
    let piped = commit.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut committing = piped.spawn().unwrap();
    let mut told = std::io::BufReader::new(committing.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.contains("waiting for the daemon that serves staging"), "{line:?}");
    // The next server goes on, and is unmounted then.
    let tree = StagingTree::open(repository, &client, &serving(OpenMode::Takeover)).unwrap();
    let handle = tree.open_file(named.number(), true, false, caller()).unwrap();
    tree.write(&handle, 4, b"two", false, caller()).unwrap();
    let open = tree.open_file(unnamed.number(), false, false, caller()).unwrap();
    assert_eq!(tree.read(&open, 0, 100).unwrap(), b"has no name");
    drop((handle, open));
    tree.close().unwrap();
    let ended = committing.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(sandbox.good(&["cat", "web1@latest:named"]), "one two");
}

#[test]
fn others_write_to_the_repository_while_a_commit_waits_for_a_file_that_is_written() {
    let sandbox = Sandbox::with_repository();
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    for client in ["busy", "idle"] {
        std::fs::create_dir(mounted.1.join("staging").join(client)).unwrap();
        std::fs::write(mounted.1.join(format!("staging/{client}/file")), client).unwrap();
    }
    sandbox.write("source", "of a backup");
    let mut hot = std::fs::File::create(mounted.1.join("staging/busy/hot")).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                std::io::Write::write_all(&mut hot, b"more").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let busy = scope.spawn(|| sandbox.run(&["commit", "busy"]));
        std::thread::sleep(std::time::Duration::from_secs(1));
        let idle = sandbox.run(&["commit", "idle"]);
        let other = sandbox.run_backup(&[]);
        let was_waiting = !busy.is_finished();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!((idle.code, other.code, was_waiting), (0, 0, true), "{idle:?} {other:?}");
        assert_eq!(busy.join().unwrap().code, 0);
    });
}

#[test]
fn clients_are_listed_though_one_cannot_be_looked_at() {
    let sandbox = Sandbox::with_repository();
    for client in ["damaged", "whole"] {
        stage(&sandbox, client, &[("file", b"content")]);
    }
    let current = sandbox.repository().join("staging/damaged/meta/CURRENT");
    std::fs::write(current, "nothing that it can be").unwrap();
    let ended = sandbox.run(&["staging"]);
    assert_ne!(ended.code, 0);
    assert!(ended.out.contains("\nwhole "), "{ended:?}");
    assert!(ended.error.contains("damaged: "), "{ended:?}");
    assert_eq!(sandbox.run(&["staging", "whole"]).code, 0);
}

#[test]
fn a_stage_of_a_client_without_staging_makes_it() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("saved", "saved by a backup");
    sandbox.backup(&[]);
    sandbox.good(&["stage", "web1"]);
    stage(&sandbox, "web1", &[("added", b"in staging")]);
    sandbox.good(&["commit", "web1"]);
    assert_eq!(sandbox.saved(), ["added", "saved"]);
}

#[test]
fn a_backup_does_not_warn_of_staging_that_moved_on_and_was_written_at_once() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let Some(mounted) = Mounted::new(&sandbox) else { return };
    stage_and_commit(&mounted);
    let source = sandbox.source().to_str().unwrap().to_owned();
    let backup = |first: &str| {
        sandbox.write("saved", format!("by the backup that begins with {first}"));
        let command = sandbox.command(&["backup", &source, "--client", "web1"]);
        // The daemon is asked before the backup, and after it: that comes late.
        let log = sandbox.path("log");
        let late = ["-e", "trace=connect", "-e", "inject=connect:delay_enter=3000000:when=2"];
        strace(&log, &late, &command).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let count = sandbox.generations().len();
    let wait_for = |count: usize| {
        while sandbox.generations().len() < count {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let running = backup("one");
    wait_for(count + 1);
    sandbox.good(&["stage", "web1@latest"]);
    std::fs::write(mounted.1.join("staging/web1/at-once"), "written").unwrap();
    let ended = running.wait_with_output().unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && !error.contains("stays on"), "{error}");
    sandbox.good(&["commit", "web1"]);
    // Written before staging has moved on, it stays where it is.
    let running = backup("two");
    wait_for(count + 3);
    std::fs::write(mounted.1.join("staging/web1/before"), "written").unwrap();
    let ended = running.wait_with_output().unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    let is_told =
        error.contains("staging of web1 stays on the generation before: staging of web1 has changes");
    let status = &sandbox.json(&["staging", "web1"])[0];
    let stays = status["base"] != sandbox.generations().last().unwrap().as_str();
    assert_eq!((ended.status.success(), is_told), (true, stays), "{error}");
    mounted.umount();
}

fn stage_and_commit(mounted: &Mounted<'_>) {
    let staging = mounted.1.join("staging/web1");
    std::fs::create_dir(&staging).unwrap();
    std::fs::write(staging.join("file"), "first").unwrap();
    mounted.0.good(&["commit", "web1"]);
}

#[test]
fn a_disk_with_no_more_than_the_reserve_is_told_to_who_asks() {
    let sandbox = Sandbox::with_repository();
    stage(&sandbox, "web1", &[("file", b"staged")]);
    assert!(!sandbox.run(&["staging"]).error.contains("takes nothing more"));
    let file = sandbox.repository().join("reelfs.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str(&format!("\n[staging.space]\nreserve_bytes = {}\n", 1_u64 << 60));
    std::fs::write(&file, text).unwrap();
    let ended = sandbox.run(&["staging"]);
    assert!(
        ended.error.contains("staging takes nothing more: ") && ended.error.contains("1.0 EiB"),
        "{ended:?}"
    );
    assert!(ended.error.contains("(reelfs.toml: staging.space.reserve_bytes)"), "{ended:?}");
    assert_eq!(sandbox.json(&["staging"])[0]["reserve_bytes"], 1_u64 << 60);
    sandbox.good(&["commit", "web1"]);
}

#[test]
fn what_is_no_directory_of_a_client_is_named_and_in_nobodys_way() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "saved");
    std::fs::write(sandbox.repository().join("clients/notes.txt"), "of an admin").unwrap();
    std::fs::create_dir(sandbox.repository().join("clients/.hidden")).unwrap();
    std::fs::create_dir_all(sandbox.repository().join("staging")).unwrap();
    std::fs::write(sandbox.repository().join("staging/web1"), "of an admin").unwrap();
    sandbox.backup(&[]);
    let ended = sandbox.run(&["list"]);
    assert_eq!((ended.code, ended.out.lines().count()), (0, 2), "{ended:?}");
    for name in ["clients/notes.txt", "clients/.hidden"] {
        let warned = format!("reelfs: warning: {name} is no directory of a client and is passed over");
        assert!(ended.error.contains(&warned), "{ended:?}");
    }
    assert_eq!(ended.error.lines().count(), 2, "{ended:?}");
    assert_eq!(sandbox.run(&["list", "web1"]).error, "");
}

#[test]
fn commands_reach_a_client_in_whichever_of_two_mounts_it_is() {
    let sandbox = Sandbox::with_repository();
    let Some(first) = Mounted::at(&sandbox, "mnt") else { return };
    let Some(second) = Mounted::at(&sandbox, "second") else { return };
    for (mounted, client) in [(&first, "one"), (&second, "two")] {
        std::fs::create_dir(mounted.1.join("staging").join(client)).unwrap();
        std::fs::write(mounted.1.join(format!("staging/{client}/file")), client).unwrap();
    }
    stage(&sandbox, "free", &[("file", b"in no mount")]);
    let sockets = || std::fs::read_dir(sandbox.repository().join("staging")).unwrap();
    let is_socket = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".control");
    while sockets().filter(|entry| is_socket(&entry.as_ref().unwrap().file_name())).count() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let listed = sandbox.good(&["staging"]);
    for client in ["one ", "two "] {
        let is_mounted = |line: &str| line.starts_with(client) && line.ends_with(", mounted");
        assert!(listed.lines().any(is_mounted), "{listed}");
    }
    for client in ["one", "two", "free"] {
        assert_eq!(sandbox.json(&["commit", client])[0]["new"]["files"], 1);
        assert!(sandbox.good(&["discard", client]).contains(" shows "));
        sandbox.good(&["stage", client]);
    }
    // What was only looked at is free for either mount.
    assert!(second.1.join("staging/free/file").exists());
    assert_eq!(sandbox.good(&["cat", "two@latest:file"]), "two");
    second.umount();
    std::fs::write(first.1.join("staging/two/more"), "in the other mount now").unwrap();
    assert_eq!(sandbox.json(&["commit", "two"])[0]["new"]["files"], 1);
    first.umount();
}
