//! Faults by script: `faults.json` in the directory of the library.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::bytes::u8_at;
use super::error::EmulatorError;
use super::unit::UnitState;

/// Longest script that is read, in bytes.
const SCRIPT_LEN_MAX: u64 = 1 << 20;
/// Most faults of a script.
const FAULTS_MAX: usize = 1000;

const TEST_UNIT_READY: u8 = 0x00;
const READ: u8 = 0x08;
const WRITE: u8 = 0x0a;
const WRITE_FILEMARKS: u8 = 0x10;
const LOAD_UNLOAD: u8 = 0x1b;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FaultKind {
    /// The transport counts so many bytes more (or less) than have moved. By default of READ.
    WrongResidual {
        /// Added to the count.
        bytes: i64,
    },
    /// Somebody else has moved the tape to this object of the present partition. By default before WRITE.
    PositionMoved {
        /// Logical object identifier.
        object: u64,
    },
    /// The command succeeds, but what it wrote is lost; the next command is told. By default of WRITE.
    DeferredError {
        /// Sense key.
        key: u8,
        /// Additional sense code.
        asc: u8,
        /// Qualifier.
        ascq: u8,
    },
    /// From now on early warning comes so many bytes before the end. By default at WRITE.
    EarlyWarning {
        /// Bytes.
        bytes: u64,
    },
    /// The object cannot be read or written: 3/11/00 or 3/0C/00. By default at READ.
    MediumError {
        /// Only this object; any if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<u64>,
    },
    /// The command ends with this sense data.
    Sense {
        /// Sense key.
        key: u8,
        /// Additional sense code.
        asc: u8,
        /// Qualifier.
        ascq: u8,
        /// It does its work all the same.
        #[serde(default)]
        executed: bool,
    },
    /// A unit attention comes instead of the command.
    Attention {
        /// Additional sense code.
        asc: u8,
        /// Qualifier.
        ascq: u8,
    },
    /// Unit attentions that wait are gone: another driver has taken them.
    AttentionsStolen,
    /// No answer in time.
    Timeout {
        /// The command does its work all the same.
        #[serde(default)]
        executed: bool,
    },
    /// The operating system has no memory for the command.
    NoMemory {
        /// The command does its work all the same.
        #[serde(default)]
        executed: bool,
    },
    /// The way to the device breaks.
    ConnectionLost {
        /// The command does its work all the same.
        #[serde(default)]
        executed: bool,
    },
    /// The unit is reset: its buffer is lost, the tape rewound; unit attention 29/00.
    Reset,
    /// The power fails: the buffer is lost, and the last record is torn. By default at WRITE.
    PowerLoss,
    /// There is no end-of-data mark.
    EndOfDataMissing,
    /// The unit is becoming ready, for so many commands.
    NotReady {
        /// Commands.
        count: u32,
    },
    /// The next cartridge cannot be loaded: 4/53/00, until it is unloaded.
    LoadFails,
    /// The cartridge cannot be unloaded: 4/53/00.
    UnloadFails,
    /// Somebody else has unloaded the cartridge.
    UnloadedByOthers,
    /// A move says that it is done, but the cartridge is where it was. Of the changer.
    MoveIgnored,
    /// The checksum of a protected block is wrong. By default at READ.
    GuardMismatch,
    /// WRITE FILEMARKS writes one more.
    ExtraFilemark,
}

impl FaultKind {
    /// The command that is meant if none is named; any if none.
    fn default_operation(&self) -> Option<u8> {
        match self {
            Self::WrongResidual { .. } | Self::MediumError { .. } | Self::GuardMismatch => Some(READ),
            Self::PositionMoved { .. }
            | Self::DeferredError { .. }
            | Self::EarlyWarning { .. }
            | Self::PowerLoss => Some(WRITE),
            Self::ExtraFilemark => Some(WRITE_FILEMARKS),
            Self::UnloadFails => Some(LOAD_UNLOAD),
            Self::LoadFails | Self::NotReady { .. } => Some(TEST_UNIT_READY),
            Self::MoveIgnored => Some(0xa5),
            _ => None,
        }
    }
}

/// A fault that is to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Number in the script, given when it is added.
    #[serde(default)]
    pub id: u64,
    /// Logical unit: 0 is the changer, 1 the first drive.
    pub lun: u16,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only with this command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_code: Option<u8>,
    /// Commands of the sort that pass before.
    #[serde(default)]
    pub after: u64,
    /// How often; 0 for always.
    #[serde(default = "once")]
    pub times: u64,
}

fn once() -> u64 {
    1
}

