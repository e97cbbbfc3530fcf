//! What a test process left that was killed, by `timeout` for example: mounts, whose daemons end with them, and
//! directories. The next one that begins takes them away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

const PREFIX: &str = "reelfs-mount-";

/// How names of directories of this process begin.
pub(crate) fn prefix() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Takes away what processes left that are no more, once.
pub(crate) fn remove() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
        for directory in entries.map(|entry| entry.path()).filter(|path| is_left(path)) {
            for place in mounts_below(&directory) {
                eprintln!("taking off {}, which another test process left", place.display());
                let _taken_off = mountd::mountpoint::detach(&place);
            }
            let _removed = fs::remove_dir_all(&directory);
        }
    });
}

fn is_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let pid = name.and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
    pid.and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

// The last that was mounted first. Names of the directories have nothing that the table would escape.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut places: Vec<_> = places.filter(|place| place.starts_with(directory)).collect();
    places.reverse();
    places
}

#[test]
fn what_a_dead_process_left_is_taken_away_and_what_a_living_one_has_stays() {
    if !crate::support::can_mount() {
        return;
    }
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let (dead, living) = (child.id(), std::process::id());
    child.wait().unwrap();
    let site = crate::support::Site::new();
    let place = |pid: u32| site.root.join(format!("{PREFIX}{pid}-x"));
    for pid in [dead, living] {
        fs::create_dir(place(pid)).unwrap();
    }
    assert!(is_left(&place(dead)) && !is_left(&place(living)) && !is_left(Path::new("/tmp/other")));
    let mount = site.mount(&["-o", "staging"]);
    let above = mounts_below(&site.root);
    assert_eq!((above.first(), above.last()), (Some(&mount.path("staging")), Some(&mount.mountpoint)));
}
