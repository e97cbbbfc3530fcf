//! What may be written over and what not (F31).

use reelfs::emulator::{CartridgeKind, CartridgeSpec, Generation, LibraryShape};
use reelfs::scsi::{LogicalUnit, Transport};
use serde_json::json;

use super::{MIB, Vault, two_generations};

// Blocks as another program writes them.
fn write_foreign(vault: &Vault, barcode: &str, blocks: &[&[u8]]) {
    vault.good(&["load", barcode, "--drive", "0"]);
    let transport: Box<dyn Transport> = Box::new(vault.emulated().transport(1).unwrap());
    let mut drive = LogicalUnit::new(transport);
    drive.clear_unit_attentions().unwrap();
    drive.rewind(false).unwrap();
    for block in blocks {
        drive.write_block(block).unwrap();
    }
    drive.write_filemarks(1, false).unwrap();
    drop(drive);
    vault.good(&["unload"]);
}

fn ansi_label() -> [u8; 80] {
    let mut label = [b' '; 80];
    label[..10].copy_from_slice(b"VOL1ABC123");
    label[79] = b'3';
    label
}

#[test]
fn a_cartridge_of_another_program_is_left_as_it_is_unless_it_is_named() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    write_foreign(&vault, "RL0001L8", &[&ansi_label(), &[7; 512]]);
    let before = vault.image("RL0001L8");
    vault.refused(13, &["label", "RL0001L8"], "--overwrite 'ABC123'");
    vault.refused(13, &["label", "RL0001L8", "--overwrite", "RL0001L8"], "--overwrite 'ABC123'");
    let scanned = vault.good(&["scan", "RL0001L8"]);
    assert!(scanned.contains("ANSI labels ABC123") && scanned.contains("left alone"), "{scanned}");
    vault.refused(13, &["verify", "RL0001L8"], "not of reelfs");
    assert_eq!(vault.image("RL0001L8"), before);
    // The archive takes the next one.
    let archived = vault.archive(&[]);
    assert_eq!(archived["barcodes"], json!(["RL0002L8"]), "{archived}");
    assert_eq!(vault.image("RL0001L8"), before);
    vault.good(&["label", "RL0001L8", "--overwrite", "ABC123"]);
    assert_ne!(vault.image("RL0001L8"), before);
}

#[test]
fn an_archive_is_written_over_only_if_it_is_named_and_its_retention_is_over() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    vault.archive(&["--retain", "30"]);
    let before = vault.image("RL0001L8");
    vault.refused(13, &["label", "RL0001L8"], "--overwrite 'RL0001L8' --despite-retention ends that");
    let named = vault.run(&["label", "RL0001L8", "--overwrite", "RL0001L8"]);
    assert_eq!(named.code, 13, "{named:?}");
    assert!(named.error.contains("'RL0001L8', which is under retention"), "{named:?}");
    assert!(
        named.error.contains("; --despite-retention ends that"),
        "what is missing and no more: {named:?}"
    );
    let other = ["label", "RL0001L8", "--overwrite", "OTHER"];
    vault.refused(13, &other, "--overwrite 'RL0001L8' --despite-retention ends that");
    vault.refused(13, &["archive", "--new-set", "--cartridge", "RL0001L8"], "no cartridge is left");
    assert_eq!(vault.image("RL0001L8"), before);
    // Nor if the catalogue knows nothing of it.
    std::fs::remove_dir_all(vault.sandbox.repository().join("tapes")).unwrap();
    vault.refused(13, &["label", "RL0001L8", "--overwrite", "RL0001L8"], "--despite-retention");
    assert_eq!(vault.image("RL0001L8"), before);
    vault.good(&["label", "RL0001L8", "--overwrite", "RL0001L8", "--despite-retention"]);
    assert_ne!(vault.image("RL0001L8"), before);

    vault.archive(&["--new-set", "--cartridge", "RL0001L8"]);
    vault.refused(13, &["label", "RL0001L8"], "--overwrite 'RL0001L8'");
    vault.good(&["label", "RL0001L8", "--overwrite", "RL0001L8"]);
    assert!(vault.json(&["list"]).iter().all(|line| line["kind"] != "generation"));
}

