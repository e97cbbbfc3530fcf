//! Servers that are killed while programs write.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::time::Duration;

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
