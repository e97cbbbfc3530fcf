//! Commands to a drive, with variable blocks: the methods of a stream device (SSC-4).

mod density;
mod position;

pub use density::{Density, parse_densities};
pub use position::{BufferedPosition, Position, ShortPosition};

use super::cdb::ssc as cdb;
use super::cdb::ssc::{Destination, LoadFlags, PositionForm, SpaceUnit, VerifyFlags};
use super::fields::Fields;
use super::meaning::Meaning;
use super::opcode;
use super::transport::Data;
use super::unit::{CommandError, Completion, LogicalUnit};
use crate::codec::DecodeError;

/// Longest block or count that a six-byte command can name.
const LEN_24_MAX: usize = (1 << 24) - 1;
/// As much as a drive says about densities: twenty of 52 bytes, with room.
const DENSITIES_LEN_MAX: u16 = 4096;

/// What a read met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockRead {
    /// A block that fits the buffer: its first `len_bytes` bytes are the block; the position is behind it.
    Block {
        /// Length of the block.
        len_bytes: usize,
    },
    /// A block that is longer than the buffer, whose content does not count; the position is behind it.
    LongBlock {
        /// Length of the block.
        len_bytes: u64,
    },
    /// A filemark; the position is behind it.
    Filemark,
    /// The end of data; the position is in front of it.
    EndOfData,
}

/// What a drive said about a write that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The end of the partition is near: only what closes the volume may follow.
    pub early_warning: bool,
    /// The programmable early warning was passed.
    pub programmable_early_warning: bool,
    /// The drive wants to be cleaned.
    pub cleaning_requested: bool,
    /// The drive had trouble, and got over it.
    pub recovered: bool,
}

/// Where a SPACE ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spaced {
    /// At the end of the count.
    Done,
    /// At a filemark, while counting blocks: behind it, or in front of it when moving back.
    Filemark {
        /// What is left of the count, if the drive says.
        remaining: Option<u64>,
    },
    /// At the end of data.
    EndOfData {
        /// What is left of the count, if the drive says.
        remaining: Option<u64>,
    },
    /// At the beginning of the partition.
    BeginningOfPartition {
        /// What is left of the count, if the drive says.
        remaining: Option<u64>,
    },
}

/// Where a LOCATE ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Located {
    /// Where it should; devices err, so ask for the position.
    Done,
    /// At the end of data, which lies before the destination.
    EndOfData,
}

/// Lengths of blocks that a drive can do (SSC-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLimits {
    /// Every length is a multiple of 2 to the power of this.
    pub granularity: u8,
    /// Longest block in bytes.
    pub max_bytes: u32,
    /// Shortest block in bytes.
    pub min_bytes: u16,
}

impl BlockLimits {
    /// Decodes the reply to READ BLOCK LIMITS.
    ///
    /// # Errors
    /// [`DecodeError`] if it is short.
    pub fn parse(reply: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("block limits", reply);
        Ok(Self { granularity: fields.u8(0)? & 0x1f, max_bytes: fields.u24(1)?, min_bytes: fields.u16(4)? })
    }
}

