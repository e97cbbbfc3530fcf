//! Finding back after a reset, a timeout or a lost connection (tape.md, 2.3): the drive is asked who it is,
//! and the cartridge too, before anything is done.

use std::time::Duration;

use super::{AlignedBuffer, Drive, DriveError, Read};
use crate::checksum::crc32;
use crate::scsi::{CommandError, Meaning};

/// Attempts to reach the drive again.
const CONNECT_ATTEMPTS: u32 = 5;
/// Attempts at a motion in whose course the session is lost.
const RESUME_ATTEMPTS: u32 = 4;
const CONNECT_PAUSE: Duration = Duration::from_secs(2);

impl Drive {
    /// Remembers the next block as the one by which the cartridge is known again, and reads it.
    ///
    /// # Errors
    /// [`DriveError`] if it cannot be read.
    pub fn read_mark(&mut self, buffer: &mut [u8]) -> Result<Read, DriveError> {
        let loi = self.expected;
        let read = self.read_block(buffer)?;
        if let (Some(loi), Read::Block(len)) = (loi, read) {
            self.mark = Some((loi, crc32(&[buffer.get(..len).unwrap_or_default()])));
        }
        Ok(read)
    }

    /// Makes the session as it was: connection, identity of the drive, reservation, modes, early warning, the lock of the
    /// cartridge, its identity. The position is unknown afterwards.
    ///
    /// # Errors
    /// [`DriveError`] if the drive cannot be reached, or drive or cartridge is another one.
    pub fn resync(&mut self) -> Result<(), DriveError> {
        self.counters.recoveries += 1;
        self.expected = None;
        self.is_unchecked = true;
        self.reach()?;
        let identity = self.read_identity()?;
        if identity.serial != self.identity.serial || identity.product != self.identity.product {
            return Err(DriveError::OtherDrive {
                device: self.device(),
                expected: self.identity.serial.clone(),
                found: identity.serial,
            });
        }
        self.reserve()?;
        self.wait_ready(&crate::progress::Progress::new())?;
        if self.is_removal_prevented {
            self.set_removal_prevented(true)?;
        }
        self.check_mark()
    }

    /// Forgets by which block the cartridge is known: it is about to be written over.
    pub fn forget_mark(&mut self) {
        self.mark = None;
    }

    /// Does what reads or goes elsewhere, and begins the session again if it is lost meanwhile. Not for what writes: what
    /// was only buffered is lost with the session.
    pub(super) fn resuming<T>(
        &mut self,
        mut motion: impl FnMut(&mut Self) -> Result<T, DriveError>,
    ) -> Result<T, DriveError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let done = if self.is_unset { self.resync() } else { Ok(()) };
            let error = match done.and_then(|()| motion(self)) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if attempts >= RESUME_ATTEMPTS || !self.may_resume(&error) {
                return Err(error);
            }
            log::warn!("{error}; beginning the session again");
            self.expected = None;
            self.is_unset = true;
        }
    }

    // Another cartridge in the drive would be noticed only if this one is known by a block.
    fn may_resume(&self, error: &DriveError) -> bool {
        match error {
            DriveError::MediumChanged { .. } => self.mark.is_some(),
            error => error.is_session_lost(),
        }
    }

    // Asks until there is an answer; connects again if the connection is gone.
    fn reach(&mut self) -> Result<(), DriveError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.settle() {
                Ok(()) => return Ok(()),
                Err(error @ DriveError::SessionLost { .. }) if attempts < CONNECT_ATTEMPTS => error,
                Err(error) => return Err(error),
            };
            log::warn!("{error}; connecting again");
            self.clock.sleep(CONNECT_PAUSE);
            let is_gone =
                matches!(error, DriveError::SessionLost { source: CommandError::Transport { .. }, .. });
            if let Some(connect) = self.connect.as_mut().filter(|_| is_gone) {
                match connect.connect() {
                    Ok(transport) => self.unit.reconnect(transport),
                    Err(source) if attempts + 1 < CONNECT_ATTEMPTS => log::warn!("{source}"),
                    Err(source) => return Err(DriveError::Reconnect { device: self.device(), source }),
                }
            }
        }
    }

    // The block by which the cartridge is known must be what it was.
    fn check_mark(&mut self) -> Result<(), DriveError> {
        let Some((loi, crc)) = self.mark else {
            return Ok(());
        };
        let mut buffer = AlignedBuffer::new(crate::tape::archive::BLOCK_LEN);
        let mut found = None;
        for _ in 0..2 {
            match self.locate(loi).and_then(|_| self.read_plain(buffer.as_mut_slice())) {
                Ok(Read::Block(len)) => {
                    found = Some(crc32(&[buffer.as_slice().get(..len).unwrap_or_default()]));
                    break;
                }
                Ok(_) | Err(DriveError::BeyondEnd { .. }) => break,
                Err(DriveError::MediumChanged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.expected = None;
        if found == Some(crc) { Ok(()) } else { Err(DriveError::MediumChanged { device: self.device() }) }
    }

    // A read that does not call for another resync.
    fn read_plain(&mut self, buffer: &mut [u8]) -> Result<Read, DriveError> {
        let is_protected = self.is_protected;
        let len = if is_protected { self.protected.as_slice().len() } else { buffer.len() };
        let result = if is_protected {
            self.unit.read_block(self.protected.as_mut_slice())
        } else {
            self.unit.read_block(buffer)
        };
        match result {
            Ok(crate::scsi::ssc::BlockRead::Block { len_bytes }) if is_protected => {
                let sent = self.protected.as_slice().get(..len_bytes.saturating_sub(4)).unwrap_or_default();
                let target = buffer.get_mut(..sent.len()).unwrap_or_default();
                target.copy_from_slice(sent.get(..target.len()).unwrap_or_default());
                Ok(Read::Block(sent.len()))
            }
            Ok(crate::scsi::ssc::BlockRead::Block { len_bytes }) => Ok(Read::Block(len_bytes.min(len))),
            Ok(crate::scsi::ssc::BlockRead::Filemark) => Ok(Read::Filemark),
            Ok(_) => Ok(Read::EndOfData),
            Err(error) if error.meaning() == Some(Meaning::Reset) => {
                Err(DriveError::SessionLost { device: self.device(), source: error })
            }
            Err(error) => Err(self.failed(error)),
        }
    }
}
