//! The command `vtape`, each of its subcommands, as somebody uses it who has no use for reelfs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use reelfs::clock::ManualClock;
use reelfs::emulator::EmulatedLibrary;
use reelfs::scsi::cdb::ssc::{LoadFlags, SpaceUnit};
use reelfs::scsi::iscsi::{Address, Initiator, Settings};
use reelfs::scsi::{LogicalUnit, Transport};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ended, ended};

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("vtape-cli-").tempdir().unwrap() }
    }

    /// One LTO-8 drive, four slots, a mail slot, and two cartridges of 16 MiB.
    fn with_library() -> Self {
        let place = Self::new();
        let shape = ["--drives", "1", "--slots", "4", "--mail-slots", "1", "--cartridges", "2"];
        let more = ["--capacity", "16M", "--serial", "VT1"];
        let all: Vec<&str> = shape.iter().chain(&more).copied().collect();
        let made = place.good(&["create-library"], &all);
        assert_eq!(made, "library VT1: 1 lto8 drives, 4 slots, 2 cartridges\n");
        place
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("library")
    }

    // The library stands behind the names of the command and before everything else.
    fn command(&self, names: &[&str], more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vtape"));
        command.args(names).arg(self.library()).args(more).stdin(Stdio::null());
        command
    }

    fn good(&self, names: &[&str], more: &[&str]) -> String {
        let ended = ended(&mut self.command(names, more));
        assert_eq!(ended.code, 0, "{names:?} {more:?}: {ended:?}");
        ended.out
    }

    fn json(&self, names: &[&str], more: &[&str]) -> Vec<Value> {
        let all: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
        self.good(names, &all).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refused(&self, code: i32, names: &[&str], more: &[&str], text: &str) -> Ended {
        let ended = ended(&mut self.command(names, more));
        assert_eq!(ended.code, code, "{names:?} {more:?}: {ended:?}");
        assert!(ended.error.contains(text), "{text:?} is not in {}", ended.error);
        ended
    }

    /// Where a cartridge is, as `status` tells.
    fn element_of(&self, name: &str) -> Option<(String, u64)> {
        let status = self.json(&["status"], &[]);
        let element = status.iter().find(|line| line["cartridge"] == name && line["kind"] != "drive")?;
        Some((element["kind"].as_str().unwrap().to_owned(), element["address"].as_u64().unwrap()))
    }

    fn cartridge_files(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.library().join("cartridges")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|file| file.starts_with(name)).collect();
        names.sort();
        names
    }

    /// The first drive, with the cartridge of the first slot in it.
    fn loaded(&self) -> LogicalUnit {
        let library = EmulatedLibrary::open(&self.library(), Arc::new(ManualClock::default())).unwrap();
        let unit = |lun| {
            let transport: Box<dyn Transport> = Box::new(library.transport(lun).unwrap());
            let mut unit = LogicalUnit::new(transport);
            unit.clear_unit_attentions().unwrap();
            unit
        };
        unit(0).move_medium(1, 1024, 256).unwrap();
        let mut drive = unit(1);
        while drive.test_unit_ready().is_err() {}
        drive
    }

    fn unload(&self, mut drive: LogicalUnit) {
        drive.load_unload(LoadFlags::default()).unwrap();
        let library = EmulatedLibrary::open(&self.library(), Arc::new(ManualClock::default())).unwrap();
        let transport: Box<dyn Transport> = Box::new(library.transport(0).unwrap());
        let mut changer = LogicalUnit::new(transport);
        changer.clear_unit_attentions().unwrap();
        changer.move_medium(1, 256, 1024).unwrap();
    }
}

