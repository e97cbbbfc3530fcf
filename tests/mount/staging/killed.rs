//! Servers that are killed while programs write.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use reelfs::job::control::{ControlClient, Request};
use rustix::fs::XattrFlags;

use super::committed::{ask, commit};
use super::failed_syncs::Failing;
use super::requests::{count, requests};
use super::{Stage, has};
use crate::support::{Random, can_mount, shell_ok, wait_until};
use crate::tree::grow;

#[test]
fn rsync_goes_on_when_servers_are_killed() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let mut stage = Stage::new();
    println!("seed 31");
    grow(&stage.site.source, &mut Random(31), 1500);
    std::thread::scope(|scope| {
        let mount = stage.mount();
        scope.spawn(|| {
            for pause in [150, 220, 90] {
                std::thread::sleep(Duration::from_millis(pause));
                mount.kill_server();
            }
        });
        shell_ok("rsync -aHAX --delete $1/ $2/", &[&stage.site.source, &stage.root()]);
    });
    let check = "rsync -aHAXnci --delete $1/ $2/";
    assert_eq!(shell_ok(check, &[&stage.site.source, &stage.root()]), "");
    stage.remount();
    assert_eq!(shell_ok(check, &[&stage.site.source, &stage.root()]), "");
}

#[test]
fn open_files_directories_and_unnamed_files_outlive_the_server() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let open = |name: &str| {
        fs::File::options().read(true).write(true).create(true).truncate(true).open(stage.path(name)).unwrap()
    };
    let (mut plain, mut removed, mut database) = (open("plain"), open("removed"), open("x.db"));
    for file in [&mut plain, &mut removed, &mut database] {
        file.write_all(b"before ").unwrap();
    }
    fs::remove_file(stage.path("removed")).unwrap();
    fs::create_dir(stage.path("d")).unwrap();
    for index in 0..300 {
        fs::write(stage.path(&format!("d/{index:03}")), "").unwrap();
    }
    let mut listing = fs::read_dir(stage.path("d")).unwrap();
    let mut names: Vec<_> = listing.by_ref().take(10).map(|entry| entry.unwrap().file_name()).collect();
    stage.mount().kill_server();
    for file in [&mut plain, &mut removed, &mut database] {
        file.write_all(b"after").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before after");
    }
    names.extend(listing.map(|entry| entry.unwrap().file_name()));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 300);
    // The kernel goes one way for all handles of a file: another one must be opened the same way.
    assert_eq!(fs::read_to_string(stage.path("plain")).unwrap(), "before after");
    assert_eq!(fs::read_to_string(stage.path("x.db")).unwrap(), "before after");
    assert!(!stage.path("removed").exists());
    drop((plain, removed, database));
    stage.mount().kill_server();
    fs::write(stage.path("plain"), "new").unwrap();
    assert_eq!(fs::read_to_string(stage.path("plain")).unwrap(), "new");
}

// The server dies before the kernel has its next answer.
fn kill_at_next_answer(stage: &Stage) -> Option<Failing> {
    stage.root().metadata().unwrap();
    Failing::inject(stage, "writev", "error=EIO:signal=SIGKILL:when=1")
}

#[test]
fn an_exchange_of_two_names_is_not_done_twice_by_two_servers() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    for name in ["a", "b"] {
        fs::write(stage.path(name), name).unwrap();
    }
    let root = fs::File::open(stage.root()).unwrap();
    for expected in ["ba", "ab", "ba"] {
        let text = |name: &str| fs::read_to_string(stage.path(name)).unwrap();
        // The kernel need not look them up then.
        text("a");
        text("b");
        let Some(killing) = kill_at_next_answer(&stage) else { return };
        rustix::fs::renameat_with(&root, "a", &root, "b", rustix::fs::RenameFlags::EXCHANGE).unwrap();
        drop(killing);
        assert_eq!(text("a") + &text("b"), expected);
        let names =
            fs::read_dir(stage.root()).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()));
        assert_eq!(names.map(Result::unwrap).collect::<std::collections::BTreeSet<_>>().len(), 2);
    }
}

#[test]
fn an_extended_attribute_that_a_server_removed_before_it_died_is_removed() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    fs::write(stage.path("file"), "").unwrap();
    let file = fs::File::open(stage.path("file")).unwrap();
    rustix::fs::fsetxattr(&file, "user.mark", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let Some(killing) = kill_at_next_answer(&stage) else { return };
    rustix::fs::fremovexattr(&file, "user.mark").unwrap();
    drop(killing);
    assert_eq!(rustix::fs::fremovexattr(&file, "user.mark"), Err(rustix::io::Errno::NODATA));
}

