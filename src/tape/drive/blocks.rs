//! Reading and writing of blocks and filemarks.

use std::time::Duration;

use super::setup::PROTECTION_LEN;
use super::{AlignedBuffer, Drive, DriveError, Read, Room};
use crate::checksum::crc32c;
use crate::scsi::ssc::{BlockRead, Written};
use crate::scsi::{CommandError, Meaning, TransportError};

/// Reads of one block before it counts as unreadable.
const READ_ATTEMPTS: u32 = 3;
/// Repetitions of a command that the drive was too busy for or gave up.
const BUSY_ATTEMPTS: u32 = 30;
/// Repetitions of a command for which the operating system had no memory.
const MEMORY_ATTEMPTS: u32 = 100;
const MEMORY_PAUSE: Duration = Duration::from_secs(3);
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What a failed write command comes to.
enum After {
    /// It was executed after all.
    Done,
    /// It was not; it can be repeated.
    Repeat,
}

impl Drive {
    /// Reads the next block. One that is longer than the buffer is an error, with the position in front of
    /// it again; one that cannot be read is tried again, and then passed over by the caller's locate.
    ///
    /// # Errors
    /// [`DriveError`] if it cannot be read.
    pub fn read_block(&mut self, buffer: &mut [u8]) -> Result<Read, DriveError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let start = self.expected;
            let error = match self.read_once(buffer) {
                Ok(read) => {
                    self.touch();
                    if read != Read::EndOfData {
                        self.expected = self.expected.map(|loi| loi + 1);
                    }
                    self.counters.blocks_read += u64::from(matches!(read, Read::Block(_)));
                    return Ok(read);
                }
                Err(error) => error,
            };
            self.expected = None;
            let may_pass = matches!(
                error,
                DriveError::ReadFailed { .. }
                    | DriveError::Protection { .. }
                    | DriveError::SessionLost { .. }
            );
            let Some(loi) = start.filter(|_| may_pass && attempts < READ_ATTEMPTS) else {
                return Err(error);
            };
            self.counters.recoveries += 1;
            log::warn!("{error}; trying again");
            self.is_unset |= error.is_session_lost();
            self.go_to(loi)?;
        }
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<Read, DriveError> {
        let loi = self.expected.unwrap_or_default();
        let len_max_bytes = buffer.len().min(self.block_len_max());
        let result = if self.is_protected {
            self.make_room(len_max_bytes);
            let room = self.protected.as_mut_slice().get_mut(..len_max_bytes + PROTECTION_LEN);
            self.unit.read_block(room.unwrap_or_default())
        } else {
            self.unit.read_block(buffer.get_mut(..len_max_bytes).unwrap_or_default())
        };
        match result {
            Ok(BlockRead::Block { len_bytes }) if self.is_protected => {
                self.take_protected(buffer, len_bytes, loi).map(Read::Block)
            }
            Ok(BlockRead::Block { len_bytes }) => Ok(Read::Block(len_bytes)),
            Ok(BlockRead::LongBlock { len_bytes }) => {
                self.expected = None;
                self.locate(loi)?;
                let crc_len = if self.is_protected { PROTECTION_LEN as u64 } else { 0 };
                let len_bytes = len_bytes.saturating_sub(crc_len);
                Err(DriveError::BlockTooLong { device: self.device(), loi, len_bytes, len_max_bytes })
            }
            Ok(BlockRead::Filemark) => Ok(Read::Filemark),
            Ok(BlockRead::EndOfData) => Ok(Read::EndOfData),
            Err(error) => Err(self.read_error(error, loi)),
        }
    }

    // A block of this length with its CRC fits the buffer for protected blocks after this.
    fn make_room(&mut self, len_bytes: usize) {
        if self.protected.as_slice().len() < len_bytes + PROTECTION_LEN {
            self.protected = AlignedBuffer::new(len_bytes + PROTECTION_LEN);
        }
    }

    fn take_protected(&self, buffer: &mut [u8], len_bytes: usize, loi: u64) -> Result<usize, DriveError> {
        let sent = self.protected.as_slice().get(..len_bytes).unwrap_or_default();
        let (block, stored) =
            sent.split_last_chunk::<PROTECTION_LEN>().unwrap_or((&[], &[0; PROTECTION_LEN]));
        let (stored, computed) = (u32::from_le_bytes(*stored), crc32c(&[block]));
        let device = self.device();
        if stored != computed {
            return Err(DriveError::Protection { device, loi, stored, computed });
        }
        let len_max_bytes = buffer.len();
        let target = buffer.get_mut(..block.len()).ok_or(DriveError::BlockTooLong {
            device,
            loi,
            len_bytes: block.len() as u64,
            len_max_bytes,
        })?;
        target.copy_from_slice(block);
        Ok(block.len())
    }

    fn read_error(&mut self, source: CommandError, loi: u64) -> DriveError {
        let device = self.device();
        match source.meaning() {
            Some(
                Meaning::ReadError
                | Meaning::MediumError
                | Meaning::HardwareError
                | Meaning::ProtectionMismatch
                | Meaning::Aborted
                | Meaning::Unknown,
            ) => DriveError::ReadFailed { device, loi, source },
            Some(Meaning::Encrypted) => DriveError::Encrypted { device, loi },
            Some(meaning) if meaning.is_unit_attention() && meaning != Meaning::MediumChanged => {
                self.note_attention(meaning);
                DriveError::SessionLost { device, source }
            }
            _ => self.failed(source),
        }
    }

    /// Writes a block where the drive was left, and says how much room there is.
    ///
    /// # Errors
    /// [`DriveError`] if it was not written; [`DriveError::TransferLimit`] if it is longer than
    /// [`Drive::block_len_max`]. Whether the volume or the session is lost is for
    /// [`DriveError::is_volume_lost`] and [`DriveError::is_session_lost`] to say.
    pub fn write_block(&mut self, block: &[u8]) -> Result<Room, DriveError> {
        let len_max_bytes = self.block_len_max();
        if block.len() > len_max_bytes {
            let device = self.device();
            return Err(DriveError::TransferLimit { device, len_bytes: block.len(), len_max_bytes });
        }
        if self.is_protected {
            let crc = crc32c(&[block]).to_le_bytes();
            self.make_room(block.len());
            let sent = self.protected.as_mut_slice();
            let (target, rest) = sent.split_at_mut_checked(block.len()).unwrap_or_default();
            target.copy_from_slice(block.get(..target.len()).unwrap_or_default());
            if let Some(target) = rest.first_chunk_mut::<PROTECTION_LEN>() {
                *target = crc;
            }
        }
        let len = block.len() + if self.is_protected { PROTECTION_LEN } else { 0 };
        let room = self.write_command(1, |drive| {
            if drive.is_protected {
                let sent = drive.protected.as_slice().get(..len).unwrap_or_default();
                drive.unit.write_block(sent)
            } else {
                drive.unit.write_block(block)
            }
        })?;
        self.counters.blocks_written += 1;
        Ok(room)
    }

    /// Writes filemarks. With `is_commit`, all that was written is on tape when it returns.
    ///
    /// # Errors
    /// As [`Drive::write_block`].
    pub fn write_filemarks(&mut self, count: u32, is_commit: bool) -> Result<Room, DriveError> {
        let room =
            self.write_command(u64::from(count), |drive| drive.unit.write_filemarks(count, !is_commit))?;
        self.counters.filemarks_written += u64::from(count);
        Ok(room)
    }

    // Sends a command that moves the position by `step` when it was executed.
    fn write_command(
        &mut self,
        step: u64,
        mut command: impl FnMut(&mut Self) -> Result<Written, CommandError>,
    ) -> Result<Room, DriveError> {
        let has_paused = self.clock.now().saturating_sub(self.last_command_at) > self.options.stall;
        if self.is_unchecked || has_paused || self.expected.is_none() {
            self.check_position()?;
        }
        let start = self.expected.unwrap_or_default();
        let mut attempts = 0;
        loop {
            let result = command(self);
            self.touch();
            let room = match result {
                Ok(written) => room_of(written),
                Err(error) => {
                    attempts += 1;
                    self.counters.recoveries += 1;
                    match self.after_failed_write(error, start, step, attempts)? {
                        After::Repeat => continue,
                        After::Done => Room::Plenty,
                    }
                }
            };
            self.expected = Some(start + step);
            return Ok(room);
        }
    }

    // Decides what a failed write command comes to, by the table of sense data and the position.
    fn after_failed_write(
        &mut self,
        source: CommandError,
        start: u64,
        step: u64,
        attempts: u32,
    ) -> Result<After, DriveError> {
        let device = self.device();
        let lost = |source| DriveError::SessionLost { device: device.clone(), source };
        match (&source, source.meaning()) {
            (_, Some(Meaning::VolumeOverflow)) => {
                self.expected = None;
                Err(DriveError::VolumeOverflow { device, loi: start })
            }
            (
                _,
                Some(
                    Meaning::WriteError
                    | Meaning::MediumError
                    | Meaning::HardwareError
                    | Meaning::ProtectionMismatch
                    | Meaning::ReadError
                    | Meaning::Unknown,
                ),
            ) => {
                self.expected = None;
                Err(DriveError::WriteFailed { device, loi: start, source })
            }
            // An earlier command had trouble and got over it; this one was not executed.
            (CommandError::Check { sense, .. }, _) if sense.deferred && sense.key.number() <= 1 => {
                self.repeat_if_at(start, step, attempts <= BUSY_ATTEMPTS, source)
            }
            (_, Some(Meaning::Aborted)) => self.repeat_if_at(start, step, attempts <= 3, source),
            (
                _,
                Some(Meaning::ParametersChanged | Meaning::OtherUnitAttention | Meaning::OperatorRequest),
            ) => {
                self.set_up_modes()?;
                self.repeat_if_at(start, step, attempts <= BUSY_ATTEMPTS, source)
            }
            (_, Some(Meaning::ReservationLost)) => {
                self.reserve()?;
                self.repeat_if_at(start, step, attempts <= BUSY_ATTEMPTS, source)
            }
            (CommandError::Status { .. }, _) if !source.is_reservation_conflict() => {
                self.clock.sleep(BUSY_PAUSE);
                self.repeat_if_at(start, step, attempts <= BUSY_ATTEMPTS, source)
            }
            (CommandError::Transport { source: TransportError::NoMemory { .. }, .. }, _) => {
                self.clock.sleep(MEMORY_PAUSE);
                self.repeat_if_at(start, step, attempts <= MEMORY_ATTEMPTS, source)
            }
            (CommandError::Transport { .. }, _) => {
                self.expected = None;
                Err(lost(source))
            }
            _ => {
                self.expected = None;
                Err(self.failed(source))
            }
        }
    }

    // The position tells whether the command was executed.
    fn repeat_if_at(
        &mut self,
        start: u64,
        step: u64,
        is_allowed: bool,
        source: CommandError,
    ) -> Result<After, DriveError> {
        let found = self.position()?.loi;
        if found == start && is_allowed {
            return Ok(After::Repeat);
        }
        if found == start.saturating_add(step) && step > 0 {
            return Ok(After::Done);
        }
        self.expected = None;
        Err(DriveError::SessionLost { device: self.device(), source })
    }
}

fn room_of(written: Written) -> Room {
    if written.early_warning {
        Room::AtEnd
    } else if written.programmable_early_warning {
        Room::NearEnd
    } else {
        Room::Plenty
    }
}
