//! What is on a cartridge, read with GNU tar and the Python reader alone; and a cartridge of GNU tar.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reelfs::progress::Progress;
use reelfs::tape::Object;
use reelfs::tape::TapeError;
use reelfs::tape::archive::{BLOCK_LEN, ForeignState, Recognised};
use reelfs::tape::reader::{ForeignEntry, ForeignEvent, Identified, identify, read_foreign, scan_foreign};
use reelfs::tape::writer::{Overwrite, VolumeWriter, label};

use crate::lab::{Lab, archive, description, noise, object, objects, session};

/// The tape files of a SIMH image: lists of records between tape marks. Read by the specification (tape.md,
/// 5.1), not by the emulator's code.
pub(crate) fn tape_files(image: &Path) -> Vec<Vec<Vec<u8>>> {
    let bytes = fs::read(image).expect("an image");
    let mut files = vec![Vec::new()];
    let mut at = 0;
    while let Some(word) = bytes.get(at..at + 4) {
        let len = u32::from_le_bytes(word.try_into().expect("four bytes")) as usize;
        at += 4;
        match len {
            0 => files.push(Vec::new()),
            0xffff_ffff => break,
            _ => {
                assert_eq!(len >> 24, 0, "class of the record at byte {at}");
                files.last_mut().expect("one").push(bytes[at..at + len].to_vec());
                at += len.next_multiple_of(2);
                assert_eq!(bytes[at..at + 4], u32::try_from(len).expect("short").to_le_bytes());
                at += 4;
            }
        }
    }
    files
}

fn tar(directory: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("tar")
        .args(["--warning=no-unknown-keyword", "-b", "1024"])
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("tar runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "tar complains");
    output
}

// The golden repository as objects.
fn repository() -> Vec<Object> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repository/v1");
    let mut names = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { directories.push(path) } else { names.push(path) }
        }
    }
    names.sort();
    names
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below").to_str().expect("ASCII");
            object(name, fs::read(path).expect("a file"))
        })
        .collect()
}

// Writes the tape files from one on as `N.tar` and extracts them.
fn extract(image: &Path, from: usize, target: &Path) {
    fs::create_dir_all(target).expect("a directory");
    for (number, records) in tape_files(image).into_iter().enumerate().skip(from) {
        if records.is_empty() {
            continue;
        }
        assert!(records.iter().all(|record| record.len() == BLOCK_LEN), "tape file {number}");
        let path = target.with_extension(format!("{number}.tar"));
        fs::write(&path, records.concat()).expect("room");
        let path = path.to_str().expect("ASCII");
        assert!(!tar(target, &["-tvf", path]).stdout.is_empty());
        tar(target, &["-xf", path]);
    }
}

#[test]
fn gnu_tar_and_the_python_reader_restore_a_tree_from_the_tape_alone() {
    let lab = Lab::new(1, 256 << 20);
    let mut drive = lab.labelled();
    let objects = repository();
    assert_eq!(objects.len(), 5);
    archive(&mut drive, 1, &objects);
    drop(drive);
    let image = lab.image("RL0001L8");
    let files = tape_files(&image);
    assert_eq!(files[0].len(), 1);
    assert_eq!(files[0][0].len(), 80);
    assert!(files[0][0].starts_with(b"VOL1RL0001"));
    assert_eq!(&files[0][0][24..37], b"REELFS       ");

    let described = lab.directory.path().join("described");
    extract(&image, 1, &described);
    let readme = fs::read_to_string(described.join("README")).expect("it is there");
    assert!(readme.contains("cartridge RL0001L8"), "{readme}");
    for object in &objects {
        let found = fs::read(described.join(&*object.name)).expect("extracted");
        assert!(found == crate::lab::whole(object), "{}", object.name);
    }

    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let found = Command::new(python).args(["-c", "import zstandard"]).output();
        found.is_ok_and(|output| output.status.success())
    }) else {
        assert!(std::env::var_os("CI").is_none(), "CI has python3 with zstandard");
        eprintln!("skipped: python3 has no module zstandard");
        return;
    };
    // The program that lay on the tape itself. Owners and attributes may need rights: then it exits with 3.
    let run = |arguments: &[&str], statuses: &[i32]| {
        let script = described.join("reelfs_reader.py");
        let output = Command::new(python).arg(script).args(arguments).output().expect("python runs");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| statuses.contains(&code)), "{complaints}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let place = described.to_str().expect("ASCII");
    assert_eq!(run(&["check", place], &[0]), "2 generations, 3 frames, 5 chunks\n");
    let from_tape = lab.directory.path().join("from-tape");
    let from_disk = lab.directory.path().join("from-disk");
    let disk = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repository/v1");
    for (repository, target) in [(place, &from_tape), (disk.to_str().expect("ASCII"), &from_disk)] {
        run(&["extract", repository, "sample@latest", target.to_str().expect("ASCII")], &[0, 3]);
    }
    for name in ["text", "hard-a", "directory/hard-b", "holes", "empty"] {
        let read = |target: &Path| fs::read(target.join(name)).expect("restored");
        assert!(read(&from_tape) == read(&from_disk), "{name}");
    }
}

