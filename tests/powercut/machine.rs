//! A machine with one disk: the programs run on it, and its power can be cut.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::disk::Disk;
use crate::filesystem::Mounted;

const PATIENCE: Duration = Duration::from_secs(30);
// In a mount namespace of its own each run of the machine has an identity, as each has on real ones.
const BOOT: &str = "mount --make-private /proc && mount --bind \"$1\" /proc/sys/kernel/random/boot_id && \
    shift && exec \"$@\"";

static BOOT_COUNT: AtomicU64 = AtomicU64::new(1);

/// Tells whether this process can mount, and prints why not.
pub(crate) fn can_mount() -> bool {
    let reason = if !nix::unistd::geteuid().is_root() {
        "only root can mount"
    } else if !Path::new("/dev/fuse").exists() {
        "there is no /dev/fuse"
    } else {
        return true;
    };
    eprintln!("skipped: {reason}");
    false
}

/// Tells whether a program is there, and prints that the test is skipped if not.
pub(crate) fn has(program: &str) -> bool {
    let is_there = Command::new("which").arg(program).output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: there is no {program}");
    }
    is_there
}

/// A running machine; its power is cut when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    directory: tempfile::TempDir,
    root: PathBuf,
    mounted: Option<Mounted>,
}

impl Machine {
    /// Starts a machine with this disk.
    pub(crate) fn start(disk: Disk) -> Self {
        let directory = tempfile::Builder::new().prefix("reelfs-power-").tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        // What is mounted in there is seen in all namespaces.
        let none = None::<&str>;
        mount(Some(&root), &root, none, MsFlags::MS_BIND, none).unwrap();
        mount(none, &root, none, MsFlags::MS_PRIVATE, none).unwrap();
        mount(none, &root, none, MsFlags::MS_SHARED, none).unwrap();
        for name in ["disk", "mnt"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        let boot = BOOT_COUNT.fetch_add(1, Ordering::Relaxed);
        fs::write(root.join("boot"), format!("{boot:08}-0000-4000-8000-000000000000\n")).unwrap();
        let mounted = Some(Mounted::new(disk, &root.join("disk")));
        Self { directory, root, mounted }
    }

    fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().expect("it is there until the power is cut")
    }

    /// How many operations the disk has seen.
    pub(crate) fn operation_count(&self) -> u64 {
        self.mounted().disk().operation_count()
    }

    /// Uses the disk.
    pub(crate) fn disk<T>(&self, what: impl FnOnce(&mut Disk) -> T) -> T {
        what(&mut self.mounted().disk())
    }

    /// A directory that is not on the disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the repository is mounted.
    pub(crate) fn mountpoint(&self) -> PathBuf {
        self.root.join("mnt")
    }

    pub(crate) fn staging(&self, path: &str) -> PathBuf {
        self.mountpoint().join("staging/web1").join(path)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.root.join("disk/repository")
    }

    /// A command of `reelfs`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "unchanged", "--", "sh", "-c", BOOT, "sh"])
            .arg(self.root.join("boot"))
            .arg(env!("CARGO_BIN_EXE_reelfs"))
            .args(arguments)
            .env("REELFS_REPO", self.repository())
            .env("XDG_CONFIG_HOME", self.root.join("config"))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of `reelfs`, which must succeed; returns what it printed.
    pub(crate) fn good(&self, arguments: &[&str], what: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{what}: {arguments:?}: {}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Mounts the repository.
    pub(crate) fn mount(&self, what: &str) {
        let at = self.mountpoint();
        self.good(&["mount", "-o", "staging", at.to_str().unwrap()], what);
    }

    /// Unmounts the repository, after which its daemon ends.
    pub(crate) fn unmount(&self, what: &str) {
        let at = self.mountpoint();
        self.good(&["umount", at.to_str().unwrap()], what);
        let end = Instant::now() + PATIENCE;
        while !self.processes("").is_empty() {
            assert!(Instant::now() < end, "{what}: the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Processes of the daemon, all or those with a given argument.
    pub(crate) fn processes(&self, argument: &str) -> Vec<Pid> {
        let root = self.root.to_str().unwrap();
        let all = fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                *pid != std::process::id().cast_signed() && line.contains(root) && line.contains(argument)
            })
            .map(Pid::from_raw)
            .collect()
    }

    /// Kills the server, which is then started again.
    pub(crate) fn kill_server(&self) {
        for argument in ["--serve", "--resume"] {
            for pid in self.processes(argument) {
                // It may have ended by itself.
                let _sent = kill(pid, Signal::SIGKILL);
            }
        }
    }

    fn stop(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.processes("");
            for pid in &left {
                let _sent = kill(*pid, Signal::SIGKILL);
            }
            if left.is_empty() || Instant::now() > end {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for path in [self.mountpoint().join("staging"), self.mountpoint()] {
            let _unmounted = umount2(&path, MntFlags::MNT_DETACH);
        }
        drop(self.mounted.take());
        let _unmounted = umount2(&self.root, MntFlags::MNT_DETACH);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
        let _directory = &self.directory;
    }
}

pub(crate) fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}