#[test]
fn write_protected_worm_and_cleaning_cartridges_are_told_for_what_they_are() {
    let spec = |barcode: &str, kind| CartridgeSpec {
        kind,
        capacity_bytes: (kind != CartridgeKind::Cleaning).then_some(64 * MIB),
        ..CartridgeSpec::data(barcode, Generation::Lto8)
    };
    let shape = LibraryShape {
        cartridges: vec![
            spec("CLN001L8", CartridgeKind::Cleaning),
            spec("RL0001L8", CartridgeKind::Data),
            spec("RL0002LY", CartridgeKind::Worm),
            spec("RL0003L8", CartridgeKind::Data),
        ],
        ..LibraryShape::new(Generation::Lto8)
    };
    let vault = Vault::with_shape(&shape);
    two_generations(&vault.sandbox, 1_000_000);
    vault.emulated().set_write_protected("RL0001L8", true).unwrap();
    vault.refused(13, &["label", "RL0001L8"], "write-protected");
    for command in ["label", "scan", "verify", "load"] {
        vault.refused(13, &[command, "CLN001L8"], "cleaning cartridge");
        assert_eq!(vault.place_of("CLN001L8").0, "slot", "{command}");
    }
    vault.good(&["unload"]);
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.error.contains("RL0001L8 is left alone: it is write-protected"), "{ended:?}");
    assert!(!ended.error.contains("CLN001L8"), "{ended:?}");
    // What can be written once only is as good as any for an archive.
    assert!(ended.out.contains("to RL0002LY"), "{ended:?}");
    vault.sandbox.write("more", "more");
    vault.sandbox.backup(&[]);
    assert_eq!(vault.archive(&[])["barcodes"], json!(["RL0002LY"]));
    vault.refused(13, &["label", "RL0002LY", "--overwrite", "RL0002LY"], "can be written once only");
    vault.restore_and_compare();
    vault.emulated().set_write_protected("RL0002LY", true).unwrap();
    vault.restore_and_compare();
    assert_eq!(vault.json(&["status"])[0]["state"], "empty");
}

#[test]
fn another_cartridge_with_the_barcode_of_one_is_not_taken_for_it() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    vault.archive(&["--cartridge", "RL0001L8"]);
    // The label of the one is on the other: the image of the second takes the place of the first.
    vault.good(&["label", "RL0002L8", "--pool", "other"]);
    let other = vault.image("RL0002L8");
    let own = vault.image("RL0001L8");
    let sidecar = |barcode: &str| vault.sandbox.path(&format!("library/cartridges/{barcode}.json"));
    let exchange = |image: &[u8]| std::fs::write(vault.image_path("RL0001L8"), image).unwrap();
    let kept = std::fs::read(sidecar("RL0001L8")).unwrap();
    let text = std::fs::read_to_string(sidecar("RL0002L8")).unwrap().replace("RL0002L8", "RL0001L8");
    exchange(&other);
    std::fs::write(sidecar("RL0001L8"), text).unwrap();
    vault.sandbox.write("more", "more");
    vault.sandbox.backup(&[]);
    vault.refused(13, &["archive", "--memory", "16"], "a wrong label, or it was labelled anew");
    assert_eq!(vault.image("RL0001L8"), other);
    let target = vault.sandbox.path("restored");
    let ended = vault.run(&["restore", "web1", target.to_str().unwrap()]);
    assert!(matches!(ended.code, 3 | 12), "{ended:?}");
    let ended = vault.run(&["scan", "RL0001L8"]);
    assert!(ended.error.contains("says that it is RL0002L8"), "{ended:?}");
    exchange(&own);
    std::fs::write(sidecar("RL0001L8"), kept).unwrap();
    vault.archive(&[]);
    vault.restore_and_compare();
}

#[test]
fn a_barcode_that_cannot_stand_on_a_label_of_ours_is_moved_and_read_but_not_labelled() {
    let shape = LibraryShape {
        cartridges: vec![CartridgeSpec {
            barcode: Some("$A-1_L8".to_owned()),
            capacity_bytes: Some(64 * MIB),
            ..CartridgeSpec::data("X", Generation::Lto8)
        }],
        ..LibraryShape::new(Generation::Lto8)
    };
    let vault = Vault::with_shape(&shape);
    two_generations(&vault.sandbox, 100_000);
    assert_eq!(vault.place_of("$A-1_L8").0, "slot");
    vault.good(&["load", "$A-1_L8"]);
    vault.good(&["unload", "$A-1_L8"]);
    vault.refused(13, &["label", "$A-1_L8"], "other characters than");
    let ended = vault.run(&["archive", "--memory", "16"]);
    assert_eq!(ended.code, 13, "{ended:?}");
    assert!(vault.image("$A-1_L8").is_empty());
}
