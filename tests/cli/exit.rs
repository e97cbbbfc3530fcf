//! Every way to end has its exit code, its message on standard error, and a hint.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::{Random, Sandbox, ended};

#[test]
fn without_a_repository_the_exit_code_is_10() {
    let sandbox = Sandbox::new();
    for arguments in [&["list"][..], &["ls", "web1"], &["stats"], &["rebuild"], &["verify"]] {
        let ended = sandbox.run(arguments);
        assert_eq!(ended.code, 10, "{ended:?}");
        assert_eq!(ended.out, "");
        assert!(ended.error.starts_with("reelfs: error: ") && ended.error.contains("\nhint: "), "{ended:?}");
    }
}

#[test]
fn a_repository_whose_disk_is_not_mounted_is_out_of_reach_and_not_empty() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "content");
    sandbox.backup(&[]);
    let away = sandbox.path("away");
    fs::rename(sandbox.repository(), &away).unwrap();
    fs::create_dir(sandbox.repository()).unwrap();
    let source = sandbox.source();
    let backup = ["backup", source.to_str().unwrap(), "--client", "web1"];
    let target = sandbox.path("target");
    let restore = ["restore", "web1", target.to_str().unwrap()];
    let all = [&["list"][..], &["ls", "web1"], &["stats"], &["verify"], &["rebuild"], &backup, &restore];
    for arguments in all {
        let ended = sandbox.run(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (10, ""), "{arguments:?}: {ended:?}");
    }
    assert_eq!(fs::read_dir(sandbox.repository()).unwrap().count(), 0, "nothing is made where nothing is");
    assert!(!target.exists());
    fs::remove_dir(sandbox.repository()).unwrap();
    fs::rename(&away, sandbox.repository()).unwrap();
    // The generations alone may be elsewhere, too.
    let clients = sandbox.repository().join("clients");
    fs::rename(&clients, &away).unwrap();
    for arguments in all {
        let ended = sandbox.run(arguments);
        assert_eq!(ended.code, 12, "{arguments:?}: {ended:?}");
    }
    assert!(!clients.exists());
    fs::rename(&away, &clients).unwrap();
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    assert!(sandbox.backup(&[])["generation"].is_null());
}

#[test]
fn arguments_that_make_no_sense_end_with_2() {
    let sandbox = Sandbox::with_repository();
    for arguments in [
        &["frobnicate"][..],
        &["ls"],
        &["ls", "web1@newest"],
        &["ls", ":etc"],
        &["ls", "web1:../etc"],
        &["backup", "/etc"],
        &["backup", "/etc", "--client", "../x"],
        &["backup", "/etc", "--client", "web1", "--exclude", "[z-a]"],
        &["find", "web1@latest", "--all-generations"],
        &["find", "web1", "--larger", "big"],
        &["restore", "web1"],
    ] {
        let ended = sandbox.run(arguments);
        assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "");
    }
    let mut command = sandbox.command(&["list"]);
    let ended = ended(command.env_remove("REELFS_REPO"));
    assert_eq!(ended.code, 2);
    assert!(ended.error.contains("REELFS_REPO"), "{ended:?}");
}

#[test]
fn what_does_not_exist_ends_with_1_and_is_named() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "content");
    sandbox.backup(&[]);
    for (arguments, named) in [
        (&["ls", "web2"][..], "web2"),
        (&["list", "web2"], "web2"),
        (&["find", "web2", "-a"], "web2"),
        (&["ls", "web1@-7"], "-7"),
        (&["ls", "web1@1999"], "1999"),
        (&["ls", "web1:a/b"], ":a/b"),
        (&["ls", "web1:file/b"], ":file/b"),
        (&["cat", "web1"], "directory"),
        (&["backup", "/no/such/directory", "--client", "x"], "/no/such/directory"),
        (&["umount", "/no/such/mount"], "/no/such/mount"),
        (&["restore", "web1", "/dev/null"], "/dev/null"),
        (&["restore", "web1:file", "/dev/null/below"], "/dev/null"),
    ] {
        let ended = sandbox.run(arguments);
        assert_eq!(ended.code, 1, "{arguments:?}: {ended:?}");
        assert!(ended.error.contains(named), "{arguments:?}: {ended:?}");
        assert!(named == "directory" || ended.error.contains("hint: "), "{arguments:?}: {ended:?}");
    }
    let init = sandbox.run(&["init"]);
    assert_eq!((init.code, init.error.contains("is not empty")), (1, true));
}

