//! Login: who is who, then limits and habits (RFC 7143, sections 6 and 7).

use std::io;

use thiserror::Error;

use super::Settings;
use super::stream::DeadlineStream;
use crate::codec::DecodeError;
use crate::scsi::iscsi::chap::{self, Credentials};
use crate::scsi::iscsi::frame::{self, Digests, Frame, FrameError};
use crate::scsi::iscsi::pdu::{LoginRequest, LoginResponse, Response, Stage};
use crate::scsi::iscsi::text::{Keys, TEXT_LEN_MAX, TextError, decode_binary, encode_binary, yes_no};

/// Longest data segment while logging in (RFC 7143, 13.12: the default).
const LOGIN_DATA_LEN_MAX: usize = 8192;
/// Longest data segment that is taken from the target.
pub(super) const RECEIVE_LEN_MAX: usize = 1 << 20;
/// Exchanges that a login may take.
const EXCHANGES_MAX: usize = 32;
/// Shortest data segment that a target may limit us to (RFC 7143, 13.12).
const SEGMENT_LEN_MIN: u32 = 512;
const SEGMENT_LEN_MAX: u32 = (1 << 24) - 1;

/// Why a session could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The host cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Address of the logical unit.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection failed, or what came is not iSCSI.
    #[error("{address}: login failed")]
    Frame {
        /// Address of the logical unit.
        address: String,
        /// Why.
        source: FrameError,
    },
    /// A header is malformed.
    #[error("{address}: malformed answer to a login")]
    Header {
        /// Address of the logical unit.
        address: String,
        /// Where.
        source: DecodeError,
    },
    /// Text is malformed.
    #[error("{address}: malformed answer to a login")]
    Text {
        /// Address of the logical unit.
        address: String,
        /// Where.
        source: TextError,
    },
    /// The target refuses.
    #[error("{address}: the target refuses the login: {reason} (status {class:02x}{detail:02x}h)")]
    Refused {
        /// Address of the logical unit.
        address: String,
        /// Class of the status.
        class: u8,
        /// Detail of the status.
        detail: u8,
        /// In words.
        reason: &'static str,
    },
    /// The target does not do what was agreed on, or asks for what there is not.
    #[error("{address}: login failed: {problem}")]
    Protocol {
        /// Address of the logical unit.
        address: String,
        /// What.
        problem: &'static str,
    },
}

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) digests: Digests,
    pub(super) initial_ready_to_transfer: bool,
    pub(super) immediate_data: bool,
    /// Longest data segment that the target takes.
    pub(super) segment_len_max: u32,
    pub(super) first_burst_len: u32,
    pub(super) max_burst_len: u32,
}

impl Default for Agreement {
    // RFC 7143, section 13: the defaults of the keys.
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

/// Where a session begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    pub(super) agreement: Agreement,
    pub(super) expected_status_sn: u32,
    pub(super) max_command_sn: u32,
}

/// A login under way.
pub(super) struct Login<'a> {
    pub(super) stream: &'a mut DeadlineStream,
    /// What errors call the place.
    pub(super) name: &'a str,
    pub(super) credentials: Option<&'a Credentials>,
    /// The target; none in a session that only asks which there are.
    pub(super) target: Option<&'a str>,
    pub(super) settings: &'a Settings,
    pub(super) command_sn: u32,
    pub(super) frame: Frame,
    pub(super) tsih: u16,
    pub(super) expected_status_sn: u32,
    pub(super) max_command_sn: u32,
    pub(super) exchanges: usize,
}

