//! A sync that fails once and then never again (F15): what was to be made durable by it counts as lost, whatever
//! a later sync says.

use std::collections::BTreeSet;
use std::fs;

use crate::kill_points::{can_trace, strace};
use crate::random::Random;
use crate::staging::stage;
use crate::support::{Ended, Sandbox, ended};

/// A call that failed, as strace shows it.
fn failed_path(line: &str) -> Option<&str> {
    line.split_once('<')?.1.split_once('>').map(|(path, _)| path)
}

struct Scene {
    sandbox: Sandbox,
    arguments: Vec<String>,
    committed_count: usize,
}

impl Scene {
    fn keep(&self) {
        fs::rename(self.sandbox.repository(), self.sandbox.path("kept")).unwrap();
    }

    fn bring_back(&self) {
        let repository = self.sandbox.repository();
        if repository.exists() {
            fs::remove_dir_all(&repository).unwrap();
        }
        let mut copy = std::process::Command::new("cp");
        copy.args(["-a", "--sparse=always"]).arg(self.sandbox.path("kept")).arg(&repository);
        assert!(copy.status().unwrap().success());
    }

    // Fails the sync of this number of each thread; tells what was to be synced.
    fn run(&self, call: &str, number: usize) -> (Ended, Vec<String>) {
        self.bring_back();
        let log = self.sandbox.path("log");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error=EIO:when={number}"));
        let command = self.sandbox.command(&arguments);
        let ended = ended(&mut strace(&log, &["-e", &trace, "-e", &inject], &command));
        let text = fs::read_to_string(&log).unwrap();
        let failed = text.lines().filter(|line| line.contains("(INJECTED)"));
        (ended, failed.filter_map(failed_path).map(str::to_owned).collect())
    }

    // Nothing is seen of a run whose sync failed, and the next one is right.
    fn check(&self, call: &str) -> usize {
        let mut met = BTreeSet::new();
        for number in 1.. {
            let (ended, failed) = self.run(call, number);
            let what = format!("{call} {number} of {failed:?}: {ended:?}");
            if failed.is_empty() {
                assert_eq!(ended.code, 0, "{what}");
                break;
            }
            met.extend(failed.iter().cloned());
            // The index can be made again: it may be dropped where it was not synced.
            let is_in_index = failed.iter().all(|path| path.contains("/repository/index"));
            let count = self.sandbox.generations().len();
            // The last thing that a commit notes is that staging stands on the generation, which then exists; what
            // was not noted is found by the next command.
            let is_made = failed.iter().all(|path| path.contains("/meta/")) && count > self.committed_count;
            assert!(is_in_index || is_made || ended.code == 1, "{what}");
            if ended.code != 0 {
                assert!(is_made || count == self.committed_count, "{what}: a generation of what failed");
                // No later sync is asked to cover them.
                for path in failed.iter().filter(|path| path.ends_with(".partial")) {
                    assert!(!fs::exists(path).unwrap(), "{what}: {path} is kept");
                }
            }
            assert_eq!(self.sandbox.run(&["verify"]).code, 0, "{what}");
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            self.sandbox.good(&arguments);
            assert_eq!(self.sandbox.generations().len(), self.committed_count + 1, "{what}");
            self.check_content(&what);
        }
        met.len()
    }

    fn check_content(&self, what: &str) {
        assert_eq!(self.sandbox.run(&["verify"]).code, 0, "{what}");
        let target = self.sandbox.path("target");
        self.sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
        for name in ["a", "large"] {
            let expected = fs::read(self.sandbox.source().join(name)).unwrap();
            assert!(fs::read(target.join(name)).unwrap() == expected, "{what}: {name}");
        }
        fs::remove_dir_all(&target).unwrap();
    }
}

fn scene() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::with_repository();
    sandbox.write("a", "first");
    sandbox.write("large", Random(1).bytes(300_000));
    (sandbox, Random(2).bytes(200_000))
}

#[test]
fn a_backup_whose_sync_fails_once_fails_and_the_next_one_writes_anew() {
    if !can_trace() {
        return;
    }
    let (sandbox, large) = scene();
    sandbox.backup(&[]);
    sandbox.write("large", large);
    let source = sandbox.source().to_str().unwrap().to_owned();
    let arguments = ["backup", &source, "--client", "web1", "--jobs", "1"].map(str::to_owned).to_vec();
    let scene = Scene { sandbox, arguments, committed_count: 1 };
    scene.keep();
    let met = scene.check("fsync") + scene.check("fdatasync");
    assert!(met > 4, "{met} files and directories were to be synced");
}

#[test]
fn a_commit_whose_sync_fails_once_fails_and_the_next_one_writes_anew() {
    if !can_trace() {
        return;
    }
    let (sandbox, large) = scene();
    let read = |name: &str| fs::read(sandbox.source().join(name)).unwrap();
    stage(&sandbox, "web1", &[("a", &read("a")), ("large", &read("large"))]);
    sandbox.good(&["commit", "web1"]);
    sandbox.write("large", &large);
    stage(&sandbox, "web1", &[("large", &large)]);
    let arguments = ["commit", "web1"].map(str::to_owned).to_vec();
    let scene = Scene { sandbox, arguments, committed_count: 1 };
    scene.keep();
    let met = scene.check("fsync") + scene.check("fdatasync");
    assert!(met > 4, "{met} files and directories were to be synced");
}
