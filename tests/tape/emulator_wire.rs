//! A library that is served over iSCSI, and PDUs by hand.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use reelfs::emulator::{IscsiTarget, TargetSettings};
use reelfs::scsi::iscsi::chap::Credentials;
use reelfs::scsi::iscsi::frame::{self, Digests, Frame};
use reelfs::scsi::iscsi::pdu::{Command, DataOut, LoginRequest, Response, Stage, lun_field};
use reelfs::scsi::iscsi::text::Keys;
use reelfs::scsi::iscsi::{Address, Initiator, Settings};

use crate::emulator_support::{Bench, move_medium};

pub(crate) const NAME: &str = "iqn.2026-11.invalid.test:library";

pub(crate) struct Served {
    pub(crate) bench: Bench,
    pub(crate) target: IscsiTarget,
}

pub(crate) fn serve(bench: Bench, initiator: Option<Credentials>, target: Option<Credentials>) -> Served {
    let settings = TargetSettings { name: NAME.into(), initiator, target, random: Arc::new(|| [0x5a; 16]) };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = IscsiTarget::start(bench.library.clone(), settings, listener).unwrap();
    Served { bench, target }
}

pub(crate) fn small() -> Served {
    serve(Bench::small(64 << 20), None, None)
}

impl Served {
    pub(crate) fn address(&self, user: &str, lun: u16) -> Address {
        format!("iscsi://{user}{}/{NAME}/{lun}", self.target.address()).parse().unwrap()
    }

    pub(crate) fn connect(&self, lun: u16, number: u8, digests: bool) -> Initiator {
        let settings =
            Settings { header_digest: digests, data_digest: digests, ..Settings::new([number; 32]) };
        Initiator::connect(&self.address("", lun), &settings).unwrap()
    }
}

pub(crate) fn load(served: &Served) {
    let mut changer = served.bench.unit(0);
    changer.settle();
    changer.good(&move_medium(1024, 256));
}

pub(crate) fn write_cdb(len: usize) -> [u8; 6] {
    let [_, a, b, c] = u32::try_from(len).unwrap().to_be_bytes();
    [0x0a, 0, a, b, c, 0]
}

/// PDUs by hand.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) command_sn: u32,
    pub(crate) digests: Digests,
}

impl Wire {
    pub(crate) fn new(served: &Served) -> Self {
        let stream = TcpStream::connect(served.target.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, command_sn: 1, digests: Digests::default() }
    }

    pub(crate) fn send(&mut self, header: &frame::Header, data: &[u8]) {
        // A target that has hung up is found out by the next read.
        frame::write(&mut self.stream, header, data, self.digests).unwrap_or_default();
    }

    pub(crate) fn receive(&mut self) -> Option<(Response, Vec<u8>)> {
        let mut frame = Frame::default();
        frame.read(&mut self.stream, self.digests, 1 << 20).ok()?;
        Some((Response::parse(&frame.header).unwrap(), frame.data))
    }

    pub(crate) fn login(&mut self, isid: u8, keys: &[(&str, &str)]) -> Option<(Response, Keys)> {
        let mut text = Keys::new();
        for (key, value) in keys {
            text.push(key, *value);
        }
        let request = LoginRequest {
            transit: true,
            continues: false,
            current: Stage::Operational,
            next: Stage::FullFeature,
            isid: [0x80, 0, 0, 0, 0, isid],
            tsih: 0,
            task_tag: 5,
            connection_id: 0,
            command_sn: self.command_sn,
            expected_status_sn: 0,
        };
        self.send(&request.header(), &text.encode());
        let (response, data) = self.receive()?;
        Some((response, Keys::parse(&data).unwrap()))
    }

    pub(crate) fn normal(served: &Served, isid: u8) -> Self {
        let mut wire = Self::new(served);
        let keys =
            [("InitiatorName", "iqn.2026-11.invalid:wire"), ("TargetName", NAME), ("InitialR2T", "No")];
        let (response, _) = wire.login(isid, &keys).unwrap();
        assert!(matches!(response, Response::Login(login) if login.status_class == 0 && login.tsih != 0));
        wire
    }

    pub(crate) fn command(&mut self, lun: u16, tag: u32, cdb: &[u8], out: Option<(u32, &[u8], bool)>) {
        let mut bytes = [0; 16];
        bytes[..cdb.len()].copy_from_slice(cdb);
        let (len, data, is_final) = out.unwrap_or((0, &[], true));
        let pdu = Command {
            immediate: false,
            is_final,
            reads: false,
            writes: out.is_some(),
            attribute: 1,
            lun: lun_field(lun),
            task_tag: tag,
            expected_len_bytes: len,
            command_sn: self.command_sn,
            expected_status_sn: 0,
            cdb: bytes,
        };
        self.command_sn += 1;
        self.send(&pdu.header(), data);
    }

    pub(crate) fn data(
        &mut self,
        tag: u32,
        transfer_tag: u32,
        sn: u32,
        offset: u32,
        data: &[u8],
        is_final: bool,
    ) {
        let pdu = DataOut {
            is_final,
            lun: 0,
            task_tag: tag,
            transfer_tag,
            expected_status_sn: 0,
            data_sn: sn,
            offset,
        };
        self.send(&pdu.header(), data);
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }
}
