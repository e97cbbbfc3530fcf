//! What was written stays: nothing is labelled over that anybody was promised.

use std::fs;
use std::path::PathBuf;

use reelfs::emulator::{Fault, FaultKind};
use reelfs::scsi::cdb::ssc::SpaceUnit;
use reelfs::scsi::{LogicalUnit, Transport};
use serde_json::{Value, json};

use super::{MIB, Vault, two_generations};

const WRITE_FILEMARKS: u8 = 0x10;

/// Directory of the catalogue of the cartridge with this barcode.
fn known_as(vault: &Vault, barcode: &str) -> PathBuf {
    let catalogue = vault.sandbox.repository().join("tapes");
    let named = format!("\"{barcode}\"");
    let directories = fs::read_dir(catalogue).unwrap().map(|entry| entry.unwrap().path());
    let is_it =
        |path: &PathBuf| fs::read_to_string(path.join("VOLUME.json")).is_ok_and(|text| text.contains(&named));
    directories.into_iter().find(is_it).expect("the catalogue knows it")
}

fn cartridge(vault: &Vault, barcode: &str) -> Value {
    let lines = vault.json(&["list"]);
    let is_it = |line: &&Value| line["kind"] == "cartridge" && line["barcode"] == barcode;
    lines.iter().find(is_it).cloned().unwrap_or_default()
}

#[test]
fn what_was_committed_is_not_labelled_over_because_the_catalogue_was_not_told() {
    let vault = Vault::new(4, 24 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    let archived = vault.archive(&["--retain", "3650"]);
    assert_eq!(archived["barcodes"], json!(["RL0001L8", "RL0002L8"]), "{archived}");
    let before = vault.image("RL0002L8");
    // As after a kill between the commit and the catalogue.
    fs::remove_file(known_as(&vault, "RL0002L8").join("index")).unwrap();
    assert_eq!(cartridge(&vault, "RL0002L8")["written_seconds"], Value::Null);
    let ended = vault.run(&["archive", "--new-set", "--memory", "16"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(vault.image("RL0002L8"), before, "{ended:?}");
    assert!(ended.error.contains("RL0002L8 is left alone"), "{ended:?}");
    // It is known again, with its retention.
    let known = cartridge(&vault, "RL0002L8");
    assert!(known["bytes"].as_u64().unwrap() > 1_000_000, "{known}");
    assert!(known["retain_until_seconds"].as_i64().unwrap() > 1_800_000_000, "{known}");
}

#[test]
fn an_archive_goes_on_with_what_a_killed_one_committed_to_the_first_cartridge_of_a_set() {
    let vault = Vault::new(3, 64 * MIB);
    two_generations(&vault.sandbox, 5_000_000);
    let first = vault.archive(&[]);
    fs::remove_file(known_as(&vault, "RL0001L8").join("index")).unwrap();
    let again = vault.archive(&[]);
    assert_eq!(again["bytes"], 0, "{again}");
    assert_eq!(again["set"], first["set"]);
    vault.restore_and_compare();
}

#[test]
fn a_prepared_cartridge_that_the_catalogue_has_forgotten_is_prepared_all_the_same() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 100_000);
    vault.good(&["label", "RL0001L8"]);
    // As after a kill between forgetting it and labelling it anew.
    fs::remove_dir_all(known_as(&vault, "RL0001L8")).unwrap();
    assert_eq!(vault.archive(&[])["barcodes"], json!(["RL0001L8"]));
    vault.restore_and_compare();
}

#[test]
fn a_label_that_fails_in_the_middle_leaves_nothing_in_the_catalogue_that_is_gone() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    vault.archive(&[]);
    // What is refused before anything is written leaves it as it is.
    vault.refused(13, &["label", "RL0001L8", "--overwrite", "OTHER"], "--overwrite 'RL0001L8'");
    vault.emulated().set_write_protected("RL0001L8", true).unwrap();
    vault.refused(13, &["label", "RL0001L8", "--overwrite", "RL0001L8"], "write-protected");
    vault.emulated().set_write_protected("RL0001L8", false).unwrap();
    assert_eq!(vault.archive(&[])["bytes"], 0);

    let kind = FaultKind::Sense { key: 3, asc: 0x0c, ascq: 0, executed: false };
    let fault = Fault { operation_code: Some(WRITE_FILEMARKS), ..Fault::new(1, kind) };
    vault.emulated().add_fault(fault).unwrap();
    assert_eq!(vault.run(&["label", "RL0001L8", "--overwrite", "RL0001L8"]).code, 13);
    let archived = vault.archive(&[]);
    assert_eq!(archived["barcodes"], json!(["RL0002L8"]), "{archived}");
    assert!(archived["bytes"].as_u64().unwrap() > 1_000_000, "{archived}");
    vault.restore_and_compare();
}

