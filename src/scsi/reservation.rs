//! Persistent reservations: who may use a device (SPC-4).

use super::fields::{Fields, text};
use crate::codec::DecodeError;

/// Most registrants that are taken from a reply.
const REGISTRANTS_MAX: usize = 1024;

/// Kind of a reservation (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservationKind {
    /// 1h.
    WriteExclusive,
    /// 3h: nobody else reads or writes.
    ExclusiveAccess,
    /// 5h.
    WriteExclusiveRegistrantsOnly,
    /// 6h.
    ExclusiveAccessRegistrantsOnly,
    /// 7h.
    WriteExclusiveAllRegistrants,
    /// 8h.
    ExclusiveAccessAllRegistrants,
    /// Any other.
    Other(u8),
}

impl ReservationKind {
    fn from_low_bits(byte: u8) -> Self {
        match byte & 0x0f {
            0x1 => Self::WriteExclusive,
            0x3 => Self::ExclusiveAccess,
            0x5 => Self::WriteExclusiveRegistrantsOnly,
            0x6 => Self::ExclusiveAccessRegistrantsOnly,
            0x7 => Self::WriteExclusiveAllRegistrants,
            0x8 => Self::ExclusiveAccessAllRegistrants,
            other => Self::Other(other),
        }
    }

    /// The kind's code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::WriteExclusive => 0x1,
            Self::ExclusiveAccess => 0x3,
            Self::WriteExclusiveRegistrantsOnly => 0x5,
            Self::ExclusiveAccessRegistrantsOnly => 0x6,
            Self::WriteExclusiveAllRegistrants => 0x7,
            Self::ExclusiveAccessAllRegistrants => 0x8,
            Self::Other(code) => code,
        }
    }
}

/// The reservation that is held, from PERSISTENT RESERVE IN, READ RESERVATION (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Key of the holder.
    pub key: u64,
    /// Kind.
    pub kind: ReservationKind,
}

/// One registered initiator, from READ FULL STATUS (SPC-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrant {
    /// Its key.
    pub key: u64,
    /// Kind of the reservation, if it holds one.
    pub holds: Option<ReservationKind>,
    /// Relative identifier of the target's port.
    pub target_port: u16,
    /// Protocol of the transport identifier: 0 Fibre Channel, 5 iSCSI, 6 SAS.
    pub protocol: u8,
    /// Transport identifier: who it is, as the protocol tells it.
    pub transport_id: Vec<u8>,
}

impl Registrant {
    /// Who it is, for people: the name of an iSCSI initiator, the address of any other.
    #[must_use]
    pub fn initiator(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let rest = |offset| self.transport_id.get(offset..).unwrap_or_default();
        match self.protocol {
            // SPC-4: names at 8 for Fibre Channel, at 4 for SAS and iSCSI.
            0x0 => hex(rest(8).get(..8).unwrap_or_default()),
            0x5 => text(rest(4)),
            0x6 => hex(rest(4).get(..8).unwrap_or_default()),
            _ => hex(rest(1)),
        }
    }
}

/// What PERSISTENT RESERVE OUT does (SPC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveAction {
    /// 00h: registers `new_key` in the place of `key`.
    Register,
    /// 01h.
    Reserve,
    /// 02h.
    Release,
    /// 03h: removes all reservations and registrations.
    Clear,
    /// 04h: takes over from the holder of `new_key`.
    Preempt,
    /// 05h: takes over, and ends what is under way.
    PreemptAndAbort,
    /// 06h: registers `new_key`, whatever was registered.
    RegisterAndIgnoreExistingKey,
}

impl ReserveAction {
    /// The service action's code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Register => 0,
            Self::Reserve => 1,
            Self::Release => 2,
            Self::Clear => 3,
            Self::Preempt => 4,
            Self::PreemptAndAbort => 5,
            Self::RegisterAndIgnoreExistingKey => 6,
        }
    }
}

/// Encodes the parameter list of PERSISTENT RESERVE OUT (SPC-4).
#[must_use]
pub fn encode_reserve_parameters(key: u64, new_key: u64) -> [u8; 24] {
    let mut list = [0; 24];
    let (keys, _rest) = list.split_at_mut(16);
    for (target, byte) in keys.iter_mut().zip(key.to_be_bytes().into_iter().chain(new_key.to_be_bytes())) {
        *target = byte;
    }
    list
}

/// Decodes the registered keys, from READ KEYS (SPC-4).
///
/// # Errors
/// [`DecodeError`] if there is no header.
pub fn parse_keys(reply: &[u8]) -> Result<Vec<u64>, DecodeError> {
    let fields = Fields::new("registered keys", reply);
    let announced = usize::try_from(fields.u32(4)?).unwrap_or(usize::MAX);
    let keys = fields.up_to(announced.saturating_add(8)).rest(8);
    let keys = keys.chunks_exact(8).take(REGISTRANTS_MAX);
    Ok(keys.filter_map(|key| key.try_into().ok()).map(u64::from_be_bytes).collect())
}

/// Decodes the reservation, from READ RESERVATION; `None` if there is none.
///
/// # Errors
/// [`DecodeError`] if it is short.
pub fn parse_reservation(reply: &[u8]) -> Result<Option<Reservation>, DecodeError> {
    let fields = Fields::new("reservation", reply);
    if fields.u32(4)? < 16 {
        return Ok(None);
    }
    Ok(Some(Reservation { key: fields.u64(8)?, kind: ReservationKind::from_low_bits(fields.u8(21)?) }))
}

/// Decodes all registrants, from READ FULL STATUS, up to where the reply is cut off.
///
/// # Errors
/// [`DecodeError`] if there is no header.
pub fn parse_full_status(reply: &[u8]) -> Result<Vec<Registrant>, DecodeError> {
    let header = Fields::new("full status", reply);
    let announced = usize::try_from(header.u32(4)?).unwrap_or(usize::MAX);
    let mut rest = header.up_to(announced.saturating_add(8)).rest(8);
    let mut registrants = Vec::new();
    while rest.len() >= 24 && registrants.len() < REGISTRANTS_MAX {
        let fields = Fields::new("full status descriptor", rest);
        let id_len = usize::try_from(fields.u32(20)?).unwrap_or(usize::MAX);
        let Some(transport_id) = rest.get(24..24_usize.saturating_add(id_len)) else {
            break;
        };
        let kind = ReservationKind::from_low_bits(fields.u8(13)?);
        registrants.push(Registrant {
            key: fields.u64(0)?,
            holds: fields.bit(12, 0)?.then_some(kind),
            target_port: fields.u16(18)?,
            protocol: transport_id.first().copied().unwrap_or(0) & 0x0f,
            transport_id: transport_id.to_vec(),
        });
        rest = rest.get(24_usize.saturating_add(id_len)..).unwrap_or_default();
    }
    Ok(registrants)
}
