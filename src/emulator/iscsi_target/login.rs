//! Login: who is who, then limits and habits (RFC 7143, sections 6.3 and 7).

use std::io::{Read, Write};

use thiserror::Error;

use super::negotiation::{Agreement, SEGMENT_LEN_MAX};
use super::{RandomBytes, TargetSettings};
use crate::codec::DecodeError;
use crate::scsi::iscsi::chap::{self, Credentials};
use crate::scsi::iscsi::frame::{self, Digests, Frame, FrameError};
use crate::scsi::iscsi::pdu::{LoginRequest, LoginResponse, Request, Sequence, Stage};
use crate::scsi::iscsi::text::{Keys, TEXT_LEN_MAX, TextError, decode_binary, encode_binary};

/// Longest data segment while logging in, in bytes: the default.
const LOGIN_DATA_LEN_MAX: usize = 8192;
/// Exchanges that a login may take.
const EXCHANGES_MAX: usize = 32;
/// Longest name, in bytes (RFC 7143, section 4.2.7).
const NAME_LEN_MAX: usize = 223;
/// Group of the only portal.
const PORTAL_GROUP: &str = "1";

/// Class and detail of a login status (RFC 7143, section 11.13.5).
type LoginStatus = (u8, u8);
const INITIATOR_ERROR: LoginStatus = (2, 0);
const AUTHENTICATION_FAILED: LoginStatus = (2, 1);
const NOT_FOUND: LoginStatus = (2, 3);
const MISSING_PARAMETER: LoginStatus = (2, 7);
const SESSION_TYPE: LoginStatus = (2, 9);
const NO_SUCH_SESSION: LoginStatus = (2, 10);

