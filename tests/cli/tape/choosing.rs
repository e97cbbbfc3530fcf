//! Which cartridges an archive takes, what it leaves, and how it goes on when one fails.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use reelfs::emulator::{Fault, FaultKind};
use serde_json::{Value, json};

use super::{MIB, Vault, assert_same, two_generations};
use crate::support::Random;

const WRITE: u8 = 0x0a;

fn strike(vault: &Vault, kind: FaultKind, operation_code: Option<u8>, after: u64) {
    vault.emulated().add_fault(Fault { operation_code, after, ..Fault::new(1, kind) }).unwrap();
}

/// A second client of these bytes, which is no part of what `web1` needs; returns its newest BDF.
fn second_client(vault: &Vault, seed: u64, len: usize) -> PathBuf {
    let source = vault.sandbox.path("second");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("data"), Random(seed).bytes(len)).unwrap();
    let before = vault.sandbox.stored(".bdf");
    vault.sandbox.good(&["backup", source.to_str().unwrap(), "--client", "web2"]);
    vault.sandbox.stored(".bdf").into_iter().find(|bdf| !before.contains(bdf)).expect("it has data")
}

fn flip_middle(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn barcodes(archived: &Value) -> Vec<&str> {
    archived["barcodes"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

#[test]
fn what_was_on_a_cartridge_that_is_gone_is_written_again_once_and_comes_back() {
    let vault = Vault::new(6, 24 * MIB);
    let settings = vault.sandbox.repository().join("reelfs.toml");
    let text = fs::read_to_string(&settings).unwrap();
    // One file that is cut by the end of the first cartridge.
    fs::write(&settings, text.replace("bdf_bytes = 3000000", "bdf_bytes = 60000000")).unwrap();
    two_generations(&vault.sandbox, 30_000_000);
    let first = vault.archive(&["--client", "web1"]);
    assert_eq!(barcodes(&first), ["RL0001L8", "RL0002L8"], "{first}");
    vault.good(&["label", "RL0001L8", "--overwrite", "RL0001L8", "--pool", "other"]);
    let second = vault.archive(&["--client", "web1"]);
    assert!(second["bytes"].as_u64().unwrap() > 20_000_000, "{second}");
    let third = vault.archive(&["--client", "web1"]);
    assert_eq!(third["bytes"], 0, "{third}");
    vault.restore_and_compare();
    vault.lose_repository();
    for barcode in barcodes(&second).into_iter().chain(["RL0002L8"]) {
        vault.good(&["scan", barcode]);
    }
    vault.restore_and_compare();
}

#[test]
fn a_drive_that_is_lost_before_the_first_commit_costs_one_cartridge_which_is_not_written_again() {
    let vault = Vault::new(4, 64 * MIB);
    two_generations(&vault.sandbox, 20_000_000);
    let deferred = FaultKind::DeferredError { key: 3, asc: 0x0c, ascq: 0 };
    strike(&vault, deferred, Some(WRITE), 20);
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("RL0001L8 is not written again"), "{ended:?}");
    assert!(ended.out.contains("RL0002L8"), "{ended:?}");
    let before = vault.image("RL0001L8");
    let again = vault.archive(&["--new-set"]);
    assert_eq!(barcodes(&again), ["RL0003L8"], "{again}");
    assert_eq!(vault.image("RL0001L8"), before);
    vault.restore_and_compare();
}

#[test]
fn a_blank_that_cannot_be_loaded_or_read_is_put_away_and_the_next_one_is_taken() {
    let vault = Vault::new(4, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    // One of ours that is damaged where it says what it is, and of which nobody knows.
    vault.good(&["label", "RL0001L8"]);
    fs::remove_dir_all(vault.sandbox.repository().join("tapes")).unwrap();
    for block in [0, 2] {
        vault.emulated().spoil_block("RL0001L8", 0, block).unwrap();
    }
    let archived = vault.archive(&["--client", "web1"]);
    assert_eq!(barcodes(&archived), ["RL0002L8"], "{archived}");
    assert_eq!(vault.place_of("RL0001L8").0, "slot");

    strike(&vault, FaultKind::LoadFails, None, 0);
    let ended = vault.run(&[
        "archive",
        "--new-set",
        "--memory",
        "16",
        "--cartridge",
        "RL0003L8",
        "--cartridge",
        "RL0004L8",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("RL0003L8 is left alone"), "{ended:?}");
    assert!(ended.out.contains("to RL0004L8"), "{ended:?}");
    assert_eq!(vault.place_of("RL0003L8").0, "slot");
}

#[test]
fn an_archive_over_blanks_that_all_fail_says_what_is_wrong_with_them() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 100_000);
    let emulated = vault.emulated();
    let mut fault = Fault::new(1, FaultKind::LoadFails);
    fault.times = 0;
    emulated.add_fault(fault).unwrap();
    let ended = vault.run(&["archive", "--memory", "16", "--drive", "0"]);
    assert_eq!(ended.code, 13, "{ended:?}");
    assert!(ended.error.contains("RL0001L8") && ended.error.contains("RL0002L8"), "{ended:?}");
    emulated.remove_faults(None).unwrap();
}

#[test]
fn a_damaged_file_is_left_out_and_named_and_all_the_rest_is_archived() {
    let vault = Vault::new(2, 256 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    let spoiled = second_client(&vault, 77, 2_000_000);
    vault.sandbox.write("more", Random(8).bytes(500_000));
    vault.sandbox.backup(&[]);
    flip_middle(&spoiled);
    let name = spoiled.file_name().unwrap().to_str().unwrap();
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert!(ended.error.contains(name), "{ended:?}");
    // What is damaged still is not tried again and again: no tape is spent on it.
    let before = vault.image("RL0001L8");
    let again = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(again.code, 12, "{again:?}");
    assert!(again.error.contains(name), "{again:?}");
    assert_eq!(vault.image("RL0001L8").len(), before.len());
    vault.restore_and_compare();
    assert!(vault.good(&["list"]).contains(name));
    // Once it is sound it is archived, and nothing is said to be lacking.
    flip_middle(&spoiled);
    let mended = vault.archive(&[]);
    assert!(mended["bytes"].as_u64().unwrap() > 1_900_000, "{mended}");
    assert!(!vault.good(&["list"]).contains(name));
    let target = vault.sandbox.path("restored");
    vault.good(&["restore", "web2", target.to_str().unwrap()]);
    assert_same(&vault.sandbox.path("second"), &target);
}

/// Three generations of `web2`: the second one is in part that of the first, the third one has nothing of either.
fn three_generations(vault: &Vault) -> Vec<PathBuf> {
    let source = vault.sandbox.path("second");
    let backup = || vault.sandbox.good(&["backup", source.to_str().unwrap(), "--client", "web2"]);
    let before = vault.sandbox.stored(".dtf");
    fs::create_dir_all(&source).unwrap();
    for index in 0..3000 {
        fs::write(source.join(format!("file{index}")), format!("number {index}")).unwrap();
    }
    backup();
    fs::write(source.join("file77"), "changed").unwrap();
    backup();
    fs::remove_dir_all(&source).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("other"), "the only file").unwrap();
    backup();
    let mut trees: Vec<PathBuf> =
        vault.sandbox.stored(".dtf").into_iter().filter(|dtf| !before.contains(dtf)).collect();
    // Their names begin with the time, and end with a number that ascends.
    let number = |path: &PathBuf| -> u64 {
        path.file_stem().unwrap().to_str().unwrap().rsplit('.').next().unwrap().parse().unwrap()
    };
    trees.sort_by_key(number);
    trees
}

#[test]
fn a_damaged_tree_is_left_out_with_the_generations_that_need_it_and_all_the_rest_is_archived() {
    let vault = Vault::new(8, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    let trees = three_generations(&vault);
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let [first, second, third] = &trees[..] else { panic!("{trees:?}") };
    let whole = fs::read(first).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cut = whole[..whole.len() / 2].to_vec();
    for damaged in [flipped(20), flipped(whole.len() / 2), flipped(whole.len() - 10), cut, Vec::new()] {
        fs::write(first, damaged).unwrap();
        let ended = vault.run(&["archive", "--generations", "all", "--new-set", "--memory", "16"]);
        assert_eq!(ended.code, 12, "{ended:?}");
        for left_out in [first, second] {
            assert!(ended.error.contains(&format!("{} is left out", name(left_out))), "{ended:?}");
        }
        assert!(!ended.error.contains(&name(third)), "{ended:?}");
        assert!(ended.out.contains("archived 3 generations"), "{ended:?}");
        vault.restore_and_compare();
        let target = vault.sandbox.path("restored");
        vault.good(&["restore", "web2", target.to_str().unwrap()]);
        assert_same(&vault.sandbox.path("second"), &target);
        fs::remove_dir_all(&target).unwrap();
    }
    // A plan tells the same, and what is left out is no generation that is on tape.
    let wanted = ["archive", "--client", "web2", "--generations", "all", "--memory", "16"];
    let planned = vault.run(&[&wanted[..], &["--dry-run"]].concat());
    assert_eq!(planned.code, 12, "{planned:?}");
    for left_out in [first, second] {
        assert!(planned.error.contains(&format!("{} is left out", name(left_out))), "{planned:?}");
    }
    let ended = vault.run(&wanted);
    assert_eq!(ended.code, 12, "{ended:?}");
    let text = "1 generation: everything is on tape already; 2 generations left out";
    assert!(ended.out.contains(text), "{ended:?}");
    // No cartridge is spent on a generation that cannot be read.
    let images: Vec<_> = (1..=8).map(|number| vault.image(&format!("RL000{number}L8")).len()).collect();
    let ended =
        vault.run(&["archive", "--client", "web2", "--generations", "-2", "--new-set", "--memory", "16"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert_eq!(images, (1..=8).map(|n| vault.image(&format!("RL000{n}L8")).len()).collect::<Vec<_>>());
    let lacking: Vec<Value> =
        vault.json(&["list"]).into_iter().filter(|line| line["kind"] == "lacking").collect();
    assert_eq!(lacking.len(), 2 * 5, "two of each set: {lacking:?}");
    // Once it is sound all is archived.
    fs::write(first, &whole).unwrap();
    let mended = vault.archive(&["--generations", "all"]);
    assert_eq!((&mended["generations"], &mended["left_out"]), (&json!(5), &json!([])), "{mended}");
    let target = vault.sandbox.path("restored");
    vault.good(&["restore", "web2@-2", target.to_str().unwrap()]);
    assert_eq!(fs::read(target.join("file77")).unwrap(), b"changed");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 3000);
}

fn begin(vault: &Vault, more: &[&str]) -> Child {
    let arguments: Vec<&str> = ["archive", "--memory", "16"].iter().chain(more).copied().collect();
    let mut command = vault.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn both_end(children: [Child; 2]) {
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn two_archives_at_once_to_one_pool_follow_one_another_and_to_two_pools_take_other_cartridges() {
    let vault = Vault::new(6, 24 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    second_client(&vault, 78, 20_000_000);
    both_end(["web1", "web2"].map(|client| begin(&vault, &["--client", client, "--pool", "one"])));
    let numbers = |pool: &str| -> Vec<u64> {
        let lines = vault.json(&["list"]);
        let own = lines.iter().filter(|line| line["kind"] == "cartridge" && line["pool"] == pool);
        own.map(|line| line["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers("one"), [1, 2, 3], "one set, each number once");
    vault.restore_and_compare();
    let target = vault.sandbox.path("restored");
    vault.good(&["restore", "web2", target.to_str().unwrap()]);
    assert_same(&vault.sandbox.path("second"), &target);

    let vault = Vault::new(6, 64 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    both_end(["first", "second"].map(|pool| begin(&vault, &["--client", "web1", "--pool", pool])));
    assert_eq!(vault.archive(&["--pool", "first"])["bytes"], 0);
    assert_eq!(vault.archive(&["--pool", "second"])["bytes"], 0);
}

#[test]
fn a_cartridge_that_is_named_is_the_one_that_is_written_also_if_the_set_has_an_open_one() {
    let vault = Vault::new(3, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    vault.archive(&[]);
    let more = |name: &str| {
        vault.sandbox.write(name, name);
        vault.sandbox.backup(&[]);
    };
    more("second");
    let before = vault.image("RL0001L8");
    let named = vault.archive(&["--cartridge", "RL0003L8"]);
    assert_eq!(named["barcodes"], json!(["RL0003L8"]), "{named}");
    assert_eq!(vault.image("RL0001L8"), before);
    more("third");
    let both = vault.archive(&["--cartridge", "RL0002L8", "--cartridge", "RL0003L8"]);
    assert_eq!(both["barcodes"], json!(["RL0003L8"]), "the open one, as it may be used: {both}");
    vault.restore_and_compare();
}

#[test]
fn a_cartridge_that_lost_its_last_session_is_told_and_the_session_is_written_again() {
    let vault = Vault::new(1, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    vault.archive(&[]);
    let early = vault.image("RL0001L8");
    vault.sandbox.write("more", Random(5).bytes(300_000));
    vault.sandbox.backup(&[]);
    vault.archive(&[]);
    assert_eq!(vault.run(&["verify", "RL0001L8"]).code, 0);
    let whole = vault.image("RL0001L8");
    fs::write(vault.image_path("RL0001L8"), &early).unwrap();
    let ended = vault.run(&["verify", "RL0001L8"]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert!(ended.out.contains("DAMAGED") && ended.out.contains("that the catalogue"), "{ended:?}");
    // By the cartridge's memory alone.
    let elsewhere = vault.sandbox.path("elsewhere");
    let ended = vault.run(&["verify", "RL0001L8", "--catalogue", elsewhere.to_str().unwrap()]);
    assert_eq!(ended.code, 12, "{ended:?}");
    assert!(ended.out.contains("memory"), "{ended:?}");
    vault.sandbox.write("still more", "still more");
    vault.sandbox.backup(&[]);
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("lacks"), "{ended:?}");
    assert_eq!(vault.run(&["verify", "RL0001L8"]).code, 0);
    assert!(vault.image("RL0001L8").len() > whole.len() - (1 << 20));
    vault.restore_and_compare();
}

#[test]
fn a_cartridge_in_the_drive_of_another_command_is_passed_over() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 100_000);
    vault.good(&["load", "RL0001L8", "--drive", "0"]);
    let lock = vault.sandbox.path("library/unit-1.lock");
    let held = fs::File::options().write(true).create(true).truncate(false).open(lock).unwrap();
    held.lock().unwrap();
    let archived = vault.archive(&[]);
    assert_eq!(archived["barcodes"], json!(["RL0002L8"]), "{archived}");
}

#[test]
fn the_settings_of_the_repository_may_change_while_it_is_archived() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    // Somebody writes to them all the time.
    let settings = vault.sandbox.repository().join("reelfs.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let mut child = begin(&vault, &[]);
    let mut count = 0_u32;
    while child.try_wait().unwrap().is_none() {
        count += 1;
        let partial = settings.with_extension("new");
        fs::write(&partial, format!("{text}# {}\n", "x".repeat(count as usize % 50))).unwrap();
        fs::rename(&partial, &settings).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    vault.restore_and_compare();
}
