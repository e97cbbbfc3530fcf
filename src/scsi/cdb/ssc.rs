//! Commands of drives (SSC-4).

use crate::scsi::fields::u24;
use crate::scsi::opcode;

/// What SPACE counts (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceUnit {
    /// 0h: blocks; stops behind a filemark.
    Blocks,
    /// 1h: filemarks.
    Filemarks,
    /// 3h: to the end of data; the count is ignored.
    EndOfData,
}

impl SpaceUnit {
    fn code(self) -> u8 {
        match self {
            Self::Blocks => 0,
            Self::Filemarks => 1,
            Self::EndOfData => 3,
        }
    }
}

/// Where LOCATE goes (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// 0h: in front of the logical object with this identifier: blocks and filemarks, counted from 0.
    Object(u64),
    /// 1h: to the beginning of the logical file with this identifier, counted from 0.
    File(u64),
    /// 3h: to the end of data.
    EndOfData,
}

/// Which form of READ POSITION (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionForm {
    /// 00h, 20 bytes.
    Short,
    /// 06h, 32 bytes.
    Long,
    /// 08h, 32 bytes.
    Extended,
}

/// What LOAD UNLOAD does (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadFlags {
    /// Load and go to the beginning of the first partition, otherwise unload.
    pub load: bool,
    /// Tension the tape first.
    pub retension: bool,
    /// Unload at the end of the tape.
    pub end_of_tape: bool,
    /// Hold the cartridge: with `load` do not thread it, without unthread it but do not eject.
    pub hold: bool,
    /// Answer before it is done.
    pub immediate: bool,
}

/// READ(6) (SSC-4).
///
/// # Panics
/// If the length needs more than 24 bits.
#[must_use]
pub fn read_6(fixed: bool, suppress_incorrect_length: bool, len: u32) -> [u8; 6] {
    let [a, b, c] = u24(len);
    [opcode::READ_6, u8::from(suppress_incorrect_length) << 1 | u8::from(fixed), a, b, c, 0]
}

/// WRITE(6) (SSC-4).
///
/// # Panics
/// If the length needs more than 24 bits.
#[must_use]
pub fn write_6(fixed: bool, len: u32) -> [u8; 6] {
    let [a, b, c] = u24(len);
    [opcode::WRITE_6, u8::from(fixed), a, b, c, 0]
}

/// WRITE FILEMARKS(6) (SSC-4).
///
/// # Panics
/// If the count needs more than 24 bits.
#[must_use]
pub fn write_filemarks_6(immediate: bool, count: u32) -> [u8; 6] {
    let [a, b, c] = u24(count);
    [opcode::WRITE_FILEMARKS_6, u8::from(immediate), a, b, c, 0]
}

/// SPACE(6) (SSC-4), for counts of 24 bits with sign.
///
/// # Panics
/// If the count needs more.
#[must_use]
pub fn space_6(unit: SpaceUnit, count: i32) -> [u8; 6] {
    assert!((-(1 << 23)..1 << 23).contains(&count), "{count} does not fit 24 bits with sign");
    let [_, a, b, c] = count.to_be_bytes();
    [opcode::SPACE_6, unit.code(), a, b, c, 0]
}

/// SPACE(16) (SSC-4).
#[must_use]
pub fn space_16(unit: SpaceUnit, count: i64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = count.to_be_bytes();
    [opcode::SPACE_16, unit.code(), 0, 0, a, b, c, d, e, f, g, h, 0, 0, 0, 0]
}

/// LOCATE(10) (SSC-4), to a logical object; changes the partition if one is given.
#[must_use]
pub fn locate_10(partition: Option<u8>, object: u32) -> [u8; 10] {
    let [a, b, c, d] = object.to_be_bytes();
    let change = u8::from(partition.is_some()) << 1;
    [opcode::LOCATE_10, change, 0, a, b, c, d, 0, partition.unwrap_or(0), 0]
}

/// LOCATE(16) (SSC-4); changes the partition if one is given.
#[must_use]
pub fn locate_16(partition: Option<u8>, destination: Destination) -> [u8; 16] {
    let (kind, identifier) = match destination {
        Destination::Object(object) => (0_u8, object),
        Destination::File(file) => (1, file),
        Destination::EndOfData => (3, 0),
    };
    let flags = kind << 3 | u8::from(partition.is_some()) << 1;
    let [a, b, c, d, e, f, g, h] = identifier.to_be_bytes();
    [opcode::LOCATE_16, flags, 0, partition.unwrap_or(0), a, b, c, d, e, f, g, h, 0, 0, 0, 0]
}

