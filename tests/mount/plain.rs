//! `clients` as a mount of its own, while nothing in it has extended attributes.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, XattrFlags, lgetxattr, lsetxattr, openat};
use rustix::io::Errno;

use crate::support::{Mount, Site, can_mount, shell_ok, wait_until};

fn asked_count(mount: &Mount) -> u64 {
    let status: serde_json::Value = serde_json::from_str(&mount.control("status")).unwrap();
    status["xattr_count"].as_u64().unwrap()
}

fn has_submount(mount: &Mount) -> bool {
    mountd::mountpoint::find(&mount.path("clients")).is_some()
}

fn give_attribute(path: &Path) {
    lsetxattr(path, "user.a", b"value", XattrFlags::empty()).unwrap();
}

fn attribute(path: &Path) -> Result<Vec<u8>, Errno> {
    let mut value = [0; 16];
    lgetxattr(path, "user.a", &mut value).map(|len| value[..len].to_vec())
}

#[test]
fn a_copy_asks_for_no_attributes_where_nothing_has_any() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    for index in 0..50 {
        fs::write(site.source.join(format!("f{index}")), "x").unwrap();
    }
    site.backup("web1");
    let copies = |mount: &Mount| {
        let latest = mount.path("clients/web1/latest");
        shell_ok("cp -a $1/. $2/a && cp -a $1/. $2/b && rm -r $2/a $2/b", &[&latest, &site.root]);
        asked_count(mount)
    };
    let mount = site.mount(&["-o", "nosubmount"]);
    assert!(!has_submount(&mount));
    assert!(copies(&mount) >= 50, "else this test shows nothing");
    drop(mount);
    let mount = site.mount(&[]);
    assert!(has_submount(&mount));
    assert_eq!(copies(&mount), 0);
}

#[test]
fn the_first_generation_with_attributes_is_never_shown_without_them() {
    if !can_mount() {
        return;
    }
    for is_killed in [false, true] {
        let mut site = Site::new();
        fs::write(site.source.join("f"), "x").unwrap();
        let first = site.backup("web1");
        let mount = site.mount(&[]);
        let client = mount.path("clients/web1");
        let within = fs::File::open(&client).unwrap();
        let read_within = |generation: &str| {
            let path = format!("{generation}/f");
            let file = openat(&within, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let mut text = String::new();
            fs::File::from(file).read_to_string(&mut text).unwrap();
            Ok::<_, Errno>(text)
        };
        let first = first.time.to_string();
        assert_eq!(read_within(&first).unwrap(), "x");
        if is_killed {
            mount.kill_server();
        }

        give_attribute(&site.source.join("f"));
        let second = site.backup("web1").time.to_string();
        let path = client.join(&second).join("f");
        // At once, and not only when the thread that watches has noticed.
        assert_eq!(attribute(&path).as_deref(), Ok(&b"value"[..]));
        assert!(!has_submount(&mount));
        assert_eq!(fs::read(client.join(&first).join("f")).unwrap(), b"x");
        // Who was within finds what has no attributes, and of the other that it is elsewhere.
        assert_eq!(read_within(&first).unwrap(), "x");
        assert_eq!(read_within(&second), Err(Errno::STALE));
        assert_eq!(read_within("latest"), Err(Errno::STALE));
    }
}

#[test]
fn a_generation_with_attributes_that_nobody_asks_for_takes_the_mount_off_too() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let mount = site.mount(&[]);
    assert!(has_submount(&mount));
    fs::write(site.source.join("f"), "x").unwrap();
    give_attribute(&site.source.join("f"));
    site.backup("web1");
    wait_until("the mount of clients is taken off", || !has_submount(&mount));
    assert_eq!(attribute(&mount.path("clients/web1/latest/f")).unwrap(), b"value");
}

#[test]
fn a_repository_with_attributes_has_one_mount_for_all_clients() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "x").unwrap();
    give_attribute(&site.source.join("f"));
    site.backup("web1");
    fs::remove_file(site.source.join("f")).unwrap();
    site.backup("db2");
    let mount = site.mount(&[]);
    assert!(!has_submount(&mount));
    assert_eq!(attribute(&mount.path("clients/web1/latest/f")).unwrap(), b"value");
}
