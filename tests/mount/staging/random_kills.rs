//! Servers and whole daemons that are killed at random times while rsync runs and commits are made (F4).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use reelfs::job::control::{Answer, CommitRequest, ControlClient, Request};
use reelfs::job::verify::{self, VerifyOptions};
use reelfs::progress::Progress;

use super::{Stage, has};
use crate::support::{Random, can_mount, kill, shell, wait_until};
use crate::tree::{Seen, assert_same, grow, look};

/// How many rounds are made, unless the environment says so.
const ROUNDS: &str = "REELFS_KILL_ROUNDS";
const SEED: &str = "REELFS_KILL_SEED";
const ROUND_COUNT: u64 = 20;
// A server that dies more often within half a minute is given up.
const SERVER_KILLS_MAX: u32 = 3;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

struct Rounds {
    stage: Stage,
    random: Random,
    server_kills: u32,
    generation_count: usize,
    what: String,
}

impl Rounds {
    fn change_source(&mut self) {
        let Self { stage, random, .. } = self;
        let source = &stage.site.source;
        for number in 0..4 + random.below(12) {
            let directory = source.join(format!("k{}", random.below(4)));
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join(format!("f{}", random.below(60)));
            match random.below(6) {
                0 => fs::remove_file(&path).unwrap_or_default(),
                1 => {
                    let to = directory.join(format!("moved{number}"));
                    fs::rename(&path, to).unwrap_or_default();
                }
                _ => {
                    let len = if random.below(8) == 0 { 400_000 } else { 4000 };
                    let len = random.below(len);
                    fs::write(&path, random.bytes(len)).unwrap();
                }
            }
        }
    }

