//! Listings that go on while names come and go, and servers too.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags};

use super::Stage;
use crate::support::{can_mount, shell_ok};

fn name(index: usize) -> String {
    format!("{index:05}-{}", "x".repeat(60))
}

fn fill(directory: &Path, count: usize) {
    fs::create_dir(directory).unwrap();
    for index in 0..count {
        File::create(directory.join(name(index))).unwrap();
    }
}

// Lists, removes what was listed, makes other names, and now and then has the server killed.
fn list_and_remove(stage: &Stage, directory: &Path, kills: &[usize]) -> BTreeSet<OsString> {
    let mut seen = BTreeSet::new();
    for (count, entry) in fs::read_dir(directory).unwrap().enumerate() {
        let entry = entry.unwrap().file_name();
        assert!(seen.insert(entry.clone()), "{entry:?} is listed twice");
        fs::remove_file(directory.join(&entry)).unwrap();
        if count % 100 == 0 {
            File::create(directory.join(format!("!{count}"))).unwrap();
            File::create(directory.join(format!("~{count}"))).unwrap();
        }
        if kills.contains(&count) {
            stage.mount().kill_server();
        }
    }
    seen
}

#[test]
fn a_directory_is_listed_once_each_while_it_changes_and_servers_are_killed() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let directory = stage.path("d");
    fill(&directory, 3000);
    let seen = list_and_remove(&stage, &directory, &[40, 700, 1900]);
    for index in 0..3000 {
        assert!(seen.contains(&OsString::from(name(index))), "{index} is not listed");
    }
    shell_ok("ls $1 > /dev/null; rm -r $1", &[&directory]);
}

#[test]
fn names_of_the_last_generation_are_listed_once_each_though_servers_are_killed() {
    if !can_mount() {
        return;
    }
    let mut site = crate::support::Site::new();
    fill(&site.source.join("d"), 3000);
    site.backup("web1");
    let stage = Stage::on(site);
    let seen = list_and_remove(&stage, &stage.path("d"), &[500, 2500]);
    assert!((0..3000).all(|index| seen.contains(&OsString::from(name(index)))));
}

#[test]
fn a_listing_goes_on_from_a_place_that_another_one_told() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let directory = stage.path("d");
    fill(&directory, 500);
    let open = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Dir::new(rustix::fs::open(&directory, flags, Mode::empty()).unwrap()).unwrap()
    };
    // As a server of NFS does: each part of a listing with a directory that was opened anew.
    let (mut names, mut place) = (Vec::new(), 0);
    loop {
        let mut listing = open();
        listing.seek(place).unwrap();
        let part: Vec<_> = listing.take(30).map(|entry| entry.unwrap()).collect();
        let Some(last) = part.last() else { break };
        place = last.offset();
        for entry in part {
            let name = entry.file_name().to_str().unwrap().to_owned();
            if !name.starts_with('.') {
                fs::remove_file(directory.join(&name)).unwrap();
                names.push(name);
            }
        }
        if names.len() > 200 && names.len() < 230 {
            // The name behind which the listing goes on is removed, and who knew it is dead.
            stage.mount().kill_server();
        }
    }
    let expected: Vec<_> = (0..500).map(name).collect();
    assert_eq!(names, expected);
}

#[test]
fn clients_are_listed_once_each_while_one_goes() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let top = stage.mount().path("staging");
    for name in ["a", "b", "c", "d"] {
        fs::create_dir(top.join(name)).unwrap();
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut listing = Dir::new(rustix::fs::open(&top, flags, Mode::empty()).unwrap()).unwrap();
    let mut names = Vec::new();
    let mut place = 0;
    while let Some(entry) = {
        listing.seek(place).unwrap();
        listing.next().transpose().unwrap()
    } {
        place = entry.offset();
        let name = entry.file_name().to_str().unwrap().to_owned();
        if name == "b" {
            fs::remove_dir(top.join("a")).unwrap();
            fs::remove_dir(top.join("b")).unwrap();
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(names, [".", "..", "a", "b", "c", "d", "web1"]);
}