#[test]
fn after_a_takeover_names_of_files_are_looked_up_again_when_they_are_opened() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let paths: Vec<_> = (0..200).map(|number| stage.path(&format!("file{number}"))).collect();
    for path in &paths {
        fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap();
    }
    commit(&stage);
    // Numbers of what nobody has touched are those of places in the base.
    let mut stage = stage;
    stage.remount();
    let read = |path: &std::path::PathBuf| {
        assert_eq!(fs::read(path).unwrap(), path.as_os_str().as_encoded_bytes());
    };
    paths.iter().for_each(read);
    let (held, by_number) = (fs::File::open(&paths[0]).unwrap(), fs::File::open(&paths[1]).unwrap());
    stage.mount().kill_server();
    assert_eq!(held.metadata().unwrap().len(), paths[0].as_os_str().len() as u64);
    let before = requests(&stage);
    paths.iter().skip(2).for_each(read);
    let after = requests(&stage);
    let more = |kind: &str| count(&after, kind) - count(&before, kind);
    assert!(more("lookup") >= 198, "{after:?}");
    assert!((198..=2 * 198 + 10).contains(&more("open")), "{after:?}");
    paths.iter().skip(2).for_each(read);
    let again = requests(&stage);
    assert!(count(&again, "lookup") - count(&after, "lookup") < 20, "what was looked up is known");
    // Who has no name to look up gets it all the same.
    let text = fs::read(format!("/proc/self/fd/{}", by_number.as_raw_fd())).unwrap();
    assert_eq!(text, paths[1].as_os_str().as_encoded_bytes());
}

#[test]
fn after_a_takeover_whatever_comes_by_a_name_has_it_looked_up_again() {
    if !can_mount() {
        return;
    }
    let mut stage = Stage::new();
    let paths: Vec<_> = (0..60).map(|number| stage.path(&format!("file{number}"))).collect();
    for (number, path) in paths.iter().enumerate() {
        if number % 6 == 5 {
            std::os::unix::fs::symlink(format!("to {number}"), path).unwrap();
        } else {
            fs::write(path, path.as_os_str().as_encoded_bytes()).unwrap();
            rustix::fs::setxattr(path, "user.n", number.to_string().as_bytes(), XattrFlags::empty()).unwrap();
        }
    }
    commit(&stage);
    stage.remount();
    assert!(paths.iter().all(|path| fs::symlink_metadata(path).is_ok()));
    stage.mount().kill_server();
    // It answers, and knows nothing but the directory.
    fs::metadata(stage.root()).unwrap();
    let before = requests(&stage);
    for (number, path) in paths.iter().enumerate() {
        let mut value = [0; 8];
        match number % 6 {
            0 => {
                let len = rustix::fs::getxattr(path, "user.n", &mut value).unwrap();
                assert_eq!(value[..len], *number.to_string().as_bytes());
            }
            1 => assert_eq!(rustix::fs::listxattr(path, &mut value).unwrap(), b"user.n\0".len()),
            2 => rustix::fs::setxattr(path, "user.n", b"new", XattrFlags::empty()).unwrap(),
            3 => fs::set_permissions(path, fs::Permissions::from_mode(0o604)).unwrap(),
            4 => fs::hard_link(path, path.with_extension("link")).unwrap(),
            _ => assert_eq!(fs::read_link(path).unwrap().to_str(), Some(&*format!("to {number}"))),
        }
    }
    let after = requests(&stage);
    assert!(count(&after, "lookup") - count(&before, "lookup") >= 60, "{before:?} {after:?}");
    assert_eq!(fs::metadata(&paths[3]).unwrap().mode() & 0o777, 0o604);
    assert_eq!(fs::read(paths[4].with_extension("link")).unwrap(), paths[4].as_os_str().as_encoded_bytes());
}

#[test]
fn what_a_server_opened_for_a_request_that_it_did_not_answer_is_closed() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    let backing_count = || {
        let data = stage.site.repository.join("staging/web1/data");
        shell_ok("find $1 -type f | wc -l", &[&data]).trim().parse::<u64>().unwrap()
    };
    // Files that are made ahead go when none is made for some seconds.
    let rest = |count: u64| wait_until("files are removed", || backing_count() == count);
    fs::write(stage.path("named"), vec![7; 1 << 20]).unwrap();
    rest(1);
    let Some(killing) = kill_at_next_answer(&stage) else { return };
    let unnamed = rustix::fs::open(
        stage.root(),
        rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::RWXU,
    );
    drop(killing);
    let mut unnamed = fs::File::from(unnamed.unwrap());
    unnamed.write_all(b"unnamed").unwrap();
    rest(2);
    drop(unnamed);
    rest(1);
    // A file that was opened twice and closed once is not open.
    fs::metadata(stage.path("named")).unwrap();
    let Some(killing) = kill_at_next_answer(&stage) else { return };
    let named = fs::File::options().write(true).open(stage.path("named")).unwrap();
    drop(killing);
    drop(named);
    let connect = || ControlClient::connect(&stage.site.repository).unwrap();
    wait_until("the next server answers", || connect().is_some());
    wait_until("nobody writes", || {
        format!("{:?}", ask(&stage, &Request::Status { client: None })).contains("writer_count: 0")
    });
}
