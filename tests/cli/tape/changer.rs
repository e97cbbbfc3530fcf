//! A changer that is not as it was, moves that do not happen, doors that open (F33).

use std::fs;

use reelfs::emulator::{CartridgeSpec, Fault, FaultKind, Generation};
use reelfs::scsi::LogicalUnit;
use reelfs::scsi::cdb::ssc::LoadFlags;
use serde_json::Value;

use super::{MIB, Vault, two_generations};

fn fault(lun: u16, kind: FaultKind, operation_code: Option<u8>, times: u64) -> Fault {
    Fault { id: 0, lun, kind, operation_code, after: 0, times }
}

#[test]
fn cartridges_are_loaded_unloaded_ejected_and_imported() {
    let vault = Vault::new(3, 64 * MIB);
    let inventory = vault.json(&["inventory"]);
    assert_eq!(inventory.iter().filter(|element| element["full"] == Value::Bool(true)).count(), 3);
    assert_eq!(inventory.iter().filter(|element| element["kind"] == "drive").count(), 2);
    let loaded = vault.json(&["load", "RL0002L8"]).pop().unwrap();
    assert_eq!(loaded["drive"], 0);
    assert_eq!(vault.place_of("RL0002L8"), ("drive".to_owned(), 0));
    assert_eq!(vault.json(&["status", "--drive", "0"])[0]["state"], "ready");
    // It is there already.
    vault.good(&["load", "RL0002L8"]);
    vault.refused(13, &["load", "RL0002L8", "--drive", "1"], "RL0002L8 is in drive 0");
    vault.good(&["load", "RL0003L8", "--drive", "1"]);
    vault.refused(13, &["load", "RL0001L8"], "all drives are in use");
    vault.good(&["eject", "RL0002L8"]);
    assert_eq!(vault.place_of("RL0002L8").0, "mail slot");
    vault.good(&["unload"]);
    assert_eq!(vault.place_of("RL0003L8"), ("slot".to_owned(), 2));
    vault.good(&["import"]);
    assert_eq!(vault.place_of("RL0002L8").0, "slot");
    vault.refused(13, &["unload", "--drive", "0"], "drive 0 is empty");
    vault.refused(13, &["load", "RL0001L8", "--drive", "7"], "there is no drive 7");
    vault.refused(13, &["eject", "RL0009L8"], "no cartridge RL0009L8");
    vault.refused(13, &["unload", "RL0001L8"], "RL0001L8 is in no drive");
    vault.refused(13, &["verify", "RL0001L8"], "(RL0001L8): the cartridge is blank");
    assert_eq!(vault.place_of("RL0001L8").0, "slot", "it is put away all the same");
    vault.refused(13, &["import", "RL0001L8"], "RL0001L8 is in no mail slot");
}

#[test]
fn a_move_that_the_robot_only_says_it_made_is_noticed() {
    let vault = Vault::new(2, 64 * MIB);
    let emulated = vault.emulated();
    emulated.add_fault(fault(0, FaultKind::MoveIgnored, None, 1)).unwrap();
    vault.refused(13, &["load", "RL0001L8"], "RL0001L8");
    assert_eq!(vault.place_of("RL0001L8").0, "slot");
    vault.good(&["load", "RL0001L8"]);
}

#[test]
fn a_drive_that_does_not_let_go_at_once_is_asked_again() {
    let vault = Vault::new(2, 64 * MIB);
    vault.good(&["load", "RL0001L8"]);
    let emulated = vault.emulated();
    // 4/04/03: the robot finds the cartridge held.
    let held = FaultKind::Sense { key: 4, asc: 4, ascq: 3, executed: false };
    emulated.add_fault(fault(0, held, Some(0xa5), 1)).unwrap();
    vault.good(&["unload", "RL0001L8"]);
    assert_eq!(vault.place_of("RL0001L8").0, "slot");

    vault.good(&["load", "RL0001L8"]);
    emulated.add_fault(fault(1, FaultKind::UnloadFails, None, 0)).unwrap();
    let ended = vault.run(&["unload", "RL0001L8"]);
    assert_eq!(ended.code, 13, "{ended:?}");
    assert_eq!(vault.place_of("RL0001L8").0, "drive");
    emulated.remove_faults(None).unwrap();
    vault.good(&["unload", "RL0001L8"]);
}

