//! Attacks S1-S5 and S40: names from a hostile repository, and neighbours who write in the target.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reelfs::live::{Device, LiveError, Metadata, Node, Target, TargetDirectory, TargetOptions};
use rustix::fs::{CWD, RenameFlags};
use tempfile::TempDir;

use crate::tree::{PLAIN, is_root, open_target, plain, tmpfs};

struct Scene {
    directory: TempDir,
    target: Target,
}

/// A target, and beside it a directory `outside` with a file `victim` that must stay as they are.
fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("outside")).unwrap();
    fs::write(directory.path().join("outside/victim"), b"precious").unwrap();
    let target = open_target(&directory.path().join("target"));
    Scene { directory, target }
}

impl Scene {
    fn root(&self) -> &TargetDirectory {
        self.target.root()
    }

    fn inside(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("target").join(name)
    }

    fn outside(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("outside").join(name)
    }

    fn state(&self) -> Vec<(u64, u32, u32, u64, i64, i64)> {
        let state = |path: &Path| {
            let found = fs::symlink_metadata(path).unwrap();
            (found.ino(), found.mode(), found.uid(), found.nlink(), found.mtime(), found.mtime_nsec())
        };
        assert_eq!(fs::read(self.outside("victim")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(self.outside("")).unwrap().count(), 1);
        vec![state(&self.outside("")), state(&self.outside("victim"))]
    }
}

fn write_file(directory: &TargetDirectory, name: &[u8]) -> Result<(), LiveError> {
    let file = directory.create_file(name)?;
    file.write_at(b"restored", 0)?;
    let _placed = file.commit(&Metadata { permissions: 0o4777, ..plain() })?;
    Ok(())
}

/// Whether nothing at all can be done at a name.
fn everything_is_refused(root: &TargetDirectory, name: &[u8]) -> bool {
    let placed = root.create_file(b"existing").unwrap().commit(&plain()).unwrap();
    let identity = placed.identity.unwrap();
    write_file(root, name).is_err()
        && root.create_directory(name).is_err()
        && root.open_directory(name).is_err()
        && root.create_symlink(name, b"x", &plain()).is_err()
        && root.create_node(name, Node::Fifo, &plain()).is_err()
        && root.link(name, root, b"existing", identity).is_err()
        && root.link(b"new", root, name, identity).is_err()
        && root.attributes_of(name).is_err()
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let scene = scene();
    let before = scene.state();
    let long = [b'x'; 256];
    for name in [
        &b".."[..],
        b".",
        b"",
        b"/",
        b"a/b",
        b"../outside",
        b"/etc",
        b"a\0b",
        b"\0",
        b"./a",
        b"a/",
        b"//",
        b"a/../../b",
        &long,
    ] {
        assert!(everything_is_refused(scene.root(), name), "{name:?}");
    }
    for path in [&b".."[..], b"../outside", b"a/../../outside", b"existing/..", b"/../outside"] {
        assert!(scene.target.directory(path).is_err(), "{path:?}");
    }
    assert_eq!(scene.state(), before);
}

#[test]
fn nothing_is_written_through_a_symbolic_link_that_was_restored() {
    let scene = scene();
    let before = scene.state();
    for target in ["../outside", scene.outside("").to_str().unwrap(), "/proc/self/cwd", "/proc/self/root"] {
        let link = scene.root().create_symlink(b"link", target.as_bytes(), &plain()).unwrap();
        assert!(link.shortfalls.is_empty());
        assert!(scene.root().open_directory(b"link").is_err(), "{target}");
        assert!(scene.target.directory(b"link/below").is_err(), "{target}");
        let directory = scene.root().create_directory(b"link").unwrap();
        assert!(fs::symlink_metadata(scene.inside("link")).unwrap().is_dir());
        write_file(&directory, b"victim").unwrap();
        fs::remove_dir_all(scene.inside("link")).unwrap();
    }
    assert_eq!(scene.state(), before);
}

#[test]
fn links_that_stand_in_the_target_are_replaced_and_not_written_to() {
    let scene = scene();
    let before = scene.state();
    let plant: [&dyn Fn(&Path); 3] = [
        &|path| symlink(scene.outside("victim"), path).unwrap(),
        &|path| symlink(scene.outside("new"), path).unwrap(),
        &|path| fs::hard_link(scene.outside("victim"), path).unwrap(),
    ];
    let restore: [&dyn Fn(); 4] = [
        &|| write_file(scene.root(), b"name").unwrap(),
        &|| drop(scene.root().create_symlink(b"name", b"x", &plain()).unwrap()),
        &|| drop(scene.root().create_node(b"name", Node::Socket, &plain()).unwrap()),
        &|| drop(scene.root().create_directory(b"name").unwrap()),
    ];
    for plant in plant {
        for restore in restore {
            plant(&scene.inside("name"));
            restore();
            assert_eq!(scene.state(), before);
            let path = scene.inside("name");
            if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
}

#[test]
fn a_hard_link_is_one_to_the_object_itself_or_fails() {
    let scene = scene();
    let before = scene.state();
    let root = scene.root();
    let placed = root.create_file(b"file").unwrap().commit(&plain()).unwrap().identity.unwrap();
    symlink(scene.outside("victim"), scene.inside("symlink")).unwrap();
    root.create_directory(b"directory").unwrap();
    let symlink = root.attributes_of(b"symlink").unwrap().unwrap().identity();
    root.link(b"linked symlink", root, b"symlink", symlink).unwrap();
    assert!(fs::symlink_metadata(scene.inside("linked symlink")).unwrap().is_symlink());

    for (source, expected) in [(&b"symlink"[..], placed), (b"directory", placed), (b"directory", symlink)] {
        assert!(root.link(b"new", root, source, expected).is_err());
        assert!(fs::symlink_metadata(scene.inside("new")).is_err());
    }
    // Somebody puts a link to another file where the first name was.
    fs::remove_file(scene.inside("file")).unwrap();
    fs::hard_link(scene.outside("victim"), scene.inside("file")).unwrap();
    let error = root.link(b"new", root, b"file", placed).unwrap_err();
    assert!(matches!(error, LiveError::Replaced { .. }), "{error}");
    assert!(fs::symlink_metadata(scene.inside("new")).is_err());
    fs::remove_file(scene.inside("file")).unwrap();
    assert_eq!(scene.state(), before);
}

#[test]
fn numbers_that_the_kernel_would_cut_off_make_no_device() {
    let scene = scene();
    for device in [Device { major: 4096 + 1, minor: 5 }, Device { major: 1, minor: (1 << 20) + 3 }] {
        let placed = scene.root().create_node(b"device", Node::CharacterDevice(device), &plain()).unwrap();
        assert_eq!(placed.identity, None);
        assert_eq!(placed.shortfalls.len(), 1);
        assert!(fs::symlink_metadata(scene.inside("device")).is_err());
    }
}

#[test]
fn an_owner_of_minus_one_does_not_mean_unchanged() {
    let scene = scene();
    let owner = Metadata { uid: u32::MAX, gid: u32::MAX, permissions: 0o6755, ..PLAIN };
    let placed = scene.root().create_file(b"file").unwrap().commit(&owner).unwrap();
    let missing: Vec<_> = placed.shortfalls.iter().map(|shortfall| shortfall.what.as_str()).collect();
    assert_eq!(missing, ["owner", "set-id bits"]);
    assert_eq!(fs::metadata(scene.inside("file")).unwrap().mode() & 0o7777, 0o755);
}

/// Runs `restore` for a second while a thread keeps swapping `name` in the target for a link to `planted`,
/// and tells how often each of them came round.
fn race(scene: &Scene, name: &str, planted: &Path, mut restore: impl FnMut()) -> (u64, u64) {
    let is_done = AtomicBool::new(false);
    let mut round_count = 0;
    let (one, other) = (scene.inside(name), scene.inside("swap"));
    let swap_count = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swap_count = 0;
            while !is_done.load(Ordering::Relaxed) {
                // The restore removes the link where it meets it: then another one is planted.
                if fs::read_link(&one).is_err() && fs::read_link(&other).is_err() {
                    let _is_no_directory = fs::remove_dir_all(&other);
                    let _is_no_file = fs::remove_file(&other);
                    let _exists = symlink(planted, &other);
                }
                let swapped = rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                swap_count += u64::from(swapped.is_ok());
            }
            swap_count
        });
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            restore();
            round_count += 1;
        }
        is_done.store(true, Ordering::Relaxed);
        swapper.join().unwrap()
    });
    (round_count, swap_count)
}

