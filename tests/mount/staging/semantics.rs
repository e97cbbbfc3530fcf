//! What POSIX and Linux say of a file system, one by one.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};

use super::{Stage, has};
use crate::support::{as_nobody, can_mount, shell, shell_ok};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_directory_made_in_staging_is_a_client_and_nothing_else_can_be_made_there() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let top = stage.mount().path("staging");
    let names = || -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::create_dir(top.join("db2")).unwrap();
    assert_eq!(names(), ["db2", "web1"]);
    assert_eq!(errno(fs::create_dir(top.join("db2"))), libc::EEXIST);
    assert_eq!(errno(fs::create_dir(top.join("a b"))), libc::EINVAL);
    assert_eq!(errno(fs::write(top.join("file"), "x")), libc::EPERM);
    assert_eq!(errno(fs::rename(top.join("db2"), top.join("db3"))), libc::EPERM);
    fs::write(top.join("db2/f"), "x").unwrap();
    assert_eq!(errno(fs::remove_dir(top.join("db2"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::rename(top.join("db2/f"), stage.path("f"))), libc::EXDEV);
    assert_eq!(errno(fs::hard_link(top.join("db2/f"), stage.path("f"))), libc::EXDEV);
    fs::remove_file(top.join("db2/f")).unwrap();
    fs::remove_dir(top.join("db2")).unwrap();
    assert_eq!(names(), ["web1"]);
    assert!(as_nobody("ls $1/web1", &top));
    assert!(!as_nobody("mkdir $1/mine", &top));
}

#[test]
fn a_mount_can_be_without_staging() {
    if !can_mount() {
        return;
    }
    let mut site = crate::support::Site::new();
    site.backup("web1");
    for options in ["nostaging", "ro"] {
        let mount = site.mount(&["-o", options]);
        assert!(!mount.path("staging").exists(), "{options}");
    }
    let mount = site.mount(&["web1@latest"]);
    assert!(!mount.path("staging").exists());
    drop(mount);
    let output = site.command(&["web1", "-o", "staging"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn rights_are_those_of_the_caller() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let root = stage.root();
    shell_ok(
        "mkdir $1/open $1/shared $1/sticky; chmod 777 $1/open; chmod 1777 $1/sticky; chgrp 1 $1/shared",
        &[&root],
    );
    shell_ok(
        "chmod 2777 $1/shared; echo x > $1/secret; chmod 600 $1/secret; echo x > $1/sticky/root",
        &[&root],
    );
    assert!(!as_nobody("echo x > $1/new", &root));
    assert!(!as_nobody("cat $1/secret", &root));
    assert!(!as_nobody("rm $1/sticky/root", &root));
    assert!(!as_nobody("mv $1/sticky/root $1/sticky/other", &root));
    assert!(as_nobody("umask 027; echo x > $1/open/f; mkdir $1/open/d; chmod 640 $1/open/f", &root));
    assert!(!as_nobody("chown 0 $1/open/f", &root));
    let file = stage.path("open/f").metadata().unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (65534, 65534, 0o640));
    assert_eq!(mode(&stage.path("open/d")), 0o750);
    assert!(as_nobody("mkdir $1/shared/d; echo x > $1/shared/f", &root));
    assert_eq!(stage.path("shared/f").metadata().unwrap().gid(), 1);
    assert_eq!(stage.path("shared/d").metadata().unwrap().gid(), 1);
    assert_eq!(mode(&stage.path("shared/d")) & 0o2000, 0o2000);
}

#[test]
fn set_id_bits_go_with_a_write_and_a_change_of_owner() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let path = stage.path("f");
    let set = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set("#!/bin/sh\n", 0o6777);
    assert!(as_nobody("echo more >> $1", &path));
    assert_eq!(mode(&path), 0o777);
    set("x", 0o6777);
    assert!(as_nobody("truncate -s 0 $1", &path));
    assert_eq!(mode(&path), 0o777);
    set("x", 0o6777);
    assert!(as_nobody(": > $1", &path));
    assert_eq!(mode(&path), 0o777);
    set("x", 0o6755);
    std::os::unix::fs::chown(&path, Some(3), None).unwrap();
    assert_eq!(mode(&path), 0o755);
    // Without the right to execute, the set-group-id bit meant mandatory locking.
    set("x", 0o2666);
    assert!(as_nobody("echo more >> $1", &path));
    assert_eq!(mode(&path), 0o2666);
    set("x", 0o4755);
    fs::write(&path, "root may").unwrap();
    assert_eq!(mode(&path), 0o4755);
}

#[test]
fn links_and_times_are_never_stale() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let (a, b, c) = (stage.path("a"), stage.path("b"), stage.path("c"));
    fs::write(&a, "1").unwrap();
    let number = a.metadata().unwrap().ino();
    for _ in 0..3 {
        fs::hard_link(&a, &b).unwrap();
        assert_eq!((a.metadata().unwrap().nlink(), b.metadata().unwrap().nlink()), (2, 2));
        let before = a.metadata().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(15));
        fs::rename(&b, &c).unwrap();
        let after = a.metadata().unwrap();
        assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
        fs::write(&c, "222").unwrap();
        assert_eq!((a.metadata().unwrap().len(), fs::read_to_string(&a).unwrap()), (3, "222".to_owned()));
        assert_eq!(c.metadata().unwrap().ino(), number);
        fs::remove_file(&c).unwrap();
        assert_eq!(a.metadata().unwrap().nlink(), 1);
    }
    // A name that is taken by another file.
    fs::hard_link(&a, &b).unwrap();
    fs::write(&c, "c").unwrap();
    fs::rename(&c, &b).unwrap();
    assert_eq!(a.metadata().unwrap().nlink(), 1);
    let directory = stage.root().metadata().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(15));
    fs::remove_file(&b).unwrap();
    let after = stage.root().metadata().unwrap();
    assert!((after.mtime(), after.mtime_nsec()) > (directory.mtime(), directory.mtime_nsec()));
}