#[test]
fn a_locked_repository_ends_with_11_and_can_still_be_read() {
    let sandbox = Sandbox::with_repository();
    sandbox.backup(&[]);
    let file = fs::OpenOptions::new().write(true).open(sandbox.repository().join("lock")).unwrap();
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    assert_eq!(sandbox.run_backup(&[]).code, 11);
    assert_eq!(sandbox.run(&["rebuild"]).code, 11);
    assert_eq!(sandbox.run(&["ls", "web1"]).code, 0);
    drop(lock);
    assert_eq!(sandbox.run_backup(&[]).code, 0);
}

#[test]
fn a_damaged_generation_ends_with_12_and_the_others_are_listed() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "one");
    sandbox.backup(&[]);
    sandbox.write("file", "another");
    sandbox.backup(&["--full"]);
    let first = sandbox.generations()[0].clone();
    let damaged = sandbox.stored(".1.dtf").remove(0);
    let len = fs::metadata(&damaged).unwrap().len();
    let mut bytes = fs::read(&damaged).unwrap();
    bytes.truncate(usize::try_from(len).unwrap() - 10);
    fs::write(&damaged, bytes).unwrap();
    let listed = sandbox.run(&["list"]);
    assert_eq!(listed.code, 12, "{listed:?}");
    assert!(listed.error.contains(&first) && listed.out.lines().count() == 2, "{listed:?}");
    assert_eq!(sandbox.run(&["ls", "web1@-2"]).code, 12);
    assert_eq!(sandbox.good(&["cat", "web1:file"]), "another");
}

#[test]
fn a_damaged_file_ends_with_12_after_what_could_be_read() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("good", "good");
    sandbox.write("large", Random(5).bytes(4 << 20));
    sandbox.backup(&[]);
    let damaged = sandbox.stored(".bdf").remove(0);
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let output = sandbox.command(&["cat", "web1:large"]).output().unwrap();
    assert_eq!(output.status.code(), Some(12));
    let expected = Random(5).bytes(4 << 20);
    assert!(output.stdout.len() < expected.len() && expected.starts_with(&output.stdout));
    assert!(String::from_utf8(output.stderr).unwrap().contains("web1@"));
    let verified = sandbox.run(&["verify"]);
    assert_eq!(verified.code, 12, "{verified:?}");
    assert!(verified.out.contains("damaged: ") && verified.out.contains(":large: "), "{verified:?}");
    let last = verified.out.lines().last().unwrap();
    assert!(last.starts_with("DAMAGED: 1 damaged place, 1 affected file; checked 1 generation, "), "{last}");
    let target = sandbox.path("target");
    assert_eq!(sandbox.run(&["restore", "web1", target.to_str().unwrap()]).code, 12);
    assert_eq!(fs::read(target.join("good")).unwrap(), b"good");
    assert!(!target.join("large").exists());
}

#[test]
fn a_backup_after_a_verification_heals_old_generations() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("large", Random(5).bytes(4 << 20));
    sandbox.backup(&[]);
    let damaged = sandbox.stored(".bdf").remove(0);
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    assert_eq!(sandbox.command(&["cat", "web1:large"]).output().unwrap().status.code(), Some(12));
    assert_eq!(sandbox.run(&["verify"]).code, 12);
    sandbox.backup(&["--checksum"]);
    for address in ["web1@-1:large", "web1@-2:large"] {
        let output = sandbox.command(&["cat", address]).output().unwrap();
        assert!(output.status.success() && output.stdout == Random(5).bytes(4 << 20), "{address}");
    }
}

