//! Who may do what.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::{Mount, Site, as_nobody, as_user, can_mount, shell, shell_ok};

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
        assert!(as_user(1, 65534, "cat $1/shared", &shown), "the list names daemon");
        assert!(!as_user(65534, 0, "cat $1/shared", &shown), "the list takes the group's right away");
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
fn another_user_reads_what_is_mapped_to_him_and_nobody_else_does() {
    use std::os::unix::fs::MetadataExt as _;
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    place(&site, "d/secret", 0o600);
    place(&site, "shared", 0o660);
    place(&site, "public", 0o644);
    site.backup("web1");
    let mount = site.mount(&["-o", "uid=daemon,gid=77", "--umask", "027"]);
    let shown = mount.path("clients/web1/latest");
    for (path, mode) in [
        ("clients/web1/latest/public", 0o640),
        ("clients/web1/latest/d/secret", 0o600),
        ("clients/web1/latest/shared", 0o640),
        ("clients/web1/latest", 0o777),
        ("clients/web1", 0o750),
        ("clients", 0o750),
        ("tapes", 0o750),
        (".reelfs", 0o700),
        (".reelfs/status", 0o400),
        ("", 0o750),
    ] {
        let metadata = mount.path(path).symlink_metadata().unwrap();
        let (owner, shown) = ((metadata.uid(), metadata.gid()), metadata.mode() & 0o7777);
        assert_eq!((owner, shown), ((1, 77), mode), "{path}");
    }
    assert!(as_user(1, 65534, "cat $1/public $1/d/secret $1/shared", &shown));
    assert!(as_user(1, 65534, "cat $1/.reelfs/status", &mount.mountpoint), "he owns the mount");
    assert!(as_user(65534, 77, "cat $1/public $1/shared", &shown));
    assert!(!as_user(65534, 77, "cat $1/d/secret", &shown));
    assert!(!as_nobody("ls $1", &mount.mountpoint), "the umask takes that away");
    // Staging has its own owners, and who mounts makes clients.
    assert_eq!(mount.path("staging").metadata().unwrap().uid(), 0);
    assert!(!as_user(1, 77, "mkdir $1/staging/db2", &mount.mountpoint));
    drop(mount);
    let mount = site.mount(&["web1@latest", "--private"]);
    assert!(!as_nobody("cat $1/public", &mount.mountpoint));
    assert_eq!(fs::read_to_string(mount.path("public")).unwrap(), "public");
}

#[test]
fn mount_8_takes_owners_by_name_too() {
    use std::os::unix::fs::MetadataExt as _;
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    place(&site, "secret", 0o600);
    site.backup("web1");
    let helper = site.root.join("mount.reelfs");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mountd"), &helper).unwrap();
    let options = "ro,uid=daemon,gid=daemon,umask=022,nosuid,nodev";
    let script = format!("$1 $2:web1@latest $3 -o {options}");
    shell_ok(&script, &[&helper, &site.repository, &site.mountpoint]);
    let mount = Mount { mountpoint: site.mountpoint.clone() };
    let metadata = mount.path("secret").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1, 1));
    assert!(as_user(1, 65534, "cat $1/secret", &mount.mountpoint));
    assert!(!as_nobody("cat $1/secret", &mount.mountpoint));
}

#[test]
fn an_access_list_gives_no_more_than_the_umask_leaves() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    place(&site, "listed", 0o644);
    let path = site.source.join("listed");
    if !shell("setfacl -m u:daemon:rw,m::rw $1", &[&path]).status.success() {
        eprintln!("skipped: no setfacl, or no access lists here");
        return;
    }
    site.backup("web1");
    for (umask, group, other) in [("0", true, true), ("004", true, false), ("044", false, false)] {
        let mount = site.mount(&["web1@latest", "--umask", umask]);
        assert_eq!(as_user(1, 65534, "cat $1/listed", &mount.mountpoint), group, "{umask}");
        assert_eq!(as_nobody("cat $1/listed", &mount.mountpoint), other, "{umask}");
    }
}