#[test]
fn rename_takes_places_keeps_them_or_changes_them() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let (a, b) = (stage.path("a"), stage.path("b"));
    fs::write(&a, "a").unwrap();
    fs::create_dir_all(b.join("below")).unwrap();
    let rename = |from: &Path, to: &Path, flags| {
        renameat_with(CWD, from, CWD, to, flags).map_err(|e| e.raw_os_error())
    };
    assert_eq!(rename(&a, &b, RenameFlags::NOREPLACE), Err(libc::EEXIST));
    rename(&a, &b, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(&b).unwrap(), "a");
    assert!(a.join("below").is_dir());
    assert_eq!(errno(fs::rename(&b, &a)), libc::EISDIR);
    assert_eq!(errno(fs::rename(&a, &b)), libc::ENOTDIR);
    assert_eq!(errno(fs::rename(&a, a.join("below/itself"))), libc::EINVAL);
    fs::create_dir(stage.path("empty")).unwrap();
    assert_eq!(errno(fs::rename(stage.path("empty"), &a)), libc::ENOTEMPTY);
    fs::rename(&a, stage.path("empty")).unwrap();
    // The directory of a process moves with it.
    shell_ok(
        "cd $1/empty/below; mv $1/empty $1/moved; echo x > here; test -f $1/moved/below/here",
        &[&stage.root()],
    );
    // An open file whose name is taken by another stays what it was.
    fs::write(stage.path("new"), "new").unwrap();
    let mut open = File::open(&b).unwrap();
    fs::rename(stage.path("new"), &b).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), open.metadata().unwrap().nlink()), ("a", 0));
    assert_eq!(fs::read_to_string(&b).unwrap(), "new");
}

#[test]
fn an_unlinked_file_is_used_until_it_is_closed() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let path = stage.path("f");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all_at(b"before", 0).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    file.write_all_at(b" and after", 6).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"before and after");
    assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().nlink()), (16, 0));
    fs::write(&path, "another").unwrap();
    assert_ne!(path.metadata().unwrap().ino(), file.metadata().unwrap().ino());
}

#[test]
fn a_file_can_be_made_without_a_name_and_named_later() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let open = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        File::from(rustix::fs::open(stage.root(), flags, Mode::from_raw_mode(0o640)).unwrap())
    };
    let mut file = open();
    file.write_all(b"unnamed").unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::read_dir(stage.root()).unwrap().count(), 0);
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, link, CWD, stage.path("named"), rustix::fs::AtFlags::SYMLINK_FOLLOW).unwrap();
    assert_eq!(fs::read_to_string(stage.path("named")).unwrap(), "unnamed");
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    drop(open());
}

#[test]
fn many_processes_append_to_one_file_and_no_line_is_lost() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    for name in ["log", "log.db"] {
        let path = stage.path(name);
        shell_ok(
            "for p in 1 2 3 4 5 6; do (i=0; while [ $i -lt 150 ]; do echo \"$p $i\" >> $1; i=$((i+1)); done) & done; wait",
            &[&path],
        );
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!((text.lines().count(), lines.len()), (900, 900), "{name}");
    }
}

#[test]
fn what_is_written_through_a_mapping_is_there() {
    if !can_mount() || !has("python3") {
        return;
    }
    let mut stage = Stage::new();
    let script = "import mmap, os, sys
path = sys.argv[1]
with open(path, 'wb') as f: f.truncate(1 << 20)
for way in range(2):
    with open(path, 'r+b') as f:
        m = mmap.mmap(f.fileno(), 1 << 20)
        for offset in range(0, 1 << 20, 70000): m[offset:offset + 6] = b'mapped'
        os.pwrite(f.fileno(), b'written', 500000)
        assert m[500000:500007] == b'written'
        m.flush()
        m.close()
with open(path, 'rb') as f: assert f.read()[140000:140006] == b'mapped'
";
    fs::write(stage.site.root.join("map.py"), script).unwrap();
    for name in ["plain", "mapped.db"] {
        let path = stage.path(name);
        shell_ok("python3 $1/map.py $2", &[&stage.site.root, &path]);
    }
    stage.remount();
    for name in ["plain", "mapped.db"] {
        let bytes = fs::read(stage.path(name)).unwrap();
        assert_eq!(&bytes[980_000..980_006], b"mapped");
        assert_eq!(&bytes[500_000..500_007], b"written");
    }
}

