//! A storm of interrupted system calls (F18) changes nothing: calls that end with `EINTR` are made again.

use std::fs;

use crate::kill_points::{can_trace, strace};
use crate::random::Random;
use crate::staging::stage;
use crate::support::{Sandbox, ended};

// The first calls of a process are the loader's, which does not try again.
const STORM: &str = "inject=write,pread64,pwrite64:error=EINTR:when=25+2";
const CALLS: &str = "trace=write,pread64,pwrite64";

#[test]
fn interrupted_calls_are_made_again_and_all_comes_back() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    for number in 0..200_u32 {
        sandbox.write(&format!("file-{number}"), format!("{number}\n").repeat(2000));
    }
    let log = sandbox.path("log");
    let (source, target) = (sandbox.source(), sandbox.path("target"));
    let backup = sandbox.command(&["backup", source.to_str().unwrap(), "--client", "web1"]);
    let restore = sandbox.command(&["restore", "web1", target.to_str().unwrap()]);
    for command in [backup, restore] {
        let done = ended(&mut strace(&log, &["-e", CALLS, "-e", STORM], &command));
        assert_eq!(done.code, 0, "{}", done.error);
        let hit_count = fs::read_to_string(&log).unwrap().matches("INJECTED").count();
        assert!(hit_count > 20, "only {hit_count} calls were interrupted");
    }
    for number in 0..200_u32 {
        let name = format!("file-{number}");
        assert_eq!(fs::read(target.join(&name)).unwrap(), fs::read(source.join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn interrupted_calls_are_made_again_by_a_commit_of_what_is_staged() {
    if !can_trace() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let mut files = Vec::new();
    for number in 0..60_u64 {
        let len = if number % 20 == 0 { 900_000 } else { 5000 };
        files.push((format!("file-{number}"), Random(number + 1).bytes(len)));
    }
    let staged: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    stage(&sandbox, "web1", &staged);
    let log = sandbox.path("log");
    let commit = sandbox.command(&["commit", "web1"]);
    let done = ended(&mut strace(&log, &["-e", CALLS, "-e", STORM], &commit));
    assert_eq!(done.code, 0, "{}", done.error);
    let hit_count = fs::read_to_string(&log).unwrap().matches("INJECTED").count();
    assert!(hit_count > 20, "only {hit_count} calls were interrupted");
    assert_eq!(sandbox.run(&["verify"]).code, 0);
    let target = sandbox.path("target");
    sandbox.good(&["restore", "web1", target.to_str().unwrap()]);
    for (name, bytes) in &files {
        assert!(fs::read(target.join(name)).unwrap() == *bytes, "{name}");
    }
}
