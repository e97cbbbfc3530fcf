//! The same over iSCSI, and with a lone drive.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use reelfs::emulator::{IscsiTarget, TargetSettings};
use reelfs::scsi::iscsi::chap::Credentials;
use serde_json::json;

use super::{MIB, Vault, assert_same, two_generations};
use crate::support::{Ended, ended};

const TARGET: &str = "iqn.2026-11.test.reelfs:library";

fn serve(vault: &Vault, initiator: Option<Credentials>) -> IscsiTarget {
    let settings =
        TargetSettings { name: TARGET.to_owned(), initiator, target: None, random: Arc::new(|| [0x5e; 16]) };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    IscsiTarget::start(vault.emulated(), settings, listener).unwrap()
}

fn command(vault: &Vault, library: &str, arguments: &[&str]) -> Command {
    let mut command = vault.command(arguments);
    command.env("REELFS_LIBRARY", library);
    command
}

fn run(vault: &Vault, library: &str, arguments: &[&str]) -> Ended {
    let ended = ended(&mut command(vault, library, arguments));
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    ended
}

#[test]
fn a_library_behind_iscsi_is_used_like_any_other() {
    let vault = Vault::new(5, 24 * MIB);
    two_generations(&vault.sandbox, 30_000_000);
    let target = serve(&vault, None);
    let library = format!("iscsi://{}/{TARGET}", target.address());
    let devices = run(&vault, &library, &["devices"]);
    assert_eq!(devices.out.lines().count(), 3, "{devices:?}");
    run(&vault, &library, &["archive", "--generations", "all", "--memory", "16"]);
    vault.lose_repository();
    run(&vault, &library, &["scan", "RL0001L8", "RL0002L8"]);
    let restored = vault.sandbox.path("restored");
    run(&vault, &library, &["restore", "web1", restored.to_str().unwrap()]);
    assert_same(&vault.sandbox.source(), &restored);
    drop(target);
    // The directory tells the same.
    vault.good(&["verify", "RL0001L8", "RL0002L8"]);
}

#[test]
fn a_library_that_asks_for_a_secret_gets_it_and_nobody_else_does() {
    let vault = Vault::new(1, 24 * MIB);
    let credentials = Credentials { user: "operator".to_owned(), secret: "correct horse".to_owned() };
    let target = serve(&vault, Some(credentials));
    let address = target.address();
    run(&vault, &format!("iscsi://operator%correct horse@{address}/{TARGET}"), &["inventory"]);
    for library in
        [format!("iscsi://{address}/{TARGET}"), format!("iscsi://operator%battery staple@{address}/{TARGET}")]
    {
        let ended = ended(&mut command(&vault, &library, &["inventory"]));
        assert_eq!(ended.code, 13, "{ended:?}");
        assert!(!ended.error.contains("staple") && !ended.error.contains("horse"), "{ended:?}");
    }
}

#[test]
fn a_lone_drive_archives_and_restores_what_is_in_it() {
    let vault = Vault::new(2, 256 * MIB);
    two_generations(&vault.sandbox, 2_000_000);
    vault.good(&["load", "RL0002L8", "--drive", "0"]);
    let target = serve(&vault, None);
    // Logical unit 1 is the first drive.
    let drive = format!("iscsi://{}/{TARGET}/1", target.address());
    let archive = ["archive", "--generations", "all", "--memory", "16", "--keep-loaded", "--json"];
    let nameless = ended(&mut command(&vault, &drive, &archive));
    assert_eq!(nameless.code, 13, "{nameless:?}");
    assert!(nameless.error.contains("has no barcode"), "{nameless:?}");
    let named: Vec<&str> = archive.iter().copied().chain(["--cartridge", "TAPE-7"]).collect();
    let archived = run(&vault, &drive, &named);
    let archived: serde_json::Value = serde_json::from_str(archived.out.trim()).unwrap();
    assert_eq!(archived["barcodes"], json!(["TAPE-7"]));
    vault.lose_repository();
    run(&vault, &drive, &["scan"]);
    let restored = vault.sandbox.path("restored");
    run(&vault, &drive, &["restore", "web1", restored.to_str().unwrap()]);
    assert_same(&vault.sandbox.source(), &restored);
}
