//! Mounting as a user who is not root, by `fusermount3`.
//!
//! A mount namespace of its own has a `/dev/fuse` that all may open, as a desktop has, and takes with it what
//! a failed test leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Site, can_mount, shell_ok};

const OPEN_DEVICE: &str = r#"mount -t tmpfs none /mnt
mknod /mnt/fuse c 10 229
chmod 666 /mnt/fuse
mount --bind /mnt/fuse /dev/fuse
echo "$3" > /mnt/fuse.conf
if test -e /etc/fuse.conf; then mount --bind /mnt/fuse.conf /etc/fuse.conf; fi"#;

fn can_run() -> bool {
    if !can_mount() {
        return false;
    }
    let found = Command::new("sh").args(["-c", "command -v fusermount3 unshare setpriv"]).output().unwrap();
    let can = found.status.success();
    if !can {
        eprintln!("skipped: no fusermount3, unshare or setpriv");
    }
    can
}

// A repository, source and mount point of the user nobody, and a daemon that he can run.
fn site_of_nobody() -> Site {
    let mut site = Site::new();
    fs::write(site.source.join("f"), "read by its owner").unwrap();
    fs::set_permissions(site.source.join("f"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    site.backup("web1");
    fs::copy(env!("CARGO_BIN_EXE_mountd"), site.root.join("mountd")).unwrap();
    shell_ok("chown -R 65534:65534 $1/repo $1/source $1/mnt", &[&site.root]);
    site
}

const SHARED: &str = "user_allow_other";

/// Runs a script as nobody; `$1` is the directory of the test. `rule` is the line of `/etc/fuse.conf`.
fn as_nobody(script: &str, root: &Path, rule: &str) -> Output {
    let outer = format!(
        "{OPEN_DEVICE}\nexec setpriv --reuid=65534 --regid=65534 --clear-groups sh -euc \"$2\" sh \"$1\""
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &outer, "sh"]).arg(root).arg(script).arg(rule);
    command.output().unwrap()
}

#[test]
fn a_user_mounts_reads_and_unmounts_what_is_his() {
    if !can_run() {
        return;
    }
    let site = site_of_nobody();
    let output = as_nobody(
        r#"cd /
        "$1/mountd" --repo "$1/repo" "$1/mnt"
        grep "$1/mnt " /proc/self/mountinfo
        # What the mount makes itself is the user's; what was stored has the owners that it had.
        ls "$1/mnt/.reelfs" > /dev/null
        if cat "$1/mnt/clients/web1/latest/f"; then exit 4; fi
        touch "$1/mnt/clients/new" 2>&1 | grep -q 'Read-only file system'
        test "$(ls "$1/mnt")" = clients
        fusermount3 -u "$1/mnt"
        if grep "$1/mnt" /proc/self/mountinfo; then exit 3; fi
        test "$(ls -A "$1/mnt")" = ""
        "$1/mountd" --repo "$1/repo" "$1/mnt" web1@latest --uid nobody
        cmp "$1/source/f" "$1/mnt/f"
        fusermount3 -u "$1/mnt""#,
        &site.root,
        "",
    );
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    for option in [" ro,", "nosuid", "nodev", "fuse.reelfs", "user_id=65534", "default_permissions"] {
        assert!(out.contains(option), "{option}: {out}");
    }
    assert!(!out.contains("allow_other"), "private unless the user and /etc/fuse.conf say otherwise: {out}");
    // Once: one generation never has staging.
    assert_eq!(error.matches("staging and tapes are left out").count(), 1, "{error}");
}

#[test]
fn a_user_who_may_share_his_mounts_has_staging_too() {
    if !can_run() {
        return;
    }
    let site = site_of_nobody();
    let output = as_nobody(
        r#"cd /
        "$1/mountd" --repo "$1/repo" "$1/mnt" -o allow_other
        grep "$1/mnt" /proc/self/mountinfo
        mkdir "$1/mnt/staging/laptop"
        cp "$1/source/f" "$1/mnt/staging/laptop/f"
        mv "$1/mnt/staging/laptop/f" "$1/mnt/staging/laptop/g"
        cmp "$1/source/f" "$1/mnt/staging/laptop/g"
        touch "$1/mnt/clients/new" 2>&1 | grep -q 'Read-only file system'
        for mount in "$1/mnt/tapes" "$1/mnt/staging" "$1/mnt/clients" "$1/mnt"; do fusermount3 -u "$mount"; done
        if grep "$1/mnt" /proc/self/mountinfo; then exit 3; fi"#,
        &site.root,
        SHARED,
    );
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    let is_safe = |line: &str| ["nosuid", "nodev", "default_permissions"].iter().all(|it| line.contains(it));
    assert!(out.lines().count() == 4 && out.lines().all(is_safe), "{out}");
}

#[test]
fn the_helper_of_umount_8_and_a_signal_take_a_users_mount_off() {
    if !can_run() {
        return;
    }
    let site = site_of_nobody();
    let output = as_nobody(
        r#"cd /
        ln -s "$1/mountd" "$1/source/umount.fuse.reelfs"
        "$1/mountd" --repo "$1/repo" "$1/mnt"
        "$1/source/umount.fuse.reelfs" "$1/mnt"
        if grep "$1/mnt" /proc/self/mountinfo; then exit 3; fi
        "$1/mountd" --repo "$1/repo" --foreground "$1/mnt" &
        for i in $(seq 200); do if test -e "$1/mnt/clients"; then break; fi; sleep 0.1; done
        kill -TERM $!
        wait $!
        if grep "$1/mnt" /proc/self/mountinfo; then exit 4; fi"#,
        &site.root,
        "",
    );
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_only_root_may_do_is_said() {
    if !can_run() {
        return;
    }
    let site = site_of_nobody();
    for (arguments, says) in [
        ("-o suid", "only root can mount with suid"),
        ("-o dev", "only root can mount with dev"),
        ("-o nosymfollow", "only root can mount with nosymfollow"),
        ("-o allow_other", "user_allow_other"),
        ("-o staging", "with -o allow_other"),
    ] {
        let script = format!("cd /; \"$1/mountd\" --repo \"$1/repo\" \"$1/mnt\" {arguments}");
        let output = as_nobody(&script, &site.root, "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {told}");
        assert!(told.contains(says) && told.contains("\nhint: "), "{arguments}: {told}");
    }
    let script = r#"cd /; PATH=/nowhere exec "$1/mountd" --repo "$1/repo" "$1/mnt""#;
    let told = String::from_utf8_lossy(&as_nobody(script, &site.root, "").stderr).into_owned();
    assert!(told.contains("only root can mount without fusermount3") && told.contains("sudo"), "{told}");
}
