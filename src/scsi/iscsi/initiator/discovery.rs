//! Asking a host which targets it has (RFC 7143, section 4.3 and appendix C).

use thiserror::Error;

use super::login::{LoginError, RECEIVE_LEN_MAX};
use super::{Connection, Settings};
use crate::codec::DecodeError;
use crate::scsi::iscsi::address::{Portal, is_target_name};
use crate::scsi::iscsi::frame::{self, FrameError};
use crate::scsi::iscsi::pdu::{NO_TAG, Response, TextRequest};
use crate::scsi::iscsi::text::{Keys, TEXT_LEN_MAX, TextError};

/// Answers that a host may take.
const EXCHANGES_MAX: usize = 64;

/// Why a host does not tell which targets it has.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// It lets nobody in.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The connection failed, or what came is not iSCSI.
    #[error("{address}: the list of targets does not come")]
    Frame {
        /// Address of the host.
        address: String,
        /// Why.
        source: FrameError,
    },
    /// A header is malformed.
    #[error("{address}: the list of targets is malformed")]
    Header {
        /// Address of the host.
        address: String,
        /// Where.
        source: DecodeError,
    },
    /// Text is malformed.
    #[error("{address}: the list of targets is malformed")]
    Text {
        /// Address of the host.
        address: String,
        /// Where.
        source: TextError,
    },
    /// It does something else than to answer.
    #[error("{address}: {problem}")]
    Protocol {
        /// Address of the host.
        address: String,
        /// What.
        problem: &'static str,
    },
}

/// Asks a host which targets it has: their names, in its order. A target that is elsewhere is listed like the others.
///
/// # Errors
/// [`DiscoveryError`].
pub fn discover(portal: &Portal, settings: &Settings) -> Result<Vec<String>, DiscoveryError> {
    let address = portal.to_string();
    let mut connection = Connection::open(portal, None, &address, settings)?;
    let mut keys = Keys::new();
    keys.push("SendTargets", "All");
    let answer = connection.ask(&keys, &address)?;
    let names = answer.iter().filter(|(key, _)| *key == "TargetName").map(|(_, name)| name);
    Ok(names.filter(|name| is_target_name(name)).map(str::to_owned).collect())
}

impl Connection {
    // A question in text, and its answer, which may come in pieces.
    fn ask(&mut self, keys: &Keys, address: &str) -> Result<Keys, DiscoveryError> {
        let failed = |source: FrameError| DiscoveryError::Frame { address: address.to_owned(), source };
        let problem = |problem| DiscoveryError::Protocol { address: address.to_owned(), problem };
        let mut transfer_tag = NO_TAG;
        let mut question = keys.encode();
        let mut text = Vec::new();
        for _ in 0..EXCHANGES_MAX {
            self.send_text(transfer_tag, &question).map_err(failed)?;
            question.clear();
            self.frame.read(&mut self.stream, self.agreement.digests, RECEIVE_LEN_MAX).map_err(failed)?;
            let parsed = Response::parse(&self.frame.header);
            let parsed =
                parsed.map_err(|source| DiscoveryError::Header { address: address.to_owned(), source })?;
            let Response::Text(response) = parsed else {
                return Err(problem("the target answers with something else than the list of targets"));
            };
            self.expected_status_sn = response.sequence.status_sn.wrapping_add(1);
            text.extend_from_slice(&self.frame.data);
            if text.len() > TEXT_LEN_MAX {
                return Err(problem("the list of targets has no end"));
            }
            if response.is_final {
                return Keys::parse(&text)
                    .map_err(|source| DiscoveryError::Text { address: address.to_owned(), source });
            }
            transfer_tag = response.transfer_tag;
        }
        Err(problem("the list of targets has no end"))
    }

    fn send_text(&mut self, transfer_tag: u32, text: &[u8]) -> Result<(), FrameError> {
        let header = TextRequest {
            immediate: false,
            is_final: true,
            continues: false,
            lun: 0,
            task_tag: self.task_tag,
            transfer_tag,
            command_sn: self.command_sn,
            expected_status_sn: self.expected_status_sn,
        }
        .header();
        self.command_sn = self.command_sn.wrapping_add(1);
        Ok(frame::write(&mut self.stream, &header, text, self.agreement.digests)?)
    }
}