#[test]
fn a_library_is_made_once_and_its_status_tells_what_is_in_it() {
    let place = Place::with_library();
    place.refused(1, &["create-library"], &[], "is not empty");
    let text = place.good(&["status"], &[]);
    assert!(text.starts_with("drive 0 (lto8, serial VT1D01): empty"), "{text}");
    assert!(text.contains("slot       1024  RL0001L8  lto8 data, 0 B of 16.0 MiB"), "{text}");
    assert!(text.contains("mail slot    16  empty"), "{text}");
    let status = place.json(&["status"], &[]);
    let kinds = |kind: &str| status.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!((kinds("drive"), kinds("slot"), kinds("mail-slot")), (1, 4, 1), "{status:?}");
    // What makes no sense, what is no library, and what is a damaged one.
    let elsewhere = Place::new();
    elsewhere.refused(2, &["create-library"], &["--generation", "lto4"], "lto4");
    elsewhere.refused(2, &["create-library"], &["--time", "slow"], "counted");
    elsewhere.refused(2, &["create-library"], &["--capacity", "much"], "a size is");
    elsewhere.refused(
        2,
        &["create-library"],
        &["--capacity", "48"],
        "the capacity of a cartridge is 1 MiB to 1 PiB",
    );
    let too_many = ["--slots", "1", "--cartridges", "2"];
    elsewhere.refused(2, &["create-library"], &too_many, "2 cartridges for 1 slots");
    elsewhere.refused(10, &["status"], &[], "holds no emulated library");
    fs::write(place.library().join("library.json"), "{").unwrap();
    place.refused(12, &["status"], &[], "library.json is damaged");
}

#[test]
fn time_can_be_off_or_counted() {
    for (mode, is_counted) in [("off", false), ("counted", true)] {
        let place = Place::new();
        let made = place.json(&["create-library"], &["--generation", "lto6", "--time", mode]);
        assert_eq!((&made[0]["drives"], &made[0]["cartridges"]), (&2.into(), &20.into()));
        drop(place.loaded());
        let drive = place.json(&["status"], &[]).swap_remove(0);
        assert_eq!((&drive["loads"], &drive["cartridge"]), (&1.into(), &"RL0001L6".into()), "{drive}");
        assert_eq!(drive["motion_ns"].as_u64().unwrap() >= 12_000_000_000, is_counted, "{mode}: {drive}");
    }
}

