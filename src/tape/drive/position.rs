//! Where the drive is, and going elsewhere.

use super::{Drive, DriveError, Position};
use crate::scsi::cdb::ssc::{Destination, SpaceUnit};
use crate::scsi::ssc::{Located, Spaced};
use crate::scsi::{CommandError, Meaning};

impl Drive {
    /// Asks the drive where it is.
    ///
    /// # Errors
    /// [`DriveError`] if it does not know, or failed.
    pub fn position(&mut self) -> Result<Position, DriveError> {
        let long = self.passing_attentions(|drive| match drive.unit.read_position() {
            Err(error) if error.is_unsupported() => Ok(None),
            other => other.map(Some),
        })?;
        self.touch();
        let device = self.device();
        let expected = self.expected.unwrap_or_default();
        let unknown = DriveError::PositionMoved { device, expected, found: None };
        let Some(long) = long else {
            let short = self.passing_attentions(|drive| drive.unit.read_position_short())?;
            let loi = short.object.map(u64::from).ok_or(unknown)?;
            let is_beginning = short.beginning_of_partition;
            let partition = short.partition.into();
            let is_end = short.end_of_partition;
            return Ok(Position { partition, loi, file: None, is_beginning, is_end, is_near_end: is_end });
        };
        Ok(Position {
            partition: long.partition,
            loi: long.object.ok_or(unknown)?,
            file: long.file,
            is_beginning: long.beginning_of_partition,
            is_end: long.end_of_partition,
            is_near_end: long.beyond_programmable_early_warning || long.end_of_partition,
        })
    }

    /// Where the drive was left, if that is known.
    #[must_use]
    pub fn expected_loi(&self) -> Option<u64> {
        self.expected
    }

    /// Checks that the drive is where it was left.
    ///
    /// # Errors
    /// [`DriveError::PositionMoved`] if not: somebody else moved the tape.
    pub fn check_position(&mut self) -> Result<Position, DriveError> {
        let found = self.position()?;
        let Some(expected) = self.expected else {
            let device = self.device();
            return Err(DriveError::PositionMoved { device, expected: 0, found: Some(found.loi) });
        };
        if found.loi != expected || found.partition != 0 {
            self.expected = None;
            let device = self.device();
            return Err(DriveError::PositionMoved { device, expected, found: Some(found.loi) });
        }
        self.is_unchecked = false;
        Ok(found)
    }

    /// Goes in front of block or filemark `loi`, and asks whether it is there.
    ///
    /// # Errors
    /// [`DriveError`] if there is no such block, or the drive failed.
    pub fn locate(&mut self, loi: u64) -> Result<Position, DriveError> {
        // Another program may have left the tape in another partition; to name the partition costs time.
        let partition = match self.expected {
            Some(_) => None,
            None => (self.position_anywhere()? != 0).then_some(0),
        };
        self.expected = None;
        self.counters.locates += 1;
        let located = self.passing_attentions(|drive| drive.locate_object(partition, loi))?;
        let found = self.position()?;
        if located == Located::EndOfData || found.loi != loi {
            let device = self.device();
            return Err(DriveError::BeyondEnd { device, loi, end: Some(found.loi) });
        }
        self.arrived(found)
    }

    /// As [`Drive::locate`], in order to read: a session that is lost on the way is begun again.
    ///
    /// # Errors
    /// As [`Drive::locate`].
    pub fn seek(&mut self, loi: u64) -> Result<(), DriveError> {
        self.resuming(|drive| drive.locate(loi).map(drop))
    }

    /// As [`Drive::seek`], without a motion if the drive was left there.
    ///
    /// # Errors
    /// As [`Drive::locate`].
    pub fn go_to(&mut self, loi: u64) -> Result<(), DriveError> {
        if self.expected == Some(loi) { Ok(()) } else { self.seek(loi) }
    }

    /// Where the drive was left; it is asked if that is not known.
    ///
    /// # Errors
    /// As [`Drive::position`].
    pub fn here(&mut self) -> Result<u64, DriveError> {
        match self.expected {
            Some(loi) => Ok(loi),
            None => self.position().map(|found| found.loi),
        }
    }

