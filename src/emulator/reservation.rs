//! Persistent reservations (SPC-4, sections 5.9, 6.15 and 6.16), and those of RESERVE and RELEASE before them (SPC-2,
//! sections 5.5.1, 7.17 and 7.18).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::{saturated_u32, u8_at, u16_at, u32_at, u64_at};
use super::command::{Command, Sharing};
use super::exchange::{Done, Exchange, Halt};
use super::nexus::{Nexuses, REGISTRATIONS_PREEMPTED, RESERVATIONS_PREEMPTED, RESERVATIONS_RELEASED};
use super::sense::Sense;

/// Most registrations.
const KEYS_MAX: usize = 64;
/// Length of a parameter list without transport identifiers.
const LIST_LEN: u32 = 24;

const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const REGISTER_AND_IGNORE: u8 = 6;

/// Types of reservations (SPC-4, table 220).
const WRITE_EXCLUSIVE: u8 = 1;
const EXCLUSIVE_ACCESS: u8 = 3;
const WRITE_EXCLUSIVE_REGISTRANTS: u8 = 5;
const WRITE_EXCLUSIVE_ALL: u8 = 7;
const EXCLUSIVE_ACCESS_ALL: u8 = 8;

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reservation {
    holder: String,
    kind: u8,
}

/// Registrations and the reservation of a logical unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Reservations {
    keys: BTreeMap<String, [u8; 8]>,
    reservation: Option<Reservation>,
    /// PRGENERATION.
    generation: u32,
    /// Who has reserved the whole unit by RESERVE.
    #[serde(default)]
    unit_holder: Option<String>,
}

impl Reservations {
    /// Tells whether an initiator is registered or holds the unit: it is not forgotten.
    pub(super) fn concerns(&self, nexus: &str) -> bool {
        self.is_registered(nexus) || self.unit_holder.as_deref() == Some(nexus)
    }

    fn is_registered(&self, nexus: &str) -> bool {
        self.keys.contains_key(nexus)
    }

    fn key(&self, nexus: &str) -> Option<u64> {
        self.keys.get(nexus).map(|key| u64::from_be_bytes(*key))
    }

