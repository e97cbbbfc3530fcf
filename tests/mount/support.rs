//! A repository, a source tree and a mount point in a temporary directory.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use reelfs::id::{ClientName, FileId, GenerationTime};
use reelfs::job::backup::{self, BackupOptions};
use reelfs::progress::Progress;
use reelfs::repo::generation_writer::WriterInputs;
use reelfs::repo::{CacheBytes, GenerationId, Repository};

pub(crate) use crate::random::Random;

/// Longest wait for something that takes milliseconds on an idle machine. A daemon that ends has all that it
/// wrote synced, which a busy disk takes its time for.
const PATIENCE: Duration = Duration::from_secs(60);

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

pub(crate) struct Site {
    _small: Option<SmallDisk>,
    _directory: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) repository: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) mountpoint: PathBuf,
    time: i64,
}

fn random_id() -> FileId {
    let mut id = [0; 16];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut id).unwrap();
    FileId(id)
}

// What killed tests have left goes first.
fn directory_of_tests(parent: &Path) -> tempfile::TempDir {
    crate::leftovers::remove();
    tempfile::Builder::new().prefix(&crate::leftovers::prefix()).tempdir_in(parent).unwrap()
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// A site on the file system of a directory.
    pub(crate) fn within(directory: &Path) -> Self {
        Self::in_directory(directory_of_tests(directory), None)
    }

    /// A repository on a disk of its own, of so many bytes.
    pub(crate) fn on_small_disk(size: u64) -> Self {
        let directory = directory_of_tests(&std::env::temp_dir());
        let small = SmallDisk(directory.path().canonicalize().unwrap().join("small"));
        fs::create_dir(&small.0).unwrap();
        shell_ok(&format!("mount -t tmpfs -o size={size},mode=700 small $1"), &[&small.0]);
        Self::in_directory(directory, Some(small))
    }

    fn in_directory(directory: tempfile::TempDir, small: Option<SmallDisk>) -> Self {
        let root = directory.path().canonicalize().unwrap();
        // Other users must come as far as the mount point.
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let repository = small.as_ref().map_or(&root, |small| &small.0).join("repo");
        let (source, mountpoint) = (root.join("source"), root.join("mnt"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&mountpoint).unwrap();
        Repository::create(&repository, random_id()).unwrap();
        Self {
            _small: small,
            _directory: directory,
            root,
            repository,
            source,
            mountpoint,
            time: 1_700_000_000,
        }
    }

    pub(crate) fn open(&self) -> Repository {
        Repository::open(&self.repository, CacheBytes::default()).unwrap()
    }

    pub(crate) fn inputs(&self) -> WriterInputs {
        WriterInputs { now: GenerationTime::from_seconds(self.time).unwrap(), new_id: Box::new(random_id) }
    }

    pub(crate) fn backup(&mut self, client: &str) -> GenerationId {
        self.time += 3600;
        let repository = self.open();
        let client: ClientName = client.parse().unwrap();
        let now = repository.next_time(&client, self.inputs().now).unwrap();
        let inputs = WriterInputs { now, ..self.inputs() };
        let options = BackupOptions { always: true, ..BackupOptions::default() };
        let summary =
            backup::run(&repository, None, &client, &self.source, &options, inputs, &Progress::new())
                .unwrap();
        assert!(summary.is_complete(), "{summary:?}");
        summary.committed.unwrap().id
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mountd"));
        command.env("REELFS_REPO", &self.repository).arg(&self.mountpoint).args(arguments);
        command
    }

    pub(crate) fn mount(&self, arguments: &[&str]) -> Mount {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Mount { mountpoint: self.mountpoint.clone() }
    }
}

/// A file system of a fixed size, unmounted when dropped.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What a failed test left is taken off all the same.
        let _taken_off = mountd::mountpoint::detach(&self.0);
    }
}

/// A mount that ends when dropped.
pub(crate) struct Mount {
    pub(crate) mountpoint: PathBuf,
}

impl Mount {
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.mountpoint.join(path)
    }

    /// Process ids of supervisor or server.
    pub(crate) fn processes(&self, role: &str) -> Vec<i32> {
        let wanted = self.mountpoint.to_string_lossy().into_owned();
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line.starts_with("mountd\0") && line.contains(role) && line.contains(&wanted)
            })
            .collect()
    }

    pub(crate) fn server(&self) -> Option<i32> {
        self.processes("--serve").into_iter().chain(self.processes("--resume")).next()
    }

    pub(crate) fn kill_server(&self) {
        wait_until("a server runs", || self.server().is_some());
        if let Some(pid) = self.server() {
            kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }

    pub(crate) fn is_mounted(&self) -> bool {
        mountd::mountpoint::find(&self.mountpoint).is_some()
    }

    pub(crate) fn control(&self, name: &str) -> String {
        fs::read_to_string(self.path(".reelfs").join(name)).unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..4 {
            if self.is_mounted() {
                // What a failed test left is taken off all the same.
                let _taken_off = mountd::mountpoint::detach(&self.mountpoint);
            }
        }
        if !thread::panicking() {
            wait_until("no process is left", || self.processes("").is_empty());
        }
    }
}

pub(crate) fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    // It may be gone already.
    let _sent = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn shell(script: &str, arguments: &[&Path]) -> Output {
    Command::new("sh").arg("-euc").arg(script).arg("sh").args(arguments).output().unwrap()
}

pub(crate) fn shell_ok(script: &str, arguments: &[&Path]) -> String {
    let output = shell(script, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs a shell script as a user without rights.
pub(crate) fn as_nobody(script: &str, path: &Path) -> bool {
    as_user(65534, 65534, script, path)
}

/// Runs a shell script as this user, in this group and no other.
pub(crate) fn as_user(uid: u32, gid: u32, script: &str, path: &Path) -> bool {
    let mut command = Command::new("sh");
    // Groups are dropped with the rights of root.
    command.arg("-euc").arg(script).arg("sh").arg(path).uid(uid).gid(gid);
    command.output().unwrap().status.success()
}

pub(crate) fn flip(path: &Path, offset: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}
