//! A command that is killed or refused at any system call leaves the old state or the new one.
//!
//! `strace` watches a command once, and then does harm at one of the calls it has seen, again and again.
//! Not all of them are tried, for the sake of time, unless `REELFS_TEST_ALL_KILL_POINTS` is set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ended, Random, Sandbox, ended};

/// Calls that change a repository; a call that a processor does not have is left out by its `?`.
const CALLS: &str = "openat,write,?writev,pwrite64,?pwritev,?pwritev2,fsync,fdatasync,ftruncate,fallocate,\
    ?rename,?renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir";
const ALL: &str = "REELFS_TEST_ALL_KILL_POINTS";

/// What is done at a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    Kill,
    Refuse,
    Full,
}

impl Harm {
    fn injection(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::Refuse => "error=EIO",
            Self::Full => "error=ENOSPC",
        }
    }

    // A kill before a call that changes nothing is a kill after the change before it.
    fn is_worth_it(self, call: &Call) -> bool {
        call.is_change() || (self == Self::Refuse && !call.is_in_index())
    }
}

/// A system call on something in the repository.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    /// The how manieth call of this name by its thread it is; that is how strace counts.
    number: usize,
    line: String,
}

impl Call {
    fn is_in_index(&self) -> bool {
        self.line.contains("/repository/index")
    }

    fn is_change(&self) -> bool {
        !self.line.contains("EEXIST") && (self.name != "openat" || self.line.contains("O_CREAT"))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} of {}: {}", self.number, self.name, self.line)
    }
}

pub(crate) fn strace(log: &Path, more: &[&str], command: &Command) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "0", "-o"]).arg(log).args(more).arg("--");
    strace.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    strace
}

pub(crate) fn can_trace() -> bool {
    let is_able = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    let is_able = is_able.is_ok_and(|output| output.status.success());
    if !is_able {
        eprintln!("skipped: strace is missing or not permitted");
    }
    is_able
}

// The calls of the main thread on what is in the repository.
fn calls(log: &Path, repository: &Path) -> Vec<Call> {
    let text = fs::read_to_string(log).unwrap();
    let main_thread = text.split_whitespace().next().unwrap_or_default();
    let mut numbers = BTreeMap::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((thread, line)) = line.split_once(' ') else { continue };
        let Some((name, _)) = line.trim_start().split_once('(').filter(|_| thread == main_thread) else {
            continue;
        };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            continue;
        }
        let number: &mut usize = numbers.entry(name.to_owned()).or_default();
        *number += 1;
        if line.contains(repository.to_str().unwrap()) {
            found.push(Call { name: name.to_owned(), number: *number, line: line.trim().to_owned() });
        }
    }
    found
}

type Content = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

// All below a directory: mode, time and bytes.
fn content(root: &Path) -> Content {
    let mut found = Content::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_symlink() {
            bytes = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else {
            bytes = fs::read(&path).unwrap();
        }
        let name = path.strip_prefix(root).unwrap().to_owned();
        found.insert(name, (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), bytes));
    }
    found
}

/// A repository to begin with, and what a command must make of it.
struct Scene {
    sandbox: Sandbox,
    arguments: Vec<String>,
    /// What the generations hold, and after them what the source holds.
    contents: Vec<Content>,
}

impl Scene {
    // A first backup is to be made.
    fn empty() -> Self {
        let sandbox = Sandbox::with_repository();
        sandbox.write("dir/changed", Random(1).bytes(30_000));
        sandbox.write("dir/old name", "renamed");
        sandbox.write("gone/deep/file", "gone");
        sandbox.write("large", Random(2).bytes(400_000));
        fs::set_permissions(sandbox.source().join("large"), fs::Permissions::from_mode(0o751)).unwrap();
        symlink("dir", sandbox.source().join("link")).unwrap();
        let source = sandbox.source().to_str().unwrap().to_owned();
        let arguments = ["backup", &source, "--client", "web1", "--jobs", "1", "--json"];
        let contents = vec![content(&sandbox.source())];
        Self { arguments: arguments.map(str::to_owned).to_vec(), sandbox, contents }
    }

    // The second backup is to be made.
    fn changed() -> Self {
        let mut scene = Self::empty();
        scene.sandbox.backup(&[]);
        let source = scene.sandbox.source();
        scene.sandbox.write("dir/changed", Random(3).bytes(30_000));
        scene.sandbox.write("new", Random(4).bytes(300_000));
        fs::rename(source.join("dir/old name"), source.join("new name")).unwrap();
        fs::remove_dir_all(source.join("gone")).unwrap();
        scene.contents.push(content(&source));
        scene
    }