impl Fault {
    /// A fault that strikes the first suitable command, once.
    #[must_use]
    pub fn new(lun: u16, kind: FaultKind) -> Self {
        Self { id: 0, lun, kind, operation_code: None, after: 0, times: 1 }
    }

    /// Lets so many suitable commands pass before.
    #[must_use]
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    /// Strikes only this command.
    #[must_use]
    pub fn at(self, operation_code: u8) -> Self {
        Self { operation_code: Some(operation_code), ..self }
    }

    /// Strikes so often; 0 for always.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Script {
    #[serde(default)]
    next_id: u64,
    pub(super) faults: Vec<Fault>,
}

impl Script {
    /// Reads a script; none is an empty one.
    pub(super) fn read(path: &Path) -> Result<Self, EmulatorError> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(EmulatorError::file("open", path))?,
        };
        let mut bytes = Vec::new();
        file.take(SCRIPT_LEN_MAX).read_to_end(&mut bytes).map_err(EmulatorError::file("read", path))?;
        Self::decode(&bytes).map_err(|reason| EmulatorError::damaged(path, reason))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut script: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if script.faults.len() > FAULTS_MAX {
            return Err(format!("{} faults, at most {FAULTS_MAX}", script.faults.len()));
        }
        // Those that were written by hand have no number.
        for fault in script.faults.iter_mut().filter(|fault| fault.id == 0) {
            script.next_id += 1;
            fault.id = script.next_id;
        }
        Ok(script)
    }

    /// Adds a fault and returns its number.
    pub(super) fn add(&mut self, fault: Fault) -> u64 {
        let highest = self.faults.iter().map(|fault| fault.id).max().unwrap_or(0);
        self.next_id = self.next_id.max(highest) + 1;
        self.faults.push(Fault { id: self.next_id, ..fault });
        self.next_id
    }

    /// Writes the script.
    pub(super) fn write(&self, path: &Path) -> Result<(), EmulatorError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| EmulatorError::damaged(path, error.to_string()))?;
        super::cartridge::replace_file(path, &text)
    }
}

/// The script as a logical unit knows it: read again when the file has changed.
#[derive(Debug)]
pub(super) struct Faults {
    path: PathBuf,
    lun: u16,
    stamp: Option<(SystemTime, u64)>,
    faults: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(path: &Path, lun: u16) -> Self {
        Self { path: path.to_owned(), lun, stamp: None, faults: Vec::new() }
    }

    fn refresh(&mut self) {
        let stamp = fs::metadata(&self.path).ok().and_then(|data| Some((data.modified().ok()?, data.len())));
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        match Script::read(&self.path) {
            Ok(script) => self.faults = script.faults,
            Err(error) => log::warn!("{error}: no faults"),
        }
        self.faults.retain(|fault| fault.lun == self.lun);
    }

    /// The faults that strike this command, which is at this object.
    pub(super) fn strikes(
        &mut self,
        unit: &mut UnitState,
        cdb: &[u8],
        object: u64,
        is_loaded: bool,
    ) -> Vec<FaultKind> {
        self.refresh();
        let operation = u8_at(cdb, 0);
        let mut kinds = Vec::new();
        for fault in &self.faults {
            let wanted = fault.operation_code.or(fault.kind.default_operation());
            if wanted.is_some_and(|wanted| wanted != operation) {
                continue;
            }
            // Of a cartridge: it waits until there is one.
            if matches!(fault.kind, FaultKind::LoadFails) && !is_loaded {
                continue;
            }
            if let FaultKind::MediumError { object: Some(at) } = fault.kind
                && at != object
            {
                continue;
            }
            let count = unit.faults.entry(fault.id).or_default();
            if count.passed < fault.after {
                count.passed += 1;
            } else if fault.times == 0 || count.struck < fault.times {
                count.struck += 1;
                kinds.push(fault.kind.clone());
            }
        }
        kinds
    }
}

/// How no status reaches the initiator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breakdown {
    /// No answer in time.
    Timeout,
    /// The operating system had no memory.
    NoMemory,
    /// The way to the device broke.
    ConnectionLost,
}

impl FaultKind {
    /// How the command breaks down, and whether it does its work.
    pub(super) fn breakdown(&self) -> Option<(Breakdown, bool)> {
        match self {
            Self::Timeout { executed } => Some((Breakdown::Timeout, *executed)),
            Self::NoMemory { executed } => Some((Breakdown::NoMemory, *executed)),
            Self::ConnectionLost { executed } => Some((Breakdown::ConnectionLost, *executed)),
            _ => None,
        }
    }
}
