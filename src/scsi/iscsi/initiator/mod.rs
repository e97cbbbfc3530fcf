//! The initiator: one session of one connection to one logical unit, one command in flight.

mod discovery;
mod login;
mod stream;
mod task;

pub use discovery::{DiscoveryError, discover};
pub use login::LoginError;

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use self::login::{Agreement, Login};
use self::stream::{DeadlineStream, is_timeout};
use self::task::{Ended, Task};
use super::address::{Address, Portal};
use super::chap::Credentials;
use super::frame::{self, Frame, FrameError};
use super::pdu::{LogoutRequest, NO_TAG, NopOut, lun_field};
use crate::scsi::transport::{Data, Outcome, Transport, TransportError};

/// Longest transfer: what an expected data transfer length of one command is good for here.
const TRANSFER_LEN_MAX: usize = (1 << 24) - 1;
/// How long a host may take to answer, and a target to log us in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A target that says nothing for so long is sent something: TCP then finds out whether it is still there.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a farewell may take.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to introduce ourselves, and what to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our name.
    pub initiator_name: String,
    /// Ask for CRC32C of headers.
    pub header_digest: bool,
    /// Ask for CRC32C of data.
    pub data_digest: bool,
    /// The target must prove that it knows this secret.
    pub target_credentials: Option<Credentials>,
    /// Random bytes, other ones for each session: a target takes a session with equal ones for a
    /// restart of the earlier one, which it ends.
    pub random: [u8; 32],
}

impl Settings {
    /// The usual settings: digests of headers and data, which cost little and find what TCP does not.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self {
            initiator_name: "iqn.2026-11.invalid.reelfs:initiator".into(),
            header_digest: true,
            data_digest: true,
            target_credentials: None,
            random,
        }
    }

    /// Gives the session the name of an earlier one, which it replaces (RFC 7143, 6.3.5); all else stays random.
    pub fn set_session(&mut self, session: [u8; 5]) {
        for (target, byte) in self.random.iter_mut().zip(session) {
            *target = byte;
        }
    }

    // RFC 7143, 11.12.5: type "random", 24 random bits, 16 bits of our own.
    fn isid(&self) -> [u8; 6] {
        let [a, b, c, d, e, ..] = self.random;
        [0x80, a, b, c, d, e]
    }

    fn random_identifier(&self) -> u8 {
        let [.., last] = self.random;
        last
    }

    fn random_challenge(&self) -> [u8; 16] {
        let mut challenge = [0; 16];
        for (target, byte) in challenge.iter_mut().zip(self.random.iter().skip(8)) {
            *target = *byte;
        }
        challenge
    }
}

/// A logical unit behind iSCSI.
#[derive(Debug)]
pub struct Initiator {
    address: Address,
    name: String,
    /// `None` once the connection is lost: a command then fails at once.
    connection: Option<Connection>,
}

/// A connection in full feature phase.
#[derive(Debug)]
struct Connection {
    stream: DeadlineStream,
    agreement: Agreement,
    frame: Frame,
    lun: u64,
    command_sn: u32,
    max_command_sn: u32,
    expected_status_sn: u32,
    task_tag: u32,
    /// The target asked for an end of the session, or said that it would end it.
    is_ending: bool,
}

impl Initiator {
    /// Logs in.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn connect(address: &Address, settings: &Settings) -> Result<Self, LoginError> {
        let name = address.to_string();
        let connection = Connection::open(&address.portal, Some(address), &name, settings)?;
        Ok(Self { address: address.clone(), name, connection: Some(connection) })
    }

    /// Where the logical unit is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Transport for Initiator {
    fn execute(&mut self, cdb: &[u8], data: Data<'_>, timeout: Duration) -> Result<Outcome, TransportError> {
        let (device, operation_code) = (self.name.clone(), cdb.first().copied().unwrap_or(0));
        let lost = |device, reason| TransportError::ConnectionLost { device, operation_code, reason };
        let Some(connection) = &mut self.connection else {
            return Err(lost(device, "the session has ended".into()));
        };
        connection.stream.set_timeout(timeout);
        let result = Task::new(connection, cdb, data).and_then(Task::run);
        // After anything else than an answer, nobody knows what the next bytes on the stream belong to.
        if result.is_err() || connection.is_ending {
            self.connection = None;
        }
        result.map_err(|ended| match ended {
            Ended::Frame(FrameError::Stream(error)) if is_timeout(&error) => {
                TransportError::Timeout { device, operation_code, timeout }
            }
            Ended::Frame(error) => lost(device, with_source(&error)),
            Ended::Protocol(problem) => lost(device, problem),
            Ended::Unsendable(source) => TransportError::Refused { device, operation_code, source },
        })
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn transfer_len_max(&self) -> usize {
        TRANSFER_LEN_MAX
    }
}

impl Connection {
    /// Logs in, without a logical unit to ask which targets there are. `name` is what errors call the place.
    fn open(
        portal: &Portal,
        unit: Option<&Address>,
        name: &str,
        settings: &Settings,
    ) -> Result<Self, LoginError> {
        let stream =
            connect(portal).map_err(|source| LoginError::Connect { address: name.to_owned(), source })?;
        let mut stream = DeadlineStream::new(stream, LOGIN_TIMEOUT);
        let command_sn = 1;
        let login = Login {
            stream: &mut stream,
            name,
            credentials: portal.credentials.as_ref(),
            target: unit.map(|unit| unit.target.as_str()),
            settings,
            command_sn,
            frame: Frame::default(),
            tsih: 0,
            expected_status_sn: 0,
            max_command_sn: command_sn,
            exchanges: 0,
        };
        let session = login.run()?;
        log::info!("{name}: logged in, {:?}", session.agreement);
        Ok(Self {
            stream,
            agreement: session.agreement,
            frame: Frame::default(),
            lun: unit.map_or(0, |unit| lun_field(unit.lun)),
            command_sn,
            max_command_sn: session.max_command_sn,
            expected_status_sn: session.expected_status_sn,
            task_tag: 0,
            is_ending: false,
        })
    }

    /// Sends something that wants no answer.
    fn probe(&mut self) -> io::Result<()> {
        let header = NopOut {
            immediate: true,
            lun: 0,
            task_tag: NO_TAG,
            transfer_tag: NO_TAG,
            command_sn: self.command_sn,
            expected_status_sn: self.expected_status_sn,
        }
        .header();
        frame::write(&mut self.stream, &header, &[], self.agreement.digests)
    }
}

// Says goodbye, so that the target need not wait for a timeout to free what it holds for us.
impl Drop for Connection {
    fn drop(&mut self) {
        self.stream.set_timeout(LOGOUT_TIMEOUT);
        let header = LogoutRequest {
            immediate: true,
            reason: 0,
            task_tag: self.task_tag.wrapping_add(1),
            connection_id: 0,
            command_sn: self.command_sn,
            expected_status_sn: self.expected_status_sn,
        }
        .header();
        let sent = frame::write(&mut self.stream, &header, &[], self.agreement.digests);
        let answered = sent.is_ok()
            && self.frame.read(&mut self.stream, self.agreement.digests, login::RECEIVE_LEN_MAX).is_ok();
        log::debug!("session ended, {}", if answered { "with an answer" } else { "without an answer" });
    }
}

fn connect(portal: &Portal) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for place in (portal.host.as_str(), portal.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, LOGIN_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

// The seam's error has room for one text.
fn with_source(error: &FrameError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
