//! The tape commands over an emulated library in a directory.

mod bases;
mod changer;
mod choosing;
mod copying;
mod foreign;
mod interrupted;
mod keeping;
mod kinds;
mod labels;
mod metadata;
mod mounted;
mod mounting;
mod networked;
mod order;
mod racing;
mod reserving;
mod spanning;
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reelfs::clock::ManualClock;
use reelfs::emulator::{EmulatedLibrary, Generation, LibraryShape};
use reelfs::tape::archive::{IndexDecoder, IndexHeader, IndexLine, encode_index};
use serde_json::Value;

use crate::support::{Ended, Random, Sandbox, ended};

const MIB: u64 = 1 << 20;

/// A sandbox with an emulated library beside the repository.
struct Vault {
    sandbox: Sandbox,
}

impl Vault {
    /// Two LTO-8 drives and cartridges of this capacity, `RL0001L8` and so on.
    fn new(cartridge_count: u16, capacity_bytes: u64) -> Self {
        let shape = LibraryShape::new(Generation::Lto8);
        Self::with_shape(&shape.with_cartridges(cartridge_count, Generation::Lto8, Some(capacity_bytes)))
    }

    fn with_shape(shape: &LibraryShape) -> Self {
        let sandbox = Sandbox::with_repository();
        EmulatedLibrary::create(&sandbox.path("library"), shape).unwrap();
        // Backup data files of a size that goes with that of the cartridges.
        let settings = sandbox.repository().join("reelfs.toml");
        let text = fs::read_to_string(&settings).unwrap();
        let smaller = text.replace("bdf_bytes = 4294967296", "bdf_bytes = 3000000");
        assert_ne!(text, smaller);
        fs::write(settings, smaller).unwrap();
        Self { sandbox }
    }

