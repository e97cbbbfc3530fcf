//! Mappings of files: the kernel keeps them when the file is closed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use reelfs::job::control::{Answer, CommitRequest, ControlClient, Request};

use super::committed::{ask, commit, generation_count};
use super::failed_syncs::Failing;
use super::{Stage, has};
use crate::support::{can_mount, shell_ok, wait_until};

const LEN: usize = 4 << 20;

/// A program that has a file mapped and closed, and writes a byte where it is told.
struct Mapper {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Mapper {
    fn start(stage: &Stage, path: &Path) -> Self {
        let script = stage.site.root.join("mapper.py");
        // The module for mappings keeps the file open.
        let text = "import ctypes, os, sys\n\
            libc = ctypes.CDLL(None)\n\
            libc.mmap.restype = ctypes.c_void_p\n\
            libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]\n\
            libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]\n\
            length = 4 << 20\n\
            is_new = not os.path.exists(sys.argv[1])\n\
            file = os.open(sys.argv[1], os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0))\n\
            os.write(file, b'a' * length)\n\
            at = libc.mmap(None, length, 3, 1, file, 0)\n\
            os.close(file)\n\
            view = (ctypes.c_char * length).from_address(at)\n\
            print('mapped', flush=True)\n\
            for line in sys.stdin:\n\
            \x20 if line == 'unmap\\n': libc.munmap(at, length)\n\
            \x20 else: view[int(line)] = b'X'\n\
            \x20 print('done', flush=True)\n";
        fs::write(&script, text).unwrap();
        let mut command = Command::new("python3");
        command.arg(&script).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut mapper = Self { child, orders, answers: BufReader::new(answers) };
        mapper.answer();
        mapper
    }

    fn answer(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the program has ended");
    }

    fn order(&mut self, order: impl std::fmt::Display) {
        writeln!(self.orders, "{order}").unwrap();
        self.answer();
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

// Offsets at which the program has written.
fn written(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes.len(), LEN);
    (0..LEN).filter(|at| bytes[*at] == b'X').collect()
}

#[test]
fn what_is_written_through_a_mapping_after_the_file_was_closed_is_in_the_next_generation() {
    if !can_mount() || !has("python3") {
        return;
    }
    let stage = Stage::new();
    let path = stage.path("mapped");
    let mut mapper = Mapper::start(&stage, &path);
    let mut expected = Vec::new();
    for round in 0..4 {
        expected.push(round << 20);
        mapper.order(round << 20);
        assert_eq!(written(&path), expected);
        commit(&stage);
        wait_until("the generation is shown", || generation_count(&stage) == round + 1);
        let stored = stage.mount().path("clients/web1/latest/mapped");
        wait_until("what was written is stored", || written(&stored) == expected);
        // What is of no use any more is removed meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(400));
        if round == 1 {
            stage.mount().kill_server();
        }
    }
    expected.push(LEN - 1);
    mapper.order(LEN - 1);
    mapper.order("unmap");
    assert_eq!(written(&path), expected);
    commit(&stage);
    wait_until("the generation is shown", || generation_count(&stage) == 5);
    assert_eq!(written(&stage.mount().path("clients/web1/latest/mapped")), expected);
    // Nobody has it mapped any more, so that it is not looked at again.
    let pending = || {
        let answers = ask(&stage, &Request::Status { client: None });
        format!("{answers:?}").contains("object_count: 0")
    };
    wait_until("nothing is pending", || {
        commit(&stage);
        pending()
    });
    assert_eq!(generation_count(&stage), 5);
}

#[test]
fn what_is_written_through_a_mapping_of_a_file_of_a_generation_is_in_the_next_one() {
    if !can_mount() || !has("python3") {
        return;
    }
    let stage = Stage::new();
    let path = stage.path("mapped");
    fs::write(&path, "of a generation").unwrap();
    commit(&stage);
    // The kernel does not write it by itself, and brings what was written when it likes.
    let mut mapper = Mapper::start(&stage, &path);
    let mut expected = Vec::new();
    for round in 0..4 {
        expected.push(round << 20 | round);
        mapper.order(round << 20 | round);
        // Who has it mapped has written before the server answers again.
        assert_eq!(written(&path), expected);
        commit(&stage);
        wait_until("the generation is shown", || generation_count(&stage) == round + 2);
        assert_eq!(written(&stage.mount().path("clients/web1/latest/mapped")), expected);
        if round == 1 {
            stage.mount().kill_server();
        }
    }
}

// Who was seen to write a moment ago is not safe, and a commit does not wait long.
fn wait_for_no_one(stage: &Stage) {
    let config = stage.site.repository.join("reelfs.toml");
    let known = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{known}\n[staging.safe]\nquiet = \"30s\"\ngive_up = \"1s\"\n")).unwrap();
}

