//! Who may do what.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::{Site, as_nobody, can_mount, shell};

fn place(site: &Site, name: &str, mode: u32) {
    let path = site.source.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, name).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn options_of(path: &Path) -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().find(|line| line.contains(&*path.to_string_lossy())).unwrap().to_owned()
}

#[test]
fn the_kernel_checks_the_rights_of_the_source() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    place(&site, "secret", 0o600);
    place(&site, "public", 0o644);
    place(&site, "closed/public", 0o644);
    place(&site, "shared", 0o640);
    fs::set_permissions(site.source.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    // The list gives the owning group nothing; the group bits are its mask.
    let has_acl =
        shell("setfacl -m u:daemon:r,g::-,m::r $1", &[&site.source.join("shared")]).status.success();
    site.backup("web1");
    let mount = site.mount(&[]);
    let shown = mount.path("clients/web1/latest");
    for _ in 0..2 {
        assert!(as_nobody("cat $1/public", &shown));
        assert!(!as_nobody("cat $1/secret", &shown));
        assert!(!as_nobody("ls $1/closed", &shown));
        assert!(!as_nobody("cat $1/closed/public", &shown));
        assert!(!as_nobody("ls $1", &mount.path(".reelfs")));
        assert!(!as_nobody("cat $1/status", &mount.path(".reelfs")));
    }
    if has_acl {
        let as_user = |uid: u32, gid: u32| {
            use std::os::unix::process::CommandExt as _;
            let mut command = std::process::Command::new("cat");
            command.arg(shown.join("shared")).uid(uid).gid(gid);
            command.output().unwrap().status.success()
        };
        assert!(as_user(1, 65534), "the list names daemon");
        assert!(!as_user(65534, 0), "the list takes the group's right away");
    }
    let options = options_of(&mount.mountpoint);
    for option in ["nosuid", "nodev", "default_permissions", "allow_other", "fuse.reelfs"] {
        assert!(options.contains(option), "{option}: {options}");
    }
}

#[test]
fn set_id_bits_and_devices_have_no_effect() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::copy("/usr/bin/id", site.source.join("id")).unwrap();
    fs::set_permissions(site.source.join("id"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert!(shell("mknod -m 666 $1/null c 1 3", &[&site.source]).status.success());
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    assert!(as_nobody("test $($1/id -u) = 65534", &mount.mountpoint));
    assert!(!shell("cat < $1/null", &[&mount.mountpoint]).status.success());
    drop(mount);
    let mount = site.mount(&["web1@latest", "--suid", "--dev"]);
    assert!(as_nobody("test $($1/id -u) = 0", &mount.mountpoint));
    assert!(shell("cat < $1/null", &[&mount.mountpoint]).status.success());
}

#[test]
fn every_change_is_refused_even_if_somebody_remounts_for_writing() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    place(&site, "d/f", 0o666);
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    let refused = |when: &str| {
        for change in [
            "touch $1/new",
            "mkdir $1/new",
            "rm $1/d/f",
            "rmdir $1/d",
            "mv $1/d $1/e",
            "ln $1/d/f $1/g",
            "ln -s x $1/g",
            "mknod $1/n p",
            "chmod 600 $1/d/f",
            "chown 1 $1/d/f",
            "touch -d 2001-01-01 $1/d/f",
            "truncate -s 0 $1/d/f",
            "dd if=/dev/zero of=$1/d/f bs=1 count=1 conv=notrunc",
            "setfattr -n user.a -v b $1/d/f",
            "fallocate -l 100000 $1/d/f",
        ] {
            let output = shell(change, &[&mount.mountpoint]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{when}: {change}");
            assert!(text.contains("Read-only") || text.contains("not found"), "{when}: {change}: {text}");
        }
    };
    refused("read-only");
    nix::mount::mount(
        None::<&str>,
        &mount.mountpoint,
        None::<&str>,
        nix::mount::MsFlags::MS_REMOUNT,
        None::<&str>,
    )
    .unwrap();
    refused("remounted");
    assert_eq!(fs::read_to_string(mount.path("d/f")).unwrap(), "d/f");
}

#[test]
fn owners_can_be_mapped_and_a_mount_kept_private() {
    use std::os::unix::fs::MetadataExt as _;
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    place(&site, "f", 0o644);
    site.backup("web1");
    let mount = site.mount(&["web1@latest", "-o", "uid=daemon,gid=77", "--umask", "027"]);
    let metadata = mount.path("f").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (1, 77, 0o640));
    drop(mount);
    let mount = site.mount(&["web1@latest", "--private"]);
    assert!(!as_nobody("cat $1/f", &mount.mountpoint));
    assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), "f");
}