#[test]
fn cartridges_are_added_taken_out_and_put_back_as_they_were() {
    let place = Place::with_library();
    let mut drive = place.loaded();
    drive.write_block(&[7; 1000]).unwrap();
    drive.write_filemarks(1, false).unwrap();
    // What a drive has stays there.
    place.refused(1, &["cartridge", "remove"], &["RL0001L8"], "unload it first");
    place.unload(drive);
    place.good(&["cartridge", "protect"], &["RL0001L8"]);
    let files = place.cartridge_files("RL0001L8");
    let before: Vec<Vec<u8>> = files.iter().map(|file| read(&place, file)).collect();
    place.good(&["cartridge", "remove"], &["RL0001L8"]);
    assert_eq!(place.element_of("RL0001L8"), None);
    place.refused(1, &["cartridge", "remove"], &["RL0001L8"], "there is no cartridge RL0001L8");
    assert_eq!(place.cartridge_files("RL0001L8"), files, "its files stay");
    // It comes back as it was: content, switch and memory.
    place.refused(2, &["cartridge", "add"], &["RL0001L8", "--worm"], "is put back as it was");
    assert_eq!(
        place.good(&["cartridge", "add"], &["RL0001L8", "--mail-slot"]),
        "RL0001L8 is in element 16\n"
    );
    assert_eq!(place.element_of("RL0001L8"), Some(("mail-slot".to_owned(), 16)));
    let after: Vec<Vec<u8>> = files.iter().map(|file| read(&place, file)).collect();
    assert_eq!(before, after);
    place.refused(1, &["cartridge", "add"], &["RL0001L8"], "is in element 16 already");
    place.refused(1, &["cartridge", "add"], &["RL0009L8", "--mail-slot"], "all slots are full");
    assert!(place.cartridge_files("RL0009L8").is_empty());
    place.good(&["cartridge", "remove"], &["RL0001L8", "--destroy"]);
    assert!(place.cartridge_files("RL0001L8").is_empty());
    // New ones of all kinds.
    assert_eq!(place.json(&["cartridge", "add"], &["WR0001L8", "--worm"])[0]["address"], 1024);
    place.good(&["cartridge", "add"], &["CLN001", "--cleaning"]);
    place.good(&["cartridge", "add"], &["NAMELESS", "--unlabelled", "--generation", "lto7", "--mail-slot"]);
    place.refused(2, &["cartridge", "add"], &["NOBODY"], "--generation");
    place.refused(2, &["cartridge", "add"], &["X L8", "--worm", "--cleaning"], "cannot be used with");
    place.refused(2, &["cartridge", "add"], &["../evil", "--generation", "lto8"], "cannot be a barcode");
    let text = place.good(&["status"], &[]);
    for line in ["WR0001L8  lto8 worm", "CLN001  lto8 cleaning\n", "unlabelled-NAMELESS  lto7 data"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    place.good(&["cartridge", "remove"], &["unlabelled-NAMELESS"]);
    place.good(&["cartridge", "add"], &["unlabelled-NAMELESS"]);
    assert_eq!(place.element_of("unlabelled-NAMELESS").unwrap().0, "slot");
}

fn read(place: &Place, file: &str) -> Vec<u8> {
    fs::read(place.library().join("cartridges").join(file)).unwrap()
}

#[test]
fn an_image_of_another_program_becomes_the_content_of_a_new_cartridge() {
    let place = Place::with_library();
    // SIMH: a record of three bytes with its pad, then a tape mark.
    let image = [&[3, 0, 0, 0][..], b"abc\0", &[3, 0, 0, 0], &[0, 0, 0, 0]].concat();
    fs::write(place.library().join("cartridges/OLD001L7.p0.tap"), &image).unwrap();
    place.good(&["cartridge", "add"], &["OLD001L7"]);
    assert_eq!(read(&place, "OLD001L7.p0.tap"), image);
    let status = place.json(&["status"], &[]);
    let added = status.iter().find(|line| line["cartridge"] == "OLD001L7").unwrap();
    assert_eq!(added["used_bytes"], image.len() as u64, "{added}");
}

#[test]
fn what_an_operator_does_to_a_cartridge_is_what_a_drive_meets() {
    let place = Place::with_library();
    let mut drive = place.loaded();
    for _ in 0..3 {
        drive.write_block(&[7; 1000]).unwrap();
    }
    drive.write_filemarks(1, false).unwrap();
    place.refused(1, &["cartridge", "protect"], &["RL0001L8"], "unload it first");
    place.unload(drive);

    place.good(&["cartridge", "protect"], &["RL0001L8"]);
    place.good(&["cartridge", "spoil"], &["RL0001L8", "--block", "1"]);
    place.refused(1, &["cartridge", "spoil"], &["RL0001L8", "--block", "99"], "cannot spoil");
    place.good(&["cartridge", "memory"], &["RL0001L8", "--unreadable"]);
    let mut drive = place.loaded();
    let mut block = [0; 1000];
    drive.read_block(&mut block).unwrap();
    let error = drive.read_block(&mut block).unwrap_err().to_string();
    assert!(error.contains("3/11/00,"), "{error}");
    let error = drive.write_block(&block).unwrap_err().to_string();
    assert!(error.contains("7/27/00,"), "{error}");
    place.unload(drive);

    place.good(&["cartridge", "protect"], &["RL0001L8", "--off"]);
    place.good(&["cartridge", "memory"], &["RL0001L8"]);
    place.good(&["cartridge", "torn-tail"], &["RL0001L8", "--read-error"]);
    place.good(&["fault", "add"], &[r#"{"kind":"power-loss"}"#]);
    let mut drive = place.loaded();
    drive.space(SpaceUnit::EndOfData, 0).unwrap();
    assert!(drive.write_block(&block).is_err(), "the power is gone");
    while drive.test_unit_ready().is_err() {}
    drive.space(SpaceUnit::Filemarks, 1).unwrap();
    let error = drive.read_block(&mut block).unwrap_err().to_string();
    assert!(error.contains("3/11/00,"), "{error}");
    for command in ["protect", "memory", "torn-tail"] {
        place.refused(1, &["cartridge", command], &["NONE"], "there is no cartridge NONE");
    }
}

#[test]
fn faults_are_added_listed_counted_and_removed() {
    let place = Place::with_library();
    let sense = r#"{"kind":"sense","key":4,"asc":4,"ascq":3}"#;
    let move_fails = ["--lun", "0", "--opcode", "0xa5", "--after", "1", "--times", "3"];
    let all: Vec<&str> = move_fails.iter().copied().chain([sense]).collect();
    assert_eq!(place.good(&["fault", "add"], &all), "fault 1\n");
    assert_eq!(place.json(&["fault", "add"], &[r#"{"kind":"reset"}"#])[0]["id"], 2);
    let listed = place.json(&["fault", "list"], &[]);
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["operation_code"], &listed[0]["times"]), (&0xa5.into(), &3.into()), "{listed:?}");
    assert_eq!(place.good(&["fault", "list"], &[]).lines().count(), 2);
    place.good(&["fault", "remove"], &["--id", "2"]);
    place.refused(1, &["fault", "remove"], &["--id", "2"], "there is no such fault");
    place.refused(2, &["fault", "remove"], &[], "--id");
    // One move passes, the next one fails.
    let drive = place.loaded();
    let library = EmulatedLibrary::open(&place.library(), Arc::new(ManualClock::default())).unwrap();
    let transport: Box<dyn Transport> = Box::new(library.transport(0).unwrap());
    let error = LogicalUnit::new(transport).move_medium(1, 1025, 1026).unwrap_err().to_string();
    assert!(error.contains("4/04/03,"), "{error}");
    drop(drive);
    place.good(&["fault", "remove"], &["--all"]);
    assert_eq!(place.good(&["fault", "list"], &[]), "");
    // Every fault that the help names is one.
    let help = place.good(&["fault", "add", "--help"], &[]);
    let (_, faults) = help.split_once("FAULTS\n").unwrap();
    let mut count = 0;
    for line in faults.lines().take_while(|line| !line.is_empty()) {
        let (names, _) = line.trim().split_once("  ").unwrap();
        for kind in names.split(", ").filter_map(|text| text.split(' ').next()) {
            let numbers = "\"bytes\":1,\"object\":1,\"key\":3,\"asc\":1,\"ascq\":1,\"count\":1";
            place.good(&["fault", "add"], &[&format!("{{\"kind\":\"{kind}\",{numbers}}}")]);
            count += 1;
        }
    }
    assert!(count >= 20, "{faults}");
    place.refused(2, &["fault", "add"], &[r#"{"kind":"plague"}"#], "vtape fault add --help");
    place.refused(2, &["fault", "add"], &["--lun", "2", sense], "the last logical unit is 1");
    place.refused(2, &["fault", "add"], &["--opcode", "0x100", sense], "an operation code is");
}

/// A server that ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts to serve on a free port; what it says of itself.
fn serve(place: &Place, more: &[&str]) -> (Server, Value) {
    let all: Vec<&str> = ["--iscsi", "127.0.0.1:0", "--json"].iter().chain(more).copied().collect();
    let mut command = place.command(&["serve"], &all);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (Server(child), serde_json::from_str(&line).unwrap())
}

fn secret(place: &Place, name: &str, text: &str, mode: u32) -> String {
    let path = place.directory.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn inventory(library: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reelfs"));
    ended(command.args(["tape", "inventory", "--library", library]).stdin(Stdio::null()))
}

#[test]
fn a_library_is_served_until_a_signal_comes() {
    let place = Place::with_library();
    let (mut server, told) = serve(&place, &[]);
    let address = told["address"].as_str().unwrap();
    assert_eq!((&told["target"], &told["last_lun"]), (&"iqn.2026-11.net.reelfs:vt1".into(), &1.into()));
    let seen = inventory(&format!("iscsi://{address}/iqn.2026-11.net.reelfs:vt1"));
    assert_eq!(seen.code, 0, "{seen:?}");
    assert!(seen.out.contains("RL0001L8"), "{seen:?}");
    let port = ended(&mut place.command(&["serve"], &["--iscsi", address]));
    assert_eq!((port.code, port.error.contains("cannot listen on")), (1, true), "{port:?}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(server.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(server.0.wait().unwrap().success(), "a signal ends it well");
}

#[test]
fn a_second_server_of_a_library_is_refused_and_leaves_the_sessions_of_the_first_alone() {
    let place = Place::with_library();
    let (server, told) = serve(&place, &[]);
    let address = told["address"].as_str().unwrap();
    let target: Address = format!("iscsi://{address}/iqn.2026-11.net.reelfs:vt1/1").parse().unwrap();
    let mut drive = LogicalUnit::new(Box::new(Initiator::connect(&target, &Settings::new([7; 32])).unwrap()));
    drive.clear_unit_attentions().unwrap();
    drive.prevent_medium_removal(true).unwrap();
    place.refused(1, &["serve"], &["--iscsi", "127.0.0.1:0"], "is served by another process already");
    let prevented = |place: &Place| {
        let mut unit = place.loaded();
        let refused = unit.load_unload(LoadFlags::default()).is_err();
        if !refused {
            place.unload(unit);
        }
        refused
    };
    assert!(prevented(&place), "what a session of the first server asked for holds");
    drop(server);
    // Killed, it leaves nothing that keeps the next one from serving.
    let (_server, _) = serve(&place, &[]);
    let library = EmulatedLibrary::open(&place.library(), Arc::new(ManualClock::default())).unwrap();
    let mut unit = LogicalUnit::new(Box::new(library.transport(1).unwrap()));
    unit.clear_unit_attentions().unwrap();
    place.unload(unit);
}

#[test]
fn a_library_can_ask_for_a_secret_and_prove_itself() {
    let place = Place::with_library();
    let user = secret(&place, "user", "correct horse battery\n", 0o600);
    let ours = ["--chap-user", "web1", "--chap-secret-file", &user, "--name", "iqn.2026-11.test:own"];
    let (_server, told) = serve(&place, &ours);
    let address = told["address"].as_str().unwrap();
    let seen = inventory(&format!("iscsi://web1%correct horse battery@{address}/iqn.2026-11.test:own"));
    assert_eq!(seen.code, 0, "{seen:?}");
    assert_eq!(inventory(&format!("iscsi://{address}/iqn.2026-11.test:own")).code, 13);
    // Secrets that others can read, are too short, or serve both sides.
    let refused = |file: &str, code: i32, text: &str| {
        place.refused(code, &["serve"], &["--chap-user", "web1", "--chap-secret-file", file], text);
    };
    refused(&secret(&place, "open", "correct horse battery", 0o644), 1, "chmod 600");
    refused(&secret(&place, "short", "horse", 0o600), 2, "12 to 255 characters");
    refused("/no/such/file", 1, "cannot read /no/such/file");
    let both = ["--target-user", "library", "--target-secret-file", &user];
    let all: Vec<&str> = ours.iter().chain(&both).copied().collect();
    place.refused(2, &["serve"], &all, "another secret");
    place.refused(2, &["serve"], &["--name", "library"], "begins with 'iqn.'");
    place.refused(2, &["serve"], &["--chap-user", "web1"], "--chap-secret-file");
}

#[test]
fn every_subcommand_has_help_with_examples_and_the_page_names_it() {
    let run = |arguments: &[&str]| {
        let ended = ended(Command::new(env!("CARGO_BIN_EXE_vtape")).args(arguments));
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out
    };
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../man/vtape.1")).unwrap();
    let commands = [
        "create-library",
        "serve",
        "status",
        "cartridge add",
        "cartridge remove",
        "cartridge protect",
        "cartridge spoil",
        "cartridge memory",
        "cartridge torn-tail",
        "fault add",
        "fault list",
        "fault remove",
    ];
    for command in commands {
        let names: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = run(&names);
        assert!(help.contains("EXAMPLES") && help.contains("EXIT STATUS"), "{command}: {help}");
        assert!(page.contains(&format!(".Cm {command}\n")), "{command} is not in vtape(1)");
        for option in help.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let option: String = option.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let is_general =
                matches!(option.as_str(), "help" | "json" | "verbose" | "library" | "login" | "");
            let is_named = page.contains(&format!("Fl Fl {option}"));
            assert!(is_general || is_named, "--{option} of {command} is not in vtape(1)");
        }
    }
    // All of them are here.
    for (group, names) in [(&["--help"][..], 5), (&["cartridge", "--help"], 6), (&["fault", "--help"], 3)] {
        let help = run(group);
        let (_, listed) = help.split_once("Commands:\n").unwrap();
        let count = listed.lines().take_while(|line| !line.is_empty()).filter(|line| is_name(line)).count();
        assert_eq!(count, names, "{help}");
    }
}

// A line that names a command, and does not go on with what was said of one.
fn is_name(line: &str) -> bool {
    line.starts_with("  ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_lowercase)
}

#[test]
fn a_barcode_of_media_that_can_be_written_once_makes_such_a_cartridge() {
    let place = Place::with_library();
    place.good(&["cartridge", "add"], &["RL0003LY"]);
    let text = place.good(&["status"], &[]);
    assert!(text.contains("RL0003LY  lto8 worm"), "{text}");
}
