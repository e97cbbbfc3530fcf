//! What drives and changers have alike: initiators, unit attentions, reservations, sense format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::u8_at;
use super::command::Command;
use super::exchange::{Done, Exchange, Halt};
use super::nexus::Nexuses;
use super::reservation::Reservations;
use super::sense::Sense;

/// State that all logical units have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct UnitState {
    pub(super) nexuses: Nexuses,
    pub(super) reservations: Reservations,
    /// D_SENSE of the control mode page.
    pub(super) descriptor_sense: bool,
    /// How often each fault has struck or was passed over, by its identifier.
    pub(super) faults: BTreeMap<u64, FaultCount>,
    /// Commands so far.
    pub(super) command_count: u64,
}

/// How far a fault has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct FaultCount {
    pub(super) passed: u64,
    pub(super) struck: u64,
}

const INQUIRY: u8 = 0x12;
const REQUEST_SENSE: u8 = 0x03;
const REPORT_LUNS: u8 = 0xa0;

impl UnitState {
    /// What comes before any command: the initiator is made known and told what it must hear first.
    pub(super) fn admit(&mut self, nexus: &str, cdb: &[u8]) -> Done {
        self.command_count += 1;
        let reservations = &self.reservations;
        self.nexuses.meet(nexus, |known| reservations.concerns(known));
        if matches!(u8_at(cdb, 0), INQUIRY | REQUEST_SENSE | REPORT_LUNS) {
            return Ok(());
        }
        self.nexuses.take_attention(nexus).map_or(Ok(()), |sense| Err(sense.into()))
    }

    /// A reset of the unit: what was reserved by RESERVE or prevented is free, and every initiator is told `code`.
    pub(super) fn reset(&mut self, code: (u8, u8)) {
        self.nexuses.allow_removal();
        self.reservations.end_unit_reservation();
        self.nexuses.tell_all(code);
    }

    /// An initiator has lost its session and begins a new one (SAM-5, section 6.3.4).
    pub(super) fn lose_nexus(&mut self, nexus: &str) {
        self.reservations.end_unit_reservation_of(nexus);
        self.nexuses.lose(nexus);
    }

    /// All initiators that came by iSCSI have lost their sessions.
    pub(super) fn lose_sessions(&mut self) {
        for nexus in self.nexuses.sessions() {
            self.lose_nexus(&nexus);
        }
    }

    /// Lets a command pass or not, as reservations say.
    pub(super) fn share(&self, nexus: &str, command: &Command, cdb: &[u8]) -> Done {
        if self.reservations.allows(nexus, command, cdb) { Ok(()) } else { Err(Halt::Conflict) }
    }

    /// REQUEST SENSE (SPC-4, section 6.39): a waiting unit attention, else `idle`.
    pub(super) fn request_sense(&mut self, exchange: &mut Exchange<'_>, idle: Sense) {
        let descriptor = exchange.bit(1, 0);
        let sense = self.nexuses.take_attention(exchange.nexus).unwrap_or(idle);
        let len = usize::from(u8_at(exchange.cdb, 4));
        exchange.answer(&sense.encode(descriptor), len);
    }
}

/// A vital product data page (SPC-4, section 7.8).
pub(super) fn vital_page(peripheral: u8, page: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![peripheral, page];
    bytes.extend(super::bytes::saturated_u16(body.len()).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Device identification page: vendor, product and serial number (designator type 1, T10 vendor ID).
pub(super) fn identification(product: &str, serial: &str) -> Vec<u8> {
    let mut designator = super::bytes::padded::<8>(VENDOR).to_vec();
    designator.extend(super::bytes::padded::<16>(product));
    designator.extend(serial.bytes());
    // Code set ASCII; associated with the logical unit; type 1.
    let mut body = vec![0x02, 0x01, 0, super::bytes::saturated_u8(designator.len())];
    body.append(&mut designator);
    body
}

/// Vendor identification of all units.
pub(super) const VENDOR: &str = "REELFS";

/// Standard INQUIRY data (SPC-4, table 150): SPC-4, response data format 2, removable medium.
pub(super) fn standard_inquiry(peripheral: u8, product: &str, standard: u16) -> Vec<u8> {
    let mut bytes = vec![peripheral, 0x80, 0x06, 0x02, 91, 0, 0, 0x02];
    bytes.extend(super::bytes::padded::<8>(VENDOR));
    bytes.extend(super::bytes::padded::<16>(product));
    bytes.extend(super::bytes::padded::<4>(env!("CARGO_PKG_VERSION")));
    bytes.resize(58, 0);
    // Version descriptors: SAM-5, SPC-4, and SSC-4 or SMC-3.
    for descriptor in [0x00a0_u16, 0x0460, standard] {
        bytes.extend(descriptor.to_be_bytes());
    }
    bytes.resize(96, 0);
    bytes
}