    // The index is to be made again, and after that the third backup.
    fn to_rebuild() -> Self {
        let mut scene = Self::changed();
        scene.sandbox.backup(&[]);
        scene.sandbox.write("third", Random(5).bytes(20_000));
        scene.contents.push(content(&scene.sandbox.source()));
        scene.arguments = ["rebuild", "--json"].map(str::to_owned).to_vec();
        scene
    }

    fn committed_count(&self) -> usize {
        self.contents.len() - 1
    }

    fn command(&self) -> Command {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.sandbox.command(&arguments)
    }

    fn keep(&self) {
        fs::rename(self.sandbox.repository(), self.sandbox.path("kept")).unwrap();
        self.bring_back();
    }

    fn bring_back(&self) {
        let repository = self.sandbox.repository();
        if repository.exists() {
            fs::remove_dir_all(&repository).unwrap();
        }
        let copied = Command::new("cp").arg("-a").arg(self.sandbox.path("kept")).arg(&repository).status();
        assert!(copied.unwrap().success());
    }

    // Watches the command, and chooses some calls of those it made.
    fn calls(&self, harm: Harm, step: usize, index_step: usize) -> Vec<Call> {
        self.bring_back();
        let log = self.sandbox.path("log");
        let ended = ended(&mut strace(&log, &["-e", &format!("trace={CALLS}")], &self.command()));
        assert_eq!(ended.code, 0, "{ended:?}");
        let all = calls(&log, &self.sandbox.repository());
        let worth_it = all.into_iter().filter(|call| harm.is_worth_it(call));
        if std::env::var_os(ALL).is_some() {
            return worth_it.collect();
        }
        let (in_index, others): (Vec<_>, Vec<_>) = worth_it.partition(Call::is_in_index);
        let others = others.into_iter().step_by(step);
        others.chain(in_index.into_iter().step_by(index_step)).collect()
    }

    // Runs the command with harm done at the call; tells also which call it was in truth.
    fn harmed(&self, call: &Call, harm: Harm) -> (Ended, Option<String>) {
        self.bring_back();
        let log = self.sandbox.path("log");
        let (name, number) = (&call.name, call.number);
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:{}:when={number}", harm.injection());
        let ended = ended(&mut strace(&log, &["-e", &trace, "-e", &inject], &self.command()));
        let text = fs::read_to_string(&log).unwrap();
        let mut lines = text.lines();
        let hit = match harm {
            Harm::Kill => lines.rfind(|_| ended.code == -1),
            _ => lines.rfind(|line| line.contains("(INJECTED)")),
        };
        (ended, hit.map(str::to_owned))
    }

    fn verify(&self, what: &str) -> Value {
        let ended = self.sandbox.run(&["verify", "--json"]);
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        serde_json::from_str(ended.out.lines().last().unwrap()).unwrap()
    }

    // All that is listed comes back as it was.
    fn check_generations(&self, expected: &[Content], what: &str) {
        for (content_index, expected) in expected.iter().enumerate() {
            let target = self.sandbox.path("target");
            let address = format!("web1@-{}", self.generation_count(what) - content_index);
            let ended = self.sandbox.run(&["restore", &address, target.to_str().unwrap()]);
            assert_eq!(ended.code, 0, "{what}: {ended:?}");
            assert!(content(&target) == *expected, "{what}: {address} is not what was saved");
            fs::remove_dir_all(&target).unwrap();
        }
    }

    fn generation_count(&self, what: &str) -> usize {
        let ended = self.sandbox.run(&["list", "--json"]);
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        ended.out.lines().count()
    }

    // The next backup brings the repository to where it ought to be.
    fn check_next_backup(&self, what: &str) {
        let ended = self.sandbox.run_backup(&[]);
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        let generation_count = self.generation_count(what);
        assert_eq!(generation_count, self.contents.len(), "{what}: a backup adds what is missing, no more");
        self.check_generations(&self.contents, what);
        let verified = self.verify(what);
        assert_eq!(verified["leftovers"], Value::Array(Vec::new()), "{what}");
    }