    fn holds(&self, nexus: &str) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| {
            reservation.holder == nexus || is_for_all(reservation.kind) && self.is_registered(nexus)
        })
    }

    /// Tells whether a command may pass.
    pub(super) fn allows(&self, nexus: &str, command: &Command, cdb: &[u8]) -> bool {
        if let Some(holder) = &self.unit_holder
            && !is_beyond_unit_reservation(command.operation_code, cdb)
        {
            // Persistent reservations are for nobody as long as this one holds.
            return holder == nexus && !matches!(command.operation_code, 0x5e | PERSISTENT_RESERVE_OUT);
        }
        let Some(reservation) = &self.reservation else { return true };
        if self.holds(nexus) || command.sharing == Sharing::Everybody {
            return true;
        }
        let is_registered = self.is_registered(nexus);
        if command.operation_code == PERSISTENT_RESERVE_OUT {
            return matches!(u8_at(cdb, 1) & 0x1f, REGISTER | REGISTER_AND_IGNORE) || is_registered;
        }
        let is_for_registrants = reservation.kind >= WRITE_EXCLUSIVE_REGISTRANTS;
        if is_registered && is_for_registrants {
            return true;
        }
        let is_write_exclusive =
            matches!(reservation.kind, WRITE_EXCLUSIVE | WRITE_EXCLUSIVE_REGISTRANTS | WRITE_EXCLUSIVE_ALL);
        command.sharing == Sharing::Reading && is_write_exclusive
    }

    /// RESERVE: the whole unit, for one initiator, until it releases it, loses its session, or the unit is reset.
    pub(super) fn reserve_unit(&mut self, nexus: &str) -> Done {
        if !self.keys.is_empty() || self.unit_holder.as_deref().is_some_and(|holder| holder != nexus) {
            return Err(Halt::Conflict);
        }
        self.unit_holder = Some(nexus.to_owned());
        Ok(())
    }

    /// RELEASE: of what another initiator holds, nothing.
    pub(super) fn release_unit(&mut self, nexus: &str) -> Done {
        if !self.keys.is_empty() {
            return Err(Halt::Conflict);
        }
        self.end_unit_reservation_of(nexus);
        Ok(())
    }

    /// Ends what an initiator has reserved by RESERVE.
    pub(super) fn end_unit_reservation_of(&mut self, nexus: &str) {
        self.unit_holder = self.unit_holder.take().filter(|holder| holder != nexus);
    }

    /// Ends what anybody has reserved by RESERVE.
    pub(super) fn end_unit_reservation(&mut self) {
        self.unit_holder = None;
    }

    /// PERSISTENT RESERVE IN.
    pub(super) fn report(&self, exchange: &mut Exchange<'_>) -> Done {
        let len = usize::from(u16_at(exchange.cdb, 7));
        let mut body = Vec::new();
        match u8_at(exchange.cdb, 1) & 0x1f {
            0 => body.extend(self.keys.values().flatten()),
            1 => body.extend(self.reservation.iter().flat_map(|held| self.describe(held))),
            2 => {
                exchange.answer(&capabilities(), len);
                return Ok(());
            }
            _ => body.extend(
                self.keys.iter().flat_map(|(nexus, key)| self.full_status(nexus, u64::from_be_bytes(*key))),
            ),
        }
        let mut bytes = self.generation.to_be_bytes().to_vec();
        bytes.extend(saturated_u32(u64::try_from(body.len()).unwrap_or(0)).to_be_bytes());
        bytes.extend(body);
        exchange.answer(&bytes, len);
        Ok(())
    }

    fn describe(&self, held: &Reservation) -> Vec<u8> {
        let key = if is_for_all(held.kind) { 0 } else { self.key(&held.holder).unwrap_or(0) };
        let mut bytes = key.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 0, 0, held.kind, 0, 0]);
        bytes
    }

    // Full status descriptor (SPC-4, table 224), with the initiator's name as an iSCSI TransportID.
    fn full_status(&self, nexus: &str, key: u64) -> Vec<u8> {
        let holds = self.holds(nexus);
        let kind = self.reservation.as_ref().filter(|_| holds).map_or(0, |reservation| reservation.kind);
        let mut name: Vec<u8> = nexus.bytes().take(240).collect();
        // NUL at the end, and a multiple of four bytes.
        name.resize((name.len() + 4) / 4 * 4, 0);
        let mut transport = vec![0x45, 0];
        transport.extend(super::bytes::saturated_u16(name.len()).to_be_bytes());
        transport.extend(name);
        let mut bytes = key.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 0, u8::from(holds), kind, 0, 0, 0, 0, 0, 1]);
        bytes.extend(saturated_u32(u64::try_from(transport.len()).unwrap_or(0)).to_be_bytes());
        bytes.extend(transport);
        bytes
    }

    /// PERSISTENT RESERVE OUT.
    pub(super) fn change(&mut self, nexuses: &mut Nexuses, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let (action, scope, kind) = (u8_at(cdb, 1) & 0x1f, u8_at(cdb, 2) >> 4, u8_at(cdb, 2) & 0x0f);
        if u32_at(cdb, 5) != LIST_LEN {
            return Err(Sense::parameter_length().into());
        }
        let list = exchange.parameters(24)?;
        let (key, new_key, flags) = (u64_at(list, 0), u64_at(list, 8), u8_at(list, 20));
        // SPEC_I_PT and ALL_TG_PT are not supported; APTPL is: state is always kept.
        if flags & 0x0c != 0 {
            return Err(Sense::invalid_parameter(20, Some(3)).into());
        }
        let nexus = exchange.nexus;
        if matches!(action, RESERVE | RELEASE | PREEMPT | PREEMPT_AND_ABORT) {
            let is_kind = matches!(kind, 1 | 3 | 5..=8);
            if scope != 0 || !is_kind {
                return Err(Sense::invalid_field(2, None).into());
            }
        }
        if action != REGISTER_AND_IGNORE && self.key(nexus).unwrap_or(0) != key {
            return Err(Halt::Conflict);
        }
        if !matches!(action, REGISTER | REGISTER_AND_IGNORE) && !self.is_registered(nexus) {
            return Err(Halt::Conflict);
        }
        match action {
            REGISTER | REGISTER_AND_IGNORE => self.register(nexuses, nexus, new_key),
            RESERVE => self.reserve(nexus, kind),
            RELEASE => self.release(nexuses, nexus, kind),
            CLEAR => {
                self.clear(nexuses, nexus);
                Ok(())
            }
            _ => self.preempt(nexuses, nexus, kind, new_key, action == PREEMPT_AND_ABORT),
        }
    }

    fn register(&mut self, nexuses: &mut Nexuses, nexus: &str, new_key: u64) -> Done {
        if new_key == 0 {
            if self.keys.remove(nexus).is_some() {
                self.generation = self.generation.wrapping_add(1);
                self.end_if_holder_left(nexuses, nexus);
            }
            return Ok(());
        }
        if self.keys.len() >= KEYS_MAX && !self.is_registered(nexus) {
            // INSUFFICIENT REGISTRATION RESOURCES.
            return Err(Sense::illegal(0x55, 0x04).into());
        }
        self.generation = self.generation.wrapping_add(1);
        self.keys.insert(nexus.to_owned(), new_key.to_be_bytes());
        Ok(())
    }

    // The holder has unregistered; the other registrants hear of it if the reservation was for them.
    fn end_if_holder_left(&mut self, nexuses: &mut Nexuses, nexus: &str) {
        let Some(held) = self.reservation.clone() else { return };
        let is_over = if is_for_all(held.kind) { self.keys.is_empty() } else { held.holder == nexus };
        if is_over {
            self.reservation = None;
            if held.kind >= WRITE_EXCLUSIVE_REGISTRANTS {
                self.keys.keys().for_each(|other| nexuses.tell(other, RESERVATIONS_RELEASED));
            }
        }
    }

    fn reserve(&mut self, nexus: &str, kind: u8) -> Done {
        match &self.reservation {
            None => {
                self.reservation = Some(Reservation { holder: nexus.to_owned(), kind });
                Ok(())
            }
            Some(held) if self.holds(nexus) && held.kind == kind => Ok(()),
            Some(_) => Err(Halt::Conflict),
        }
    }

    fn release(&mut self, nexuses: &mut Nexuses, nexus: &str, kind: u8) -> Done {
        let Some(held) = self.reservation.clone().filter(|_| self.holds(nexus)) else { return Ok(()) };
        if held.kind != kind {
            // INVALID RELEASE OF PERSISTENT RESERVATION.
            return Err(Sense::illegal(0x26, 0x04).into());
        }
        self.reservation = None;
        if !matches!(kind, WRITE_EXCLUSIVE | EXCLUSIVE_ACCESS) {
            for other in self.keys.keys().filter(|other| *other != nexus) {
                nexuses.tell(other, RESERVATIONS_RELEASED);
            }
        }
        Ok(())
    }

    fn clear(&mut self, nexuses: &mut Nexuses, nexus: &str) {
        for other in self.keys.keys().filter(|other| *other != nexus) {
            nexuses.tell(other, RESERVATIONS_PREEMPTED);
        }
        self.keys.clear();
        self.reservation = None;
        self.generation = self.generation.wrapping_add(1);
    }

    fn preempt(&mut self, nexuses: &mut Nexuses, nexus: &str, kind: u8, victim: u64, aborts: bool) -> Done {
        let held = self.reservation.clone();
        let for_all = held.as_ref().is_some_and(|held| is_for_all(held.kind));
        let holder_key = held.as_ref().and_then(|held| self.key(&held.holder));
        let takes_over = held.is_some() && (for_all && victim == 0 || !for_all && holder_key == Some(victim));
        if victim == 0 && !for_all {
            return Err(Sense::invalid_parameter(8, None).into());
        }
        let is_victim = |other: &str| other != nexus && (victim == 0 || self.key(other) == Some(victim));
        let victims: Vec<String> = self.keys.keys().filter(|other| is_victim(other)).cloned().collect();
        if victims.is_empty() && !takes_over {
            return Err(Halt::Conflict);
        }
        for other in &victims {
            self.keys.remove(other);
            nexuses.tell(other, REGISTRATIONS_PREEMPTED);
            // As if it had allowed removal itself (SPC-4, PREVENT ALLOW MEDIUM REMOVAL): it may be gone for good.
            if aborts {
                nexuses.allow_removal_of(other);
            }
        }
        if takes_over {
            self.reservation = Some(Reservation { holder: nexus.to_owned(), kind });
            if held.is_some_and(|held| held.kind != kind) {
                for other in self.keys.keys().filter(|other| *other != nexus) {
                    nexuses.tell(other, RESERVATIONS_RELEASED);
                }
            }
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }
}

// Commands that pass whoever has reserved the unit by RESERVE (SPC-2, table 10): REQUEST SENSE, INQUIRY, REPORT LUNS,
// RELEASE, and PREVENT ALLOW MEDIUM REMOVAL that allows.
fn is_beyond_unit_reservation(operation_code: u8, cdb: &[u8]) -> bool {
    let allows_removal = operation_code == 0x1e && u8_at(cdb, 4) & 3 == 0;
    allows_removal || matches!(operation_code, 0x03 | 0x12 | 0x17 | 0x57 | 0xa0)
}

fn is_for_all(kind: u8) -> bool {
    matches!(kind, WRITE_EXCLUSIVE_ALL | EXCLUSIVE_ACCESS_ALL)
}

// REPORT CAPABILITIES (SPC-4, table 222): APTPL capable and active, all six types.
fn capabilities() -> [u8; 8] {
    [0, 8, 0x01, 0x81, 0xea, 0x01, 0, 0]
}
