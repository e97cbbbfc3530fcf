//! Runs the command in a place of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::random::Random;

/// A repository and a source in a temporary directory.
pub(crate) struct Sandbox {
    pub(crate) directory: TempDir,
    binary: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Sandbox {
    /// An empty place.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("reelfs-cli-").tempdir().unwrap();
        let sandbox = Self { directory, binary: PathBuf::from(env!("CARGO_BIN_EXE_reelfs")) };
        fs::create_dir(sandbox.source()).unwrap();
        sandbox
    }

    /// A place with a repository.
    pub(crate) fn with_repository() -> Self {
        let sandbox = Self::new();
        assert_eq!(sandbox.run(&["init"]).code, 0);
        sandbox
    }

    /// Lets a user who is not root use the place; `None` if the tests run as another user already.
    pub(crate) fn give_to_nobody(&mut self) -> Option<()> {
        nix::unistd::geteuid().is_root().then_some(())?;
        let binary = self.path("reelfs");
        fs::copy(&self.binary, &binary).unwrap();
        self.binary = binary;
        fs::set_permissions(self.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let changed = Command::new("chown").args(["-R", "65534:65534"]).arg(self.directory.path()).status();
        assert!(changed.unwrap().success());
        Some(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// Writes a file below the source, with the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The command, ready to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        self.prepare(&mut command, arguments);
        command
    }

    /// The same as the user nobody.
    pub(crate) fn command_as_nobody(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&self.binary);
        self.prepare(&mut command, arguments);
        command
    }

    fn prepare(&self, command: &mut Command, arguments: &[&str]) {
        command
            .args(arguments)
            .env("REELFS_REPO", self.repository())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("TZ", "Asia/Tokyo")
            .stdin(Stdio::null());
    }

    /// Runs the command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs the command, which must succeed.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// Backs up the source as the next generation of `web1`.
    pub(crate) fn backup(&self, more: &[&str]) -> Value {
        let ended = self.run_backup(more);
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }

    pub(crate) fn run_backup(&self, more: &[&str]) -> Ended {
        let source = self.source();
        let mut arguments = vec!["backup", source.to_str().unwrap(), "--client", "web1", "--json"];
        arguments.extend(more);
        self.run(&arguments)
    }

    /// Runs the command with `--json`: one value for each line.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.good(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Paths of all that the latest generation of `web1` holds, with `/` at the end of directories.
    pub(crate) fn saved(&self) -> Vec<String> {
        let path = |entry: &Value| {
            let mark = if entry["kind"] == "directory" { "/" } else { "" };
            format!("{}{mark}", entry["path"].as_str().unwrap())
        };
        self.json(&["ls", "-R", "web1"]).iter().map(path).collect()
    }

    /// Names of generations of `web1`, oldest first.
    pub(crate) fn generations(&self) -> Vec<String> {
        let name = |generation: &Value| generation["generation"].as_str().unwrap().to_owned();
        self.json(&["list"]).iter().map(name).collect()
    }

    /// Files in the repository whose name ends like this.
    pub(crate) fn stored(&self, suffix: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(&self.repository(), &mut found);
        found.retain(|path| path.to_str().unwrap().ends_with(suffix));
        found
    }
}

/// Whether this process can mount; says so if not.
pub(crate) fn can_mount() -> bool {
    let can = nix::unistd::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("skipped: only root can mount, and only with /dev/fuse");
    }
    can
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}