#[test]
fn a_sound_repository_verifies_with_0() {
    let sandbox = Sandbox::with_repository();
    sandbox.write("file", "content");
    sandbox.backup(&[]);
    for arguments in [&["verify"][..], &["verify", "--quick"], &["verify", "web1"]] {
        let verified = sandbox.json(arguments).remove(0);
        assert_eq!((&verified["sound"], &verified["generations"]), (&true.into(), &1.into()), "{verified}");
        let told = sandbox.good(arguments);
        assert!(told.starts_with("sound; checked 1 generation, 1 page of trees, "), "{told}");
    }
    assert_eq!(sandbox.run(&["verify", "web2"]).code, 1);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_rest_saved_with_3() {
    let mut sandbox = Sandbox::with_repository();
    sandbox.write("secret", "secret");
    sandbox.write("closed/file", "closed");
    sandbox.write("open", "open");
    let is_root = sandbox.give_to_nobody().is_some();
    for name in ["secret", "closed"] {
        fs::set_permissions(sandbox.source().join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let source = sandbox.source();
    let arguments = ["backup", source.to_str().unwrap(), "--client", "web1", "--quiet"];
    let mut command =
        if is_root { sandbox.command_as_nobody(&arguments) } else { sandbox.command(&arguments) };
    let ended = ended(&mut command);
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.out, "");
    assert!(ended.error.contains("secret: not saved: ") && ended.error.contains("closed"), "{ended:?}");
    assert_eq!(sandbox.saved(), ["closed/", "open"]);
}

#[test]
fn what_cannot_be_read_any_more_stays_as_the_generation_before_has_it() {
    let mut sandbox = Sandbox::with_repository();
    sandbox.write("secret", "old");
    sandbox.write("closed/below/file", "closed");
    sandbox.write("open", "open");
    let is_root = sandbox.give_to_nobody().is_some();
    let source = sandbox.source();
    let back_up = || {
        let arguments = ["backup", source.to_str().unwrap(), "--client", "web1", "--json"];
        let mut command =
            if is_root { sandbox.command_as_nobody(&arguments) } else { sandbox.command(&arguments) };
        let ended = ended(&mut command);
        let summary: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        (ended, summary)
    };
    assert_eq!(back_up().0.code, 0);
    sandbox.write("secret", "newer");
    fs::set_permissions(source.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let (ended, summary) = back_up();
    assert_eq!((ended.code, summary["failed"].as_u64()), (3, Some(1)), "{ended:?}");
    assert!(
        ended.error.contains("Permission denied") && ended.error.contains("; kept as it was"),
        "{ended:?}"
    );
    assert!(summary["generation"].is_null(), "nothing that can be read has changed: {summary}");
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::remove_file(source.join("open")).unwrap();
    let (ended, summary) = back_up();
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!((ended.code, summary["failed"].as_u64()), (3, Some(2)), "{ended:?}");
    assert_eq!(sandbox.saved(), ["closed/", "closed/below/", "closed/below/file", "secret"]);
    assert_eq!(sandbox.good(&["cat", "web1:secret"]), "old");
    assert_eq!(sandbox.good(&["cat", "web1:closed/below/file"]), "closed");
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    fs::set_permissions(source.join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(back_up().0.code, 0);
    assert_eq!(sandbox.good(&["cat", "web1:secret"]), "newer");
}

#[test]
fn names_of_files_in_a_directory_that_cannot_be_read_stay_as_long_as_that_is_so() {
    let mut sandbox = Sandbox::with_repository();
    let names = ["closed/first", "closed/below/second", "closed/third", "outside"];
    for (file, name) in [("both inside", names[0]), ("one outside", names[2])] {
        sandbox.write(name, file);
    }
    fs::create_dir(sandbox.source().join("closed/below")).unwrap();
    for (from, to) in [(names[0], names[1]), (names[2], names[3])] {
        fs::hard_link(sandbox.source().join(from), sandbox.source().join(to)).unwrap();
    }
    let is_root = sandbox.give_to_nobody().is_some();
    let source = sandbox.source();
    let back_up = |code: i32| {
        let arguments = ["backup", source.to_str().unwrap(), "--client", "web1", "--quiet"];
        let mut command =
            if is_root { sandbox.command_as_nobody(&arguments) } else { sandbox.command(&arguments) };
        let ended = ended(&mut command);
        assert_eq!(ended.code, code, "{ended:?}");
    };
    let read = |name: &str| sandbox.good(&["cat", &format!("web1:{name}")]);
    let all = ["closed/", "closed/below/", "closed/below/second", "closed/first", "closed/third"];
    let close = |mode: u32| {
        fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(mode)).unwrap();
    };
    back_up(0);
    close(0o000);
    // The name outside stays, is written to, and goes; what is inside follows as far as it can be seen.
    for (text, expected) in [(None, "one outside"), (Some("written"), "written")] {
        if let Some(text) = text {
            fs::write(source.join("outside"), text).unwrap();
        }
        fs::write(source.join("more"), expected).unwrap();
        back_up(3);
        assert_eq!(sandbox.saved(), [&all[..], &["more", "outside"]].concat());
        assert!(names[..2].iter().all(|name| read(name) == "both inside"));
        assert!(names[2..].iter().all(|name| read(name) == expected));
        assert_eq!(sandbox.run(&["verify"]).code, 0);
    }
    fs::remove_file(source.join("outside")).unwrap();
    back_up(3);
    assert_eq!(sandbox.saved(), [&all[..], &["more"]].concat());
    assert_eq!(read("closed/third"), "written");
    close(0o755);
    back_up(0);
    assert_eq!(sandbox.saved(), [&all[..], &["more"]].concat());
    assert_eq!((read("closed/below/second"), read("closed/third")), ("both inside".into(), "written".into()));
    fs::remove_dir_all(source.join("closed")).unwrap();
    back_up(0);
    assert_eq!(sandbox.saved(), ["more"]);
    assert_eq!(sandbox.run(&["verify"]).code, 0);
}

#[test]
fn a_full_disk_ends_with_1_and_nothing_is_visible() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let small = sandbox.repository();
    fs::create_dir(&small).unwrap();
    let options = "size=8m,mode=0700";
    mount(Some("reelfs-test"), &small, Some("tmpfs"), MsFlags::MS_NOSUID, Some(options)).unwrap();
    let small = Mounted(small);
    assert_eq!(sandbox.run(&["init"]).code, 0);
    sandbox.write("a", "fits");
    sandbox.backup(&[]);
    let before = sandbox.generations();
    sandbox.write("large", Random(7).bytes(16 << 20));
    let ended = sandbox.run_backup(&[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.error.contains("No space left on device") && ended.error.contains("hint: "), "{ended:?}");
    assert_eq!(sandbox.generations(), before);
    assert!(sandbox.stored(".partial").is_empty(), "{:?}", sandbox.stored(".partial"));
    assert_eq!(sandbox.good(&["cat", "web1:a"]), "fits");
    fs::remove_file(sandbox.source().join("large")).unwrap();
    sandbox.write("b", "fits again");
    sandbox.backup(&[]);
    assert_eq!(sandbox.good(&["cat", "web1:b"]), "fits again");
    drop(small);
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_reader_who_goes_away_gets_no_message() {
    let sandbox = Sandbox::with_repository();
    for number in 0..5000 {
        sandbox.write(&format!("directory/file-with-a-long-name-{number}"), "");
    }
    sandbox.backup(&[]);
    let mut child = sandbox
        .command(&["ls", "-R", "web1"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
