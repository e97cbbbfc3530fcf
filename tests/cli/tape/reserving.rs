//! Processes that share a library behind iSCSI: who has a drive reserved, and what becomes of it when that process is gone.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{MIB, Vault, assert_same, two_generations};
use crate::random::Random;
use crate::support::{Ended, can_mount, ended};

/// A process that is killed with its owner.
pub(super) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Serves the library of a vault; returns its address, too.
pub(super) fn serve(vault: &Vault) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vtape"));
    command.arg("serve").arg(vault.sandbox.path("library")).args(["--iscsi", "127.0.0.1:0", "--json"]);
    let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    let library = format!("iscsi://{}", told["address"].as_str().unwrap());
    (Process(server), library)
}

/// A library with an archive on its first cartridge, served by a process of its own.
struct Served {
    vault: Vault,
    library: String,
    _server: Process,
}

impl Served {
    fn new() -> Self {
        let vault = Vault::new(2, 256 * MIB);
        two_generations(&vault.sandbox, 2_000_000);
        let (server, library) = serve(&vault);
        let served = Self { vault, library, _server: server };
        assert_eq!(served.run(&["archive", "--memory", "16"]).code, 0);
        // What the next archive writes, for a while.
        served.vault.sandbox.write("much", Random(0x5eed_0031).bytes(80_000_000));
        served.vault.sandbox.backup(&[]);
        served
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.vault.command(arguments).env("REELFS_LIBRARY", &self.library))
    }

    fn refused(&self, arguments: &[&str], holder: &str) {
        let image = self.vault.image("RL0001L8").len();
        let ended = self.run(arguments);
        assert_eq!(ended.code, 13, "{arguments:?}: {ended:?}");
        assert!(ended.error.contains(holder) && ended.error.contains("--preempt"), "{holder}: {ended:?}");
        assert_eq!(self.vault.image("RL0001L8").len(), image, "it wrote");
    }

    /// An archive that stands still in the middle of writing, and the number of its process.
    fn holder(&self, is_elsewhere: bool) -> (Process, Pid) {
        let before = self.vault.image("RL0001L8").len();
        let archive = self.vault.command(&["archive", "--memory", "16"]);
        let mut command = if is_elsewhere {
            // Processes of another machine have numbers of their own, too.
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child"]).arg(archive.get_program());
            command.args(archive.get_args());
            command.envs(archive.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command
        } else {
            archive
        };
        command.env("REELFS_LIBRARY", &self.library).stdin(Stdio::null());
        let child = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let own = child.0.id();
        let end = Instant::now() + Duration::from_secs(60);
        let image = self.vault.image_path("RL0001L8");
        while fs::metadata(&image).unwrap().len() < before as u64 + 4 * MIB {
            assert!(Instant::now() < end, "nothing is written");
            std::thread::sleep(Duration::from_millis(1));
        }
        let process = if is_elsewhere {
            let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
            children.split_whitespace().next().unwrap().parse().unwrap()
        } else {
            own
        };
        let process = Pid::from_raw(i32::try_from(process).unwrap());
        kill(process, Signal::SIGSTOP).unwrap();
        (child, process)
    }

    /// All that was committed is there, before and after, and the rest can be archived.
    fn check(&self, before: &[u8]) {
        let image = self.vault.image("RL0001L8");
        let same = image.iter().zip(before).take_while(|(now, before)| now == before).count();
        // But for the mark at the end of an image.
        assert!(same + 8 >= before.len(), "{same} of {} bytes are what they were", before.len());
        assert_eq!(self.run(&["archive", "--memory", "16"]).code, 0);
        let ended = self.run(&["verify", "RL0001L8"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let target = self.vault.sandbox.path("restored");
        assert_eq!(self.run(&["restore", "web1", target.to_str().unwrap()]).code, 0);
        assert_same(&self.vault.sandbox.source(), &target);
    }
}

#[test]
fn a_drive_of_a_process_that_was_killed_is_taken_over_and_nothing_that_it_committed_is_lost() {
    let served = Served::new();
    let before = served.vault.image("RL0001L8");
    let (mut holder, process) = served.holder(false);
    let text = format!("process {process} of reelfs on this machine");
    served.refused(&["scan", "RL0001L8"], &text);
    served.refused(&["verify", "RL0001L8"], &text);
    kill(process, Signal::SIGKILL).unwrap();
    holder.0.wait().unwrap();
    // Everybody on this machine sees that it is gone.
    let ended = served.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    served.check(&before);
}

#[test]
fn a_drive_of_a_killed_process_of_another_machine_is_taken_over_when_a_person_says_so() {
    if !can_mount() {
        return;
    }
    let served = Served::new();
    let before = served.vault.image("RL0001L8");
    let (mut holder, process) = served.holder(true);
    let text = "process 1 of reelfs on another machine";
    served.refused(&["scan", "RL0001L8"], text);
    kill(process, Signal::SIGKILL).unwrap();
    holder.0.wait().unwrap();
    served.refused(&["archive", "--memory", "16"], text);
    let ended = served.run(&["archive", "--memory", "16", "--preempt"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    served.check(&before);
}

#[test]
fn a_process_from_which_a_person_took_the_drive_writes_no_more_and_says_why() {
    let served = Served::new();
    let before = served.vault.image("RL0001L8");
    let (mut holder, process) = served.holder(false);
    let ended = served.run(&["scan", "RL0001L8", "--preempt"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let written = served.vault.image("RL0001L8");
    kill(process, Signal::SIGCONT).unwrap();
    let status = holder.0.wait().unwrap();
    assert_eq!(status.code(), Some(13), "{status:?}");
    assert!(served.vault.image("RL0001L8") == written, "it wrote after it lost the drive");
    served.check(&before);
}
