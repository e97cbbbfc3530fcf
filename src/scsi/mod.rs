//! SCSI: how a command reaches a device, and what comes back.
//!
//! A [`Transport`] carries one command at a time. Everything above it is the same for a drive on
//! `/dev/sgN`, an emulated one in this process and one behind iSCSI.

mod transport;

pub use transport::{Data, Outcome, Status, Transport, TransportError};
