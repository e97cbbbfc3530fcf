//! Everything at once (F25): backups, commits, verification, rebuilds of the index, and many readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::random::Random;
use crate::support::{Sandbox, can_mount};

/// How many backups and commits are made, unless the environment says so.
const ROUNDS: &str = "REELFS_THRASH_ROUNDS";
const ROUND_COUNT: u64 = 4;
const READER_COUNT: u64 = 32;
const FILE_COUNT: u64 = 60;

struct Thrash {
    sandbox: Sandbox,
    at: PathBuf,
    is_over: AtomicBool,
    read_count: AtomicU64,
    verify_count: AtomicU64,
    rebuild_count: AtomicU64,
}

// A file tells in its first line what its other bytes are.
fn content(number: u64, version: u64) -> Vec<u8> {
    let len = (number * 7919 + version * 104_729) % 90_000;
    let mut bytes = format!("{number} {version}\n").into_bytes();
    bytes.extend(Random(number * 1000 + version + 1).bytes(len));
    bytes
}

fn is_right(path: &Path, bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some((number, version)) = std::str::from_utf8(line).unwrap_or_default().split_once(' ') else {
        return false;
    };
    let (Ok(number), Ok(version)) = (number.parse(), version.parse()) else { return false };
    path.ends_with(format!("f{number}")) && bytes == content(number, version)
}

// What is wrong with a file, in a few words.
fn wrong(path: &Path, bytes: &[u8]) -> String {
    let again = fs::read(path).map_or(0, |bytes| bytes.len());
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(20)]).into_owned();
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let numbers = line.split_once(' ').map(|(number, version)| (number.parse(), version.parse()));
    let expected = match numbers {
        Some((Ok(number), Ok(version))) => content(number, version),
        _ => Vec::new(),
    };
    let first = bytes.iter().zip(&expected).position(|(a, b)| a != b);
    format!(
        "first line {line:?}, {} of {} bytes, {zeros} zeros at the end, wrong from {first:?}, now {again} bytes",
        bytes.len(),
        expected.len()
    )
}

fn write(directory: &Path, number: u64, version: u64) {
    let new = directory.join("new");
    fs::write(&new, content(number, version)).unwrap();
    fs::rename(new, directory.join(format!("f{number}"))).unwrap();
}

impl Thrash {
    // Another writer may have the repository.
    fn insist(&self, arguments: &[&str]) {
        for _ in 0..3000 {
            let ended = self.sandbox.run(arguments);
            if ended.code != 11 {
                assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{arguments:?}: the repository stays locked");
    }

    fn chosen<'a, T>(numbers: &mut Random, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(numbers.below(of.len().max(1) as u64)).unwrap())
    }

    fn change(&self, directory: &Path, version: u64) {
        let mut numbers = Random(version + 77);
        for _ in 0..FILE_COUNT / 3 {
            write(directory, numbers.below(FILE_COUNT), version);
        }
    }

    fn back_up(&self, round_count: u64) {
        let source = self.sandbox.source();
        for version in 1..=round_count {
            self.change(&source, version);
            self.insist(&["backup", source.to_str().unwrap(), "--client", "host", "--quiet"]);
        }
    }

    fn commit(&self, round_count: u64) {
        for version in 1..=round_count {
            self.change(&self.at.join("staging/web1"), version);
            self.insist(&["commit", "web1", "--wait", "--quiet"]);
        }
    }

    fn repeat(&self, count: &AtomicU64, arguments: &[&str]) {
        while !self.is_over.load(Ordering::Relaxed) {
            self.insist(arguments);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self, reader: u64) {
        let mut numbers = Random(reader + 1);
        while !self.is_over.load(Ordering::Relaxed) {
            let Some(client) = Self::chosen(&mut numbers, &["clients/host", "clients/web1", "staging"])
            else {
                continue;
            };
            let Ok(entries) = fs::read_dir(self.at.join(client)) else { continue };
            let names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            let Some(tree) = Self::chosen(&mut numbers, &names) else { continue };
            let path = tree.join(format!("f{}", numbers.below(FILE_COUNT)));
            match fs::read(&path) {
                Ok(bytes) => assert!(is_right(&path, &bytes), "{}: {}", path.display(), wrong(&path, &bytes)),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", path.display());
                }
            }
            self.read_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run(&self, round_count: u64) {
        thread::scope(|scope| {
            let writers =
                [scope.spawn(|| self.back_up(round_count)), scope.spawn(|| self.commit(round_count))];
            for reader in 0..READER_COUNT {
                scope.spawn(move || self.read(reader));
            }
            scope.spawn(|| self.repeat(&self.verify_count, &["verify", "--quiet"]));
            scope.spawn(|| self.repeat(&self.rebuild_count, &["rebuild", "--quiet"]));
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            self.is_over.store(true, Ordering::Relaxed);
            assert!(ended.iter().all(Result::is_ok));
        });
    }
}

impl Drop for Thrash {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.sandbox.run(&["umount", "--lazy", self.at.to_str().unwrap()]);
        assert!(thread::panicking() || ended.code == 0, "{ended:?}");
    }
}

#[test]
fn backups_commits_verification_rebuilds_and_readers_at_once_see_no_wrong_byte() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_repository();
    let at = sandbox.path("mnt");
    fs::create_dir(&at).unwrap();
    for number in 0..FILE_COUNT {
        write(&sandbox.source(), number, 0);
    }
    let source = sandbox.source();
    sandbox.good(&["backup", source.to_str().unwrap(), "--client", "host"]);
    sandbox.good(&["mount", "-o", "staging", at.to_str().unwrap()]);
    fs::create_dir(at.join("staging/web1")).unwrap();
    let copied = Command::new("cp").arg("-a").arg(source.join(".")).arg(at.join("staging/web1")).status();
    assert!(copied.unwrap().success());
    let round_count = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(ROUND_COUNT);
    let counts = || AtomicU64::new(0);
    let thrash = Thrash {
        sandbox,
        at,
        is_over: AtomicBool::new(false),
        read_count: counts(),
        verify_count: counts(),
        rebuild_count: counts(),
    };
    thrash.run(round_count);
    let counts = [&thrash.read_count, &thrash.verify_count, &thrash.rebuild_count];
    let counts = counts.map(|count| count.load(Ordering::Relaxed));
    println!("{} reads, {} verifications, {} rebuilds", counts[0], counts[1], counts[2]);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(thrash.sandbox.generations().len() as u64, 2 * round_count + 1);
    thrash.sandbox.good(&["verify"]);
}
