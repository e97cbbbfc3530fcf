//! The stream of blocks to the drive, and what it takes to go on after the session was lost.

use crate::checksum::crc32;
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::BLOCK_LEN;
use crate::tape::drive::{AlignedBuffer, Drive, DriveError, Read, Room};

/// Sessions lost one after the other without a block written in between, before the volume is given up.
const RESYNCS_MAX: u32 = 3;

/// Why writing cannot go on as it did.
#[derive(Debug)]
pub(super) enum Fault {
    /// What came after the last commit is not all on tape: it is to be written again behind the end of data.
    Restart(DriveError),
    /// The cartridge takes no more, and nothing after the last commit is certain.
    Lost(DriveError),
    /// The tape ended; nothing after the last commit is certain.
    Overflow,
    /// Something else.
    Error(TapeError),
}

impl From<DriveError> for Fault {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::VolumeOverflow { .. } => Self::Overflow,
            error if error.is_volume_lost() => Self::Lost(error),
            error => Self::Error(error.into()),
        }
    }
}

impl From<TapeError> for Fault {
    fn from(error: TapeError) -> Self {
        Self::Error(error)
    }
}

/// Blocks on their way to the drive.
#[derive(Debug)]
pub(super) struct Out<'d> {
    pub(super) drive: &'d mut Drive,
    block: AlignedBuffer,
    fill: usize,
    // CRC-32 of each block since the last commit; `None` is a filemark.
    uncommitted: Vec<Option<u32>>,
    committed_loi: u64,
    room: Room,
    resyncs: u32,
}

impl<'d> Out<'d> {
    /// Continues where the drive is, which must be the end of data and of a commit.
    pub(super) fn new(drive: &'d mut Drive, committed_loi: u64, room: Room) -> Self {
        Self {
            drive,
            block: AlignedBuffer::new(BLOCK_LEN),
            fill: 0,
            uncommitted: Vec::new(),
            committed_loi,
            room,
            resyncs: 0,
        }
    }

    /// Where the next block or filemark will be; what is in memory not counted.
    pub(super) fn loi(&self) -> u64 {
        self.committed_loi + self.uncommitted.len() as u64
    }

    /// End of the last commit.
    pub(super) fn committed_loi(&self) -> u64 {
        self.committed_loi
    }

    /// How much room is left, as the drive told last.
    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// Appends bytes; full blocks are written.
    pub(super) fn put(&mut self, mut bytes: &[u8], progress: &Progress) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_LEN - self.fill));
            if let Some(target) = self.block.as_mut_slice().get_mut(self.fill..self.fill + now.len()) {
                target.copy_from_slice(now);
            }
            self.fill += now.len();
            bytes = later;
            if self.fill == BLOCK_LEN {
                self.flush(progress)?;
            }
        }
        Ok(())
    }

    /// Appends zeros.
    pub(super) fn put_zeros(&mut self, len: u64, progress: &Progress) -> Result<(), Fault> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut left = len;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            self.put(ZEROS.get(..now).unwrap_or_default(), progress)?;
            left -= now as u64;
        }
        Ok(())
    }

    fn flush(&mut self, progress: &Progress) -> Result<(), Fault> {
        let crc = crc32(&[self.block.as_slice()]);
        let room = loop {
            match self.drive.write_block(self.block.as_slice()) {
                Ok(room) => break room,
                Err(error) => self.recover(error, progress)?,
            }
        };
        self.resyncs = 0;
        self.room = self.room.max(room);
        self.uncommitted.push(Some(crc));
        self.fill = 0;
        Ok(())
    }

    /// Forgets what is in memory: a part is given up in the middle.
    pub(super) fn drop_pending(&mut self) {
        self.fill = 0;
    }

    /// Writes filemarks that end tape files.
    pub(super) fn filemark(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.filemarks(1, false, progress)
    }

    /// Writes filemarks and returns when all is on tape.
    pub(super) fn commit(&mut self, filemarks: u32, progress: &Progress) -> Result<(), Fault> {
        self.filemarks(filemarks, true, progress)?;
        // The drive must be where everything together leads.
        if let Err(error) = self.drive.check_position() {
            self.recover(error, progress)?;
        }
        self.committed_loi = self.loi();
        self.uncommitted.clear();
        Ok(())
    }

    fn filemarks(&mut self, count: u32, is_commit: bool, progress: &Progress) -> Result<(), Fault> {
        let room = loop {
            match self.drive.write_filemarks(count, is_commit) {
                Ok(room) => break room,
                Err(error) => self.recover(error, progress)?,
            }
        };
        self.resyncs = 0;
        self.room = self.room.max(room);
        self.uncommitted.extend((0..count).map(|_| None));
        Ok(())
    }

    /// The drive stood still: it must be where it was left.
    pub(super) fn check_position(&mut self, progress: &Progress) -> Result<(), Fault> {
        match self.drive.check_position() {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error, progress),
        }
    }

    // After a lost session: if all that was written is on tape, the drive is at its end again, and the
    // command that failed can be repeated.
    fn recover(&mut self, error: DriveError, progress: &Progress) -> Result<(), Fault> {
        if !error.is_session_lost() {
            return Err(error.into());
        }
        loop {
            self.resyncs += 1;
            if self.resyncs > RESYNCS_MAX {
                return Err(Fault::Lost(error));
            }
            log::warn!("{error}; looking for what is on tape");
            match self.drive.resync() {
                Ok(()) => break,
                Err(DriveError::SessionLost { .. }) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let end = self.drive.locate_end().map_err(Fault::from)?.loi;
        if end < self.committed_loi {
            return Err(Fault::Lost(error));
        }
        if end != self.loi() || !self.is_tail_whole(progress)? {
            return Err(Fault::Restart(error));
        }
        self.drive.go_to(end).map_err(Fault::from)?;
        Ok(())
    }

    // Reads back what was written since the last commit.
    fn is_tail_whole(&mut self, progress: &Progress) -> Result<bool, Fault> {
        let mut buffer = AlignedBuffer::new(BLOCK_LEN);
        self.drive.go_to(self.committed_loi).map_err(Fault::from)?;
        for expected in &self.uncommitted {
            progress.check().map_err(TapeError::from)?;
            let found = match self.drive.read_block(buffer.as_mut_slice()) {
                Ok(Read::Block(len)) => Some(crc32(&[buffer.as_slice().get(..len).unwrap_or_default()])),
                Ok(Read::Filemark) => None,
                Ok(Read::EndOfData)
                | Err(DriveError::ReadFailed { .. } | DriveError::BlockTooLong { .. }) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            };
            if found != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Begins anew behind the end of data, with a filemark if data ends in a tape file; what came after the
    /// last commit is left lying there. Returns how many filemarks lie there now.
    pub(super) fn restart(&mut self, progress: &Progress) -> Result<u64, Fault> {
        let end = self.drive.locate_end().map_err(Fault::from)?;
        let left = end.loi.saturating_sub(self.committed_loi);
        let left =
            self.uncommitted.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&self.uncommitted);
        let mut filemarks = left.iter().filter(|block| block.is_none()).count() as u64;
        let is_open = left.last().is_some_and(Option::is_some);
        self.fill = 0;
        self.committed_loi = end.loi;
        self.uncommitted.clear();
        if is_open {
            self.filemark(progress)?;
            filemarks += 1;
        }
        Ok(filemarks)
    }
}
