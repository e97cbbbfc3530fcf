//! SCSI: how a command reaches a device, and what comes back.
//!
//! A [`Transport`] carries one command at a time. Everything above it is the same for a drive on
//! `/dev/sgN`, an emulated one in this process and one behind iSCSI. A [`LogicalUnit`] has the commands
//! as methods; what is sent and what comes back is encoded and decoded by pure functions beside them.

pub mod cdb;
mod element;
mod fields;
pub mod inquiry;
pub mod iscsi;
pub mod log_page;
mod lun;
pub mod mam;
mod meaning;
pub mod mode;
pub mod opcode;
mod operation_codes;
pub mod reservation;
mod sense;
pub mod sg;
mod smc;
mod spc;
pub mod ssc;
mod timeouts;
mod transport;
mod unit;

pub use element::{ElementKind, ElementReport, ElementStatus};
pub use log_page::{LogPage, LogParameter};
pub use lun::{lun_field, lun_number, parse_luns};
pub use meaning::Meaning;
pub use operation_codes::{SupportedCommand, parse_supported_commands};
pub use sense::{FieldPointer, SENSE_LEN_MAX, Sense, SenseKey};
pub use timeouts::Timeouts;
pub use transport::{Data, Outcome, Status, Transport, TransportError};
pub use unit::{CommandError, Completion, LogicalUnit};
