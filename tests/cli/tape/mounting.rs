//! A vault whose cartridges are mounted, and what is asked of its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{MIB, Vault, two_generations};
use crate::support::Sandbox;

/// A vault, mounted.
pub(super) struct Mounted {
    pub(super) vault: Vault,
    pub(super) at: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// An archive of `web1` on `RL0001L8`.
    pub(super) fn new(options: &str) -> Self {
        let vault = Vault::new(2, 64 * MIB);
        two_generations(&vault.sandbox, 2_000_000);
        vault.archive(&["--client", "web1"]);
        Self::over(vault, options)
    }

    /// What is in the vault already; `options` begin with a comma.
    pub(super) fn over(vault: Vault, options: &str) -> Self {
        let at = vault.sandbox.path("mnt");
        fs::create_dir_all(&at).unwrap();
        let library = vault.sandbox.path("library");
        let options = format!("nostaging,tape_idle=1,tape_library={}{options}", library.display());
        let ended = vault.sandbox.run(&["mount", "-o", &options, at.to_str().unwrap()]);
        assert_eq!(
            ended.code, 0,
            "mountd is expected beside reelfs, as a build of the workspace has it: {ended:?}"
        );
        Self { vault, at, is_mounted: true }
    }

    pub(super) fn latest(&self) -> PathBuf {
        self.at.join("tapes/RL0001L8/web1/latest")
    }

    /// Takes the data on disk away, so that what is read can only come from tape.
    pub(super) fn lose_data(&self) {
        fs::rename(self.vault.sandbox.repository().join("full"), self.vault.sandbox.path("lost")).unwrap();
    }

    // The mount lets go of a cartridge that nobody reads from.
    pub(super) fn eject(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let ended = self.vault.run(&["eject", "RL0001L8"]);
            if ended.code == 0 {
                return;
            }
            assert!(Instant::now() < end, "{ended:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Mounted {
    /// Unmounts, and waits until the drives are empty.
    pub(super) fn unmount(&mut self) {
        let ended = self.vault.sandbox.run(&["umount", self.at.to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let inventory = self.vault.json(&["inventory"]);
            if !inventory.iter().any(|line| line["kind"] == "drive" && line["full"] == true) {
                break;
            }
            assert!(Instant::now() < end, "a cartridge stays in a drive: {inventory:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
        self.is_mounted = false;
    }
}

impl Mounted {
    /// Kills the server of the mount; another one takes over.
    pub(super) fn kill_server(&self) {
        let at = self.at.to_str().unwrap();
        let is_server = |process: &fs::DirEntry| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(at) && (line.contains("--serve") || line.contains("--resume"))
        };
        let server = fs::read_dir("/proc").unwrap().flatten().find(is_server).expect("a server runs");
        let pid = server.file_name().into_string().unwrap();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    /// The vault of one that was unmounted.
    pub(super) fn into_vault(mut self) -> Vault {
        assert!(!self.is_mounted);
        std::mem::replace(&mut self.vault, Vault { sandbox: Sandbox::new() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.is_mounted {
            return;
        }
        let ended = self.vault.sandbox.run(&["umount", "--lazy", self.at.to_str().unwrap()]);
        if !std::thread::panicking() {
            assert_eq!(ended.code, 0, "{ended:?}");
        }
    }
}

pub(super) fn xattr(path: &Path, name: &str) -> String {
    let output = Command::new("getfattr").args(["--only-values", "-n", name]).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn first_file(below: &Path) -> PathBuf {
    let mut waiting = vec![below.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_file() && entry.metadata().unwrap().len() > 0 {
                return entry.path();
            }
            if kind.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    panic!("no file below {}", below.display());
}