/// Why a connection ends.
#[derive(Debug, Error)]
pub(super) enum SessionError {
    /// The stream failed, or what came is not iSCSI.
    #[error("the connection failed: {0}")]
    Frame(#[from] FrameError),
    /// The stream failed while writing.
    #[error("the connection failed: {0}")]
    Stream(#[from] std::io::Error),
    /// A header is malformed.
    #[error("malformed PDU: {0}")]
    Header(#[from] DecodeError),
    /// Text is malformed.
    #[error("malformed text: {0}")]
    Text(#[from] TextError),
    /// The initiator was refused.
    #[error("login refused, status {0:02x}{1:02x}h: {2}")]
    Refused(u8, u8, &'static str),
    /// The initiator does what was not agreed on.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// The library fails.
    #[error("{0}")]
    Library(#[from] crate::emulator::error::EmulatorError),
}

/// A session that has begun.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Name and session identifier: the initiator's port.
    pub(super) initiator: String,
    /// Finds targets, and does nothing else.
    pub(super) is_discovery: bool,
    pub(super) agreement: Agreement,
    pub(super) status_sn: u32,
    pub(super) expected_command_sn: u32,
}

/// How far the proof has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    NotBegun,
    /// CHAP was chosen.
    Chosen,
    Challenged {
        identifier: u8,
        challenge: [u8; 16],
    },
    Done,
}

/// A login under way.
pub(super) struct Login<'a, S> {
    stream: &'a mut S,
    settings: &'a TargetSettings,
    status_sn: u32,
    agreement: Agreement,
    proof: Proof,
    initiator: String,
    target: Option<String>,
    is_discovery: bool,
    is_first: bool,
    has_declared: bool,
}

impl<'a, S: Read + Write> Login<'a, S> {
    pub(super) fn new(stream: &'a mut S, settings: &'a TargetSettings) -> Self {
        Self {
            stream,
            settings,
            status_sn: 1,
            agreement: Agreement::default(),
            proof: Proof::NotBegun,
            initiator: String::new(),
            target: None,
            is_discovery: false,
            is_first: true,
            has_declared: false,
        }
    }

    /// Runs the login to its end.
    pub(super) fn run(mut self) -> Result<Session, SessionError> {
        for _ in 0..EXCHANGES_MAX {
            let (request, keys) = self.receive()?;
            let mut answer = Keys::new();
            let transit = match self.answer(&request, &keys, &mut answer) {
                Ok(transit) => transit,
                Err((status, why)) => {
                    self.send(&request, false, status, &Keys::new())?;
                    return Err(SessionError::Refused(status.0, status.1, why));
                }
            };
            self.send(&request, transit, (0, 0), &answer)?;
            if transit && request.next == Stage::FullFeature {
                let isid: String = request.isid.iter().map(|byte| format!("{byte:02x}")).collect();
                return Ok(Session {
                    initiator: format!("{},i,0x{isid}", self.initiator),
                    is_discovery: self.is_discovery,
                    agreement: self.agreement,
                    status_sn: self.status_sn,
                    // The login is immediate: it uses up no number.
                    expected_command_sn: request.command_sn,
                });
            }
        }
        Err(SessionError::Protocol("the login has no end"))
    }

    // A request with all its text, which may come in parts.
    fn receive(&mut self) -> Result<(LoginRequest, Keys), SessionError> {
        let mut text = Vec::new();
        loop {
            let mut frame = Frame::default();
            frame.read(self.stream, Digests::default(), LOGIN_DATA_LEN_MAX)?;
            let Request::Login(request) = Request::parse(&frame.header)? else {
                return Err(SessionError::Protocol("something else than a login"));
            };
            text.extend_from_slice(&frame.data);
            if text.len() > TEXT_LEN_MAX {
                return Err(SessionError::Protocol("the login text has no end"));
            }
            if !request.continues {
                return Ok((request, Keys::parse(&text)?));
            }
            self.send(&request, false, (0, 0), &Keys::new())?;
        }
    }

    fn send(
        &mut self,
        request: &LoginRequest,
        transit: bool,
        status: LoginStatus,
        keys: &Keys,
    ) -> Result<(), SessionError> {
        let sequence = Sequence {
            status_sn: self.status_sn,
            expected_command_sn: request.command_sn,
            max_command_sn: request.command_sn.wrapping_add(super::session::WINDOW - 1),
        };
        let is_end = transit && request.next == Stage::FullFeature;
        let response = LoginResponse {
            transit,
            continues: false,
            current: request.current,
            next: request.next,
            isid: request.isid,
            tsih: if is_end { 1 } else { request.tsih },
            task_tag: request.task_tag,
            sequence,
            status_class: status.0,
            status_detail: status.1,
        };
        self.status_sn = self.status_sn.wrapping_add(1);
        frame::write(self.stream, &response.header(), &keys.encode(), Digests::default())?;
        Ok(())
    }

    // Whether the login may go on to the stage that was asked for.
    fn answer(
        &mut self,
        request: &LoginRequest,
        keys: &Keys,
        answer: &mut Keys,
    ) -> Result<bool, (LoginStatus, &'static str)> {
        if self.is_first {
            self.introduce(request, keys, answer)?;
            self.is_first = false;
        }
        if request.transit && request.next <= request.current {
            return Err((INITIATOR_ERROR, "a stage that does not follow"));
        }
        if request.current == Stage::Security {
            self.prove(keys, answer)?;
        }
        let must_prove = self.settings.initiator.is_some() && self.proof != Proof::Done;
        if request.current != Stage::Security && must_prove {
            return Err((AUTHENTICATION_FAILED, "a proof is needed"));
        }
        // Operational keys may come while who is who is found out, too.
        let negotiated = self.agreement.negotiate(keys, answer);
        negotiated.map_err(|_| (INITIATOR_ERROR, "a value that a key cannot have"))?;
        if request.current == Stage::Operational && !self.has_declared {
            self.has_declared = true;
            answer.push("MaxRecvDataSegmentLength", SEGMENT_LEN_MAX.to_string());
        }
        Ok(request.transit && !must_prove)
    }

    fn introduce(
        &mut self,
        request: &LoginRequest,
        keys: &Keys,
        answer: &mut Keys,
    ) -> Result<(), (LoginStatus, &'static str)> {
        if request.tsih != 0 {
            return Err((NO_SUCH_SESSION, "a session has one connection"));
        }
        let name = keys.get("InitiatorName").filter(|name| !name.is_empty() && name.len() <= NAME_LEN_MAX);
        self.initiator = name.ok_or((MISSING_PARAMETER, "no name of the initiator"))?.to_owned();
        self.target = keys.get("TargetName").map(str::to_owned);
        self.is_discovery = match keys.get("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return Err((SESSION_TYPE, "a sort of session that is not known")),
        };
        if self.is_discovery {
            return Ok(());
        }
        match &self.target {
            None => return Err((MISSING_PARAMETER, "no name of the target")),
            Some(target) if *target != self.settings.name => return Err((NOT_FOUND, "another target")),
            Some(_) => {}
        }
        answer.push("TargetPortalGroupTag", PORTAL_GROUP);
        Ok(())
    }

    fn prove(&mut self, keys: &Keys, answer: &mut Keys) -> Result<(), (LoginStatus, &'static str)> {
        let Some(expected) = &self.settings.initiator else {
            if keys.get("AuthMethod").is_some() {
                answer.push("AuthMethod", "None");
            }
            return Ok(());
        };
        if self.proof == Proof::NotBegun {
            let offers = keys.get("AuthMethod").unwrap_or_default();
            if !offers.split(',').any(|method| method == "CHAP") {
                return Err((AUTHENTICATION_FAILED, "CHAP is needed"));
            }
            answer.push("AuthMethod", "CHAP");
            self.proof = Proof::Chosen;
        } else if let Some(algorithms) = keys.get("CHAP_A") {
            if !algorithms.split(',').any(|algorithm| algorithm == chap::ALGORITHM_MD5) {
                return Err((AUTHENTICATION_FAILED, "CHAP with MD5 is needed"));
            }
            let (identifier, challenge) = challenge(&self.settings.random);
            answer.push("CHAP_A", chap::ALGORITHM_MD5);
            answer.push("CHAP_I", identifier.to_string());
            answer.push("CHAP_C", encode_binary(&challenge));
            self.proof = Proof::Challenged { identifier, challenge };
        } else if let Proof::Challenged { identifier, challenge } = self.proof {
            check_response(expected, identifier, &challenge, keys)?;
            self.prove_target(&challenge, keys, answer)?;
            self.proof = Proof::Done;
        }
        Ok(())
    }

    // The initiator may want a proof from the target too.
    fn prove_target(
        &self,
        own_challenge: &[u8],
        keys: &Keys,
        answer: &mut Keys,
    ) -> Result<(), (LoginStatus, &'static str)> {
        let (Some(identifier), Some(challenge)) = (keys.get("CHAP_I"), keys.get("CHAP_C")) else {
            return Ok(());
        };
        let failed = (AUTHENTICATION_FAILED, "the target cannot prove itself");
        let own = self.settings.target.as_ref().ok_or(failed)?;
        let identifier: u8 = identifier.parse().map_err(|_| failed)?;
        let challenge = decode_binary(challenge).ok_or(failed)?;
        // An initiator that sends back our own challenge wants us to answer it for it.
        if challenge == own_challenge || challenge.len() > chap::CHALLENGE_LEN_MAX {
            return Err(failed);
        }
        answer.push("CHAP_N", own.user.clone());
        let response = chap::response(identifier, own.secret.as_bytes(), &challenge);
        answer.push("CHAP_R", encode_binary(&response));
        Ok(())
    }
}

fn challenge(random: &RandomBytes) -> (u8, [u8; 16]) {
    let [identifier, ..] = random();
    (identifier, random())
}

fn check_response(
    expected: &Credentials,
    identifier: u8,
    challenge: &[u8],
    keys: &Keys,
) -> Result<(), (LoginStatus, &'static str)> {
    let failed = (AUTHENTICATION_FAILED, "the proof is wrong");
    let user = keys.get("CHAP_N").ok_or((MISSING_PARAMETER, "no CHAP name"))?;
    let response = keys.get("CHAP_R").and_then(decode_binary);
    let response = response.ok_or((MISSING_PARAMETER, "no CHAP response"))?;
    let computed = chap::response(identifier, expected.secret.as_bytes(), challenge);
    let is_right = chap::is_equal(&computed, &response);
    if is_right && user == expected.user { Ok(()) } else { Err(failed) }
}
