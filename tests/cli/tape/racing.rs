//! Several processes with the drives of one library.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::reserving::serve;
use super::{MIB, Vault, two_generations};
use crate::support::ended;

/// Scans this cartridge so often, also if all drives are in use sometimes.
fn scan_often(vault: &Vault, library: &Path, barcode: &str, count: u32) {
    let mut done = 0;
    let end = Instant::now() + Duration::from_secs(300);
    while done < count {
        let ended = ended(vault.command(&["scan", barcode]).env("REELFS_LIBRARY", library));
        assert!(Instant::now() < end, "{barcode}: {done} of {count}: {ended:?}");
        let is_in_use =
            ["all drives are in use", "reserved by"].iter().any(|text| ended.error.contains(text));
        match ended.code {
            0 => done += 1,
            _ => assert!(ended.code == 13 && is_in_use, "{ended:?}"),
        }
    }
}

fn race(vault: &Vault, library: &Path) {
    let barcodes = ["RL0001L8", "RL0002L8", "RL0003L8"];
    for barcode in barcodes {
        vault.good(&["label", barcode]);
    }
    // Both drives are full at the beginning, of what nobody uses.
    vault.good(&["load", "RL0001L8"]);
    vault.good(&["load", "RL0002L8"]);
    std::thread::scope(|scope| {
        for barcode in barcodes {
            scope.spawn(move || scan_often(vault, library, barcode, 20));
        }
    });
    for barcode in barcodes {
        assert_eq!(vault.place_of(barcode).0, "slot");
    }
}

#[test]
fn three_processes_with_two_drives_never_take_from_each_other_what_they_have_just_loaded() {
    let vault = Vault::new(3, 64 * MIB);
    race(&vault, &vault.sandbox.path("library"));
}

#[test]
fn nor_do_they_over_iscsi_where_only_reservations_keep_them_apart() {
    let vault = Vault::new(3, 64 * MIB);
    let (_server, library) = serve(&vault);
    race(&vault, library.as_ref());
}

#[test]
fn an_archive_waits_for_drives_that_others_have_since_before_it_began() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 100_000);
    // To a blank cartridge, and then to one that is known.
    for name in ["first", "second"] {
        vault.sandbox.write(name, name);
        vault.sandbox.backup(&[]);
        let held = hold_drives(&vault);
        let mut command = vault.command(&["archive", "--memory", "16"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let told = lines.find(|line| line.contains("waiting for a drive"));
        assert!(told.is_some_and(|line| line.contains("all drives are in use")));
        drop(held);
        let rest: Vec<String> = lines.collect();
        assert!(child.wait().unwrap().success(), "{rest:?}");
    }
    vault.restore_and_compare();
}

/// Both drives, as another process has them.
fn hold_drives(vault: &Vault) -> [File; 2] {
    [1, 2].map(|lun| {
        let lock = vault.sandbox.path(&format!("library/unit-{lun}.lock"));
        let file = File::options().write(true).create(true).truncate(false).open(lock).unwrap();
        file.lock().unwrap();
        file
    })
}

#[test]
fn nobody_moves_a_cartridge_into_a_drive_or_out_of_it_that_another_process_has() {
    let vault = Vault::new(3, 64 * MIB);
    vault.good(&["load", "RL0001L8", "--drive", "0"]);
    let held = hold_drives(&vault);
    vault.refused(13, &["unload", "--drive", "0"], "in use by another process");
    vault.refused(13, &["unload", "RL0001L8"], "in use by another process");
    vault.refused(13, &["load", "RL0002L8"], "all drives are in use");
    vault.refused(13, &["scan", "RL0002L8"], "all drives are in use");
    vault.refused(13, &["eject", "RL0001L8"], "in use by another process");
    assert_eq!(vault.place_of("RL0001L8"), ("drive".to_owned(), 0));
    assert_eq!(vault.place_of("RL0002L8").0, "slot");
    drop(held);
    vault.good(&["unload", "--drive", "0"]);
}
