//! Initiators that a logical unit knows, each with its own queue of unit attentions (SAM-5, section 5.14).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sense::Sense;

/// Most initiators that are kept; the one that was silent longest goes.
const NEXUSES_MAX: usize = 64;
/// Most unit attentions that wait for one initiator.
const ATTENTIONS_MAX: usize = 8;

/// 28/00 NOT READY TO READY CHANGE, MEDIUM MAY HAVE CHANGED.
pub(super) const MEDIUM_CHANGED: (u8, u8) = (0x28, 0x00);
/// 28/01 IMPORT OR EXPORT ELEMENT ACCESSED.
pub(super) const MAIL_SLOT_ACCESSED: (u8, u8) = (0x28, 0x01);
/// 29/00 POWER ON, RESET, OR BUS DEVICE RESET OCCURRED.
pub(super) const POWER_ON: (u8, u8) = (0x29, 0x00);
/// 29/03 BUS DEVICE RESET FUNCTION OCCURRED.
pub(super) const DEVICE_RESET: (u8, u8) = (0x29, 0x03);
/// 29/07 I_T NEXUS LOSS OCCURRED.
pub(super) const NEXUS_LOSS: (u8, u8) = (0x29, 0x07);
/// 2A/01 MODE PARAMETERS CHANGED.
pub(super) const MODE_CHANGED: (u8, u8) = (0x2a, 0x01);
/// 2A/03 RESERVATIONS PREEMPTED.
pub(super) const RESERVATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x03);
/// 2A/04 RESERVATIONS RELEASED.
pub(super) const RESERVATIONS_RELEASED: (u8, u8) = (0x2a, 0x04);
/// 2A/05 REGISTRATIONS PREEMPTED.
pub(super) const REGISTRATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x05);

/// What a logical unit knows of an initiator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Nexus {
    attentions: Vec<(u8, u8)>,
    /// PREVENT ALLOW MEDIUM REMOVAL is in force.
    pub(super) prevents_removal: bool,
    last_use: u64,
}

/// All initiators.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Nexuses {
    by_name: BTreeMap<String, Nexus>,
    uses: u64,
}

impl Nexuses {
    /// Makes an initiator known: at first sight it is told of a power on. `keep` tells whom not to forget.
    pub(super) fn meet(&mut self, name: &str, keep: impl Fn(&str) -> bool) {
        if self.by_name.contains_key(name) {
            return;
        }
        if self.by_name.len() >= NEXUSES_MAX {
            let silent = self.by_name.iter().filter(|(known, _)| !keep(known));
            let silent = silent.min_by_key(|(_, nexus)| nexus.last_use).map(|(known, _)| known.clone());
            self.by_name.retain(|known, _| Some(known) != silent.as_ref());
        }
        self.uses += 1;
        let nexus = Nexus { attentions: vec![POWER_ON], prevents_removal: false, last_use: self.uses };
        self.by_name.insert(name.to_owned(), nexus);
    }

    /// The initiator's session is over, or it begins a new one: a nexus loss ends what it has asked for (SAM-5, section 6.3.4).
    pub(super) fn lose(&mut self, name: &str) {
        if let Some(nexus) = self.by_name.get_mut(name) {
            nexus.prevents_removal = false;
            queue(nexus, NEXUS_LOSS);
        }
    }

    /// Names of the initiators that came by iSCSI: their ports are named so (RFC 7143, section 4.4.1).
    pub(super) fn sessions(&self) -> Vec<String> {
        self.by_name.keys().filter(|name| name.contains(",i,0x")).cloned().collect()
    }

    /// What is known of an initiator.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Nexus> {
        self.by_name.get_mut(name)
    }

    /// Tells one initiator.
    pub(super) fn tell(&mut self, name: &str, code: (u8, u8)) {
        if let Some(nexus) = self.by_name.get_mut(name) {
            queue(nexus, code);
        }
    }

    /// Tells all initiators.
    pub(super) fn tell_all(&mut self, code: (u8, u8)) {
        self.by_name.values_mut().for_each(|nexus| queue(nexus, code));
    }

    /// Tells all initiators but one.
    pub(super) fn tell_others(&mut self, name: &str, code: (u8, u8)) {
        for (_, nexus) in self.by_name.iter_mut().filter(|(known, _)| *known != name) {
            queue(nexus, code);
        }
    }

    /// Takes the oldest unit attention of an initiator.
    pub(super) fn take_attention(&mut self, name: &str) -> Option<Sense> {
        let nexus = self.by_name.get_mut(name).filter(|nexus| !nexus.attentions.is_empty())?;
        Some(Sense::attention(nexus.attentions.remove(0)))
    }

    /// Forgets all unit attentions of an initiator, as if another driver had taken them.
    pub(super) fn steal_attentions(&mut self, name: &str) {
        if let Some(nexus) = self.by_name.get_mut(name) {
            nexus.attentions.clear();
        }
    }

    /// Tells whether any initiator prevents removal.
    pub(super) fn is_removal_prevented(&self) -> bool {
        self.by_name.values().any(|nexus| nexus.prevents_removal)
    }

    /// Ends the prevention of removal by one initiator.
    pub(super) fn allow_removal_of(&mut self, name: &str) {
        if let Some(nexus) = self.by_name.get_mut(name) {
            nexus.prevents_removal = false;
        }
    }

    /// Ends all prevention of removal, as a reset does.
    pub(super) fn allow_removal(&mut self) {
        self.by_name.values_mut().for_each(|nexus| nexus.prevents_removal = false);
    }
}

fn queue(nexus: &mut Nexus, code: (u8, u8)) {
    // A reset says all that waited before.
    if code == POWER_ON {
        nexus.attentions.clear();
    }
    if !nexus.attentions.contains(&code) && nexus.attentions.len() < ATTENTIONS_MAX {
        nexus.attentions.push(code);
    }
}
