//! From what the sg driver says of a command to what became of it: the order of evaluation.

use std::io;
use std::time::Duration;

use super::ioctl::RawOutcome;
use crate::scsi::transport::{Outcome, Status, TransportError};

/// `DRIVER_TIMEOUT` of `include/scsi/scsi.h`.
const DRIVER_TIMEOUT: u16 = 0x06;
/// `DRIVER_SENSE`: the sense data counts. Newer kernels leave the byte at zero.
const DRIVER_SENSE: u16 = 0x08;

/// What a command was about, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) device: &'a str,
    pub(super) operation_code: u8,
    pub(super) timeout: Duration,
    pub(super) len_bytes: usize,
}

/// What the host's status byte means (`include/scsi/scsi_status.h`, `DID_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostStatus {
    /// The SCSI status counts.
    Ok,
    /// No answer in time.
    TimedOut,
    /// The kernel asks to send the command again; it was not executed.
    Requeue,
    /// The way to the device broke.
    Lost(&'static str),
}

impl HostStatus {
    pub(super) fn from_number(number: u16) -> Self {
        match number {
            // TARGET_FAILURE, NEXUS_FAILURE and MEDIUM_ERROR only repeat what status and sense data say.
            0x00 | 0x10 | 0x11 | 0x13 => Self::Ok,
            0x01 => Self::Lost("no connection"),
            0x02 => Self::Lost("bus busy"),
            0x03 => Self::TimedOut,
            0x04 => Self::Lost("bad target"),
            0x05 => Self::Lost("aborted"),
            0x06 => Self::Lost("parity error"),
            0x07 => Self::Lost("error of the adapter"),
            0x08 => Self::Lost("reset"),
            0x09 => Self::Lost("unexpected interrupt"),
            0x0a => Self::Lost("not taken by the driver"),
            0x0b => Self::Lost("soft error"),
            0x0c | 0x0d => Self::Requeue,
            0x0e => Self::Lost("transport disrupted"),
            0x0f => Self::Lost("transport failed"),
            0x12 => Self::Lost("space allocation failure"),
            0x14 => Self::Lost("transport marginal"),
            _ => Self::Lost("unknown host status"),
        }
    }
}

/// The error for a system call that failed: the command was not sent, unless memory ran out on the way.
pub(super) fn refusal(sent: Sent<'_>, source: io::Error) -> TransportError {
    let (device, operation_code) = (sent.device.to_owned(), sent.operation_code);
    match source.raw_os_error() {
        Some(libc::ENOMEM) => TransportError::NoMemory { device, operation_code },
        Some(libc::ENODEV | libc::ENXIO | libc::ESHUTDOWN) => {
            TransportError::ConnectionLost { device, operation_code, reason: source.to_string() }
        }
        _ => TransportError::Refused { device, operation_code, source },
    }
}

/// What became of a command: host status, then the driver's, then the device's with its sense data.
pub(super) fn evaluate(sent: Sent<'_>, raw: RawOutcome) -> Result<Outcome, TransportError> {
    let (device, operation_code, timeout) = (sent.device.to_owned(), sent.operation_code, sent.timeout);
    let driver = raw.driver_status & 0x0f;
    match HostStatus::from_number(raw.host_status) {
        HostStatus::TimedOut => return Err(TransportError::Timeout { device, operation_code, timeout }),
        HostStatus::Lost(reason) => {
            let reason = format!("{reason} (host status {:02x}h)", raw.host_status);
            return Err(TransportError::ConnectionLost { device, operation_code, reason });
        }
        HostStatus::Requeue => {
            let reason = format!("not taken again and again (host status {:02x}h)", raw.host_status);
            return Err(TransportError::ConnectionLost { device, operation_code, reason });
        }
        HostStatus::Ok => {}
    }
    match driver {
        0 | DRIVER_SENSE => {}
        DRIVER_TIMEOUT => return Err(TransportError::Timeout { device, operation_code, timeout }),
        other => {
            let reason = format!("driver status {other:02x}h");
            return Err(TransportError::ConnectionLost { device, operation_code, reason });
        }
    }
    // Sense data without a status is a check condition that an old driver did not hand on.
    let status = match (Status::from_byte(raw.status & 0x7e), driver) {
        (Status::Good, DRIVER_SENSE) if !raw.sense.is_empty() => Status::CheckCondition,
        (status, _) => status,
    };
    let missing = usize::try_from(raw.residual).unwrap_or(0);
    Ok(Outcome { status, sense: raw.sense, transferred_bytes: sent.len_bytes.saturating_sub(missing) })
}

#[cfg(test)]
mod test {
    use super::*;

    const SENT: Sent<'_> =
        Sent { device: "/dev/sg0", operation_code: 0x08, timeout: Duration::from_secs(9), len_bytes: 100 };

    fn raw(status: u8, host_status: u16, driver_status: u16, residual: i32) -> RawOutcome {
        RawOutcome { status, host_status, driver_status, residual, sense: vec![0x70, 0, 0x20] }
    }

    #[test]
    fn a_host_status_counts_more_than_sense_data() {
        for host in [0x01, 0x04, 0x05, 0x07, 0x08, 0x0b, 0x0e, 0x0f, 0x77] {
            let outcome = evaluate(SENT, raw(0x02, host, 0x08, 0));
            assert!(matches!(outcome, Err(TransportError::ConnectionLost { .. })), "{host:02x}: {outcome:?}");
        }
        let outcome = evaluate(SENT, raw(0x02, 0x03, 0x08, 0));
        assert!(matches!(outcome, Err(TransportError::Timeout { .. })), "{outcome:?}");
    }

    #[test]
    fn a_status_comes_through_with_and_without_the_drivers_word() {
        for driver in [0x00, 0x08, 0x18] {
            let outcome = evaluate(SENT, raw(0x02, 0, driver, 40)).expect("an outcome");
            assert_eq!((outcome.status, outcome.transferred_bytes), (Status::CheckCondition, 60));
        }
        let outcome = evaluate(SENT, raw(0x18, 0x11, 0, 0)).expect("an outcome");
        assert_eq!(outcome.status, Status::ReservationConflict);
        let outcome = evaluate(SENT, raw(0x00, 0, 0x08, 0)).expect("an outcome");
        assert_eq!(outcome.status, Status::CheckCondition);
    }

    #[test]
    fn a_residual_out_of_range_moves_nothing_or_all() {
        for (residual, expected) in [(101, 0), (i32::MAX, 0), (-1, 100), (i32::MIN, 100)] {
            let outcome = evaluate(SENT, raw(0, 0, 0, residual)).expect("an outcome");
            assert_eq!(outcome.transferred_bytes, expected, "{residual}");
        }
    }

    #[test]
    fn want_of_memory_is_told_apart_from_a_refusal() {
        let error = |number| refusal(SENT, io::Error::from_raw_os_error(number));
        assert!(matches!(error(libc::ENOMEM), TransportError::NoMemory { .. }));
        assert!(matches!(error(libc::ENODEV), TransportError::ConnectionLost { .. }));
        assert!(matches!(error(libc::EINVAL), TransportError::Refused { .. }));
    }
}
