//! What sense data means for a program that keeps data on tape: one table.

use super::sense::{Sense, SenseKey};

/// What sense data means, and so what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Meaning {
    /// Nothing is wrong.
    Nothing,
    /// A read or a move ended at a filemark; the position is behind it (before it, when moving back).
    Filemark,
    /// The block has another length than was asked for: it was read, up to what was asked for.
    IncorrectLength,
    /// The command was done, and the end of the partition is near: nothing but what closes the volume
    /// may follow.
    EarlyWarning,
    /// The command was done, and the programmable early warning was passed: begin no new object.
    ProgrammableEarlyWarning,
    /// The partition is full: the command was not done, or in part.
    VolumeOverflow,
    /// Nothing is written behind this position.
    EndOfData,
    /// No end of data is to be found: a power loss left the partition open.
    EndOfDataNotFound,
    /// A move backward met the beginning of the partition; the position is there.
    BeginningOfPartition,
    /// The command was done, after the device had trouble.
    Recovered,
    /// The command was done, and the drive wants to be cleaned.
    CleaningRequested,
    /// There may be another cartridge; the command was not executed. Identify the cartridge again.
    MediumChanged,
    /// A door or the import/export station was opened; the command was not executed. Take inventory.
    ImportExportAccessed,
    /// The device was reset; the command was not executed, the position is unknown, what was only
    /// buffered may be lost.
    Reset,
    /// Another initiator changed mode or log parameters; the command was not executed. Set them again.
    ParametersChanged,
    /// Reservations or registrations are gone; the command was not executed.
    ReservationLost,
    /// The operator asks for the cartridge; the command was not executed.
    OperatorRequest,
    /// Something else happened; the command was not executed and can be repeated.
    OtherUnitAttention,
    /// Not ready, but will be: ask again.
    BecomingReady,
    /// Not ready until told to load.
    LoadRequired,
    /// Not ready until a person or another command helps.
    InterventionRequired,
    /// There is no cartridge.
    NoMedium,
    /// There is a cleaning cartridge.
    CleaningCartridge,
    /// The cartridge is of a generation or a format that the drive does not take.
    IncompatibleMedium,
    /// Not ready, for another reason.
    NotReady,
    /// Data could not be read.
    ReadError,
    /// Data could not be written: the volume ends at the last commit.
    WriteError,
    /// The medium is bad in another way.
    MediumError,
    /// Logical block protection found other bytes than were sent.
    ProtectionMismatch,
    /// The device is bad.
    HardwareError,
    /// The device does not know the command.
    UnsupportedCommand,
    /// The device does not take a field of the command or of its data.
    UnsupportedField,
    /// Not in this state or at this position.
    WrongState,
    /// No such element.
    InvalidElement,
    /// The element to move to holds a cartridge.
    DestinationFull,
    /// The element to move from holds none.
    SourceEmpty,
    /// The cartridge is locked in.
    RemovalPrevented,
    /// Another request that the device refuses.
    IllegalRequest,
    /// The cartridge or the drive is protected from writing.
    WriteProtected,
    /// A write would have overwritten what can be written once only.
    WormViolation,
    /// What is on tape is encrypted by the drive, and there is no key.
    Encrypted,
    /// Access is denied in another way.
    DataProtect,
    /// The device gave up: the command may have been done or not.
    Aborted,
    /// An earlier command failed; this one was not executed. Nothing since the last commit is certain.
    Deferred,
    /// What no table has.
    Unknown,
}

impl Meaning {
    /// What `sense` means.
    #[must_use]
    pub fn of(sense: &Sense) -> Self {
        // tape.md 2.2: a deferred error belongs to earlier data, whatever it says. Two are no errors.
        if sense.deferred && !matches!(sense.key, SenseKey::NoSense | SenseKey::RecoveredError) {
            return Self::Deferred;
        }
        let (key, code, qualifier) = sense.codes();
        let row = TABLE.iter().find(|row| {
            row.keys.contains(&key)
                && row.code.is_none_or(|wanted| wanted == code)
                && row.qualifiers.is_none_or(|(first, last)| (first..=last).contains(&qualifier))
        });
        let meaning = row.map_or(Self::Unknown, |row| row.meaning);
        // The bits say more than the codes: some devices set EOM, ILI or FM with codes 00/00.
        match meaning {
            Self::Nothing | Self::Recovered if sense.filemark => Self::Filemark,
            Self::Nothing | Self::Recovered if sense.incorrect_length => Self::IncorrectLength,
            Self::Nothing | Self::Recovered if sense.end_of_medium => Self::EarlyWarning,
            meaning => meaning,
        }
    }

