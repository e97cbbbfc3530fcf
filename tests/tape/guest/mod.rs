//! Our commands beside those of others on the same drive: the kernel's tape driver, `mt`, `mtx`, GNU tar, and the
//! kernel's own simulated tape as an oracle for sense data. In the virtual machine of `make test-guest` only.

mod archive;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reelfs::clock::ManualClock;
use reelfs::emulator::{EmulatedLibrary, Generation, LibraryShape};
use reelfs::scsi::cdb::{smc, spc, ssc};
use reelfs::scsi::sg::SgDevice;
use reelfs::scsi::ssc::BlockRead;
use reelfs::scsi::{Data, LogicalUnit, Outcome, Sense, Transport};

use crate::conformance::pattern;

const BLOCK_LEN: usize = 524_288;

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn open(path: &Path) -> LogicalUnit {
    LogicalUnit::new(Box::new(SgDevice::open(path).unwrap_or_else(|error| panic!("{error}"))))
}

/// Runs a program and returns what it wrote, which must be all right.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}{complaint}");
    text
}

/// Puts a cartridge into the drive with `mtx`, unless there is one, and returns the barcode.
fn load(drive: &Path, changer: &Path) -> String {
    let changer = changer.to_str().expect("text");
    let mut status = run("mtx", &["-f", changer, "status"]);
    if !status.contains("Data Transfer Element 0:Full") {
        let slot = status.lines().find(|line| line.contains("Storage Element") && line.contains(":Full"));
        let slot = slot.and_then(|line| line.split_once("Storage Element ")?.1.split_once(':'));
        run("mtx", &["-f", changer, "load", slot.expect("a cartridge").0.trim(), "0"]);
        status = run("mtx", &["-f", changer, "status"]);
    }
    let full =
        status.lines().find(|line| line.contains("Data Transfer Element 0:Full")).expect("a full drive");
    let barcode = full.rsplit_once("VolumeTag = ").expect("a barcode").1.trim().to_owned();
    let mut unit = open(drive);
    unit.clear_unit_attentions().expect("a drive");
    for _ in 0..100 {
        if unit.test_unit_ready().is_ok() {
            return barcode;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the drive does not become ready");
}

/// Files of a few sizes, below a directory.
fn tree(home: &Path) -> PathBuf {
    let tree = home.join("tree");
    fs::create_dir_all(tree.join("deep/er")).expect("a directory");
    for (name, len) in [("empty", 0), ("one", 1), ("deep/block", BLOCK_LEN), ("deep/er/odd", 3_000_001)] {
        fs::write(tree.join(name), pattern(len as u64 + 1, len)).expect("a file");
    }
    tree
}

fn assert_same_tree(expected: &Path, found: &Path) {
    for name in ["empty", "one", "deep/block", "deep/er/odd"] {
        let read = |directory: &Path| fs::read(directory.join(name)).expect(name);
        assert!(read(expected) == read(found), "{name} came back otherwise");
    }
}

#[test]
fn mt_and_tar_read_what_we_write() {
    let (Some(drive), Some(changer), Some(tape)) =
        (named("REELFS_TEST_SG_DRIVE"), named("REELFS_TEST_SG_CHANGER"), named("REELFS_TEST_ST"))
    else {
        return;
    };
    load(&drive, &changer);
    let home = tempfile::tempdir().expect("a directory");
    let source = tree(home.path());
    let archive = home.path().join("archive.tar");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    run("gnu-tar", &["--format=pax", "-b", "1024", "-C", &text(&source), "-cf", &text(&archive), "."]);
    let mut unit = open(&drive);
    unit.clear_unit_attentions().expect("a drive");
    unit.rewind(false).expect("a rewind");
    let label = format!("{:<79}4", "VOL1RL0001");
    unit.write_block(label.as_bytes()).expect("a label written");
    unit.write_filemarks(1, true).expect("a filemark");
    for _copy in 0..2 {
        for block in fs::read(&archive).expect("the archive").chunks(BLOCK_LEN) {
            unit.write_block(block).expect("a block written");
        }
        unit.write_filemarks(1, false).expect("a filemark");
    }
    let end = unit.read_position().expect("a position");
    assert_eq!(end.file, Some(3));
    drop(unit);

    let tape = text(&tape);
    run("gnu-mt", &["-f", &tape, "setblk", "0"]);
    for file in ["2", "1"] {
        let target = home.path().join(format!("from file {file}"));
        fs::create_dir(&target).expect("a directory");
        run("gnu-mt", &["-f", &tape, "asf", file]);
        run("gnu-tar", &["-b", "1024", "-C", &text(&target), "-xf", &tape]);
        assert_same_tree(&source, &target);
    }
    run("gnu-mt", &["-f", &tape, "eod"]);
    let told = run("gnu-mt", &["-f", &tape, "tell"]);
    let object = end.object.expect("known");
    assert!(told.contains(&format!("block {object}")), "mt tells {told:?}, we are at object {object}");
}

#[test]
fn we_read_what_tar_writes() {
    let (Some(drive), Some(changer), Some(tape)) =
        (named("REELFS_TEST_SG_DRIVE"), named("REELFS_TEST_SG_CHANGER"), named("REELFS_TEST_ST"))
    else {
        return;
    };
    load(&drive, &changer);
    let home = tempfile::tempdir().expect("a directory");
    let source = tree(home.path());
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let tape = text(&tape);
    run("gnu-mt", &["-f", &tape, "setblk", "0"]);
    run("gnu-mt", &["-f", &tape, "rewind"]);
    // The factor that tar has by itself, ours, and one that does not divide the archive.
    for blocks in ["20", "1024", "300"] {
        run("gnu-tar", &["-b", blocks, "-C", &text(&source), "-cf", &tape, "."]);
    }
    let mut unit = open(&drive);
    unit.clear_unit_attentions().expect("a drive");
    unit.rewind(false).expect("a rewind");
    for blocks in [20_usize, 1024, 300] {
        let mut archive = Vec::new();
        let mut buffer = vec![0; BLOCK_LEN];
        loop {
            match unit.read_block(&mut buffer).expect("a read") {
                BlockRead::Block { len_bytes } => {
                    assert_eq!(len_bytes, blocks * 512, "tar fills its last block too");
                    archive.extend_from_slice(&buffer[..len_bytes]);
                }
                BlockRead::Filemark => break,
                other => panic!("{other:?} within an archive"),
            }
        }
        let file = home.path().join("archive.tar");
        fs::write(&file, &archive).expect("the archive");
        let target = home.path().join(format!("with factor {blocks}"));
        fs::create_dir(&target).expect("a directory");
        run("gnu-tar", &["-C", &text(&target), "-xf", &text(&file)]);
        assert_same_tree(&source, &target);
    }
    assert_eq!(unit.read_block(&mut [0; 512]).expect("a read"), BlockRead::EndOfData);
}

#[test]
fn mtx_and_we_see_the_same_library() {
    let (Some(drive), Some(changer)) = (named("REELFS_TEST_SG_DRIVE"), named("REELFS_TEST_SG_CHANGER"))
    else {
        return;
    };
    let barcode = load(&drive, &changer);
    let mut unit = open(&drive);
    unit.clear_unit_attentions().expect("a drive");
    unit.load_unload(ssc::LoadFlags::default()).expect("an unload");
    drop(unit);
    let path = changer.to_str().expect("text");
    run("mtx", &["-f", path, "unload", "5", "0"]);
    let status = run("mtx", &["-f", path, "status"]);
    let mut unit = open(&changer);
    unit.clear_unit_attentions().expect("a changer");
    let slots = crate::conformance::elements(&mut unit, reelfs::scsi::ElementKind::Storage);
    for (number, slot) in (1..).zip(&slots) {
        let line = status.lines().find(|line| line.contains(&format!("Storage Element {number}:")));
        let line = line.unwrap_or_else(|| panic!("mtx does not know slot {number}: {status}"));
        assert_eq!(line.contains(":Full"), slot.full, "{line}");
        assert!(line.contains(slot.barcode_text().unwrap_or_default().as_str()), "{line}: {slot:?}");
    }
    assert_eq!(slots[4].barcode_text().as_deref(), Some(barcode.as_str()));
    let request = smc::ElementRequest {
        kind: reelfs::scsi::ElementKind::DataTransfer,
        first: 0,
        count: u16::MAX,
        volume_tags: true,
        device_identifiers: true,
        current_data: true,
    };
    assert!(!unit.read_element_status(&request, 4096).expect("the drives").elements[0].full);
}

/// Status and sense data, without what a device may say or leave out.
fn essence(outcome: &Outcome) -> String {
    match Sense::parse(&outcome.sense) {
        None => format!("{:?}", outcome.status),
        Some(sense) => format!(
            "{:?} {:x?} FM={} EOM={} ILI={} information={}",
            outcome.status,
            sense.codes(),
            sense.filemark,
            sense.end_of_medium,
            sense.incorrect_length,
            sense.information.unwrap_or(0),
        ),
    }
}

#[test]
fn the_emulator_and_the_kernels_simulated_tape_give_the_same_sense() {
    let Some(oracle) = named("REELFS_TEST_SG_ORACLE") else {
        println!("no oracle: the kernel's scsi_debug has no tape");
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("library");
    let mut shape = LibraryShape::new(Generation::Lto8).with_drives(1, Generation::Lto8).with_cartridges(
        1,
        Generation::Lto8,
        Some(64 << 20),
    );
    shape.becoming_ready_count = 0;
    EmulatedLibrary::create(&dir, &shape).expect("a library");
    let library = EmulatedLibrary::open(&dir, Arc::new(ManualClock::default())).expect("a library");
    let mut changer = LogicalUnit::new(Box::new(library.transport(0).expect("the changer")));
    changer.clear_unit_attentions().expect("the changer");
    changer.move_medium(1, 1024, 256).expect("a move");
    let mut emulated = library.transport(1).expect("the drive");
    let mut simulated = SgDevice::open(&oracle).expect("the oracle");
    let limit = std::time::Duration::from_secs(60);
    for transport in [&mut emulated as &mut dyn Transport, &mut simulated] {
        for _ in 0..10 {
            transport.execute(&spc::test_unit_ready(), Data::None, limit).expect("an outcome");
        }
        transport.execute(&ssc::rewind(false), Data::None, limit).expect("an outcome");
    }
    let mut differences = Vec::new();
    for (name, cdb, out, len) in script() {
        let mut told = Vec::new();
        for transport in [&mut emulated as &mut dyn Transport, &mut simulated] {
            let mut buffer = vec![0; len];
            let data = match (out, len) {
                (_, 0) => Data::None,
                (true, _) => Data::Out(&buffer),
                (false, _) => Data::In(&mut buffer),
            };
            told.push(essence(&transport.execute(&cdb, data, limit).expect(name)));
        }
        println!("{name}: {}", told[0]);
        if told[0] != told[1] {
            differences.push(format!("{name}: emulator {}, kernel {}", told[0], told[1]));
        }
    }
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

type Step = (&'static str, Vec<u8>, bool, usize);

/// Blocks of 4096 bytes: B B F B, then every way to meet something.
fn script() -> Vec<Step> {
    use reelfs::scsi::cdb::ssc::SpaceUnit::{Blocks, EndOfData, Filemarks};
    let read = |name, len: usize| {
        (name, ssc::read_6(false, false, u32::try_from(len).expect("small")).to_vec(), false, len)
    };
    let write = |name| (name, ssc::write_6(false, 4096).to_vec(), true, 4096);
    let space = |name, unit, count| (name, ssc::space_6(unit, count).to_vec(), false, 0);
    let rewind = || ("rewind", ssc::rewind(false).to_vec(), false, 0);
    vec![
        write("the first block"),
        write("the second block"),
        ("a filemark", ssc::write_filemarks_6(false, 1).to_vec(), false, 0),
        write("the third block"),
        read("at the end of data", 4096),
        read("at the end of data again", 4096),
        rewind(),
        read("a block of the right length", 4096),
        read("a block that is shorter", 8192),
        read("a filemark", 4096),
        read("a block that is longer", 1024),
        read("the end of data", 4096),
        rewind(),
        space("over two blocks", Blocks, 2),
        space("a block at the filemark", Blocks, 1),
        space("over blocks into the end of data", Blocks, 5),
        space("back over a filemark", Filemarks, -1),
        space("back over more filemarks than there are", Filemarks, -4),
        space("over more filemarks than there are", Filemarks, 3),
        rewind(),
        space("back at the beginning", Blocks, -1),
        space("blocks into the filemark", Blocks, 3),
        space("back a block into the filemark", Blocks, -1),
        space("to the end of data", EndOfData, 0),
        read("behind that", 4096),
        ("an unknown command", vec![0xdf; 10], false, 0),
    ]
}