#[test]
fn a_robot_that_reports_an_error_and_moves_all_the_same_is_believed_by_what_is_seen() {
    let vault = Vault::new(2, 64 * MIB);
    let moved = FaultKind::Sense { key: 4, asc: 0x15, ascq: 1, executed: true };
    vault.emulated().add_fault(fault(0, moved, Some(0xa5), 1)).unwrap();
    vault.good(&["load", "RL0001L8"]);
    assert_eq!(vault.place_of("RL0001L8").0, "drive");
}

#[test]
fn a_door_that_opens_and_a_changer_that_is_not_ready_cost_time_only() {
    let vault = Vault::new(2, 64 * MIB);
    let emulated = vault.emulated();
    emulated.add_fault(fault(0, FaultKind::Attention { asc: 0x28, ascq: 1 }, Some(0xb8), 2)).unwrap();
    emulated.add_fault(fault(0, FaultKind::NotReady { count: 2 }, None, 1)).unwrap();
    vault.good(&["inventory"]);
    // No volume tags, then no identifiers: asked for less each time.
    let refusal = FaultKind::Sense { key: 5, asc: 0x24, ascq: 0, executed: false };
    emulated.add_fault(fault(0, refusal, Some(0xb8), 1)).unwrap();
    assert_eq!(
        vault.json(&["inventory"]).iter().filter(|element| element["full"] == Value::Bool(true)).count(),
        2
    );
}

#[test]
fn what_an_operator_moves_meanwhile_is_found_where_it_is() {
    let vault = Vault::new(3, 64 * MIB);
    two_generations(&vault.sandbox, 1_000_000);
    vault.archive(&[]);
    let emulated = vault.emulated();
    emulated.remove_cartridge("RL0001L8", false).unwrap();
    vault.sandbox.write("more", "more");
    vault.sandbox.backup(&[]);
    vault.refused(13, &["archive", "--memory", "16"], "RL0001L8 is not in the library");
    // It comes back by the mail slot.
    let cartridges = vault.sandbox.path("library/cartridges");
    let names = ["RL0001L8.json", "RL0001L8.p0.tap"];
    for name in names {
        fs::rename(cartridges.join(name), vault.sandbox.path(name)).unwrap();
    }
    emulated.add_cartridge(&CartridgeSpec::data("RL0001L8", Generation::Lto8), true).unwrap();
    for name in names {
        fs::rename(vault.sandbox.path(name), cartridges.join(name)).unwrap();
    }
    vault.good(&["import", "--scan"]);
    vault.archive(&[]);
    vault.restore_and_compare();
}

#[test]
fn two_commands_do_not_get_into_the_way_of_each_other() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 20_000_000);
    let mut archive = vault.command(&["archive", "--memory", "16"]).spawn().unwrap();
    for _ in 0..10 {
        vault.good(&["inventory"]);
        let ended = vault.run(&["status"]);
        assert!(matches!(ended.code, 0 | 3), "{ended:?}");
    }
    assert!(archive.wait().unwrap().success());
    vault.restore_and_compare();
}

#[test]
fn a_cartridge_that_mt_unloaded_and_nobody_took_out_is_loaded_again() {
    let vault = Vault::new(2, 64 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    vault.archive(&["--client", "web1", "--keep-loaded"]);
    // As 'mt offline' leaves it: the changer says that the drive is full, the drive that it is empty.
    let offline = || {
        let mut drive = LogicalUnit::new(Box::new(vault.emulated().transport(1).unwrap()));
        drive.clear_unit_attentions().unwrap();
        drive.load_unload(LoadFlags::default()).unwrap();
    };
    for command in [["verify", "RL0001L8"], ["scan", "RL0001L8"], ["load", "RL0001L8"]] {
        if vault.place_of("RL0001L8").0 == "slot" {
            vault.good(&["load", "RL0001L8"]);
        }
        offline();
        vault.good(&command);
    }
    offline();
    vault.archive(&["--client", "web1", "--new-set", "--keep-loaded"]);
    vault.good(&["unload"]);
    vault.refused(13, &["unload", "--drive", "0"], "drive 0 is empty");
}