impl Login<'_> {
    /// Goes through both stages.
    pub(super) fn run(mut self) -> Result<Session, LoginError> {
        self.security()?;
        let agreement = self.operational()?;
        Ok(Session {
            agreement,
            expected_status_sn: self.expected_status_sn,
            max_command_sn: self.max_command_sn,
        })
    }

    fn security(&mut self) -> Result<(), LoginError> {
        let mut keys = Keys::new();
        keys.push("InitiatorName", &self.settings.initiator_name);
        match self.target {
            Some(target) => {
                keys.push("TargetName", target);
                keys.push("SessionType", "Normal");
            }
            None => keys.push("SessionType", "Discovery"),
        }
        let credentials = self.credentials;
        let method = if credentials.is_some() { "CHAP" } else { "None" };
        keys.push("AuthMethod", method);
        let transit = credentials.is_none();
        let (response, answer) = self.exchange(Stage::Security, transit, &keys)?;
        if let Some(found) = answer.get("AuthMethod").filter(|found| *found != method) {
            log::debug!("{}: AuthMethod {method} was offered, {found} chosen", self.name);
            return Err(self.problem("the target wants another way of authentication"));
        }
        match credentials {
            Some(credentials) => self.prove(credentials),
            None => self.leave_security(response),
        }
    }

    // A target may want to go on only when it was asked once more.
    fn leave_security(&mut self, mut response: LoginResponse) -> Result<(), LoginError> {
        while !response.transit {
            (response, _) = self.exchange(Stage::Security, true, &Keys::new())?;
        }
        match response.next {
            Stage::Operational => Ok(()),
            _ => Err(self.problem("the target leaves out the operational stage")),
        }
    }

    // RFC 7143, 12.1.3.
    fn prove(&mut self, credentials: &Credentials) -> Result<(), LoginError> {
        let mut keys = Keys::new();
        keys.push("CHAP_A", chap::ALGORITHM_MD5);
        let (_, answer) = self.exchange(Stage::Security, false, &keys)?;
        if answer.get("CHAP_A") != Some(chap::ALGORITHM_MD5) {
            return Err(self.problem("the target does not do CHAP with MD5"));
        }
        let identifier = answer.number("CHAP_I").map_err(|error| self.text(error))?;
        let identifier = identifier.and_then(|number| u8::try_from(number).ok());
        let challenge = answer.get("CHAP_C").and_then(decode_binary);
        let (Some(identifier), Some(challenge)) = (identifier, challenge) else {
            return Err(self.problem("the target's challenge is malformed"));
        };
        let mut keys = Keys::new();
        keys.push("CHAP_N", &credentials.user);
        let response = chap::response(identifier, credentials.secret.as_bytes(), &challenge);
        keys.push("CHAP_R", encode_binary(&response));
        let ours = self.settings.random_challenge();
        if self.settings.target_credentials.is_some() {
            // Our own challenge sent back would let the target have us answer it.
            if challenge == ours {
                return Err(self.problem("the target sends back our own challenge"));
            }
            keys.push("CHAP_I", self.settings.random_identifier().to_string());
            keys.push("CHAP_C", encode_binary(&ours));
        }
        let (response, answer) = self.exchange(Stage::Security, true, &keys)?;
        self.check_target(&answer)?;
        self.leave_security(response)
    }

    fn check_target(&self, answer: &Keys) -> Result<(), LoginError> {
        let Some(expected) = &self.settings.target_credentials else {
            return Ok(());
        };
        let response = chap::response(
            self.settings.random_identifier(),
            expected.secret.as_bytes(),
            &self.settings.random_challenge(),
        );
        let found = answer.get("CHAP_R").and_then(decode_binary).unwrap_or_default();
        match answer.get("CHAP_N") == Some(&expected.user) && chap::is_equal(&response, &found) {
            true => Ok(()),
            false => Err(self.problem("the target cannot prove who it is")),
        }
    }

    fn operational(&mut self) -> Result<Agreement, LoginError> {
        let mut agreement = Agreement::default();
        let mut keys = self.offer();
        loop {
            let (response, answer) = self.exchange(Stage::Operational, true, &keys)?;
            agreement.take(&answer).map_err(|error| self.text(error))?;
            if response.transit && response.next == Stage::FullFeature {
                return self.checked(agreement);
            }
            keys = unknown_keys(&answer);
        }
    }

    fn offer(&self) -> Keys {
        let digest = |wanted: bool| if wanted { "CRC32C,None" } else { "None,CRC32C" };
        let mut keys = Keys::new();
        keys.push("HeaderDigest", digest(self.settings.header_digest));
        keys.push("DataDigest", digest(self.settings.data_digest));
        keys.push("MaxRecvDataSegmentLength", RECEIVE_LEN_MAX.to_string());
        // RFC 7143, section 13: the others are irrelevant where no command is sent.
        if self.target.is_none() {
            return keys;
        }
        keys.push("InitialR2T", yes_no(false));
        keys.push("ImmediateData", yes_no(true));
        keys.push("MaxBurstLength", SEGMENT_LEN_MAX.to_string());
        keys.push("FirstBurstLength", RECEIVE_LEN_MAX.to_string());
        for (key, value) in OFFERED {
            keys.push(key, *value);
        }
        keys
    }

    fn checked(&self, agreement: Agreement) -> Result<Agreement, LoginError> {
        let lengths = [agreement.segment_len_max, agreement.first_burst_len, agreement.max_burst_len];
        if lengths.iter().any(|len| !(SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(len)) {
            return Err(self.problem("the target gives lengths that the standard does not allow"));
        }
        Ok(agreement)
    }

    /// Sends keys and returns the answer's, put together if it comes in pieces.
    fn exchange(
        &mut self,
        stage: Stage,
        transit: bool,
        keys: &Keys,
    ) -> Result<(LoginResponse, Keys), LoginError> {
        let next = if stage == Stage::Security { Stage::Operational } else { Stage::FullFeature };
        self.send(stage, transit.then_some(next), &keys.encode())?;
        let mut text = Vec::new();
        loop {
            let response = self.receive()?;
            text.extend_from_slice(&self.frame.data);
            if text.len() > TEXT_LEN_MAX {
                return Err(self.problem("the target does not stop talking"));
            }
            if !response.continues {
                let answer = Keys::parse(&text).map_err(|error| self.text(error))?;
                return Ok((response, answer));
            }
            self.send(stage, None, &[])?;
        }
    }

    fn send(&mut self, current: Stage, next: Option<Stage>, text: &[u8]) -> Result<(), LoginError> {
        self.exchanges += 1;
        if self.exchanges > EXCHANGES_MAX {
            return Err(self.problem("the target does not come to an end"));
        }
        let header = LoginRequest {
            transit: next.is_some(),
            continues: false,
            current,
            next: next.unwrap_or(current),
            isid: self.settings.isid(),
            tsih: self.tsih,
            task_tag: 0,
            connection_id: 0,
            command_sn: self.command_sn,
            expected_status_sn: self.expected_status_sn,
        }
        .header();
        frame::write(self.stream, &header, text, Digests::default())
            .map_err(|source| self.frame_error(source.into()))
    }

    fn receive(&mut self) -> Result<LoginResponse, LoginError> {
        self.frame
            .read(self.stream, Digests::default(), LOGIN_DATA_LEN_MAX)
            .map_err(|source| self.frame_error(source))?;
        let parsed = Response::parse(&self.frame.header);
        let response = match parsed {
            Ok(Response::Login(response)) => response,
            Ok(_) => return Err(self.problem("the target answers with something else")),
            Err(source) => return Err(LoginError::Header { address: self.name.to_owned(), source }),
        };
        if response.status_class != 0 {
            return Err(self.refused(response));
        }
        self.tsih = response.tsih;
        self.expected_status_sn = response.sequence.status_sn.wrapping_add(1);
        self.max_command_sn = response.sequence.max_command_sn;
        Ok(response)
    }

    // RFC 7143, 11.13.5.
    fn refused(&self, response: LoginResponse) -> LoginError {
        let (class, detail) = (response.status_class, response.status_detail);
        let reason = match (class, detail) {
            (1, _) => "the target has moved",
            (2, 1) => "authentication failed",
            (2, 2) => "not allowed",
            (2, 3) => "no such target",
            (2, 4) => "the target is gone",
            (2, 6) => "too many connections",
            (2, _) => "initiator error",
            (3, 1) => "service unavailable",
            (3, 2) => "out of resources",
            (3, _) => "target error",
            _ => "unknown status",
        };
        LoginError::Refused { address: self.name.to_owned(), class, detail, reason }
    }

    fn frame_error(&self, source: FrameError) -> LoginError {
        LoginError::Frame { address: self.name.to_owned(), source }
    }

    fn text(&self, source: TextError) -> LoginError {
        LoginError::Text { address: self.name.to_owned(), source }
    }

    fn problem(&self, problem: &'static str) -> LoginError {
        LoginError::Protocol { address: self.name.to_owned(), problem }
    }
}

