//! Mounting, unmounting, and servers that die.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Mount, Random, Site, can_mount, kill, shell_ok, wait_until};

#[test]
fn readers_see_a_pause_when_the_server_is_killed() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let content = Random(7).bytes(24 << 20);
    fs::write(site.source.join("big"), &content).unwrap();
    for index in 0..500 {
        fs::write(site.source.join(format!("small-{index}")), index.to_string()).unwrap();
    }
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(60));
                mount.kill_server();
            }
        });
        let mut file = fs::File::open(mount.path("big")).unwrap();
        let mut read = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = file.read(&mut buffer).unwrap();
            if len == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..len]);
            std::thread::sleep(Duration::from_micros(500));
        }
        assert!(read == content);
        for index in 0..500 {
            let path = mount.path(&format!("small-{index}"));
            assert_eq!(fs::read_to_string(path).unwrap(), index.to_string());
        }
    });
    assert_eq!(mount.processes("--supervise").len(), 1);
}

#[test]
fn a_mount_that_cannot_be_made_says_what_to_do() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("file"), "x").unwrap();
    site.backup("web1");
    let file = site.source.join("file");
    let cases = [
        (site.root.join("missing"), None, "mkdir -p"),
        (file.clone(), None, "name a directory"),
        (file.join("below"), None, "name a directory"),
        (site.repository.join("clients"), None, "outside the repository"),
        (site.mountpoint.clone(), Some("web1:file"), "can be mounted"),
        (site.mountpoint.clone(), Some("web1:no/such"), "'reelfs ls'"),
        (site.mountpoint.clone(), Some("web2"), "'reelfs list'"),
    ];
    for (mountpoint, address, hint) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mountd"));
        command.env("REELFS_REPO", &site.repository).arg(&mountpoint).args(address);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{mountpoint:?} {address:?}: {told}");
        let (error, found) = told.split_once("\nhint: ").unwrap_or((&told, ""));
        assert!(found.contains(hint) && error.starts_with("mountd: "), "{mountpoint:?} {address:?}: {told}");
    }
}

#[test]
fn a_server_that_dies_again_and_again_is_given_up_and_the_dead_mount_replaced() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "x").unwrap();
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    wait_until("the supervisor gives up", || {
        if let Some(pid) = mount.server() {
            kill(pid, Signal::SIGKILL);
        }
        mount.processes("").is_empty()
    });
    // The directory under the mount must not be seen: it would say that all files are gone.
    assert!(mount.is_mounted());
    assert_eq!(fs::read_dir(&mount.mountpoint).unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    let again = site.mount(&["web1@latest"]);
    assert_eq!(fs::read_to_string(again.path("f")).unwrap(), "x");
}

#[test]
fn unmounting_ends_all_processes() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    site.backup("web1");
    let helper = site.root.join("umount.fuse.reelfs");
    symlink(env!("CARGO_BIN_EXE_mountd"), &helper).unwrap();
    for unmount in
        ["umount -R $2", "umount -l $2", "$1 $2 -v", "$1 $2 -l", "umount $2/clients $2/tapes $2/staging $2"]
    {
        let mount = site.mount(&[]);
        assert!(mountd::mountpoint::find(&mount.path("staging")).is_some());
        shell_ok(unmount, &[&helper, &mount.mountpoint]);
        wait_until("no process is left", || mount.processes("").is_empty());
        assert!(!mount.is_mounted());
    }
}

#[test]
fn sigterm_unmounts_and_in_the_foreground_the_exit_code_is_0() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    site.backup("web1");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut child = site.command(&["--foreground"]).spawn().unwrap();
        let mount = Mount { mountpoint: site.mountpoint.clone() };
        wait_until("it is mounted", || mount.is_mounted() && mount.path("clients").exists());
        kill(i32::try_from(child.id()).unwrap(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(!mount.is_mounted());
    }
}

#[test]
fn a_busy_mount_is_taken_off_and_serves_its_users_to_the_end() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let content = Random(2).bytes(3 << 20);
    fs::write(site.source.join("big"), &content).unwrap();
    site.backup("web1");
    let mount = site.mount(&["web1@latest"]);
    let mut file = fs::File::open(mount.path("big")).unwrap();
    let supervisor = mount.processes("--supervise")[0];
    kill(supervisor, Signal::SIGTERM);
    wait_until("it is taken off", || !mount.is_mounted());
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == content);
    drop(file);
    wait_until("no process is left", || mount.processes("").is_empty());
}

#[test]
fn what_cannot_be_mounted_is_refused_with_a_reason() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "x").unwrap();
    site.backup("web1");
    let file = site.root.join("file");
    fs::write(&file, "").unwrap();
    let refuse = |mountpoint: &std::path::Path, address: &[&str], code: i32, says: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mountd"));
        command.arg("--repo").arg(&site.repository).arg(mountpoint).args(address);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    };
    refuse(&site.root.join("none"), &[], 1, "No such file");
    refuse(&file, &[], 1, "not a directory");
    refuse(&site.root, &[], 1, "overlap");
    refuse(&site.repository.join("full"), &[], 1, "overlap");
    refuse(&site.mountpoint, &["db2"], 1, "no client db2");
    refuse(&site.mountpoint, &["web1@1999"], 1, "no generation 1999");
    refuse(&site.mountpoint, &["web1:/none"], 1, "does not exist");
    refuse(&site.mountpoint, &["web1:/f"], 1, "not a directory");
    refuse(&site.mountpoint, &["a b"], 2, "does not begin with a client");
    refuse(&site.mountpoint, &["-o", "frobnicate"], 2, "unknown option");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mountd"));
    command.arg("--repo").arg(&site.source).arg(&site.mountpoint);
    assert_eq!(command.output().unwrap().status.code(), Some(10));
    let mount = site.mount(&[]);
    refuse(&mount.mountpoint, &[], 1, "already");
}

#[test]
fn it_is_a_helper_of_mount_8_under_the_right_name() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    fs::write(site.source.join("f"), "x").unwrap();
    site.backup("web1");
    let helper = site.root.join("mount.reelfs");
    symlink(env!("CARGO_BIN_EXE_mountd"), &helper).unwrap();
    let spec = format!("{}:web1@latest", site.repository.display());
    let mut command = Command::new(&helper);
    command.arg(&spec).arg(&site.mountpoint).args(["-v", "-o", "rw,noexec,_netdev,nofail,comment=\"a,b\""]);
    let output = command.env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mount = Mount { mountpoint: site.mountpoint.clone() };
    assert_eq!(fs::read_to_string(mount.path("f")).unwrap(), "x");
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(table.contains(&format!("{spec} ")), "{table}");
}

#[test]
fn a_mount_of_many_generations_is_ready_at_once() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    for index in 0..50 {
        fs::write(site.source.join("f"), index.to_string()).unwrap();
        site.backup("web1");
    }
    let start = Instant::now();
    let mount = site.mount(&[]);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(fs::read_dir(mount.path("clients/web1")).unwrap().count(), 51);
}
