//! Cartridges of every kind in one mount.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use reelfs::emulator::{CartridgeKind, CartridgeSpec, Generation, LibraryShape};

use super::foreign::{archive, blocks, write_cartridge};
use super::mounting::{Mounted, xattr};
use super::{MIB, Vault, two_generations};

/// Cartridges, and what `find` says of those that it cannot enter.
const KINDS: [(&str, Option<Errno>); 8] = [
    ("RL0001L8", None),                    // an archive of ours
    ("RL0002L8", None),                    // prepared
    ("RL0003L8", Some(Errno::ENODATA)),    // blank
    ("RL0004L8", Some(Errno::ENODATA)),    // a tar archive that was not scanned
    ("RL0005L8", Some(Errno::ENODATA)),    // unreadable
    ("RL0006L8", Some(Errno::EOPNOTSUPP)), // LTFS, as a scan told
    ("RL0007L8", Some(Errno::ENODATA)),    // the second one of a set, of which the first was not scanned
    ("RL0008L8", None),                    // a tar archive that was scanned
];

fn every_kind() -> Vault {
    let cleaning = CartridgeSpec {
        kind: CartridgeKind::Cleaning,
        capacity_bytes: None,
        ..CartridgeSpec::data("CLN001L8", Generation::Lto8)
    };
    let mut shape = LibraryShape::new(Generation::Lto8).with_cartridges(9, Generation::Lto8, Some(24 * MIB));
    shape.cartridges.push(cleaning);
    let vault = Vault::with_shape(&shape);
    let emulated = vault.emulated();
    // A set, of which the first cartridge is gone.
    two_generations(&vault.sandbox, 30_000_000);
    let written = vault.archive(&["--cartridge", "RL0009L8", "--cartridge", "RL0007L8"]);
    assert_eq!(written["barcodes"], serde_json::json!(["RL0009L8", "RL0007L8"]));
    emulated.remove_cartridge("RL0009L8", false).unwrap();
    fs::remove_dir_all(vault.sandbox.repository().join("tapes")).unwrap();
    vault.good(&["scan", "RL0007L8"]);

    vault.sandbox.write("large", "short now");
    vault.sandbox.backup(&[]);
    vault.archive(&["--new-set", "--generations", "latest", "--cartridge", "RL0001L8"]);
    vault.good(&["label", "RL0002L8"]);
    let tree = vault.sandbox.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "in an archive").unwrap();
    let tar = archive(&tree, "");
    for barcode in ["RL0004L8", "RL0005L8", "RL0008L8"] {
        write_cartridge(&vault, barcode, &[blocks(&tar, 10_240)]);
    }
    vault.good(&["scan", "RL0008L8"]);
    emulated.spoil_block("RL0005L8", 0, 0).unwrap();
    assert_ne!(vault.run(&["scan", "RL0005L8"]).code, 0, "it cannot be read");
    let mut label = [b' '; 80];
    label[..10].copy_from_slice(b"VOL1ABC123");
    label[24..28].copy_from_slice(b"LTFS");
    write_cartridge(&vault, "RL0006L8", &[vec![&label]]);
    vault.good(&["scan", "RL0006L8"]);
    vault
}

fn moves(vault: &Vault) -> Vec<u64> {
    let drives = [0, 1].map(|drive| vault.emulated().counters(drive).unwrap());
    drives.iter().flat_map(|counters| [counters.load_count, counters.bytes_read]).collect()
}

fn find(at: &Path) -> Output {
    Command::new("find").arg(at).env("LC_ALL", "C").output().unwrap()
}

#[test]
fn a_walk_over_cartridges_of_every_kind_goes_to_its_end_names_those_it_cannot_enter_and_moves_no_tape() {
    let vault = every_kind();
    let (before, inventory) = (moves(&vault), vault.json(&["inventory"]));
    let mounted = Mounted::over(vault, "");
    let tapes = mounted.at.join("tapes");
    let end = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(&tapes).unwrap().count() < KINDS.len() {
        assert!(Instant::now() < end, "{:?}", find(&tapes));
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = find(&tapes);
    let (found, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let count = |barcode: &str| {
        let below = format!("{}/{barcode}/", tapes.display());
        found.lines().filter(|line| line.starts_with(&below)).count()
    };
    let refusals: BTreeMap<&str, &str> = said
        .lines()
        .map(|line| line.rsplit_once("tapes/").expect("a path in it").1.split_once('\'').expect("quoted"))
        .map(|(barcode, rest)| (barcode, rest.trim_start_matches([':', ' '])))
        .collect();
    let texts = BTreeMap::from([
        (Errno::ENODATA as i32, "No data available"),
        (Errno::EOPNOTSUPP as i32, "Operation not supported"),
    ]);
    for (barcode, errno) in KINDS {
        assert!(
            found.lines().any(|line| line == format!("{}/{barcode}", tapes.display())),
            "{barcode}: {found}"
        );
        assert_eq!(xattr(&tapes.join(barcode), "user.reelfs.barcode"), barcode);
        let expected = errno.map(|errno| texts[&(errno as i32)]);
        assert_eq!(refusals.get(barcode).copied(), expected, "{barcode}: {said}");
    }
    assert_eq!(said.lines().count(), KINDS.iter().filter(|(_, errno)| errno.is_some()).count(), "{said}");
    assert!(!found.contains("CLN001L8"), "what cleans drives is no folder");
    assert!(count("RL0001L8") > 40 && count("RL0008L8") == 2, "{found}");
    assert_eq!(count("RL0002L8"), 0);
    let states = [("RL0002L8", "slot"), ("RL0003L8", "unscanned"), ("RL0007L8", "incomplete")];
    for (barcode, state) in states {
        assert_eq!(xattr(&tapes.join(barcode), "user.reelfs.state"), state);
    }
    assert_eq!(moves(&mounted.vault), before);
    assert_eq!(mounted.vault.json(&["inventory"]), inventory);
}

#[test]
fn a_prepared_cartridge_is_an_empty_folder_until_something_is_archived_to_it() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    for barcode in ["RL0001L8", "RL0002L8"] {
        vault.good(&["label", barcode]);
    }
    let mounted = Mounted::over(vault, "");
    let tapes = mounted.at.join("tapes");
    let output = find(&tapes);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    let cartridge = tapes.join("RL0001L8");
    assert_eq!(fs::read_dir(&cartridge).unwrap().count(), 0);
    assert_eq!(xattr(&cartridge, "user.reelfs.kind"), "reelfs");
    assert_eq!(xattr(&cartridge, "user.reelfs.state"), "slot");
    assert_eq!(fs::metadata(cartridge.join("web1")).unwrap_err().raw_os_error(), Some(Errno::ENOENT as i32));
    assert_eq!(fs::canonicalize(cartridge.join("..")).unwrap(), fs::canonicalize(&tapes).unwrap());
    mounted.vault.archive(&["--client", "web1"]);
    let end = Instant::now() + Duration::from_secs(30);
    while fs::read_dir(&cartridge).unwrap().count() == 0 || !mounted.latest().join("large").exists() {
        assert!(Instant::now() < end, "what was archived does not appear");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(fs::read_dir(tapes.join("RL0002L8")).unwrap().count(), 0);
}
