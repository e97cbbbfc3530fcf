//! Set-id bits and capabilities of files that the kernel writes by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{XattrFlags, fsetxattr, getxattr};

use super::Stage;
use crate::support::can_mount;

const CAPABILITY: &str = "security.capability";
// struct vfs_cap_data, revision 2: CAP_NET_RAW.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set(file: &File, mode: u32) {
    file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
}

fn create(stage: &Stage, name: &str) -> File {
    let mut file = File::create_new(stage.path(name)).unwrap();
    file.write_all(&[b'x'; 400_000]).unwrap();
    file
}

#[test]
fn a_write_through_a_handle_from_before_takes_set_id_bits_away() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    for (name, set_mode, left) in [("a", 0o6755, 0o755), ("b", 0o4711, 0o711), ("c", 0o2666, 0o2666)] {
        let mut file = create(&stage, name);
        set(&file, set_mode);
        assert_eq!(mode(&stage.path(name)), set_mode, "nobody has written since");
        file.write_all(b"more").unwrap();
        assert_eq!(mode(&stage.path(name)), left, "{name}: while it is open");
        drop(file);
        assert_eq!(mode(&stage.path(name)), left, "{name}: when it is closed");
    }
    // Set again after the last write, they stay.
    let mut file = create(&stage, "d");
    set(&file, 0o4755);
    file.write_all(b"more").unwrap();
    set(&file, 0o4755);
    drop(file);
    assert_eq!(mode(&stage.path("d")), 0o4755);
    // A time that is set hides no write.
    let mut file = create(&stage, "e");
    set(&file, 0o4755);
    file.write_all(b"more").unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(mode(&stage.path("e")), 0o755);
    // Opened with the bits on it, the kernel says of each write who makes it: root may.
    let file = File::options().write(true).open(stage.path("d")).unwrap();
    file.write_all_at(b"more", 0).unwrap();
    drop(file);
    assert_eq!(mode(&stage.path("d")), 0o4755);
    // Though not if the kernel has the file open to read it by itself.
    let reader = File::open(stage.path("d")).unwrap();
    File::options().write(true).open(stage.path("d")).unwrap().write_all_at(b"more", 0).unwrap();
    assert_eq!(mode(&stage.path("d")), 0o755);
    drop(reader);
}

#[test]
fn a_write_takes_capabilities_away_and_so_do_truncation_and_a_server_that_was_killed() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let path = stage.path("a");
    let has = || getxattr(&path, CAPABILITY, &mut [0; 64][..]).is_ok();
    let file = create(&stage, "a");
    fsetxattr(&file, CAPABILITY, &NET_RAW, XattrFlags::empty()).unwrap();
    assert!(has());
    file.write_all_at(b"more", 1000).unwrap();
    drop(file);
    assert!(fs::metadata(&path).is_ok() && !has());

    let mut file = create(&stage, "b");
    set(&file, 0o4755);
    file.set_len(100).unwrap();
    set(&file, 0o4755);
    stage.mount().kill_server();
    file.write_all(b"more").unwrap();
    drop(file);
    assert_eq!(mode(&stage.path("b")), 0o755);
}