    /// Whether the command was done, all of it.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(
            self,
            Self::Nothing
                | Self::EarlyWarning
                | Self::ProgrammableEarlyWarning
                | Self::Recovered
                | Self::CleaningRequested
        )
    }

    /// Whether a unit attention kept the command from being executed: it can be repeated once what it
    /// tells of was dealt with.
    #[must_use]
    pub fn is_unit_attention(self) -> bool {
        matches!(
            self,
            Self::MediumChanged
                | Self::ImportExportAccessed
                | Self::Reset
                | Self::ParametersChanged
                | Self::ReservationLost
                | Self::OperatorRequest
                | Self::OtherUnitAttention
        )
    }

    /// Whether the device lacks what was asked for: the answer of a probe, to be remembered.
    #[must_use]
    pub fn is_unsupported(self) -> bool {
        matches!(self, Self::UnsupportedCommand | Self::UnsupportedField)
    }

    /// Whether the position is unknown afterwards: ask for it before anything else.
    #[must_use]
    pub fn loses_position(self) -> bool {
        matches!(
            self,
            Self::Reset
                | Self::MediumChanged
                | Self::Aborted
                | Self::Deferred
                | Self::HardwareError
                | Self::MediumError
                | Self::ReadError
                | Self::WriteError
                | Self::ProtectionMismatch
                | Self::Unknown
        )
    }

    /// In words, lower case.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Nothing => "no error",
            Self::Filemark => "filemark",
            Self::IncorrectLength => "block of another length",
            Self::EarlyWarning => "early warning",
            Self::ProgrammableEarlyWarning => "programmable early warning",
            Self::VolumeOverflow => "end of the medium",
            Self::EndOfData => "end of data",
            Self::EndOfDataNotFound => "end of data not found",
            Self::BeginningOfPartition => "beginning of the partition",
            Self::Recovered => "recovered error",
            Self::CleaningRequested => "cleaning requested",
            Self::MediumChanged => "medium may have changed",
            Self::ImportExportAccessed => "import/export station or door was opened",
            Self::Reset => "device was reset",
            Self::ParametersChanged => "parameters were changed by another initiator",
            Self::ReservationLost => "reservations or registrations were lost",
            Self::OperatorRequest => "operator asks for the medium",
            Self::OtherUnitAttention => "unit attention",
            Self::BecomingReady => "becoming ready",
            Self::LoadRequired => "needs to be loaded",
            Self::InterventionRequired => "manual intervention required",
            Self::NoMedium => "no medium",
            Self::CleaningCartridge => "cleaning cartridge",
            Self::IncompatibleMedium => "incompatible medium",
            Self::NotReady => "not ready",
            Self::ReadError => "read error",
            Self::WriteError => "write error",
            Self::MediumError => "medium error",
            Self::ProtectionMismatch => "logical block protection mismatch",
            Self::HardwareError => "hardware error",
            Self::UnsupportedCommand => "unsupported command",
            Self::UnsupportedField => "unsupported field",
            Self::WrongState => "wrong state or position",
            Self::InvalidElement => "no such element",
            Self::DestinationFull => "destination is full",
            Self::SourceEmpty => "source is empty",
            Self::RemovalPrevented => "removal is prevented",
            Self::IllegalRequest => "illegal request",
            Self::WriteProtected => "write protected",
            Self::WormViolation => "write-once medium",
            Self::Encrypted => "encrypted by the drive",
            Self::DataProtect => "data protect",
            Self::Aborted => "aborted",
            Self::Deferred => "error of an earlier command",
            Self::Unknown => "unknown",
        }
    }
}

/// One row: the first that fits decides.
struct Row {
    keys: &'static [u8],
    code: Option<u8>,
    qualifiers: Option<(u8, u8)>,
    meaning: Meaning,
}

const fn row(keys: &'static [u8], code: u8, first: u8, last: u8, meaning: Meaning) -> Row {
    Row { keys, code: Some(code), qualifiers: Some((first, last)), meaning }
}

const fn any_qualifier(keys: &'static [u8], code: u8, meaning: Meaning) -> Row {
    Row { keys, code: Some(code), qualifiers: None, meaning }
}

const fn any_code(keys: &'static [u8], meaning: Meaning) -> Row {
    Row { keys, code: None, qualifiers: None, meaning }
}

