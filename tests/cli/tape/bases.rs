//! Backup data files of which nothing is read but what others are compressed against.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{MIB, Vault};
use crate::support::Random;

fn flip_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// 70 KiB of words in no order.
fn text(seed: u64) -> String {
    let mut numbers = Random(seed);
    let mut text = String::new();
    while text.len() < 70 << 10 {
        text.push_str(&format!("{:x} ", numbers.below(1 << 40)));
    }
    text
}

/// Writes a file that is `text` but for four bytes.
fn write_changed(vault: &Vault, text: &str) {
    vault.sandbox.write("f", text.replacen(&text[40_000..40_004], "----", 1));
}

/// A file in two generations: the latest needs the BDF of the first one, which is returned, as a base alone.
fn two_versions(vault: &Vault) -> PathBuf {
    let text = text(0x5eed_0040);
    vault.sandbox.write("f", &text);
    vault.sandbox.backup(&[]);
    let base = vault.sandbox.stored(".bdf").pop().unwrap();
    write_changed(vault, &text);
    vault.sandbox.backup(&[]);
    base
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_damaged_base_is_told_by_every_archive_and_written_once_it_is_sound() {
    let vault = Vault::new(1, 64 * MIB);
    let base = two_versions(&vault);
    flip_middle(&base);
    for attempt in 0..3 {
        let ended = vault.run(&["archive", "--client", "web1", "--memory", "16"]);
        assert_eq!(ended.code, 12, "attempt {attempt}: {ended:?}");
        assert!(ended.error.contains(name_of(&base)), "attempt {attempt}: {ended:?}");
        if attempt == 1 {
            // What the catalogue keeps of bases is made anew.
            fs::write(vault.sandbox.repository().join("tapes/bases"), "reelfs bases 1\n").unwrap();
        }
    }
    flip_middle(&base);
    let mended = vault.archive(&["--client", "web1"]);
    assert_eq!(mended["objects"], 1, "{mended}");
    assert!(!vault.good(&["list"]).contains("lacks"));
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8"]);
    vault.restore_and_compare();
}

#[test]
fn a_retention_holds_for_a_cartridge_of_which_only_bases_are_needed() {
    let vault = Vault::new(6, 24 * MIB);
    let (sandbox, text) = (&vault.sandbox, text(0x5eed_0041));
    let replace = |old: &str, new: &str, len: usize| {
        fs::remove_file(sandbox.source().join(old)).ok();
        sandbox.write(new, Random(0x5eed_0042 + len as u64).bytes(len));
        sandbox.backup(&[]);
    };
    // The first cartridge has the configuration; the third one the base; the last ones the newest data and the
    // trees. What is between no later generation needs.
    replace("", "b0", 26_000_000);
    sandbox.write("f", &text);
    replace("b0", "b1", 19_000_000);
    let other = sandbox.path("second");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("data"), Random(0x5eed_0043).bytes(30_000_000)).unwrap();
    sandbox.good(&["backup", other.to_str().unwrap(), "--client", "web2"]);
    write_changed(&vault, &text);
    replace("b1", "b2", 20_000_000);
    vault.archive(&["--generations", "all"]);
    let kept = vault.archive(&["--client", "web1", "--retain", "3650"]);
    assert_eq!(kept["bytes"], 0, "{kept}");
    let retained: Vec<&str> = kept["retained"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(retained.contains(&"RL0003L8") && !retained.contains(&"RL0002L8"), "{kept}");
    vault.refused(13, &["label", "RL0003L8", "--overwrite", "RL0003L8"], "under retention");
}

#[test]
fn a_base_that_a_cartridge_has_lost_is_written_again() {
    let vault = Vault::new(1, 64 * MIB);
    vault.sandbox.write("other", "of the first session");
    vault.sandbox.backup(&[]);
    vault.archive(&[]);
    let early = vault.image("RL0001L8");
    let base = two_versions(&vault);
    vault.archive(&[]);
    fs::write(vault.image_path("RL0001L8"), &early).unwrap();
    vault.sandbox.write("more", "more");
    vault.sandbox.backup(&[]);
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("lacks"), "{ended:?}");
    let objects = vault.good(&["list", "--objects", "RL0001L8"]);
    assert!(objects.contains(name_of(&base)), "{objects}");
    vault.lose_repository();
    vault.good(&["scan", "RL0001L8"]);
    vault.restore_and_compare();
}

#[test]
fn a_file_that_is_on_tape_and_gone_from_the_repository_fails_no_archive_and_its_bases_are_kept() {
    let vault = Vault::new(1, 64 * MIB);
    let base = two_versions(&vault);
    vault.archive(&["--client", "web1"]);
    let newest = vault.sandbox.stored(".bdf").into_iter().find(|bdf| *bdf != base).unwrap();
    let whole = fs::read(&newest).unwrap();
    for damaged in [Some(Vec::new()), Some(whole[..whole.len() / 2].to_vec()), None] {
        match damaged {
            Some(bytes) => fs::write(&newest, bytes).unwrap(),
            None => fs::remove_file(&newest).unwrap(),
        }
        let again = vault.archive(&["--client", "web1"]);
        // The configuration, both BDFs and the trees.
        assert_eq!((&again["bytes"], &again["left_out"]), (&json!(0), &json!([])), "{again}");
        assert!(again["skipped_objects"].as_u64().unwrap() >= 4, "{again}");
    }
}
