//! Writing a cartridge: labelling, and appending objects behind the newest index.
//!
//! An object is cut into segments of at most 1 GiB; a segment is one entry of an archive and never spans
//! cartridges. A commit is a partial index and a filemark that returns when everything is on tape. What was
//! written since the last commit is not certain before: if it is lost, it is read and written again.

mod commit;
mod label;
mod out;
mod part;
mod ring;
mod session;
mod stream;
mod water;

use std::time::Duration;

pub use label::{check_label, label};
pub use session::{Ended, Overwrite, Place, Session, WriterOptions};

use self::out::{Fault, Out};
use self::part::OpenPart;
use super::archive::{BLOCK_LEN, BlockAddress, IndexHeader, Lacking, SegmentEntry, VolumeDescription};
use super::drive::{Drive, DriveError, Room};
use super::reader::{IndexState, VolumeIndex, VolumeReader};
use super::{Objects, TapeError};
use crate::id::FileId;
use crate::progress::Progress;

/// How often what came after the last commit is written again before the cartridge is given up.
const RESTARTS_MAX: u32 = 3;
/// Distance of the programmable early warning, in units of 10^6 bytes: a segment, closing indexes, and room.
const EARLY_WARNING_MB: u64 = 2048;
/// Room that is kept besides what is known to be needed, in bytes.
const MARGIN_BYTES: u64 = 64 << 20;
/// Attempts to find the end of a cartridge in whose course the session is lost.
const PREPARE_ATTEMPTS: u32 = 4;
/// Bytes that a segment takes in an index, as an estimate from above for names of usual length.
const INDEX_LINE_LEN: u64 = 400;

/// A cartridge of ours, open for writing at its end.
#[derive(Debug)]
pub struct VolumeWriter<'d> {
    out: Out<'d>,
    description: VolumeDescription,
    session: Session,
    options: WriterOptions,
    opened_at: Duration,
    retain_until_seconds: Option<i64>,
    // The newest index has an earlier end of retention, or none.
    is_retained_longer: bool,
    // Committed: number and place of the newest index, what is in it and before it.
    index_header: Option<IndexHeader>,
    // What the set lacks: as the newest index says, until the caller says something else.
    lacking: Option<Lacking>,
    index_number: u64,
    index_loi: Option<u64>,
    segments: Vec<SegmentEntry>,
    committed_file: u64,
    committed_manifest: Option<BlockAddress>,
    committed_at: Duration,
    // Whole on tape, but in no index yet; the first of them were found there.
    unindexed: Vec<SegmentEntry>,
    recovered_count: usize,
    uncommitted_bytes: u64,
    part: Option<OpenPart>,
    next_file: u64,
    last_manifest: Option<BlockAddress>,
    // Remaining capacity when the session began, if the drive tells.
    remaining_bytes: Option<u64>,
    margin_bytes: u64,
    start_loi: u64,
    pauses: u64,
    is_changed: bool,
    is_closed: bool,
    is_given_up: bool,
}

/// A cartridge that can be written, the drive at its end.
struct Prepared {
    description: VolumeDescription,
    index: VolumeIndex,
    room: Room,
    remaining_bytes: Option<u64>,
    margin_bytes: u64,
}

fn prepare(drive: &mut Drive, volume: FileId, progress: &Progress) -> Result<Prepared, TapeError> {
    let device = drive.name().to_owned();
    let mut reader = VolumeReader::open(drive)?;
    let description = reader.description().clone();
    if description.volume != volume {
        return Err(TapeError::WrongVolume { device, expected: volume, found: description.volume });
    }
    let index = reader.index(progress)?;
    let medium = drive.medium()?;
    if medium.is_write_protected {
        return Err(DriveError::WriteProtected { device }.into());
    }
    drive.set_removal_prevented(true)?;
    if index.is_end_missing {
        log::warn!("{device}: no end of data; giving it one in front of block {}", index.end_loi);
        drive.repair_end(index.end_loi, progress)?;
    }
    let early_warning_mb = medium.capacity_mb.map_or(EARLY_WARNING_MB, |mb| EARLY_WARNING_MB.min(mb / 16));
    drive.set_early_warning(u16::try_from(early_warning_mb.max(1)).unwrap_or(u16::MAX))?;
    let end = drive.locate_end()?;
    if end.loi != index.end_loi {
        return Err(TapeError::EndMoved { device, expected: index.end_loi, found: end.loi });
    }
    let room = match (end.is_end, end.is_near_end) {
        (true, _) => Room::AtEnd,
        (false, true) => Room::NearEnd,
        (false, false) => Room::Plenty,
    };
    let margin_bytes = medium.capacity_mb.map_or(MARGIN_BYTES, |mb| MARGIN_BYTES.min(mb * 1_000_000 / 32));
    let remaining_bytes = medium.remaining_mb.map(|mb| mb.saturating_mul(1_000_000));
    Ok(Prepared { description, index, room, remaining_bytes, margin_bytes })
}

