//! Attack S4: neighbours who swap what is restored for links, again and again.
//!
//! Each test does some ten thousand path operations, or as many as `REELFS_RACE_OPERATIONS` says: `make soak`
//! does a million.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use reelfs::live::{Metadata, Node};
use rustix::fs::{CWD, RenameFlags};

use crate::hostile::{Scene, scene, scene_in, write_file};
use crate::tree::plain;

const OPERATION_COUNT: u64 = 20_000;
/// On a slow disk fewer operations must do, unless they were asked for.
const PATIENCE: Duration = Duration::from_secs(3);

/// A scene in memory, if there is such a place: the disk would be most of the time.
fn fast_scene() -> Scene {
    match tempfile::Builder::new().prefix("reelfs-race-").tempdir_in("/dev/shm") {
        Ok(directory) => scene_in(directory),
        Err(_) => scene(),
    }
}

/// Runs `restore`, which tells how many path operations it did, while a thread keeps swapping `name` in the
/// target for a link to `planted`; returns how often that succeeded.
fn race(scene: &Scene, name: &str, planted: &Path, mut restore: impl FnMut() -> u64) -> u64 {
    let wished = env::var("REELFS_RACE_OPERATIONS").ok().map(|count| count.parse().expect("a number"));
    let is_done = AtomicBool::new(false);
    let (one, other) = (scene.inside(name), scene.inside("swap"));
    let start = Instant::now();
    let (operation_count, swap_count) = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swap_count = 0_u64;
            while !is_done.load(Ordering::Relaxed) {
                // The restore removes the link where it meets it: then another one is planted.
                if fs::read_link(&one).is_err() && fs::read_link(&other).is_err() {
                    let _is_no_directory = fs::remove_dir_all(&other);
                    let _is_no_file = fs::remove_file(&other);
                    let _exists = std::os::unix::fs::symlink(planted, &other);
                }
                let swapped = rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                swap_count += u64::from(swapped.is_ok());
            }
            swap_count
        });
        let mut operation_count = 0;
        while operation_count < wished.unwrap_or(OPERATION_COUNT)
            && (wished.is_some() || start.elapsed() < PATIENCE)
        {
            operation_count += restore();
        }
        is_done.store(true, Ordering::Relaxed);
        (operation_count, swapper.join().unwrap())
    });
    eprintln!("{operation_count} path operations, {swap_count} swaps, {:?}", start.elapsed());
    swap_count
}
#[test]
fn a_directory_swapped_for_a_link_during_the_restore_leads_nowhere() {
    let scene = fast_scene();
    let before = scene.state();
    let open_to_all = Metadata { permissions: 0o777, ..plain() };
    let outside = scene.outside("");
    let mut written_count = 0;
    let mut number = 0;
    let swap_count = race(&scene, "directory", &outside, || {
        // Somebody who keeps winning makes the restore fail, not go astray.
        let Ok(directory) = scene.root().create_directory(b"directory") else { return 1 };
        number += 1;
        let name = format!("file {}", number % 50);
        written_count += u64::from(write_file(&directory, name.as_bytes()).is_ok());
        let _link = directory.create_symlink(b"link", b"/etc", &plain());
        let _fifo = directory.create_node(b"fifo", Node::Fifo, &plain());
        if let Ok(below) = scene.target.directory(b"directory/below") {
            let _shortfalls = below.set_metadata(&open_to_all);
        }
        let _below = directory.create_directory(b"below");
        let _shortfalls = directory.set_metadata(&open_to_all);
        // Made: directory, file, its name, link, FIFO, directory; opened: two directories.
        8
    });
    assert!(written_count > 0 && swap_count > 0);
    assert_eq!(scene.state(), before);
}

#[test]
fn a_file_swapped_for_a_link_during_the_restore_is_not_written_through() {
    let scene = fast_scene();
    let before = scene.state();
    let victim = scene.outside("victim");
    let open_to_all = Metadata { permissions: 0o777, ..plain() };
    let swap_count = race(&scene, "name", &victim, || {
        let _file = write_file(scene.root(), b"name");
        let _fifo = scene.root().create_node(b"name", Node::Fifo, &open_to_all);
        let _link = scene.root().create_symlink(b"name", b"x", &open_to_all);
        // Made, and moved into place: file, FIFO, link.
        6
    });
    assert!(swap_count > 0);
    assert_eq!(scene.state(), before);
}