/// Keys whose value is not negotiable here: one connection, everything in order, no recovery within a session.
const OFFERED: &[(&str, &str)] = &[
    ("MaxConnections", "1"),
    ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "0"),
    ("MaxOutstandingR2T", "1"),
    ("DataPDUInOrder", "Yes"),
    ("DataSequenceInOrder", "Yes"),
    ("ErrorRecoveryLevel", "0"),
];

/// Keys that a target tells without being asked.
const DECLARED: &[&str] = &["TargetAlias", "TargetAddress", "TargetPortalGroupTag"];

const AGREED: &[&str] = &[
    "HeaderDigest",
    "DataDigest",
    "InitialR2T",
    "ImmediateData",
    "MaxRecvDataSegmentLength",
    "MaxBurstLength",
    "FirstBurstLength",
];

// RFC 7143, 6.2: keys that are not known are answered with this word.
fn unknown_keys(answer: &Keys) -> Keys {
    let known = |key: &str| {
        DECLARED.contains(&key) || AGREED.contains(&key) || OFFERED.iter().any(|(name, _)| *name == key)
    };
    let mut reply = Keys::new();
    for (key, _) in answer.iter().filter(|(key, _)| !known(key)) {
        reply.push(key, "NotUnderstood");
    }
    reply
}

impl Agreement {
    fn take(&mut self, answer: &Keys) -> Result<(), TextError> {
        let digest = |key: &str, now: bool| match answer.get(key) {
            None => Ok(now),
            Some("CRC32C") => Ok(true),
            Some("None") => Ok(false),
            Some(value) => Err(TextError::Value { key: key.into(), value: value.into() }),
        };
        self.digests.header = digest("HeaderDigest", self.digests.header)?;
        self.digests.data = digest("DataDigest", self.digests.data)?;
        if let Some(value) = answer.boolean("InitialR2T")? {
            self.initial_ready_to_transfer = value;
        }
        if let Some(value) = answer.boolean("ImmediateData")? {
            self.immediate_data = value;
        }
        let mut number = |key: &str, field: fn(&mut Self) -> &mut u32| -> Result<(), TextError> {
            if let Some(value) = answer.number(key)? {
                *field(self) = value;
            }
            Ok(())
        };
        number("MaxRecvDataSegmentLength", |agreement| &mut agreement.segment_len_max)?;
        number("MaxBurstLength", |agreement| &mut agreement.max_burst_len)?;
        number("FirstBurstLength", |agreement| &mut agreement.first_burst_len)?;
        Ok(())
    }
}