impl<'d> VolumeWriter<'d> {
    /// Checks that the cartridge is `volume` and can be written, finds its newest index, closes what an
    /// earlier session left open, and goes to the end of data.
    ///
    /// # Errors
    /// [`TapeError`] if it is another cartridge or cannot be written, or data does not end where the
    /// newest index says.
    pub fn append(
        drive: &'d mut Drive,
        volume: FileId,
        session: Session,
        options: WriterOptions,
        progress: &Progress,
    ) -> Result<Self, TapeError> {
        let mut attempts = 0;
        let found = loop {
            attempts += 1;
            match prepare(drive, volume, progress) {
                // Nothing is written yet.
                Err(TapeError::Drive(error)) if error.is_session_lost() && attempts < PREPARE_ATTEMPTS => {
                    log::warn!("{error}; beginning the session again");
                    drive.resync()?;
                }
                prepared => break prepared?,
            }
        };
        let Prepared { description, index, room, remaining_bytes, margin_bytes } = found;
        let mut writer =
            Self::new(drive, description, session, options, index, room, remaining_bytes, margin_bytes);
        writer.end_torn_file(progress).map_err(|fault| writer.error_of(fault))?;
        Ok(writer)
    }

    #[expect(clippy::too_many_arguments, reason = "they are the fields of what it makes")]
    fn new(
        drive: &'d mut Drive,
        description: VolumeDescription,
        session: Session,
        options: WriterOptions,
        index: VolumeIndex,
        room: Room,
        remaining_bytes: Option<u64>,
        margin_bytes: u64,
    ) -> Self {
        let now = drive.clock().now();
        let retained = index.header.as_ref().and_then(|header| header.retain_until_seconds);
        // What lies behind the newest index is in none.
        let indexed_until = index.index_loi.unwrap_or(0);
        let (segments, unindexed): (Vec<_>, Vec<_>) =
            index.segments.into_iter().partition(|entry| entry.address.loi < indexed_until);
        Self {
            is_changed: index.needs_filemark,
            out: Out::new(drive, index.end_loi, room),
            opened_at: now,
            retain_until_seconds: session.retain_until_seconds.max(retained),
            is_retained_longer: session.retain_until_seconds > retained,
            index_number: index.header.as_ref().map_or(0, |header| header.number),
            lacking: index.header.as_ref().and_then(|header| header.lacking.clone()),
            index_header: index.header,
            index_loi: index.index_loi,
            segments,
            committed_file: index.next_file,
            committed_manifest: index.last_manifest,
            committed_at: now,
            recovered_count: unindexed.len(),
            unindexed,
            uncommitted_bytes: 0,
            part: None,
            // The filemark that ends a torn file is still to be written.
            next_file: index.next_file,
            last_manifest: index.last_manifest,
            remaining_bytes,
            margin_bytes,
            start_loi: index.end_loi,
            pauses: 0,
            is_closed: index.state == IndexState::Closed,
            is_given_up: false,
            description,
            session,
            options,
        }
    }

    fn end_torn_file(&mut self, progress: &Progress) -> Result<(), Fault> {
        if self.is_changed {
            self.out.filemark(progress)?;
        }
        Ok(())
    }

    /// What the cartridge is.
    #[must_use]
    pub fn description(&self) -> &VolumeDescription {
        &self.description
    }

    /// What is committed, in the order of the tape, earlier sessions included.
    #[must_use]
    pub fn committed(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// What is whole on tape and in no index yet, because an earlier session was cut short: the next commit has it.
    #[must_use]
    pub fn recovered(&self) -> &[SegmentEntry] {
        self.unindexed.get(..self.recovered_count).unwrap_or_default()
    }

    /// Whether the newest index says that the set goes on with another cartridge.
    #[must_use]
    pub fn is_continued(&self) -> bool {
        self.index_header.as_ref().is_some_and(|header| header.is_continued)
    }

    /// Says what the set lacks; the indexes that follow tell it.
    pub fn set_lacking(&mut self, lacking: Lacking) {
        self.lacking = Some(lacking);
    }

    /// How often the drive had to wait for data after it had started.
    #[must_use]
    pub fn pauses(&self) -> u64 {
        self.pauses
    }

    /// Bytes that the cartridge can still take for objects, as far as the drive tells.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        let written = (self.out.loi() - self.start_loi).saturating_mul(BLOCK_LEN as u64);
        self.remaining_bytes.map(|bytes| bytes.saturating_sub(written).saturating_sub(self.reserve_bytes()))
    }

    // The present time by the clock of the session.
    fn now_seconds(&self) -> i64 {
        let passed = self.out.drive.clock().now().saturating_sub(self.opened_at).as_secs();
        self.session.now_seconds.saturating_add(i64::try_from(passed).unwrap_or(0))
    }