#[test]
fn a_scan_says_that_another_cartridge_has_the_barcode_of_one_that_is_known() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 100_000);
    vault.archive(&[]);
    let kept = vault.sandbox.path("kept");
    let directory = known_as(&vault, "RL0001L8");
    assert!(std::process::Command::new("cp").arg("-a").args([&directory, &kept]).status().unwrap().success());
    vault.good(&["label", "RL0001L8", "--overwrite", "RL0001L8"]);
    // As if another machine had labelled it.
    fs::rename(&kept, &directory).unwrap();
    let ended = vault.run(&["scan", "RL0001L8"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let old = directory.file_name().unwrap().to_str().unwrap();
    assert!(ended.error.contains(old) && ended.error.contains("--new-set"), "{ended:?}");
}

#[test]
fn a_retention_holds_for_what_is_on_tape_already_on_every_cartridge_that_is_needed() {
    let vault = Vault::new(4, 24 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    let archived = vault.archive(&["--client", "web1"]);
    assert_eq!(archived["barcodes"], json!(["RL0001L8", "RL0002L8"]), "{archived}");
    let again = vault.archive(&["--client", "web1", "--retain", "3650"]);
    assert_eq!(again["bytes"], 0, "{again}");
    assert_eq!(again["retained"], json!(["RL0001L8", "RL0002L8"]), "{again}");
    for barcode in ["RL0001L8", "RL0002L8"] {
        let until = cartridge(&vault, barcode)["retain_until_seconds"].as_i64();
        assert!(until.unwrap() > 1_800_000_000, "{barcode}");
        // By what the cartridge itself says, too.
        let elsewhere = vault.sandbox.path("elsewhere");
        let label = ["label", barcode, "--overwrite", barcode, "--catalogue", elsewhere.to_str().unwrap()];
        vault.refused(13, &label, "under retention");
        assert_eq!(vault.run(&["verify", barcode]).code, 0);
    }
    // What is kept long enough already is not loaded again, and a set that goes on stays one that goes on.
    let third = vault.archive(&["--client", "web1", "--retain", "3000"]);
    assert_eq!(third["retained"], json!([]), "{third}");
    assert_eq!(cartridge(&vault, "RL0001L8")["full"], true);
    vault.restore_and_compare();
    // A cartridge that is needed and out of reach is named.
    vault.emulated().remove_cartridge("RL0001L8", false).unwrap();
    vault.refused(13, &["archive", "--client", "web1", "--retain", "7300"], "RL0001L8");
}

#[test]
fn a_scan_of_a_cartridge_whose_description_is_damaged_keeps_what_was_known_of_it() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 100_000);
    let first = vault.archive(&["--pool", "offsite"]);
    vault.emulated().spoil_block("RL0001L8", 0, 2).unwrap();
    let scanned = vault.run(&["scan", "RL0001L8"]);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    assert_eq!(cartridge(&vault, "RL0001L8")["pool"], "offsite");
    vault.sandbox.write("more", "more");
    vault.sandbox.backup(&[]);
    assert_eq!(vault.archive(&["--pool", "offsite"])["set"], first["set"]);
    // Where nothing is known, that is said.
    fs::remove_dir_all(vault.sandbox.repository().join("tapes")).unwrap();
    let scanned = vault.run(&["scan", "RL0001L8"]);
    assert!(scanned.error.contains("its repository and pool are not known"), "{scanned:?}");
}

#[test]
fn parts_that_are_whole_on_tape_and_in_no_index_are_not_written_again() {
    let vault = Vault::new(1, 256 * MIB);
    two_generations(&vault.sandbox, 9_000_000);
    let first = vault.archive(&[]);
    // The tape is cut behind the data part: no index of it is left.
    vault.good(&["load", "RL0001L8", "--drive", "0"]);
    let transport: Box<dyn Transport> = Box::new(vault.emulated().transport(1).unwrap());
    let mut drive = LogicalUnit::new(transport);
    drive.clear_unit_attentions().unwrap();
    drive.rewind(false).unwrap();
    drive.space(SpaceUnit::Filemarks, 3).unwrap();
    drive.write_filemarks(1, false).unwrap();
    drop(drive);
    vault.good(&["unload"]);
    fs::remove_file(known_as(&vault, "RL0001L8").join("index")).unwrap();
    let again = vault.archive(&[]);
    assert_eq!(again["bytes"], 0, "{again} after {first}");
    assert_eq!(vault.run(&["verify", "RL0001L8"]).code, 0);
    vault.restore_and_compare();
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8"]);
    vault.restore_and_compare();
}
