//! What the two ends agree on (RFC 7143, section 13).

use crate::scsi::iscsi::frame::Digests;
use crate::scsi::iscsi::text::{Keys, TextError, parse_number, yes_no};

/// Longest data segment that the target takes, in bytes.
pub(super) const SEGMENT_LEN_MAX: u32 = 256 << 10;
/// Longest burst, in bytes.
const BURST_LEN_MAX: u32 = 1 << 20;
/// Longest unsolicited burst, in bytes.
const FIRST_BURST_LEN_MAX: u32 = 256 << 10;
/// Length fields have 24 bits.
const LEN_FIELD_MAX: u32 = (1 << 24) - 1;
const LEN_MIN: u32 = 512;

/// The agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) digests: Digests,
    pub(super) initial_ready_to_transfer: bool,
    pub(super) immediate_data: bool,
    /// Longest data segment that the initiator takes.
    pub(super) segment_len_max: u32,
    pub(super) first_burst_len: u32,
    pub(super) max_burst_len: u32,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            initial_ready_to_transfer: true,
            immediate_data: true,
            segment_len_max: 8192,
            first_burst_len: 65_536,
            max_burst_len: 262_144,
        }
    }
}

fn refused(key: &str, value: &str) -> TextError {
    TextError::Value { key: key.to_owned(), value: value.to_owned() }
}

fn number(key: &str, value: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, TextError> {
    parse_number(value).filter(|number| range.contains(number)).ok_or_else(|| refused(key, value))
}

fn boolean(key: &str, value: &str) -> Result<bool, TextError> {
    match value {
        "Yes" => Ok(true),
        "No" => Ok(false),
        _ => Err(refused(key, value)),
    }
}

// The first of the initiator's choices that is known.
fn digest(key: &str, value: &str) -> Result<bool, TextError> {
    let known = value.split(',').find(|choice| matches!(*choice, "CRC32C" | "None"));
    known.map(|choice| choice == "CRC32C").ok_or_else(|| refused(key, value))
}

impl Agreement {
    /// Takes the keys of the initiator and answers each that wants an answer.
    pub(super) fn negotiate(&mut self, offered: &Keys, answer: &mut Keys) -> Result<(), TextError> {
        for (key, value) in offered.iter() {
            if let Some(answered) = self.take(key, value)? {
                answer.push(key, answered);
            }
        }
        self.first_burst_len = self.first_burst_len.min(self.max_burst_len);
        Ok(())
    }

    fn take(&mut self, key: &str, value: &str) -> Result<Option<String>, TextError> {
        let digest_name = |on: bool| if on { "CRC32C" } else { "None" };
        let answer = match key {
            "HeaderDigest" => {
                self.digests.header = digest(key, value)?;
                digest_name(self.digests.header).to_owned()
            }
            "DataDigest" => {
                self.digests.data = digest(key, value)?;
                digest_name(self.digests.data).to_owned()
            }
            "InitialR2T" => {
                self.initial_ready_to_transfer = boolean(key, value)?;
                value.to_owned()
            }
            "ImmediateData" => {
                self.immediate_data = boolean(key, value)?;
                value.to_owned()
            }
            "MaxRecvDataSegmentLength" => {
                self.segment_len_max = number(key, value, LEN_MIN..=LEN_FIELD_MAX)?;
                return Ok(None);
            }
            "MaxBurstLength" => {
                self.max_burst_len = number(key, value, LEN_MIN..=LEN_FIELD_MAX)?.min(BURST_LEN_MAX);
                self.max_burst_len.to_string()
            }
            "FirstBurstLength" => {
                self.first_burst_len = number(key, value, LEN_MIN..=LEN_FIELD_MAX)?.min(FIRST_BURST_LEN_MAX);
                self.first_burst_len.to_string()
            }
            "DefaultTime2Wait" => number(key, value, 0..=3600)?.max(2).to_string(),
            "MaxConnections" | "MaxOutstandingR2T" => number(key, value, 1..=65_535)?.min(1).to_string(),
            "DefaultTime2Retain" => number(key, value, 0..=3600)?.min(0).to_string(),
            "ErrorRecoveryLevel" => number(key, value, 0..=2)?.min(0).to_string(),
            "DataPDUInOrder" | "DataSequenceInOrder" => {
                boolean(key, value)?;
                yes_no(true).to_owned()
            }
            "IFMarker" | "OFMarker" => {
                boolean(key, value)?;
                yes_no(false).to_owned()
            }
            "IFMarkInt" | "OFMarkInt" => String::from("Irrelevant"),
            "TaskReporting" => String::from("RFC3720"),
            "iSCSIProtocolLevel" => number(key, value, 0..=31)?.min(1).to_string(),
            "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" => return Ok(None),
            key if key.starts_with("CHAP_") || key == "AuthMethod" => return Ok(None),
            _ => String::from("NotUnderstood"),
        };
        Ok(Some(answer))
    }
}
