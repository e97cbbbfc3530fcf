//! What programs write in place while commits are made: each generation has it as it was at one moment.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use reelfs::job::control::{CommitRequest, Request};

use super::Stage;
use super::committed::ask;
use crate::support::{can_mount, shell_ok};

const PIECE_LEN: usize = 64 << 10;
const GENERATION_COUNT: usize = 6;
// On a busy machine a file may not be held in time; the commit says so.
const COMMIT_COUNT_MAX: usize = 60;
const NOT_HELD: &str = "while it was read";

/// Writes a number to one place after the other, then the next number.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(places: Vec<(File, u64)>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let write = move || {
            for number in 1_u64.. {
                for (file, offset) in &places {
                    file.write_all_at(&number.to_le_bytes().repeat(PIECE_LEN / 8), *offset).unwrap();
                }
                if seen.load(Ordering::Acquire) {
                    return;
                }
            }
        };
        Self { is_over, thread: Some(std::thread::spawn(write)) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let ended = self.thread.take().expect("it is taken once").join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

// The number that stands at a place, all of it.
fn number(path: &Path, offset: u64) -> u64 {
    let mut bytes = vec![0; PIECE_LEN];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let other = bytes.chunks_exact(8).position(|piece| piece != &bytes[..8]);
    assert_eq!(other, None, "{}: a write is cut in two at {offset}", path.display());
    first
}

// Commits until there were enough generations in which everything was held, and has each of them looked at.
fn commit_and_check(stage: &Stage, places: &[(&str, u64)]) {
    let mut held_count = 0;
    for _ in 0..COMMIT_COUNT_MAX {
        let request = CommitRequest { client: "web1".into(), now: true, ..CommitRequest::default() };
        let answers = format!("{:?}", ask(stage, &Request::Commit(request)));
        assert!(answers.contains("was being written at the freeze"), "{answers}");
        if answers.contains(NOT_HELD) {
            continue;
        }
        let latest = stage.mount().path("clients/web1/latest");
        let numbers: Vec<u64> =
            places.iter().map(|(name, offset)| number(&latest.join(name), *offset)).collect();
        assert!(numbers.is_sorted_by(|before, after| before >= after), "{numbers:?}");
        assert!(numbers.last().unwrap() + 1 >= numbers[0], "{numbers:?}");
        held_count += 1;
        if held_count == GENERATION_COUNT {
            return;
        }
    }
    panic!("of {COMMIT_COUNT_MAX} commits only {held_count} could hold what was written");
}

fn can_hold(stage: &Stage) -> bool {
    let is_held = shell_ok("stat -f -c %T $1", &[&stage.site.repository]).trim() == "ext2/ext3";
    if !is_held {
        eprintln!("skipped: the repository is on no ext4");
    }
    is_held
}

#[test]
fn files_that_programs_hold_open_and_overwrite_are_of_one_moment_together() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    if !can_hold(&stage) {
        return;
    }
    // The kernel writes the first two itself, not the others.
    let open = |options: &mut OpenOptions, name: &str| (options.open(stage.path(name)).unwrap(), 0);
    let mut anew = File::options();
    anew.write(true).create(true).truncate(true);
    let mut own = File::options();
    own.read(true).write(true).create_new(true);
    let mut both = File::options();
    both.read(true).write(true).create(true).truncate(true);
    let places =
        vec![open(&mut anew, "a"), open(&mut own, "b"), open(&mut both, "c"), open(&mut anew, "d.sqlite")];
    for (file, _) in &places {
        file.write_all_at(&[0; PIECE_LEN], 0).unwrap();
    }
    let writer = Writer::start(places);
    commit_and_check(&stage, &[("a", 0), ("b", 0), ("c", 0), ("d.sqlite", 0)]);
    drop(writer);
}

#[test]
fn a_long_file_that_is_opened_again_and_overwritten_is_of_one_moment() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    const LEN: u64 = 40 << 20;
    let path: PathBuf = stage.path("disk.img");
    fs::write(&path, vec![0; usize::try_from(LEN).unwrap()]).unwrap();
    let last = LEN - PIECE_LEN as u64;
    let open = |offset| (File::options().read(true).write(true).open(&path).unwrap(), offset);
    let writer = Writer::start(vec![open(0), open(LEN / 2), open(last)]);
    commit_and_check(&stage, &[("disk.img", 0), ("disk.img", LEN / 2), ("disk.img", last)]);
    drop(writer);
}
