//! The suite over Debian's `tgt`, a peer that nobody here wrote, as far as it goes.
//!
//! tgt has no LOCATE, a READ POSITION that always says 0, neither log pages nor attributes nor reservations
//! of drives, and delivers wrong data for blocks that are shorter than asked for. It ends a SPACE back over
//! a filemark behind it, goes over filemarks when it counts blocks, and cuts the last element short.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reelfs::scsi::LogicalUnit;
use reelfs::scsi::iscsi::{Address, Initiator, LoginError, Settings, discover};

use super::{Feature, Rig, conformance, settings};

const TARGET: &str = "iqn.2026-01.lab:vtl";
const CARTRIDGES: usize = 3;
const LUN_DRIVE: u16 = 1;
const LUN_CHANGER: u16 = 2;

static CONTROL_PORTS: AtomicU32 = AtomicU32::new(0);

/// A daemon of its own for each test.
struct Tgt {
    daemon: Child,
    control_port: String,
    port: u16,
    credentials: &'static str,
    _home: tempfile::TempDir,
}

impl Tgt {
    fn start() -> Option<Self> {
        let is_there = |program: &str| {
            Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        };
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        if !is_there("tgtd") || !is_there("tgtadm") || !is_there("tgtimg") || !is_root {
            println!("skipped: tgt is not installed, or may not be used by this user");
            return None;
        }
        let home = tempfile::tempdir().expect("a directory");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        // Up to 32767; others on this machine have theirs.
        let number =
            1000 + (std::process::id() * 64 + CONTROL_PORTS.fetch_add(1, Ordering::Relaxed)) % 31_000;
        let control_port = number.to_string();
        fs::create_dir_all("/var/run/tgtd").expect("where tgtd has its socket");
        let daemon = Command::new("tgtd")
            .args(["-f", "-C", &control_port, "--iscsi", &format!("portal=127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tgtd");
        let mut tgt = Self { daemon, control_port, port, credentials: "", _home: home };
        let home = tgt._home.path().to_owned();
        tgt.set_up(&home);
        Some(tgt)
    }

    fn try_admin(&self, arguments: &str) -> bool {
        Command::new("tgtadm")
            .args(["-C", &self.control_port, "--lld", "iscsi"])
            .args(arguments.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("tgtadm")
            .success()
    }

    fn admin(&self, arguments: &str) {
        assert!(self.try_admin(arguments), "tgtadm {arguments}");
    }

    fn set_up(&mut self, home: &Path) {
        for index in 1..=CARTRIDGES {
            let barcode = format!("TST00{index}L8");
            let made = Command::new("tgtimg")
                .args(["--op", "new", "--device-type", "tape", "--size", "24", "--type", "data"])
                .args(["--barcode", &barcode, "--file"])
                .arg(home.join(&barcode))
                .stdout(Stdio::null())
                .status();
            assert!(made.expect("tgtimg").success());
        }
        fs::write(home.join("smc"), [0; 1024]).expect("a file");
        let mut attempts = 0;
        while !self.try_admin(&format!("--op new --mode target --tid 1 -T {TARGET}")) {
            attempts += 1;
            assert!(attempts < 100, "tgtd does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        let home = home.to_str().expect("text");
        self.admin(&format!(
            "--mode logicalunit --op new --tid 1 --lun {LUN_DRIVE} -b {home}/TST001L8 --device-type=tape"
        ));
        self.admin(&format!("--mode logicalunit --op update --tid 1 --lun {LUN_DRIVE} --params online=0"));
        self.admin(&format!(
            "--mode logicalunit --op new --tid 1 --lun {LUN_CHANGER} -b {home}/smc --device-type=changer"
        ));
        let set = |what: &str| {
            self.admin(&format!(
                "--mode logicalunit --op update --tid 1 --lun {LUN_CHANGER} --params {what}"
            ));
        };
        set(&format!("media_home={home}"));
        set("element_type=4,start_address=1,quantity=1");
        set(&format!("element_type=4,address=1,tid=1,lun={LUN_DRIVE}"));
        set("element_type=1,start_address=3,quantity=1");
        set("element_type=2,start_address=4,quantity=4");
        set("element_type=3,start_address=20,quantity=2");
        for index in 1..=CARTRIDGES {
            set(&format!("element_type=2,address={},barcode=TST00{index}L8,sides=1", index + 3));
        }
        self.admin("--op bind --mode target --tid 1 -I ALL");
    }

    fn address(&self, lun: u16) -> Address {
        let credentials = self.credentials;
        format!("iscsi://{credentials}127.0.0.1:{}/{TARGET}/{lun}", self.port).parse().expect("an address")
    }

    fn connect(&self, lun: u16) -> LogicalUnit {
        let session = Initiator::connect(&self.address(lun), &settings()).expect("a session");
        LogicalUnit::new(Box::new(session))
    }
}

// tgtd does not end on SIGTERM.
impl Drop for Tgt {
    fn drop(&mut self) {
        let _gone = self.daemon.kill();
        let _status = self.daemon.wait();
        for name in ["socket", "socket.lock"] {
            let extension = name.strip_prefix("socket").unwrap_or_default();
            let _gone = fs::remove_file(format!("/var/run/tgtd/socket.{}{extension}", self.control_port));
        }
    }
}

impl Rig for Tgt {
    fn has(&self, feature: Feature) -> bool {
        matches!(
            feature,
            Feature::ResetAttention | Feature::PreventRemoval | Feature::SecondNexus | Feature::Timeouts
        )
    }

    fn open_drive(&self) -> LogicalUnit {
        self.connect(LUN_DRIVE)
    }

    fn open_changer(&self) -> LogicalUnit {
        self.connect(LUN_CHANGER)
    }
}

conformance!(Tgt::start());

#[test]
fn chap_lets_in_who_knows_the_secret_and_nobody_else() {
    let Some(mut tgt) = Tgt::start() else {
        return;
    };
    tgt.admin("--mode account --op new --user reel --password notthisone12");
    tgt.admin("--mode account --op bind --tid 1 --user reel");
    for credentials in ["", "reel%wrongsecret1@", "other%notthisone12@"] {
        tgt.credentials = credentials;
        let refused = Initiator::connect(&tgt.address(LUN_DRIVE), &settings()).expect_err(credentials);
        assert!(
            matches!(refused, LoginError::Refused { class: 2, .. } | LoginError::Protocol { .. }),
            "{credentials:?}: {refused}"
        );
    }
    tgt.credentials = "reel%notthisone12@";
    let mut drive = tgt.connect(LUN_DRIVE);
    drive.inquiry().expect("INQUIRY");
}

#[test]
fn a_target_that_does_not_prove_itself_is_not_trusted() {
    let Some(mut tgt) = Tgt::start() else {
        return;
    };
    tgt.admin("--mode account --op new --user reel --password notthisone12");
    tgt.admin("--mode account --op bind --tid 1 --user reel");
    tgt.admin("--mode account --op new --user library --password thetargets123");
    tgt.admin("--mode account --op bind --tid 1 --user library --outgoing");
    tgt.credentials = "reel%notthisone12@";
    let expect = |secret: &str| {
        let target_credentials =
            Some(reelfs::scsi::iscsi::chap::Credentials { user: "library".into(), secret: secret.into() });
        Initiator::connect(&tgt.address(LUN_DRIVE), &Settings { target_credentials, ..settings() })
    };
    expect("thetargets123").expect("a session");
    let refused = expect("anothersecret").expect_err("a target with another secret");
    assert!(matches!(refused, LoginError::Protocol { .. }), "{refused}");
}

#[test]
fn a_host_tells_all_its_targets() {
    let Some(tgt) = Tgt::start() else {
        return;
    };
    let portal = tgt.address(LUN_DRIVE).portal;
    assert_eq!(discover(&portal, &settings()).expect("a list"), [TARGET]);
    tgt.admin("--op new --mode target --tid 2 -T iqn.2026-01.lab:other");
    tgt.admin("--op bind --mode target --tid 2 -I ALL");
    let mut found = discover(&portal, &settings()).expect("a list");
    found.sort_unstable();
    assert_eq!(found, ["iqn.2026-01.lab:other", TARGET]);
}