// Codes are those of SPC-4, annex of additional sense codes; which of them matter, and how devices bend
// them, is experience.
const TABLE: &[Row] = &[
    row(&[0, 1], 0x00, 0x00, 0x00, Meaning::Nothing),
    row(&[0, 1], 0x00, 0x01, 0x01, Meaning::Filemark),
    row(&[0, 1], 0x00, 0x02, 0x02, Meaning::EarlyWarning),
    row(&[0, 1], 0x00, 0x04, 0x04, Meaning::BeginningOfPartition),
    row(&[0, 1], 0x00, 0x05, 0x05, Meaning::EndOfData),
    row(&[0, 1], 0x00, 0x07, 0x07, Meaning::ProgrammableEarlyWarning),
    row(&[0, 1], 0x00, 0x17, 0x17, Meaning::CleaningRequested),
    any_code(&[0], Meaning::Nothing),
    any_code(&[1], Meaning::Recovered),
    row(&[2], 0x04, 0x02, 0x02, Meaning::LoadRequired),
    row(&[2, 4], 0x04, 0x03, 0x03, Meaning::InterventionRequired),
    row(&[2], 0x04, 0x12, 0x12, Meaning::NotReady),
    any_qualifier(&[2], 0x04, Meaning::BecomingReady),
    any_qualifier(&[2], 0x3a, Meaning::NoMedium),
    row(&[2, 3, 5], 0x30, 0x03, 0x03, Meaning::CleaningCartridge),
    row(&[2, 5], 0x30, 0x07, 0x07, Meaning::CleaningCartridge),
    row(&[3, 5, 7], 0x30, 0x0c, 0x0d, Meaning::WormViolation),
    any_qualifier(&[2, 3, 5, 7], 0x30, Meaning::IncompatibleMedium),
    any_code(&[2], Meaning::NotReady),
    row(&[3, 8], 0x14, 0x03, 0x03, Meaning::EndOfDataNotFound),
    any_qualifier(&[3], 0x0c, Meaning::WriteError),
    any_qualifier(&[3], 0x11, Meaning::ReadError),
    row(&[3], 0x50, 0x00, 0x00, Meaning::WriteError),
    any_code(&[3], Meaning::MediumError),
    any_qualifier(&[3, 4, 0xb], 0x10, Meaning::ProtectionMismatch),
    any_code(&[4], Meaning::HardwareError),
    any_qualifier(&[5], 0x20, Meaning::UnsupportedCommand),
    row(&[5], 0x21, 0x01, 0x01, Meaning::InvalidElement),
    any_qualifier(&[5], 0x24, Meaning::UnsupportedField),
    any_qualifier(&[5], 0x25, Meaning::IllegalRequest),
    any_qualifier(&[5], 0x26, Meaning::UnsupportedField),
    any_qualifier(&[5], 0x2c, Meaning::WrongState),
    row(&[5], 0x3b, 0x0c, 0x0c, Meaning::WrongState),
    row(&[5], 0x3b, 0x0d, 0x0d, Meaning::DestinationFull),
    row(&[5], 0x3b, 0x0e, 0x0e, Meaning::SourceEmpty),
    row(&[5], 0x50, 0x01, 0x01, Meaning::WrongState),
    row(&[5], 0x53, 0x02, 0x02, Meaning::RemovalPrevented),
    // Vendor: encrypted data, no key.
    row(&[5, 7], 0xee, 0x10, 0x10, Meaning::Encrypted),
    row(&[5, 7], 0xef, 0x10, 0x10, Meaning::Encrypted),
    any_code(&[5], Meaning::IllegalRequest),
    row(&[6], 0x28, 0x01, 0x02, Meaning::ImportExportAccessed),
    any_qualifier(&[6], 0x28, Meaning::MediumChanged),
    any_qualifier(&[6], 0x29, Meaning::Reset),
    row(&[6], 0x2a, 0x03, 0x05, Meaning::ReservationLost),
    row(&[6], 0x2a, 0x01, 0x02, Meaning::ParametersChanged),
    row(&[6], 0x3b, 0x12, 0x1b, Meaning::ImportExportAccessed),
    any_qualifier(&[6], 0x5a, Meaning::OperatorRequest),
    any_code(&[6], Meaning::OtherUnitAttention),
    any_qualifier(&[7], 0x27, Meaning::WriteProtected),
    row(&[7], 0x50, 0x01, 0x01, Meaning::WormViolation),
    any_qualifier(&[7], 0x74, Meaning::Encrypted),
    any_code(&[7], Meaning::DataProtect),
    // Whatever the code: devices differ in it, and each of them means that nothing follows.
    any_code(&[8], Meaning::EndOfData),
    any_code(&[0xb], Meaning::Aborted),
    any_code(&[0xd], Meaning::VolumeOverflow),
];