    fn arrived(&mut self, found: Position) -> Result<Position, DriveError> {
        if found.partition != 0 {
            let device = self.device();
            return Err(DriveError::PositionMoved { device, expected: found.loi, found: None });
        }
        self.expected = Some(found.loi);
        self.is_unchecked = false;
        Ok(found)
    }

    // The partition, whatever else the drive does not know.
    fn position_anywhere(&mut self) -> Result<u32, DriveError> {
        match self.position() {
            Ok(found) => Ok(found.partition),
            Err(DriveError::PositionMoved { found: None, .. }) => Ok(u32::MAX),
            Err(error) => Err(error),
        }
    }

    fn locate_object(&mut self, partition: Option<u8>, loi: u64) -> Result<Located, CommandError> {
        match self.unit.locate(partition, Destination::Object(loi)) {
            Err(error) if error.meaning() == Some(Meaning::UnsupportedCommand) => match u32::try_from(loi) {
                Ok(object) => self.unit.locate_10(partition, object),
                Err(_) => Err(error),
            },
            other => other,
        }
    }

    /// Goes to the end of data.
    ///
    /// # Errors
    /// [`DriveError::NoEndOfData`] if there is none, or the drive failed.
    pub fn locate_end(&mut self) -> Result<Position, DriveError> {
        self.expected = None;
        self.counters.locates += 1;
        self.passing_attentions(|drive| match drive.unit.locate(None, Destination::EndOfData) {
            Err(error) if error.is_unsupported() => drive.unit.space(SpaceUnit::EndOfData, 0).map(drop),
            other => other.map(drop),
        })?;
        let found = self.position()?;
        self.arrived(found)
    }

    /// As [`Drive::locate_end`], in order to read: a session that is lost on the way is begun again.
    ///
    /// # Errors
    /// As [`Drive::locate_end`].
    pub fn seek_end(&mut self) -> Result<Position, DriveError> {
        self.resuming(Self::locate_end)
    }

    /// Goes to the beginning of a tape file, counted from 0, by the drive's own directory: what lies between need not be
    /// readable. Returns where that is; `None` if there is no such file.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed or does not find tape files.
    pub fn seek_file(&mut self, file: u64) -> Result<Option<u64>, DriveError> {
        self.resuming(|drive| {
            drive.expected = None;
            drive.counters.locates += 1;
            let destination = Destination::File(file);
            let located = drive.passing_attentions(|drive| drive.unit.locate(None, destination))?;
            let found = drive.position()?;
            let found = drive.arrived(found)?;
            Ok((located != Located::EndOfData).then_some(found.loi))
        })
    }

    /// Moves over filemarks, back if `count` is negative: behind the last one, or in front of it when moving
    /// back. Returns whether there were so many. A session that is lost on the way is begun again.
    ///
    /// # Errors
    /// [`DriveError`] if the drive failed.
    pub fn space_filemarks(&mut self, count: i64) -> Result<bool, DriveError> {
        let start = self.expected;
        let spaced = match start {
            None => self.space_from_here(count),
            Some(start) => self.resuming(|drive| {
                if drive.expected != Some(start) {
                    drive.locate(start)?;
                }
                drive.space_from_here(count)
            }),
        };
        // A spot that cannot be read is as bad to pass.
        match spaced {
            Err(DriveError::Command { source })
                if matches!(source.meaning(), Some(Meaning::ReadError | Meaning::MediumError)) =>
            {
                let (device, loi) = (self.device(), start.unwrap_or_default());
                Err(DriveError::ReadFailed { device, loi, source })
            }
            spaced => spaced,
        }
    }

    fn space_from_here(&mut self, count: i64) -> Result<bool, DriveError> {
        self.expected = None;
        self.counters.locates += 1;
        let spaced = self.passing_attentions(|drive| drive.unit.space(SpaceUnit::Filemarks, count))?;
        let found = self.position()?;
        self.arrived(found)?;
        Ok(matches!(spaced, Spaced::Done | Spaced::Filemark { remaining: Some(0) | None }))
    }
}
