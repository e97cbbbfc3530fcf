//! iSCSI (RFC 7143): SCSI over TCP, what both ends share, and the initiator.
//!
//! A connection carries *PDUs*: a header of 48 bytes ([`pdu`]) and data, each guarded by a digest if
//! both ends agreed ([`frame`]). They agree by *text keys* ([`text`]) while logging in, where either end may
//! have to prove that it knows a secret ([`chap`]).

mod address;
pub mod chap;
pub mod frame;
mod initiator;
pub mod pdu;
pub mod text;

pub use address::{Address, AddressError, PORT, Portal};
pub use initiator::{DiscoveryError, Initiator, LoginError, Settings, discover};