    // Does harm to a backup at one call after the other.
    fn harm_backup(&self, harm: Harm, step: usize, index_step: usize) {
        let calls = self.calls(harm, step, index_step);
        let mut hit_count = 0;
        for call in &calls {
            let (ended, hit) = self.harmed(call, harm);
            hit_count += usize::from(hit.is_some());
            let what = format!("{} at {call}\nin truth at {hit:?}\n{ended:?}", harm.injection());
            let generation_count = self.generation_count(&what);
            let is_committed = generation_count == self.contents.len();
            assert!(is_committed || generation_count == self.committed_count(), "{what}");
            assert!(is_committed || ended.code != 0, "{what}: success without a generation");
            let is_outside = hit.as_ref().is_some_and(|hit| !hit.contains("/repository/"));
            if harm != Harm::Kill && is_outside {
                // The calls of a run are not quite those of another one: this one hit the source.
                self.verify(&what);
                continue;
            }
            if harm != Harm::Kill {
                assert!(!is_committed || ended.code == 0, "{what}: a generation of a backup that failed");
                // What cannot be read may be damaged; what cannot be written is not.
                let may_be_damage = harm == Harm::Refuse && !call.is_change();
                assert!(ended.code <= 1 || may_be_damage && ended.code == 12, "{what}: no damage");
            }
            if harm == Harm::Full && !is_committed && call.name == "write" {
                assert!(self.sandbox.stored(".partial").is_empty(), "{what}: no space is given back");
            }
            self.verify(&what);
            self.check_generations(&self.contents[..generation_count], &what);
            self.check_next_backup(&what);
        }
        assert!(hit_count > 3 && hit_count * 4 >= calls.len() * 3, "{hit_count} of {} hit", calls.len());
    }

    // The same for the making of the index.
    fn harm_rebuild(&self, harm: Harm, step: usize, index_step: usize) {
        let facts = |ended: &Ended| {
            let value: Value = serde_json::from_str(&ended.out).unwrap();
            [value["generations"].clone(), value["bdfs"].clone(), value["chunks"].clone()]
        };
        self.bring_back();
        let expected = facts(&self.sandbox.run(&["rebuild", "--json"]));
        for (number, call) in self.calls(harm, step, index_step).iter().enumerate() {
            let (ended, hit) = self.harmed(call, harm);
            let what = format!("{} at {call}\nin truth at {hit:?}\n{ended:?}", harm.injection());
            assert_eq!(self.generation_count(&what), self.committed_count(), "{what}");
            self.verify(&what);
            // A backup does not need that the user makes the index again.
            if number % 2 == 0 {
                let again = self.sandbox.run(&["rebuild", "--json"]);
                assert_eq!((again.code, facts(&again)), (0, expected.clone()), "{what}: {again:?}");
            }
            self.check_next_backup(&what);
        }
    }
}

#[test]
fn a_first_backup_that_is_killed_or_refused_at_any_call_leaves_no_trace_after_the_next_one() {
    if !can_trace() {
        return;
    }
    let scene = Scene::empty();
    scene.keep();
    for (harm, step, index_step) in [(Harm::Kill, 2, 17), (Harm::Refuse, 5, 23), (Harm::Full, 5, 23)] {
        scene.harm_backup(harm, step, index_step);
    }
}

#[test]
fn a_backup_that_is_killed_at_any_call_leaves_the_old_state_or_the_new_one() {
    if !can_trace() {
        return;
    }
    let scene = Scene::changed();
    scene.keep();
    scene.harm_backup(Harm::Kill, 1, 9);
}

#[test]
fn a_backup_that_the_disk_refuses_at_any_call_leaves_the_old_state_or_the_new_one() {
    if !can_trace() {
        return;
    }
    let scene = Scene::changed();
    scene.keep();
    scene.harm_backup(Harm::Refuse, 2, 17);
    scene.harm_backup(Harm::Full, 1, 17);
}

#[test]
fn a_rebuild_that_is_cut_off_at_any_call_is_done_by_the_next_one() {
    if !can_trace() {
        return;
    }
    let scene = Scene::to_rebuild();
    scene.keep();
    scene.harm_rebuild(Harm::Kill, 2, 9);
    scene.harm_rebuild(Harm::Refuse, 5, 17);
    scene.harm_rebuild(Harm::Full, 5, 17);
}

#[test]
fn calls_are_counted_by_name_and_thread() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let text = "7  write(1</dev/null>, \"\"..., 3) = 3\n\
        7  write(4</r/full/a.partial>, \"\"..., 3) = 3\n\
        8  write(4</r/full/a.partial>, \"\"..., 3) = 3\n\
        7  fsync(4</r/full/a.partial> <unfinished ...>\n\
        7  <... fsync resumed>) = 0\n\
        7  write(5</r/full/b.partial>, \"\"..., 3) = 3\n";
    fs::write(&log, text).unwrap();
    let found: BTreeSet<_> =
        calls(&log, Path::new("/r")).into_iter().map(|call| (call.name, call.number)).collect();
    let expected = [("write", 2), ("fsync", 1), ("write", 3)].map(|(name, number)| (name.to_owned(), number));
    assert_eq!(found, BTreeSet::from(expected));
}