impl LogicalUnit {
    /// Asks which lengths of blocks the drive can do.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn read_block_limits(&mut self) -> Result<BlockLimits, CommandError> {
        let reply = self.query(&cdb::read_block_limits(), 6)?;
        self.decoded(opcode::READ_BLOCK_LIMITS, BlockLimits::parse(&reply))
    }

    /// Reads the next block, of any length up to that of the buffer.
    ///
    /// # Errors
    /// [`CommandError`] if nothing was read: [`Meaning::ReadError`] leaves the position unknown.
    pub fn read_block(&mut self, buffer: &mut [u8]) -> Result<BlockRead, CommandError> {
        let len = buffer.len();
        let cdb = cdb::read_6(false, false, self.len_24(opcode::READ_6, len)?);
        match self.execute(&cdb, Data::In(buffer)) {
            Ok(completion) => Ok(self.block_read(len, &completion)),
            Err(error) if error.meaning() == Some(Meaning::EndOfData) => Ok(BlockRead::EndOfData),
            Err(error) => Err(error),
        }
    }

    // What was read is told by the sense data alone: host adapters and bridges get the residual wrong.
    fn block_read(&mut self, asked: usize, completion: &Completion) -> BlockRead {
        let Some(sense) = completion.sense else {
            return BlockRead::Block { len_bytes: asked };
        };
        match sense.meaning() {
            Meaning::Filemark => return BlockRead::Filemark,
            Meaning::EndOfData => return BlockRead::EndOfData,
            _ if sense.filemark => return BlockRead::Filemark,
            _ if !sense.incorrect_length => return BlockRead::Block { len_bytes: asked },
            _ => {}
        }
        let Some(information) = sense.information else {
            return BlockRead::Block { len_bytes: completion.transferred_bytes };
        };
        let missing = usize::try_from(information);
        match missing.ok().and_then(|missing| asked.checked_sub(missing)) {
            Some(len_bytes) => {
                self.compare_residual(len_bytes, completion.transferred_bytes);
                BlockRead::Block { len_bytes }
            }
            None => {
                BlockRead::LongBlock { len_bytes: (asked as u64).saturating_add(information.unsigned_abs()) }
            }
        }
    }

    /// Writes a block at the present position; all that was behind it is gone.
    ///
    /// # Errors
    /// [`CommandError`] if it was not written: [`Meaning::VolumeOverflow`] at the end of the medium,
    /// [`Meaning::Deferred`] if an earlier write failed.
    pub fn write_block(&mut self, block: &[u8]) -> Result<Written, CommandError> {
        let cdb = cdb::write_6(false, self.len_24(opcode::WRITE_6, block.len())?);
        self.execute(&cdb, Data::Out(block)).map(|completion| written(&completion))
    }

    /// Writes `count` filemarks. Unless `immediate`, everything written so far is on tape when it ends:
    /// this is the commit. A count of zero only flushes.
    ///
    /// # Errors
    /// As [`LogicalUnit::write_block`].
    pub fn write_filemarks(&mut self, count: u32, immediate: bool) -> Result<Written, CommandError> {
        let len = self.len_24(opcode::WRITE_FILEMARKS_6, count as usize)?;
        let cdb = cdb::write_filemarks_6(immediate, len);
        self.execute(&cdb, Data::None).map(|completion| written(&completion))
    }

    /// Moves over blocks or filemarks, back if `count` is negative.
    ///
    /// # Errors
    /// [`CommandError`] if the drive failed; ends of data and of partitions are no errors.
    pub fn space(&mut self, unit: SpaceUnit, count: i64) -> Result<Spaced, CommandError> {
        let small = i32::try_from(count).ok().filter(|count| (-(1 << 23)..1 << 23).contains(count));
        let result = match small {
            Some(count) => self.execute(&cdb::space_6(unit, count), Data::None),
            None => self.execute(&cdb::space_16(unit, count), Data::None),
        };
        let (sense, failure) = match result {
            Ok(completion) => (completion.sense, None),
            Err(error) => (error.sense().copied(), Some(error)),
        };
        let remaining = sense.and_then(|sense| sense.information).map(i64::unsigned_abs);
        match (sense.map(|sense| sense.meaning()), failure) {
            (Some(Meaning::EndOfData), _) => Ok(Spaced::EndOfData { remaining }),
            (_, Some(error)) => Err(error),
            (Some(Meaning::Filemark), None) => Ok(Spaced::Filemark { remaining }),
            (Some(Meaning::BeginningOfPartition), None) => Ok(Spaced::BeginningOfPartition { remaining }),
            // Devices that set the bit without the code; backward, there is no early warning.
            (Some(Meaning::EarlyWarning), None) if count < 0 => {
                Ok(Spaced::BeginningOfPartition { remaining })
            }
            (_, None) => Ok(Spaced::Done),
        }
    }

    /// Goes to a place; changes the partition if one is given.
    ///
    /// # Errors
    /// [`CommandError`] if the drive failed, or lacks LOCATE(16).
    pub fn locate(
        &mut self,
        partition: Option<u8>,
        destination: Destination,
    ) -> Result<Located, CommandError> {
        located(self.execute(&cdb::locate_16(partition, destination), Data::None))
    }

    /// Goes to a logical object with the short command, for drives that lack LOCATE(16).
    ///
    /// # Errors
    /// [`CommandError`] if the drive failed.
    pub fn locate_10(&mut self, partition: Option<u8>, object: u32) -> Result<Located, CommandError> {
        located(self.execute(&cdb::locate_10(partition, object), Data::None))
    }

    /// Asks for the position, in the long form: logical object and logical file.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn read_position(&mut self) -> Result<Position, CommandError> {
        let reply = self.query(&cdb::read_position(PositionForm::Long), 32)?;
        self.decoded(opcode::READ_POSITION, Position::parse(&reply))
    }

    /// Asks for the position, in the short form, for drives that lack the long one.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn read_position_short(&mut self) -> Result<ShortPosition, CommandError> {
        let reply = self.query(&cdb::read_position(PositionForm::Short), 20)?;
        self.decoded(opcode::READ_POSITION, ShortPosition::parse(&reply))
    }

    /// Asks what of the data is on tape and what only in the drive's buffer.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn read_buffered_position(&mut self) -> Result<BufferedPosition, CommandError> {
        let reply = self.query(&cdb::read_position(PositionForm::Extended), 32)?;
        self.decoded(opcode::READ_POSITION, BufferedPosition::parse(&reply))
    }

    /// Goes to the beginning of the partition.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn rewind(&mut self, immediate: bool) -> Result<(), CommandError> {
        self.execute(&cdb::rewind(immediate), Data::None).map(drop)
    }

    /// Loads or unloads the cartridge.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done; [`Meaning::MediumChanged`] tells of the load itself.
    pub fn load_unload(&mut self, flags: LoadFlags) -> Result<(), CommandError> {
        self.execute(&cdb::load_unload(flags), Data::None).map(drop)
    }

    /// Makes the present position the end of data; with `long`, erases all that follows.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn erase(&mut self, long: bool, immediate: bool) -> Result<(), CommandError> {
        self.execute(&cdb::erase_6(long, immediate), Data::None).map(drop)
    }

    /// Formats the cartridge: 0 for one partition, 1 to partition by the mode page, 2 for both.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn format_medium(&mut self, format: u8, immediate: bool) -> Result<(), CommandError> {
        self.execute(&cdb::format_medium(immediate, format), Data::None).map(drop)
    }

    /// Uses only a part of the medium, in units of 1/65535; FFFFh is all of it.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn set_capacity(&mut self, proportion: u16) -> Result<(), CommandError> {
        self.execute(&cdb::set_capacity(false, proportion), Data::None).map(drop)
    }

    /// Asks which densities the drive knows, or which the loaded cartridge has.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn report_density_support(&mut self, of_medium: bool) -> Result<Vec<Density>, CommandError> {
        let cdb = cdb::report_density_support(of_medium, DENSITIES_LEN_MAX);
        let reply = self.query(&cdb, DENSITIES_LEN_MAX.into())?;
        self.decoded(opcode::REPORT_DENSITY_SUPPORT, parse_densities(&reply))
    }

    /// Allows the next write at this object of an append-only volume.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done.
    pub fn allow_overwrite(&mut self, partition: u8, object: u64) -> Result<(), CommandError> {
        self.execute(&cdb::allow_overwrite(partition, object), Data::None).map(drop)
    }

    /// Lets the drive read by itself and check.
    ///
    /// # Errors
    /// [`CommandError`] if the command was not done, or what was read is bad.
    pub fn verify(&mut self, flags: VerifyFlags, len: u32) -> Result<BlockRead, CommandError> {
        let cdb = cdb::verify_6(flags, self.len_24(opcode::VERIFY_6, len as usize)?);
        match self.execute(&cdb, Data::None) {
            Ok(completion) => Ok(self.block_read(len as usize, &completion)),
            Err(error) if error.meaning() == Some(Meaning::EndOfData) => Ok(BlockRead::EndOfData),
            Err(error) => Err(error),
        }
    }

    fn len_24(&self, operation_code: u8, len: usize) -> Result<u32, CommandError> {
        match u32::try_from(len) {
            Ok(short) if len <= LEN_24_MAX => Ok(short),
            _ => Err(self.too_long(operation_code, len, LEN_24_MAX)),
        }
    }
}

fn written(completion: &Completion) -> Written {
    let meaning = completion.meaning();
    let end_of_medium = completion.sense.is_some_and(|sense| sense.end_of_medium);
    let programmable = meaning == Meaning::ProgrammableEarlyWarning;
    Written {
        // The bit counts, not the code: devices send it with 00/00.
        early_warning: meaning == Meaning::EarlyWarning || end_of_medium && !programmable,
        programmable_early_warning: programmable,
        cleaning_requested: meaning == Meaning::CleaningRequested,
        recovered: meaning == Meaning::Recovered,
    }
}

fn located(result: Result<Completion, CommandError>) -> Result<Located, CommandError> {
    match result {
        Ok(completion) if completion.meaning() == Meaning::EndOfData => Ok(Located::EndOfData),
        Ok(_) => Ok(Located::Done),
        Err(error) if error.meaning() == Some(Meaning::EndOfData) => Ok(Located::EndOfData),
        Err(error) => Err(error),
    }
}
