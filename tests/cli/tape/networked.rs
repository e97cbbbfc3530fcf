//! The same over iSCSI, and with a lone drive.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use reelfs::emulator::{IscsiTarget, TargetSettings};
use reelfs::scsi::iscsi::chap::Credentials;
use reelfs::scsi::iscsi::frame::{self, Digests, Frame, Header};
use reelfs::scsi::iscsi::pdu::{LoginResponse, NO_TAG, Request, Sequence, Stage, TextResponse};
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
    // The host alone stands for its only target.
    let host = format!("iscsi://{}", target.address());
    for host in [host.clone(), format!("{host}/")] {
        let same = run(&vault, &host, &["inventory"]);
        assert_eq!(same.out, run(&vault, &library, &["inventory"]).out);
    }
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
    run(&vault, &format!("iscsi://operator%correct horse@{address}"), &["inventory"]);
    for library in [
        format!("iscsi://{address}/{TARGET}"),
        format!("iscsi://{address}"),
        format!("iscsi://operator%battery staple@{address}/{TARGET}"),
        format!("iscsi://operator%battery staple@{address}"),
    ] {
        let ended = ended(&mut command(&vault, &library, &["inventory"]));
        assert_eq!(ended.code, 13, "{ended:?}");
        assert!(!ended.error.contains("staple") && !ended.error.contains("horse"), "{ended:?}");
    }
}

#[test]
fn an_address_without_a_host_is_told_to_lack_one() {
    let vault = Vault::new(1, 24 * MIB);
    for library in
        ["iscsi://", "iscsi:///", "iscsi:///iqn.x", "iscsi:///iqn.x/0", "iscsi://me%hunter2@/iqn.x"]
    {
        let ended = ended(&mut command(&vault, library, &["inventory"]));
        assert_eq!(ended.code, 13, "{library}: {ended:?}");
        assert!(ended.error.contains("no host") && !ended.error.contains("hunter2"), "{library}: {ended:?}");
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

#[test]
fn a_host_with_several_targets_lists_them_and_one_has_to_be_named() {
    // A target that tells of two, to whoever asks.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let names = "TargetName=iqn.2026-11.test:a\0TargetName=iqn.2026-11.test:b\0";
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while list_targets(&mut stream, names.as_bytes()) {}
    });
    let vault = Vault::new(1, 24 * MIB);
    let ended = ended(&mut command(&vault, &format!("iscsi://{address}"), &["inventory"]));
    serving.join().unwrap();
    assert_eq!(ended.code, 13, "{ended:?}");
    for text in ["has 2 targets: iqn.2026-11.test:a, iqn.2026-11.test:b", "iscsi://HOST/TARGET"] {
        assert!(ended.error.contains(text), "{text}: {ended:?}");
    }
}

// Answers one request of a session that asks for targets; `false` when it is over.
fn list_targets(stream: &mut TcpStream, names: &[u8]) -> bool {
    const NO_DIGESTS: Digests = Digests { header: false, data: false };
    let mut frame = Frame::default();
    if frame.read(stream, NO_DIGESTS, 1 << 20).is_err() {
        return false;
    }
    let mut reply = |header: &Header, data: &[u8]| frame::write(stream, header, data, NO_DIGESTS).unwrap();
    let sequence = Sequence { status_sn: 1, expected_command_sn: 1, max_command_sn: 64 };
    match Request::parse(&frame.header).unwrap() {
        Request::Login(request) => {
            let next = match request.current {
                Stage::Security => Stage::Operational,
                _ => Stage::FullFeature,
            };
            let response = LoginResponse {
                transit: true,
                continues: false,
                current: request.current,
                next,
                isid: request.isid,
                tsih: 1,
                task_tag: request.task_tag,
                sequence,
                status_class: 0,
                status_detail: 0,
            };
            reply(&response.header(), &[]);
        }
        Request::Text(request) => {
            let task_tag = request.task_tag;
            let response = TextResponse {
                is_final: true,
                continues: false,
                lun: 0,
                task_tag,
                transfer_tag: NO_TAG,
                sequence,
            };
            reply(&response.header(), names);
        }
        _ => return false,
    }
    true
}