/// READ POSITION (SSC-4).
#[must_use]
pub fn read_position(form: PositionForm) -> [u8; 10] {
    // Only the extended form has an allocation length, the others require zero.
    let (service_action, allocation_len) = match form {
        PositionForm::Short => (0x00, 0),
        PositionForm::Long => (0x06, 0),
        PositionForm::Extended => (0x08, 32),
    };
    [opcode::READ_POSITION, service_action, 0, 0, 0, 0, 0, 0, allocation_len, 0]
}

/// READ BLOCK LIMITS (SSC-4).
#[must_use]
pub fn read_block_limits() -> [u8; 6] {
    [opcode::READ_BLOCK_LIMITS, 0, 0, 0, 0, 0]
}

/// REWIND (SSC-4).
#[must_use]
pub fn rewind(immediate: bool) -> [u8; 6] {
    [opcode::REWIND, u8::from(immediate), 0, 0, 0, 0]
}

/// LOAD UNLOAD (SSC-4).
#[must_use]
pub fn load_unload(flags: LoadFlags) -> [u8; 6] {
    let action = u8::from(flags.hold) << 3
        | u8::from(flags.end_of_tape) << 2
        | u8::from(flags.retension) << 1
        | u8::from(flags.load);
    [opcode::LOAD_UNLOAD, u8::from(flags.immediate), 0, 0, action, 0]
}

/// ERASE(6) (SSC-4): marks the end of data here, or with `long` erases all that follows.
#[must_use]
pub fn erase_6(long: bool, immediate: bool) -> [u8; 6] {
    [opcode::ERASE_6, u8::from(immediate) << 1 | u8::from(long), 0, 0, 0, 0]
}

/// FORMAT MEDIUM (SSC-4); `format` is 0 for one partition, 1 to partition by the mode page,
/// 2 for both.
#[must_use]
pub fn format_medium(immediate: bool, format: u8) -> [u8; 6] {
    [opcode::FORMAT_MEDIUM, u8::from(immediate), format & 0x0f, 0, 0, 0]
}

/// SET CAPACITY (SSC-4); `proportion` is in units of 1/65535 of the medium.
#[must_use]
pub fn set_capacity(immediate: bool, proportion: u16) -> [u8; 6] {
    let [a, b] = proportion.to_be_bytes();
    [opcode::SET_CAPACITY, u8::from(immediate), 0, a, b, 0]
}

/// REPORT DENSITY SUPPORT (SSC-4): of the loaded medium, or of the drive.
#[must_use]
pub fn report_density_support(of_medium: bool, allocation_len: u16) -> [u8; 10] {
    let [a, b] = allocation_len.to_be_bytes();
    [opcode::REPORT_DENSITY_SUPPORT, u8::from(of_medium), 0, 0, 0, 0, 0, a, b, 0]
}

/// ALLOW OVERWRITE (SSC-4): the next write may begin at this object.
#[must_use]
pub fn allow_overwrite(partition: u8, object: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = object.to_be_bytes();
    [opcode::ALLOW_OVERWRITE, 0, 1, partition, a, b, c, d, e, f, g, h, 0, 0, 0, 0]
}

/// How VERIFY goes about it (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyFlags {
    /// Verify up to the end of data, whatever the length says.
    pub to_end_of_data: bool,
    /// Check logical block protection by the method of the mode page.
    pub protection: bool,
    /// The length counts filemarks.
    pub by_filemarks: bool,
    /// Answer before it is done.
    pub immediate: bool,
}

/// VERIFY(6) of variable blocks (SSC-4), without data from the host.
///
/// # Panics
/// If the length needs more than 24 bits.
#[must_use]
pub fn verify_6(flags: VerifyFlags, len: u32) -> [u8; 6] {
    let [a, b, c] = u24(len);
    let bits = u8::from(flags.to_end_of_data) << 5
        | u8::from(flags.protection) << 4
        | u8::from(flags.by_filemarks) << 3
        | u8::from(flags.immediate) << 2;
    [opcode::VERIFY_6, bits, a, b, c, 0]
}