#[test]
fn locks_hold_between_processes() {
    if !can_mount() || !has("python3") {
        return;
    }
    let stage = Stage::new();
    let script = "import fcntl, os, sys
path = sys.argv[1]
def child(lock):
    pid = os.fork()
    if pid == 0:
        f = open(path, 'r+b')
        try: lock(f)
        except OSError: os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
f = open(path, 'w+b')
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)
assert not child(lambda g: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50))
assert child(lambda g: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 100))
fcntl.lockf(f, fcntl.LOCK_UN)
fcntl.flock(f, fcntl.LOCK_EX)
assert not child(lambda g: fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB))
fcntl.flock(f, fcntl.LOCK_UN)
assert child(lambda g: fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB))
";
    fs::write(stage.site.root.join("lock.py"), script).unwrap();
    shell_ok("python3 $1/lock.py $2", &[&stage.site.root, &stage.path("f")]);
}

#[test]
fn attributes_and_access_lists_are_kept_and_inherited() {
    if !can_mount() || !has("setfacl") || !has("setfattr") {
        return;
    }
    let mut stage = Stage::new();
    shell_ok(
        "cd $1; echo x > f; setfattr -n user.a -v 1 f; setfattr -n trusted.b -v '' f; setfattr -n user.a -v 2 f
         mkdir d; setfacl -m d:u:daemon:rwx,d:g::r-x,d:o::--- d; umask 000; echo x > d/f; mkdir d/d
         setfacl -m u:daemon:r,m::r f; chmod 660 f",
        &[&stage.root()],
    );
    let check = |stage: &Stage| {
        let root = stage.root();
        assert_eq!(shell_ok("getfattr --only-values -n user.a $1/f", &[&root]), "2");
        assert!(shell_ok("getfattr -m - $1/f", &[&root]).contains("trusted.b"));
        let acl = shell_ok("cd $1; getfacl -cn d/f d/d f", &[&root]);
        assert!(acl.contains("user:1:rwx\t#effective:rw-") || acl.contains("user:1:rwx"), "{acl}");
        assert!(acl.contains("default:user:1:rwx"), "{acl}");
        assert_eq!((mode(&stage.path("d/f")), mode(&stage.path("d/d"))), (0o660, 0o770), "{acl}");
        // The group bits of a mode are the mask of its list.
        assert!(shell_ok("getfacl -cn $1/f", &[&root]).contains("mask::rw-"));
    };
    check(&stage);
    stage.remount();
    check(&stage);
    let root = stage.root();
    shell_ok("cd $1; setfattr -x user.a f; ! getfattr -n user.a f 2>/dev/null; setfacl -b f", &[&root]);
    assert!(!shell("setfattr -x user.a $1/f", &[&root]).status.success());
    assert!(
        !shell("setfattr -n user.big -v $(head -c 70000 /dev/zero | tr '\\0' x) $1/f", &[&root])
            .status
            .success()
    );
}

#[test]
fn special_files_space_and_syncs_work() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let root = stage.root();
    shell_ok(
        "cd $1; mkfifo pipe; (echo through > pipe &); test \"$(cat pipe)\" = through
         mknod null c 1 3; echo x > null; mknod disk b 7 300; test \"$(stat -c %t:%T disk)\" = 7:12c
         python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind(\"socket\")' && test -S socket
         ln -s nowhere link; test \"$(readlink link)\" = nowhere
         mkdir d; echo x > d/f; sync d/f; sync d; sync -f d; test $(df --output=size . | tail -1) -gt 0
         fallocate -l 1M d/f; test $(stat -c %s d/f) = 1048576; fallocate -p -o 4096 -l 65536 d/f
         test $(stat -c %b d/f) -lt 2048",
        &[&root],
    );
    let name = "n".repeat(255);
    fs::write(stage.path(&name), "").unwrap();
    assert_eq!(errno(fs::write(stage.path(&format!("{name}n")), "")), libc::ENAMETOOLONG);
    assert_eq!(errno(fs::create_dir(stage.path("d"))), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(stage.path("d"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_dir(stage.path("link"))), libc::ENOTDIR);
}

#[test]
fn everything_works_through_the_server_too() {
    if !can_mount() {
        return;
    }
    let site = crate::support::Site::new();
    let mount = site.mount(&["-o", "staging,nopassthrough"]);
    let root = mount.path("staging/web1");
    fs::create_dir(&root).unwrap();
    shell_ok(
        "cd $1; head -c 3000000 /dev/urandom > a; cp a b; cmp a b; cat a >> b; test $(stat -c %s b) = 6000000
         tail -c 3000000 b | cmp a -; dd if=a of=b bs=4096 seek=3 conv=notrunc status=none; : > a; test ! -s a",
        &[&root],
    );
}