#[test]
fn a_directory_swapped_for_a_link_during_the_restore_leads_nowhere() {
    let scene = scene();
    let before = scene.state();
    let open_to_all = Metadata { permissions: 0o777, ..plain() };
    let outside = scene.outside("");
    let mut written_count = 0;
    let mut number = 0;
    let (round_count, swap_count) = race(&scene, "directory", &outside, || {
        // Somebody who keeps winning makes the restore fail, not go astray.
        let Ok(directory) = scene.root().create_directory(b"directory") else { return };
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
    });
    eprintln!("{round_count} rounds, {swap_count} swaps, {written_count} files written");
    assert!(written_count > 0 && swap_count > 0);
    assert_eq!(scene.state(), before);
}

#[test]
fn a_file_swapped_for_a_link_during_the_restore_is_not_written_through() {
    let scene = scene();
    let before = scene.state();
    let victim = scene.outside("victim");
    let open_to_all = Metadata { permissions: 0o777, ..plain() };
    let (round_count, swap_count) = race(&scene, "name", &victim, || {
        let _file = write_file(scene.root(), b"name");
        let _fifo = scene.root().create_node(b"name", Node::Fifo, &open_to_all);
        let _link = scene.root().create_symlink(b"name", b"x", &open_to_all);
    });
    eprintln!("{round_count} rounds, {swap_count} swaps");
    assert!(swap_count > 0);
    assert_eq!(scene.state(), before);
}

#[test]
fn a_restore_that_stays_in_one_file_system_does_not_enter_a_mount_point() {
    if !is_root("mounting") {
        return;
    }
    let Some(mount) = tmpfs() else { return };
    let parent = mount.path.parent().unwrap();
    let stay = TargetOptions { one_file_system: true, ..TargetOptions::default() };
    assert!(Target::open(parent, stay).unwrap().root().create_directory(b"mount").is_err());
    assert!(
        Target::open(parent, TargetOptions::default()).unwrap().root().create_directory(b"mount").is_ok()
    );
}
