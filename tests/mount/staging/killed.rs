//! Servers that are killed while programs write.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::time::Duration;

use super::failed_syncs::Failing;
use super::{Stage, has};
use crate::support::{Random, can_mount, shell_ok};
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