fn unsafe_files(stage: &Stage) -> String {
    let request = CommitRequest { client: "web1".into(), ..CommitRequest::default() };
    let answers = ask(stage, &Request::Commit(request));
    let remarks = answers.iter().filter_map(|answer| match answer {
        Answer::Commit(commit) => Some(format!("{:?}", commit.inconsistent.listed)),
        _ => None,
    });
    remarks.collect()
}

#[test]
fn a_file_that_was_closed_and_that_nobody_has_mapped_is_safe_at_once() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    wait_for_no_one(&stage);
    for round in 0..3 {
        for number in 0..20 {
            let path = stage.path(&format!("file{number}"));
            let mut file = fs::File::options().create(true).append(true).open(&path).unwrap();
            file.write_all(&vec![round; 1 << 19]).unwrap();
            drop(file);
            assert_eq!(fs::read(&path).unwrap().len(), (usize::from(round) + 1) << 19);
        }
        assert_eq!(unsafe_files(&stage), "[]", "round {round}");
        if round == 1 {
            stage.mount().kill_server();
            let connect = || ControlClient::connect(&stage.site.repository).unwrap();
            wait_until("the next server answers", || connect().is_some());
        }
    }
}

#[test]
fn a_commit_waits_for_who_writes_through_a_mapping_of_a_file_that_was_closed() {
    if !can_mount() || !has("python3") {
        return;
    }
    let stage = Stage::new();
    wait_for_no_one(&stage);
    let mut mapper = Mapper::start(&stage, &stage.path("mapped"));
    mapper.order(5);
    assert!(unsafe_files(&stage).contains("mapped"));
}

#[test]
fn what_is_written_through_a_mapping_of_a_short_file_is_seen_by_who_opens_it() {
    if !can_mount() || !has("python3") {
        return;
    }
    let stage = Stage::new();
    // The module for mappings would keep the file open.
    let script = "import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644)
os.ftruncate(fd, 8192)
mapping = libc.mmap(None, 8192, 3, 1, fd, 0)
os.close(fd)
for text in (b'AAAA', b'BBBB', b'CCCC'):
    ctypes.memmove(mapping, text, 4)
    assert open(sys.argv[1], 'rb').read(4) == text, text
";
    shell_ok("python3 -c \"$1\" $2", &[Path::new(script), &stage.path("short")]);
}

#[test]
fn nobody_waits_while_a_freeze_writes_to_a_slow_disk_what_was_written_directly() {
    if !can_mount() || !has("strace") {
        return;
    }
    let stage = Stage::new();
    let mut open = fs::File::create(stage.path("open")).unwrap();
    open.write_all(&vec![1; 1 << 20]).unwrap();
    let slow = "delay_enter=10000000:when=1";
    let Some(_failing) = Failing::inject(&stage, "fdatasync", slow) else { return };
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| commit(&stage));
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        for number in 0..10 {
            fs::create_dir(stage.path(&format!("made{number}"))).unwrap();
        }
        let waited = begun.elapsed();
        assert!(!committing.is_finished(), "the disk is slower than that");
        assert!(waited < Duration::from_secs(6), "{waited:?} of the ten seconds that the disk takes");
        committing.join().unwrap();
    });
}
