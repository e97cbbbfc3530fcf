//! The suite over the emulator behind its iSCSI target: the same devices, by way of a socket.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reelfs::emulator::{IscsiTarget, TargetSettings};
use reelfs::scsi::LogicalUnit;
use reelfs::scsi::iscsi::chap::Credentials;
use reelfs::scsi::iscsi::{Address, Initiator, LoginError, Settings};

use super::over_emulator::library;
use super::{Feature, Rig, conformance, settings};

const TARGET: &str = "iqn.2026-11.invalid.reelfs:test";

struct Served {
    target: IscsiTarget,
    with_digests: bool,
    with_chap: bool,
    _home: tempfile::TempDir,
}

fn credentials(user: &str) -> Credentials {
    Credentials { user: user.into(), secret: format!("the secret of {user}") }
}

impl Served {
    fn start(with_digests: bool, with_chap: bool) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        static CHALLENGES: AtomicU32 = AtomicU32::new(0);
        let random = || {
            let number = CHALLENGES.fetch_add(1, Ordering::Relaxed).into();
            super::pattern(number, 16).try_into().expect("16 bytes")
        };
        let target_settings = TargetSettings {
            name: TARGET.into(),
            initiator: with_chap.then(|| credentials("reel")),
            target: with_chap.then(|| credentials("library")),
            random: Arc::new(random),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let target = IscsiTarget::start(library(home.path()), target_settings, listener).expect("a target");
        Self { target, with_digests, with_chap, _home: home }
    }

    fn address(&self, lun: u16) -> Address {
        let place = self.target.address();
        let mut address: Address = format!("iscsi://{place}/{TARGET}/{lun}").parse().expect("an address");
        address.portal.credentials = self.with_chap.then(|| credentials("reel"));
        address
    }

    fn connect(&self, lun: u16) -> Result<Initiator, LoginError> {
        let ours = Settings {
            header_digest: self.with_digests,
            data_digest: self.with_digests,
            target_credentials: self.with_chap.then(|| credentials("library")),
            ..settings()
        };
        Initiator::connect(&self.address(lun), &ours)
    }

    fn open(&self, lun: u16) -> LogicalUnit {
        LogicalUnit::new(Box::new(self.connect(lun).expect("a session")))
    }
}

impl Rig for Served {
    fn has(&self, _feature: Feature) -> bool {
        true
    }

    fn open_drive(&self) -> LogicalUnit {
        self.open(1)
    }

    fn open_changer(&self) -> LogicalUnit {
        self.open(0)
    }
}

mod plain {
    use super::*;

    conformance!(Some(Served::start(false, false)));
}

mod guarded {
    use super::*;

    conformance!(Some(Served::start(true, true)));
}

#[test]
fn all_logical_units_of_a_target_are_listed() {
    let served = Served::start(true, false);
    let mut changer = served.open(0);
    assert_eq!(changer.report_luns().expect("REPORT LUNS"), [0, 1, 2]);
}

#[test]
fn a_target_that_goes_away_is_a_lost_connection_and_stays_one() {
    let served = Served::start(true, false);
    let mut drive = super::ready_drive(&served);
    drop(served);
    for _ in 0..2 {
        let error = drive.test_unit_ready().expect_err("nobody is there");
        assert!(error.is_uncertain(), "{error}");
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(source.contains("connection lost"), "{source}");
    }
}
