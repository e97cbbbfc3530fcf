//! Sets of several cartridges.

use std::fs;

use serde_json::{Value, json};

use super::{MIB, Vault, two_generations};

#[test]
fn a_set_goes_on_with_the_next_cartridge_and_is_restored_as_one() {
    let vault = Vault::new(6, 24 * MIB);
    two_generations(&vault.sandbox, 50_000_000);
    let archived = vault.archive(&["--generations", "all"]);
    let barcodes: Vec<&str> =
        archived["barcodes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(barcodes.len() >= 3, "{archived}");
    assert_eq!(vault.archive(&["--generations", "all"])["bytes"], 0);
    vault.restore_and_compare();

    vault.lose_repository();
    let mut scan = vec!["scan"];
    // In another order than they were written.
    scan.extend(barcodes.iter().rev());
    vault.good(&scan);
    vault.restore_and_compare();
    let cartridges: Vec<Value> =
        vault.json(&["list"]).into_iter().filter(|line| line["kind"] == "cartridge").collect();
    let numbers: Vec<u64> = cartridges.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=barcodes.len() as u64).collect::<Vec<_>>());
    assert!(cartridges.iter().all(|line| line["set"] == cartridges[0]["set"]));
}

#[test]
fn without_one_cartridge_of_a_set_the_other_files_are_restored_and_it_is_told() {
    let vault = Vault::new(6, 24 * MIB);
    two_generations(&vault.sandbox, 50_000_000);
    let archived = vault.archive(&["--generations", "all"]);
    assert!(archived["barcodes"].as_array().unwrap().len() >= 3, "{archived}");
    vault.emulated().remove_cartridge("RL0002L8", false).unwrap();
    let target = vault.sandbox.path("restored");
    let ended = vault.run(&["restore", "web1", target.to_str().unwrap()]);
    assert!(matches!(ended.code, 3 | 12), "{ended:?}");
    assert!(ended.error.contains("RL0002L8 is not in the library"), "{ended:?}");
    assert!(!target.join("large").exists(), "{ended:?}");
    let text = fs::read(target.join("text"));
    assert_eq!(text.unwrap(), fs::read(vault.sandbox.source().join("text")).unwrap());
}

#[test]
fn when_no_cartridge_is_left_the_next_run_goes_on_where_this_one_ended() {
    let vault = Vault::new(2, 24 * MIB);
    two_generations(&vault.sandbox, 50_000_000);
    vault.refused(13, &["archive", "--memory", "16"], "no cartridge is left that can be written");
    let spec = reelfs::emulator::CartridgeSpec {
        capacity_bytes: Some(64 * MIB),
        ..reelfs::emulator::CartridgeSpec::data("RL0009L8", reelfs::emulator::Generation::Lto8)
    };
    vault.emulated().add_cartridge(&spec, true).unwrap();
    let imported = vault.json(&["import"]);
    assert_eq!(imported[0]["barcode"], "RL0009L8");
    let archived = vault.archive(&[]);
    assert_eq!(archived["barcodes"], json!(["RL0009L8"]), "{archived}");
    assert!(archived["bytes"].as_u64().unwrap() < 30_000_000, "{archived}");
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8", "RL0002L8", "RL0009L8"]);
    vault.restore_and_compare();
}

#[test]
fn a_cartridge_too_small_for_anything_does_not_cost_all_the_others() {
    let vault = Vault::new(4, 2 * MIB);
    two_generations(&vault.sandbox, 5_000_000);
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 13, "{ended:?}");
    assert!(vault.image("RL0003L8").is_empty());
}

#[test]
fn cartridges_can_be_named_and_a_new_set_begun() {
    let vault = Vault::new(4, 256 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    let first = vault.archive(&["--cartridge", "RL0003L8", "--pool", "onsite"]);
    assert_eq!(first["barcodes"], json!(["RL0003L8"]));
    let other_pool = vault.archive(&["--pool", "offsite"]);
    assert_eq!(other_pool["barcodes"], json!(["RL0001L8"]));
    let new = vault.archive(&["--pool", "onsite", "--new-set"]);
    assert_eq!(new["barcodes"], json!(["RL0002L8"]));
    assert_ne!(new["set"], first["set"]);
    vault.refused(13, &["archive", "--new-set", "--cartridge", "RL0003L8"], "no cartridge is left");
    vault.refused(13, &["archive", "--new-set", "--cartridge", "NOSUCH"], "NOSUCH is not in the library");
    let target = vault.sandbox.path("restored");
    let shown = vault.good(&["restore", "web1", target.to_str().unwrap(), "--cartridge", "RL0001L8"]);
    assert!(shown.contains("from RL0001L8"), "{shown}");
}

#[test]
fn a_file_that_is_longer_than_a_cartridge_is_cut_and_comes_back_whole() {
    let vault = Vault::new(6, 24 * MIB);
    let settings = vault.sandbox.repository().join("reelfs.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let larger = text.replace("bdf_bytes = 3000000", "bdf_bytes = 60000000");
    assert_ne!(text, larger);
    fs::write(settings, larger).unwrap();
    two_generations(&vault.sandbox, 40_000_000);
    let largest = vault.sandbox.stored(".bdf").iter().map(|bdf| fs::metadata(bdf).unwrap().len()).max();
    assert!(largest.unwrap() > 24 * MIB, "{largest:?}");
    let archived = vault.archive(&["--generations", "all"]);
    let count = archived["barcodes"].as_array().unwrap().len();
    assert!((3..=4).contains(&count), "{archived}");
    vault.lose_repository();
    let barcodes: Vec<String> = (1..=count).map(|number| format!("RL{number:04}L8")).collect();
    let scan: Vec<&str> = ["scan"].into_iter().chain(barcodes.iter().map(String::as_str)).collect();
    vault.good(&scan);
    vault.restore_and_compare();
}
