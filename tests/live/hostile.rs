//! Attacks S1-S5 and S40: names from a hostile repository, and neighbours who write in the target.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use reelfs::live::{Device, LiveError, Metadata, Node, Target, TargetDirectory, TargetOptions};
use tempfile::TempDir;

use crate::tree::{PLAIN, is_root, open_target, plain, tmpfs};

pub(crate) struct Scene {
    directory: TempDir,
    pub(crate) target: Target,
}

/// A target, and beside it a directory `outside` with a file `victim` that must stay as they are.
pub(crate) fn scene() -> Scene {
    scene_in(tempfile::tempdir().unwrap())
}

/// The same in a directory of one's own choice.
pub(crate) fn scene_in(directory: TempDir) -> Scene {
    fs::create_dir(directory.path().join("outside")).unwrap();
    fs::write(directory.path().join("outside/victim"), b"precious").unwrap();
    let target = open_target(&directory.path().join("target"));
    Scene { directory, target }
}

impl Scene {
    pub(crate) fn root(&self) -> &TargetDirectory {
        self.target.root()
    }

    pub(crate) fn inside(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("target").join(name)
    }

    pub(crate) fn outside(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("outside").join(name)
    }

    pub(crate) fn state(&self) -> Vec<(u64, u32, u32, u64, i64, i64)> {
        let state = |path: &Path| {
            let found = fs::symlink_metadata(path).unwrap();
            (found.ino(), found.mode(), found.uid(), found.nlink(), found.mtime(), found.mtime_nsec())
        };
        assert_eq!(fs::read(self.outside("victim")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(self.outside("")).unwrap().count(), 1);
        vec![state(&self.outside("")), state(&self.outside("victim"))]
    }
}

pub(crate) fn write_file(directory: &TargetDirectory, name: &[u8]) -> Result<(), LiveError> {
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
