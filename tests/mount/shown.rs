//! What is shown is what was backed up.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use crate::support::{Random, Site, can_mount, shell, shell_ok, wait_until};
use crate::tree::{assert_same, grow, look};

#[test]
fn a_mounted_generation_cannot_be_told_from_its_source() {
    if !can_mount() {
        return;
    }
    for seed in 1..=3 {
        let mut site = Site::new();
        grow(&site.source, &mut Random(seed), 300);
        let generation = site.backup("web1");
        let before = look(&site.source);
        let mount = site.mount(&[&format!("web1@{}", generation.time)]);
        // Twice: from the server, and from what the kernel keeps.
        for _ in 0..2 {
            assert_same(&before, &look(&mount.mountpoint));
        }
        drop(mount);
        let mount = site.mount(&[]);
        let mut expected = before;
        let mut shown = look(&mount.path(&format!("clients/web1/{}", generation.time)));
        // In a mount of many, the date of a generation's directory is its time.
        let root = std::path::Path::new("");
        assert_ne!(expected.remove(root), shown.remove(root));
        assert_same(&expected, &shown);
    }
}

#[test]
fn old_and_new_content_of_a_hard_linked_file_stay_apart() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("a"), "one").unwrap();
    fs::hard_link(site.source.join("a"), site.source.join("b")).unwrap();
    site.backup("web1");
    fs::write(site.source.join("a"), "one CHANGED").unwrap();
    site.backup("web1");
    let mount = site.mount(&[]);
    for copy in [
        "cp -a $1/2* $2",
        "cd $1; tar -cf - 2* | tar -xf - -C $2",
        "command -v rsync >/dev/null || exit 0; rsync -aHAX $1/2* $2",
    ] {
        let target = site.root.join("copy");
        fs::create_dir(&target).unwrap();
        shell_ok(copy, &[&mount.path("clients/web1"), &target]);
        let mut contents: Vec<_> = fs::read_dir(&target)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let (a, b) = (path.join("a"), path.join("b"));
                assert_eq!(a.metadata().unwrap().ino(), b.metadata().unwrap().ino(), "still one file");
                fs::read_to_string(b).unwrap()
            })
            .collect();
        contents.sort();
        assert!(contents.is_empty() || contents == ["one", "one CHANGED"], "{copy}: {contents:?}");
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn new_generations_and_clients_appear_within_a_second_and_latest_moves() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "1").unwrap();
    let first = site.backup("web1");
    let mount = site.mount(&[]);
    let client = mount.path("clients/web1");
    let names = |path: &std::path::Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&client), [first.time.to_string(), "latest".to_owned()]);
    assert!(!client.join("latest/new").exists());
    assert!(!mount.path("clients/db2").exists());
    assert_eq!(fs::read_to_string(client.join("latest/f")).unwrap(), "1");

    fs::write(site.source.join("new"), "2").unwrap();
    let second = site.backup("web1");
    let start = Instant::now();
    wait_until("latest moves", || {
        fs::read_link(client.join("latest")).unwrap().to_str() == Some(&second.time.to_string())
    });
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    assert_eq!(fs::read_to_string(client.join("latest/new")).unwrap(), "2");
    wait_until("the listing follows", || names(&client).len() == 3);
    assert_eq!(client.metadata().unwrap().mtime(), second.time.seconds());
    assert_eq!(client.join(first.time.to_string()).metadata().unwrap().mtime(), first.time.seconds());

    site.backup("db2");
    wait_until("the client is listed", || names(&mount.path("clients")) == ["db2", "web1"]);
}

#[test]
fn inode_numbers_are_the_same_after_a_remount() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    grow(&site.source, &mut Random(9), 60);
    site.backup("web1");
    let numbers = || {
        let mount = site.mount(&[]);
        shell_ok("cd $1; find clients -printf '%i %p\\n' | sort", &[&mount.mountpoint])
    };
    assert_eq!(numbers(), numbers());
}

#[test]
fn tools_find_no_difference_to_the_source() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    grow(&site.source, &mut Random(5), 200);
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    let both: [&std::path::Path; 2] = [&site.source, &mount.mountpoint];
    if shell("command -v rsync", &[]).status.success() {
        assert_eq!(shell_ok("rsync -naHAXi --checksum --delete $1/ $2/", &both), "");
    }
    assert_eq!(shell_ok("cd $1; tar --acls --xattrs -cf - . | tar -df - -C $2 2>&1", &both), "");
    let count = |path: &std::path::Path| shell_ok("find $1 | wc -l", &[path]);
    assert_eq!(count(&site.source), count(&mount.mountpoint));
}

#[test]
fn a_directory_of_many_entries_is_listed_whole() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    for index in 0..20_000 {
        fs::write(site.source.join(format!("file-{index}")), "").unwrap();
    }
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    for _ in 0..2 {
        let names: std::collections::BTreeSet<_> =
            fs::read_dir(&mount.mountpoint).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 20_000);
    }
    assert_eq!(shell_ok("ls -lU $1 | wc -l", &[&mount.mountpoint]).trim(), "20001");
}

#[test]
fn a_missing_attribute_is_missing_and_nothing_more() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let file = site.source.join("f");
    fs::write(&file, "x").unwrap();
    site.backup("web1");
    rustix::fs::lsetxattr(&file, "user.a", b"value", rustix::fs::XattrFlags::empty()).unwrap();
    site.backup("web1");
    let mount = site.mount(&[]);
    let path = mount.path("clients/web1/latest/f");
    let get = |name: &str| {
        let mut value = [0; 16];
        rustix::fs::lgetxattr(&path, name, &mut value).map(|len| value[..len].to_vec())
    };
    for _ in 0..3 {
        assert_eq!(get("user.a").unwrap(), b"value");
        assert_eq!(get("user.none").unwrap_err(), rustix::io::Errno::NODATA);
        // `ls -l` then asks no more, and the others are still there.
        assert_eq!(get("security.selinux").unwrap_err(), rustix::io::Errno::NOTSUP);
    }
    let mut small = [0; 2];
    assert_eq!(rustix::fs::lgetxattr(&path, "user.a", &mut small).unwrap_err(), rustix::io::Errno::RANGE);
    drop(mount);
    // The first generation has none, and the kernel is told so once for all.
    let mount = site.mount(&["web1@-2"]);
    let mut value = [0; 16];
    let error = rustix::fs::lgetxattr(mount.path("f"), "user.a", &mut value).unwrap_err();
    assert_eq!(error, rustix::io::Errno::NOTSUP);
    assert_eq!(fs::read(mount.path("f")).unwrap(), b"x");
}

#[test]
fn the_disk_is_that_of_the_repository() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    site.backup("web1");
    let mount = site.mount(&[]);
    let (ours, disk) =
        (rustix::fs::statvfs(&mount.mountpoint).unwrap(), rustix::fs::statvfs(&site.repository).unwrap());
    assert_eq!(
        (ours.f_blocks, ours.f_frsize, ours.f_files, ours.f_namemax),
        (disk.f_blocks, disk.f_frsize, disk.f_files, 255)
    );
}
