//! Random operations on one file, compared with what the content must then be.
//!
//! As in `fsx` of the Linux Test Project: whatever was written last at a place must be read there, whichever
//! way it was written, through several handles, and after the server was replaced.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{FallocateFlags, copy_file_range, fallocate};

use super::Stage;
use super::posix::make_for_kernel;
use crate::support::{Random, Site, can_mount};

const LEN_MAX: u64 = 300 << 10;
const RUN_LEN_MAX: u64 = 70 << 10;

struct Exerciser<'a> {
    path: &'a Path,
    file: File,
    content: Vec<u8>,
    random: Random,
}

impl Exerciser<'_> {
    fn range(&mut self) -> (u64, u64) {
        let offset = self.random.below(LEN_MAX);
        (offset, 1 + self.random.below(RUN_LEN_MAX.min(LEN_MAX - offset)))
    }

    fn fill(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset as usize + bytes.len();
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[offset as usize..end].copy_from_slice(bytes);
    }

    fn write(&mut self) {
        let (offset, len) = self.range();
        let bytes = self.random.bytes(len);
        self.file.write_all_at(&bytes, offset).unwrap();
        self.fill(offset, &bytes);
    }

    fn zero(&mut self, flags: FallocateFlags) {
        let (offset, len) = self.range();
        fallocate(&self.file, flags, offset, len).unwrap();
        let keeps = flags.contains(FallocateFlags::KEEP_SIZE);
        let end = if keeps { (offset + len).min(self.content.len() as u64) } else { offset + len };
        if end > offset {
            let zeros = vec![0; (end - offset) as usize];
            self.fill(offset, &zeros);
        }
    }

    fn reserve(&mut self) {
        let (offset, len) = self.range();
        fallocate(&self.file, FallocateFlags::empty(), offset, len).unwrap();
        let len = self.content.len().max((offset + len) as usize);
        self.content.resize(len, 0);
    }

    fn copy(&mut self) {
        let (from, len) = self.range();
        let to = self.random.below(LEN_MAX - len + 1);
        let len = len.min((self.content.len() as u64).saturating_sub(from));
        if len == 0 || (from < to + len && to < from + len) {
            return;
        }
        let (mut source, mut target, mut left) = (from, to, len);
        while left > 0 {
            let other = File::open(self.path).unwrap();
            let count =
                copy_file_range(&other, Some(&mut source), &self.file, Some(&mut target), left as usize)
                    .unwrap();
            assert_ne!(count, 0);
            left -= count as u64;
        }
        let bytes = self.content[from as usize..(from + len) as usize].to_vec();
        self.fill(to, &bytes);
    }

    fn truncate(&mut self) {
        let len = self.random.below(LEN_MAX);
        self.file.set_len(len).unwrap();
        self.content.resize(len as usize, 0);
    }

    fn check(&mut self) {
        let (offset, len) = self.range();
        let mut bytes = vec![0; len as usize];
        let mut count = 0;
        while count < bytes.len() {
            let read = self.file.read_at(&mut bytes[count..], offset + count as u64).unwrap();
            if read == 0 {
                break;
            }
            count += read;
        }
        let start = (offset as usize).min(self.content.len());
        let end = ((offset + len) as usize).min(self.content.len());
        assert!(bytes[..count] == self.content[start..end], "bytes from {offset}, {len} long");
    }

    fn check_all(&self) {
        assert_eq!(self.file.metadata().unwrap().len(), self.content.len() as u64);
        assert!(fs::read(self.path).unwrap() == self.content);
    }

    fn reopen(&mut self) {
        self.file = File::options().read(true).write(true).open(self.path).unwrap();
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=4 => self.write(),
            5 => self.zero(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
            6 => self.zero(FallocateFlags::ZERO_RANGE),
            7 => self.zero(FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE),
            8 => self.reserve(),
            9 => self.truncate(),
            10 => self.copy(),
            11 => self.reopen(),
            12 => self.check_all(),
            13 if self.random.below(20) == 0 => self.file.sync_data().unwrap(),
            _ => self.check(),
        }
    }
}

fn exercise(path: &Path, content: Vec<u8>, seed: u64, count: u64) -> Vec<u8> {
    println!("seed {seed}");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let mut exerciser = Exerciser { path, file, content, random: Random(seed) };
    for _ in 0..count {
        exerciser.step();
    }
    exerciser.check_all();
    exerciser.content
}

#[test]
fn what_was_written_last_is_read_in_a_new_file() {
    if !can_mount() {
        return;
    }
    let mut stage = Stage::new();
    let held = make_for_kernel(&stage.path("f"));
    let content = exercise(&stage.path("f"), Vec::new(), 21, 7000);
    drop(held);
    let seen = exercise(&stage.path("seen"), Vec::new(), 26, 5000);
    stage.remount();
    assert!(fs::read(stage.path("f")).unwrap() == content);
    assert!(fs::read(stage.path("seen")).unwrap() == seen);
}

#[test]
fn what_was_written_last_is_read_in_a_file_of_the_last_generation() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let begun = Random(5).bytes(LEN_MAX / 2);
    fs::write(site.source.join("f"), &begun).unwrap();
    fs::write(site.source.join("f.db"), &begun).unwrap();
    site.backup("web1");
    let mut stage = Stage::on(site);
    let content = exercise(&stage.path("f"), begun.clone(), 22, 7000);
    // Never read and written past the server.
    let database = exercise(&stage.path("f.db"), begun, 23, 6000);
    stage.remount();
    assert!(fs::read(stage.path("f")).unwrap() == content);
    assert!(fs::read(stage.path("f.db")).unwrap() == database);
}

#[test]
fn what_was_written_last_is_read_while_servers_are_killed() {
    if !can_mount() {
        return;
    }
    let mut site = Site::new();
    let begun = Random(6).bytes(LEN_MAX / 2);
    fs::write(site.source.join("f"), &begun).unwrap();
    site.backup("web1");
    let stage = Stage::on(site);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                std::thread::sleep(std::time::Duration::from_millis(300));
                stage.mount().kill_server();
            }
        });
        exercise(&stage.path("f"), begun, 24, 3000);
        let _held = make_for_kernel(&stage.path("new"));
        exercise(&stage.path("new"), Vec::new(), 25, 3000);
    });
}