#[test]
fn gnu_tar_extracts_segments_that_cat_puts_together() {
    let lab = Lab::new(1, 256 << 20);
    let mut drive = lab.labelled();
    let long_name = format!("clients/{}/x.dtf", "n".repeat(150));
    let written = vec![object("full/web1/large.bdf", noise(3, 3_500_000)), object(&long_name, noise(4, 10))];
    archive(&mut drive, 1, &written);
    drop(drive);
    let target = lab.directory.path().join("extracted");
    extract(&lab.image("RL0001L8"), 2, &target);
    let mut joined = Vec::new();
    for number in 0..4 {
        joined.extend(fs::read(target.join(format!("full/web1/large.bdf.{number:05}"))).expect("a segment"));
    }
    assert!(joined == noise(3, 3_500_000));
    assert!(fs::read(target.join(&long_name)).expect("extracted") == noise(4, 10));
    // One line for each segment, as `b3sum --check` takes it.
    let sums = fs::read_to_string(target.join("B3SUMS")).expect("the last part's");
    let line = sums.lines().last().expect("a line");
    assert_eq!(line, format!("{}  {long_name}", reelfs::id::Fingerprint::of(&noise(4, 10))));
}

// A cartridge as GNU tar writes it: two archives with records of 10 KiB.
fn tar_cartridge(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let source = lab.directory.path().join("source");
    fs::create_dir_all(source.join("etc/deep")).expect("a directory");
    let long = format!("etc/deep/{}", "l".repeat(120));
    let files = vec![
        ("etc/passwd".to_owned(), b"root:x:0:0\n".to_vec()),
        ("etc/big".to_owned(), noise(8, 2_000_000)),
        (long, noise(9, 30_000)),
    ];
    for (name, content) in &files {
        fs::write(source.join(name), content).expect("room");
    }
    lab.load(0);
    let mut drive = lab.ready();
    drive.locate(0).expect("the beginning");
    for format in ["gnu", "pax"] {
        let output = Command::new("tar")
            .args([&format!("--format={format}"), "--sort=name", "-cf", "-", "etc"])
            .current_dir(&source)
            .output()
            .expect("tar runs");
        for block in output.stdout.chunks(10_240) {
            drive.write_block(block).expect("written");
        }
        drive.write_filemarks(1, true).expect("written");
    }
    files
}

#[test]
fn a_cartridge_of_gnu_tar_is_listed_and_read() {
    let lab = Lab::new(1, 256 << 20);
    let files = tar_cartridge(&lab);
    let mut drive = lab.ready();
    let identified = identify(&mut drive).expect("readable");
    assert_eq!(identified, Identified::Foreign(Recognised::Tar));
    let mut found: Vec<ForeignEntry> = Vec::new();
    scan_foreign(&mut drive, &Progress::new(), &mut |event| -> Result<(), TapeError> {
        match event {
            ForeignEvent::Entry(entry) => found.push(*entry),
            ForeignEvent::File(file) => assert_eq!(file.state, ForeignState::Whole),
            ForeignEvent::Again => panic!("all blocks have one length"),
        }
        Ok(())
    })
    .expect("listed");
    for file in [0, 1] {
        for (name, content) in &files {
            let entry = found.iter().find(|entry| entry.file == file && entry.entry.name == name.as_bytes());
            let entry = entry.unwrap_or_else(|| panic!("{name} in tape file {file}"));
            assert_eq!(entry.entry.size, content.len() as u64);
            let mut buffer = vec![0; content.len()];
            read_foreign(&mut drive, entry, 0, &mut buffer).expect("readable");
            assert!(buffer == *content, "{name}");
            let middle = content.len() / 3;
            read_foreign(&mut drive, entry, middle as u64, &mut buffer[..5]).expect("readable");
            assert_eq!(buffer[..5], content[middle..middle + 5]);
        }
    }
    assert_eq!(found.len(), 2 * (files.len() + 2));
}

#[test]
fn a_cartridge_of_another_program_is_neither_labelled_nor_appended_to() {
    let lab = Lab::new(1, 256 << 20);
    tar_cartridge(&lab);
    let mut drive = lab.ready();
    let progress = Progress::new();
    let before = fs::read(lab.image("RL0001L8")).expect("an image");
    let mut first = [0; 80];
    first[..10].copy_from_slice(b"VOL1ABC123");
    let error = label(&mut drive, &description(1), &Overwrite::Nothing, &session(), &progress);
    assert!(matches!(error, Err(TapeError::Occupied { kind: "tar", .. })), "{error:?}");
    let error =
        VolumeWriter::append(&mut drive, description(1).volume, session(), crate::lab::small(), &progress);
    assert!(matches!(error, Err(TapeError::Foreign { kind: "tar", .. })), "{error:?}");
    assert!(fs::read(lab.image("RL0001L8")).expect("an image") == before, "the cartridge was changed");
    let named = Overwrite::Named("tar".to_owned());
    label(&mut drive, &description(1), &named, &session(), &progress).expect("it was named");
    archive(&mut drive, 1, &objects(1, 2));
}