    // A partial index, the closing one twice, and what an estimate may be wrong by.
    fn reserve_bytes(&self) -> u64 {
        let count = (self.segments.len() + self.unindexed.len()) as u64 + 1;
        let index = (count * INDEX_LINE_LEN).next_multiple_of(BLOCK_LEN as u64) + BLOCK_LEN as u64;
        3 * index + self.margin_bytes
    }

    /// Writes objects from a place on and commits. Returns the place of the first segment that is not
    /// committed on this cartridge.
    ///
    /// # Errors
    /// [`TapeError`] if the drive failed, or `progress` was cancelled; what was committed before stays, see [`VolumeWriter::committed`].
    pub fn write(
        &mut self,
        objects: &dyn Objects,
        from: Place,
        progress: &Progress,
    ) -> Result<(Ended, Place), TapeError> {
        let mut place = from;
        if self.is_given_up {
            return Ok((Ended::Full, place));
        }
        self.abandon_part(progress).map_err(|fault| self.error_of(fault))?;
        let mut restarts = 0;
        loop {
            let fault = match self.run(objects, &mut place, progress) {
                Ok(ended) => return Ok((ended, place)),
                Err(fault) => fault,
            };
            let fault = match fault {
                Fault::Restart(error) if restarts >= RESTARTS_MAX => Fault::Lost(error),
                Fault::Restart(error) => {
                    log::warn!("{error}; writing again what came after the last commit");
                    restarts += 1;
                    match self.restart(progress) {
                        Ok(()) => continue,
                        Err(fault) => fault,
                    }
                }
                other => other,
            };
            match fault {
                Fault::Lost(error) | Fault::Restart(error) => {
                    self.is_given_up = true;
                    return Ok((Ended::Lost(error), place));
                }
                Fault::Overflow => {
                    self.is_given_up = true;
                    return Ok((Ended::Full, place));
                }
                Fault::Error(error) => return Err(error),
            }
        }
    }

    fn error_of(&self, fault: Fault) -> TapeError {
        let device = self.out.drive.name().to_owned();
        match fault {
            Fault::Error(error) => error,
            Fault::Overflow => TapeError::Full { device },
            Fault::Restart(error) | Fault::Lost(error) => TapeError::VolumeLost {
                device,
                committed_loi: self.out.committed_loi(),
                source: Box::new(error),
            },
        }
    }

    // Everything since the last commit is void; what is on tape of it stays there as a torn tape file.
    fn restart(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.part = None;
        self.unindexed.truncate(self.recovered_count);
        self.uncommitted_bytes = 0;
        self.last_manifest = self.committed_manifest;
        let filemarks = self.out.restart(progress)?;
        self.next_file = self.committed_file + filemarks;
        self.committed_file = self.next_file;
        Ok(())
    }

    /// Writes the closing index twice and what the cartridge's memory tells; returns what is on the
    /// cartridge. After a loss nothing is written, or if the closing index itself cannot be: what is
    /// committed is returned then, with [`IndexState::Torn`].
    ///
    /// # Errors
    /// [`TapeError`] if the drive failed or `progress` was cancelled; what is committed stays readable.
    pub fn finish(mut self, is_continued: bool, progress: &Progress) -> Result<VolumeIndex, TapeError> {
        if !self.is_given_up {
            let mut restarts = 0;
            let closed = loop {
                match self.close(is_continued, progress) {
                    Err(Fault::Restart(error)) if restarts < RESTARTS_MAX => {
                        log::warn!("{error}; writing the closing index again");
                        restarts += 1;
                        if let Err(fault) = self.restart(progress) {
                            break Err(fault);
                        }
                    }
                    other => break other,
                }
            };
            match closed {
                Ok(()) => {}
                // The partial indexes have it all, and nothing else is lost with it.
                Err(fault @ (Fault::Overflow | Fault::Lost(_) | Fault::Restart(_))) => {
                    log::warn!("no closing index: {}", self.error_of(fault));
                    self.is_given_up = true;
                }
                Err(Fault::Error(error)) => return Err(error),
            }
        }
        Ok(self.into_index())
    }

    fn close(&mut self, is_continued: bool, progress: &Progress) -> Result<(), Fault> {
        self.abandon_part(progress)?;
        if self.is_closed && !self.is_changed && !self.is_retained_longer {
            return Ok(());
        }
        self.close_volume(is_continued, progress)?;
        self.remember();
        Ok(())
    }

    fn into_index(self) -> VolumeIndex {
        VolumeIndex {
            header: self.index_header,
            segments: self.segments,
            index_loi: self.index_loi,
            last_manifest: self.committed_manifest,
            end_loi: self.out.committed_loi(),
            next_file: self.committed_file,
            needs_filemark: false,
            is_end_missing: false,
            state: match (self.is_given_up, self.is_closed) {
                (true, _) => IndexState::Torn,
                (false, true) => IndexState::Closed,
                (false, false) => IndexState::Committed,
            },
        }
    }
}