    fn rsync(&mut self) -> Child {
        let mut command = Command::new("rsync");
        command.args(["-aHAX", "--delete"]);
        command.args([&[][..], &["--inplace"], &["--delay-updates"]][self.random.below(3) as usize]);
        command.arg(format!("{}/", self.stage.site.source.display())).arg(self.stage.root());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    // Kills a server, which is replaced, or all, which leaves a dead mount.
    fn kill_some(&mut self) -> bool {
        thread::sleep(Duration::from_micros(self.random.below(250_000)));
        let mount = self.stage.mount();
        if self.server_kills < SERVER_KILLS_MAX && self.random.below(3) > 0 {
            self.server_kills += 1;
            mount.kill_server();
            return true;
        }
        // The supervisor first, or it would start another server.
        let servers = [mount.processes("--serve"), mount.processes("--resume")].concat();
        for pid in mount.processes("").into_iter().filter(|pid| !servers.contains(pid)) {
            kill(pid, Signal::SIGKILL);
        }
        wait_until("all are dead", || {
            let left = mount.processes("");
            left.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
            left.is_empty() && is_dead(&self.stage)
        });
        false
    }

    fn mount_again(&mut self) {
        self.stage.mount_over();
        self.server_kills = 0;
    }

    fn round(&mut self) {
        self.change_source();
        let mut rsync = self.rsync();
        let lives = self.kill_some();
        let ended = rsync.wait().unwrap();
        assert!(!lives || ended.success(), "{}: rsync {ended} though only a server died", self.what);
        if !lives {
            self.mount_again();
        }
        self.rerun();
        let staged = look(&self.stage.root());
        if self.random.below(3) == 0 {
            self.kill_a_commit(&staged);
        }
        self.commit().unwrap_or_else(|error| panic!("{}: {error}", self.what));
        self.check(staged);
    }

    fn rerun(&self) {
        let trees = [&*self.stage.site.source, &self.stage.root()];
        let rerun = |options: &str| {
            let output = shell(&format!("rsync {options} --delete $1/ $2/"), &trees);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert!(output.status.success(), "{}: {options}: {}", self.what, text(&output.stderr));
            text(&output.stdout)
        };
        rerun("-aHAX");
        assert_eq!(rerun("-aHAXnci"), "", "{}: nothing is left to do", self.what);
    }

    // Afterwards there is the generation or not; what is staged is as before in either case.
    fn kill_a_commit(&mut self, staged: &BTreeMap<PathBuf, Seen>) {
        let repository = self.stage.site.repository.clone();
        let asked = thread::spawn(move || commit_in(&repository));
        let lives = self.kill_some();
        // What it was told does not matter: it may have been told nothing.
        let _told = asked.join().unwrap();
        if !lives {
            self.mount_again();
        }
        assert_same(staged, &look(&self.stage.root()));
    }

    fn commit(&self) -> Result<(), String> {
        let mut result = commit_in(&self.stage.site.repository);
        // The server that is started again does not answer at once.
        for _ in 0..200 {
            if !matches!(&result, Err(text) if text == "nobody answers") {
                break;
            }
            thread::sleep(Duration::from_millis(20));
            result = commit_in(&self.stage.site.repository);
        }
        result
    }

    fn check(&mut self, mut staged: BTreeMap<PathBuf, Seen>) {
        let count = self.stage.site.open().generations(&"web1".parse().unwrap()).unwrap().len();
        let added = count - self.generation_count;
        assert!(added <= 2, "{}: {added} generations more", self.what);
        self.generation_count = count;
        let client = self.stage.mount().path("clients/web1");
        let names = || -> Vec<String> {
            let entries = fs::read_dir(&client).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.filter(|name| name != "latest").collect();
            names.sort();
            names
        };
        wait_until("the generation is shown", || names().len() == count);
        let mut committed = look(&client.join(names().last().expect("one was made")));
        // The directory of a generation has the generation's date.
        committed.remove(Path::new(""));
        staged.remove(Path::new(""));
        let name_of = |tree: &BTreeMap<PathBuf, Seen>| tree.keys().cloned().collect::<BTreeSet<_>>();
        let (expected, found) = (name_of(&staged), name_of(&committed));
        let different: Vec<_> = expected.symmetric_difference(&found).collect();
        assert!(different.is_empty(), "{}: {} generations, {different:?}", self.what, count);
        assert_same(&staged, &committed);
    }
}

// A server that was being started has no name of its own yet, but answers for the mount.
fn is_dead(stage: &Stage) -> bool {
    fs::metadata(stage.mount().path("clients"))
        .is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
}

fn commit_in(repository: &Path) -> Result<(), String> {
    let request = CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() };
    let connected = ControlClient::connect(repository).map_err(|error| format!("{error:?}"))?;
    let mut daemon = connected.ok_or("nobody answers")?;
    daemon.ask(&Request::Commit(request)).map_err(|error| format!("{error:?}"))?;
    loop {
        match daemon.answer().map_err(|error| format!("{error:?}"))? {
            Some(Answer::Done) => return Ok(()),
            Some(Answer::Failed(refusal)) => return Err(format!("{refusal:?}")),
            Some(_) => {}
            None => return Err("nobody answers".to_owned()),
        }
    }
}

#[test]
fn rsync_and_commit_are_right_whenever_servers_and_daemons_are_killed() {
    if !can_mount() || !has("rsync") {
        return;
    }
    let seed = number(SEED, 71).max(1);
    let round_count = number(ROUNDS, ROUND_COUNT);
    println!("seed {seed}, {round_count} rounds");
    let stage = Stage::new();
    let mut random = Random(seed);
    grow(&stage.site.source, &mut random, 120);
    let mut rounds = Rounds { stage, random, server_kills: 0, generation_count: 0, what: String::new() };
    for round in 1..=round_count {
        rounds.what = format!("seed {seed}, round {round}");
        rounds.round();
        if round % 100 == 0 {
            println!("{round} rounds");
        }
    }
    let repository = rounds.stage.site.open();
    let verified = verify::run(&repository, None, &[], &VerifyOptions::default(), &Progress::new()).unwrap();
    assert!(verified.is_sound(), "{verified:?}");
}