    /// What an operator sees and does.
    fn emulated(&self) -> EmulatedLibrary {
        EmulatedLibrary::open(&self.sandbox.path("library"), Arc::new(ManualClock::default())).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(&[]);
        command.arg("tape").args(arguments);
        command.env("REELFS_LIBRARY", self.sandbox.path("library"));
        command.env("XDG_CACHE_HOME", self.sandbox.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs the command, which must succeed.
    fn good(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// The same with `--json`: one value for each line.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        self.good(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Archives with little memory, which must succeed.
    fn archive(&self, more: &[&str]) -> Value {
        let arguments: Vec<&str> = ["archive", "--memory", "16"].iter().chain(more).copied().collect();
        self.json(&arguments).pop().unwrap()
    }

    /// Runs the command, which must fail with this code and this text in its message.
    fn refused(&self, code: i32, arguments: &[&str], text: &str) {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        assert!(ended.error.contains(text), "{text:?} is not in {}", ended.error);
    }

    /// Takes the repository away.
    fn lose_repository(&self) {
        fs::rename(self.sandbox.repository(), self.sandbox.path("lost")).unwrap();
    }

    /// Restores the latest generation of `web1` and compares it with the source.
    fn restore_and_compare(&self) {
        let target = self.sandbox.path("restored");
        self.good(&["restore", "web1", target.to_str().unwrap()]);
        assert_same(&self.sandbox.source(), &target);
        fs::remove_dir_all(&target).unwrap();
    }

    /// Bytes of the image of a cartridge.
    fn image(&self, barcode: &str) -> Vec<u8> {
        fs::read(self.image_path(barcode)).unwrap_or_default()
    }

    fn image_path(&self, barcode: &str) -> PathBuf {
        self.sandbox.path(&format!("library/cartridges/{barcode}.p0.tap"))
    }

    /// Kind and number of the element that holds a cartridge.
    fn place_of(&self, barcode: &str) -> (String, u64) {
        let inventory = self.json(&["inventory"]);
        let element = inventory.iter().find(|element| element["barcode"] == barcode).unwrap();
        (element["kind"].as_str().unwrap().to_owned(), element["number"].as_u64().unwrap())
    }
}

/// Two generations of a source with files of all sizes, `len` bytes that cannot be compressed in the largest.
fn two_generations(sandbox: &Sandbox, len: usize) {
    let mut numbers = Random(0x5eed_0004);
    for index in 0..40 {
        let len = usize::try_from(numbers.below(60_000)).unwrap();
        sandbox.write(&format!("small/{}/{index}", index % 5), numbers.bytes(len));
    }
    sandbox.write("large", numbers.bytes(len));
    sandbox.write("text", "the same line again\n".repeat(50_000));
    sandbox.backup(&[]);
    sandbox.write("small/3/new", "new in the second generation");
    let mut large = fs::read(sandbox.source().join("large")).unwrap();
    large[len / 2..len / 2 + 100].fill(7);
    sandbox.write("large", large);
    sandbox.backup(&[]);
}

fn assert_same(left: &Path, right: &Path) {
    let output = Command::new("diff").arg("-r").arg("--no-dereference").args([left, right]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn what_was_archived_is_restored_from_tape_alone() {
    let vault = Vault::new(4, 256 * MIB);
    two_generations(&vault.sandbox, 9_000_000);
    let archived = vault.archive(&["--client", "web1", "--generations", "all"]);
    assert_eq!(archived["barcodes"], serde_json::json!(["RL0001L8"]), "{archived}");
    assert!(archived["bytes"].as_u64().unwrap() > 9_000_000, "{archived}");
    let again = vault.archive(&["--generations", "all"]);
    assert_eq!(again["bytes"], 0, "{again}");
    vault.lose_repository();
    let target = vault.sandbox.path("restored");
    vault.refused(1, &["restore", "web1", target.to_str().unwrap()], "reelfs tape scan");
    vault.good(&["scan", "RL0001L8"]);
    let listed = vault.json(&["list"]);
    assert_eq!(listed.iter().filter(|line| line["kind"] == "generation").count(), 2, "{listed:?}");
    vault.restore_and_compare();
    assert_eq!(vault.place_of("RL0001L8"), ("slot".to_owned(), 0));
    let names = vault.json(&["list", "--objects", "RL0001L8"]);
    assert_eq!(names.iter().filter(|line| line["name"].as_str().unwrap().ends_with(".dtf")).count(), 2);
}

#[test]
fn an_earlier_generation_and_a_part_of_one_are_restored() {
    let vault = Vault::new(2, 256 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    vault.archive(&["--generations", "all"]);
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8", "--full"]);
    let target = vault.sandbox.path("part");
    vault.good(&["restore", "web1@-2:small/3", target.to_str().unwrap()]);
    assert!(!target.join("new").exists());
    for name in ["3", "8", "13"] {
        let source = vault.sandbox.source().join("small/3").join(name);
        assert_eq!(fs::read(target.join(name)).unwrap(), fs::read(source).unwrap(), "{name}");
    }
    let counted = vault.json(&["restore", "web1", "/nowhere/at/all", "--dry-run"]).pop().unwrap();
    assert_eq!(counted["files"], 43, "{counted}");
}

#[test]
fn a_later_archive_writes_only_what_is_new() {
    let vault = Vault::new(2, 256 * MIB);
    two_generations(&vault.sandbox, 9_000_000);
    let first = vault.archive(&[]);
    vault.sandbox.write("small/4/newer", Random(9).bytes(100_000));
    vault.sandbox.backup(&[]);
    let plan = vault.json(&["archive", "--dry-run", "--finish-by", "17:30"]).pop().unwrap();
    assert!(plan["start_seconds"].as_i64().unwrap() > 1_700_000_000, "{plan}");
    let second = vault.archive(&[]);
    assert_eq!(second["bytes"], plan["bytes"], "{second} {plan}");
    let bytes = second["bytes"].as_u64().unwrap();
    assert!(bytes > 100_000 && bytes < 400_000, "{second} after {first}");
    assert_eq!(second["set"], first["set"]);
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8"]);
    vault.restore_and_compare();
}

#[test]
fn a_damaged_block_is_found_by_verify_and_costs_only_the_files_in_it() {
    let vault = Vault::new(2, 256 * MIB);
    two_generations(&vault.sandbox, 9_000_000);
    vault.archive(&["--generations", "all"]);
    assert_eq!(vault.json(&["verify", "RL0001L8"]).pop().unwrap()["damages"], 0);
    let objects = vault.json(&["list", "--objects", "RL0001L8"]);
    let large = objects.iter().max_by_key(|object| object["len"].as_u64()).unwrap();
    vault.emulated().spoil_block("RL0001L8", 0, large["block"].as_u64().unwrap() + 2).unwrap();
    let ended = vault.run(&["verify", "RL0001L8"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert!(ended.out.contains(large["name"].as_str().unwrap()), "{ended:?}");
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8"]);
    let target = vault.sandbox.path("restored");
    let ended = vault.run(&["restore", "web1", target.to_str().unwrap()]);
    assert_eq!(ended.code, 12, "{ended:?}");
    let restored = fs::read(target.join("text")).unwrap();
    assert_eq!(restored, fs::read(vault.sandbox.source().join("text")).unwrap());
    assert!(!target.join("large").exists(), "{ended:?}");
}

#[test]
fn sessions_are_listed_and_a_cartridge_is_compared_with_the_repository() {
    let vault = Vault::new(1, 256 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    vault.archive(&["--generations", "all"]);
    vault.sandbox.write("more", Random(7).bytes(100_000));
    vault.sandbox.backup(&[]);
    vault.archive(&[]);
    let sessions = vault.json(&["scan", "--sessions", "RL0001L8"]);
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let bytes = |at: usize| sessions[at]["bytes"].as_u64().unwrap();
    assert!(bytes(0) > 2_000_000 && bytes(1) < 500_000, "{sessions:?}");
    assert!(sessions.iter().all(|session| session["closed"] == true), "{sessions:?}");
    let shown = vault.good(&["scan", "--sessions", "RL0001L8"]);
    assert_eq!(shown.lines().count(), 2, "{shown}");

    let same = vault.json(&["verify", "--compare", "RL0001L8"]).pop().unwrap();
    assert_eq!((&same["kind"], &same["differences"]), (&"comparison".into(), &0.into()), "{same}");
    assert!(same["segments"].as_u64().unwrap() > 3, "{same}");
    // A byte that is another, a file that is shorter, one that is gone: the cartridge is sound all the same.
    let bdfs = vault.sandbox.stored(".bdf");
    let mut content = fs::read(&bdfs[0]).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&bdfs[0], &content).unwrap();
    let ended = vault.run(&["verify", "--compare", "--json", "RL0001L8"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("summary")[0]["damages"], 0, "{lines:?}");
    assert_eq!(of("difference").len(), 1, "{lines:?}");
    let name = bdfs[0].file_name().unwrap().to_str().unwrap();
    assert!(of("difference")[0]["name"].as_str().unwrap().contains(name), "{lines:?}");
    content.pop();
    fs::write(&bdfs[0], &content).unwrap();
    let ended = vault.run(&["verify", "--compare", "RL0001L8"]);
    assert!(ended.code == 12 && ended.out.contains("another length"), "{ended:?}");
    fs::remove_file(&bdfs[0]).unwrap();
    let ended = vault.run(&["verify", "--compare", "RL0001L8"]);
    assert!(ended.code == 0 && ended.out.contains("1 are not in the repository"), "{ended:?}");
}

#[test]
fn a_damaged_file_of_the_repository_does_not_go_to_tape() {
    let vault = Vault::new(1, 256 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    let bdf = vault.sandbox.stored(".bdf").pop().unwrap();
    let mut bytes = fs::read(&bdf).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bdf, bytes).unwrap();
    let ended = vault.run(&["archive", "--generations", "all", "--memory", "16"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert!(ended.error.contains(bdf.file_name().unwrap().to_str().unwrap()), "{ended:?}");
    let lacking =
        vault.json(&["list"]).into_iter().find(|line| line["kind"] == "lacking").expect("it is told");
    let name = lacking["name"].as_str().unwrap();
    assert!(bdf.ends_with(name.rsplit('/').next().unwrap()), "{lacking}");
    let objects = vault.json(&["list", "--objects", "RL0001L8"]);
    assert!(
        objects.iter().all(|object| object["name"] != name || object["len"] != object["total"]),
        "{objects:?}"
    );
}

#[test]
fn what_a_set_lacks_is_known_after_a_scan_into_an_empty_catalogue_too() {
    let vault = Vault::new(2, 256 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    let bdf = vault.sandbox.stored(".bdf").pop().unwrap();
    let whole = fs::read(&bdf).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bdf, bytes).unwrap();
    let lacking = |catalogue: &str| {
        let catalogue = vault.sandbox.path(catalogue);
        let scanned = ["scan", "RL0001L8", "--catalogue", catalogue.to_str().unwrap()];
        vault.good(&scanned);
        let mut lines = vault.json(&["list", "--catalogue", catalogue.to_str().unwrap()]);
        lines.retain(|line| line["kind"] == "lacking");
        lines
    };
    assert_eq!(vault.run(&["archive", "--generations", "all", "--memory", "16"]).code, 12);
    let told = lacking("first");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(bdf.ends_with(told[0]["name"].as_str().unwrap()), "{told:?}");
    // An archive that writes something else says it again, one that writes the file says it no more.
    vault.sandbox.write("more", "more");
    vault.sandbox.backup(&[]);
    assert_eq!(vault.run(&["archive", "--generations", "all", "--memory", "16"]).code, 12);
    assert_eq!(lacking("second"), told);
    fs::write(&bdf, whole).unwrap();
    vault.archive(&["--generations", "all"]);
    assert_eq!(lacking("third"), [] as [Value; 0]);
    // An index without a word of it, as earlier versions wrote: nobody knows.
    let catalogue = vault.sandbox.path("third");
    let find = Command::new("find").arg(&catalogue).args(["-name", "index"]).output().unwrap();
    let index = PathBuf::from(String::from_utf8(find.stdout).unwrap().trim_end());
    without_lacking(&index);
    let text = vault.good(&["list", "--catalogue", catalogue.to_str().unwrap()]);
    assert!(text.contains("unknown whether it lacks anything"), "{text}");
}

/// Takes what an index says of files that are lacking out of it.
fn without_lacking(index: &Path) {
    let mut lines = Vec::new();
    let mut decoder = IndexDecoder::new();
    decoder.push(&fs::read(index).unwrap(), |line| lines.push(line)).unwrap();
    let mut segments = Vec::new();
    let mut header = None;
    for line in lines {
        match line {
            IndexLine::Header(found) => header = Some(found),
            IndexLine::Segment(segment) => segments.push(*segment),
            IndexLine::End { .. } => {}
        }
    }
    let header = IndexHeader { lacking: None, ..*header.unwrap() };
    fs::write(index, encode_index(&header, &segments)).unwrap();
}

#[test]
fn a_list_without_a_repository_says_that_there_is_none() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.path("elsewhere");
    let ended = sandbox.run(&["tape", "list", "--catalogue", elsewhere.to_str().unwrap()]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut command = sandbox.command(&["tape", "list"]);
    let ended = crate::support::ended(command.env("XDG_CACHE_HOME", sandbox.path("cache")));
    assert_eq!(ended.code, 10, "{ended:?}");
    assert_eq!(Sandbox::with_repository().run(&["tape", "list"]).code, 0);
}

#[test]
fn without_a_library_or_with_a_wrong_one_the_way_out_is_told() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["tape", "inventory"]);
    assert_eq!(ended.code, 2);
    assert!(ended.error.contains("REELFS_LIBRARY"), "{ended:?}");
    for (library, text) in [
        ("/dev/no-such-node", "/dev/no-such-node"),
        ("/dev/null", "not a SCSI generic device"),
        ("iscsi://localhost:1/iqn.2026-11.test:none/0", "localhost"),
        (sandbox.directory.path().to_str().unwrap(), "emulated library"),
    ] {
        let ended = sandbox.run(&["tape", "inventory", "--library", library]);
        assert_eq!(ended.code, 13, "{library}: {ended:?}");
        assert!(ended.error.contains(text), "{library}: {ended:?}");
    }
    let ended = sandbox.run(&["tape", "inventory", "--library", "iscsi://user%secret@localhost:1/iqn.x:y/0"]);
    assert!(!ended.error.contains("secret"), "{ended:?}");
    assert_eq!(sandbox.run(&["tape", "devices"]).code, 0);
}
