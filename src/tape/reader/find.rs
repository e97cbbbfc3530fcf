//! Finding out what is on a cartridge of ours: the newest index, and what lies behind it.

use super::identify::{DESCRIPTION_LOI, is_damage, is_in_place};
use super::list::{IndexPart, find_manifest, load_index, load_list, rebuild_part};
use super::stream::{Event, PartStream};
use super::{IndexState, VolumeIndex};
use crate::id::FileId;
use crate::progress::Progress;
use crate::scsi::mam::attribute_id;
use crate::tape::TapeError;
use crate::tape::archive::{
    BLOCK_LEN, BlockAddress, Coherency, IndexHeader, IndexKind, PartHeader, PartKind, SegmentEntry,
};
use crate::tape::drive::{Drive, DriveError};

/// Tape files from the end backwards among which the newest index is looked for before a scan.
const FILES_BACK_MAX: i64 = 32;

/// Which of the two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By indexes; a list is believed.
    Indexes,
    /// By the manifests of all parts, and by reading those that have lost theirs.
    Manifests,
}

/// What a tape file begins with.
enum Probe {
    Part(PartHeader),
    Empty,
    EndOfData,
    Other,
}

/// A data part that was passed, whose list is not known yet.
struct PendingPart {
    loi: u64,
    number: u64,
}

/// Walks forward over tape files.
pub(super) struct Finder<'a> {
    drive: &'a mut Drive,
    progress: &'a Progress,
    volume: FileId,
    way: Way,
    // What is known so far: by indexes, and by manifests behind the newest one.
    header: Option<IndexHeader>,
    index_loi: Option<u64>,
    is_closed: bool,
    committed: Vec<SegmentEntry>,
    recovered: Vec<SegmentEntry>,
    pending: Vec<PendingPart>,
    manifest: Option<BlockAddress>,
    is_torn: bool,
}

impl<'a> Finder<'a> {
    pub(super) fn new(drive: &'a mut Drive, volume: FileId, way: Way, progress: &'a Progress) -> Self {
        Self {
            drive,
            progress,
            volume,
            way,
            header: None,
            index_loi: None,
            is_closed: false,
            committed: Vec::new(),
            recovered: Vec::new(),
            pending: Vec::new(),
            manifest: None,
            is_torn: false,
        }
    }

    /// Finds everything.
    pub(super) fn find(mut self) -> Result<VolumeIndex, TapeError> {
        let newest = match self.way {
            Way::Indexes => self.newest_index()?,
            Way::Manifests => None,
        };
        let start = match newest {
            Some(part) => {
                let end = (part.end_loi, part.part + 1);
                self.manifest = part.header.previous_manifest;
                if !self.take_index(part)? {
                    self.way = Way::Manifests;
                    return self.restart();
                }
                end
            }
            None => (DESCRIPTION_LOI, 1),
        };
        self.walk(start)
    }

    // An index of the chain is lost: all parts are asked for their manifests instead.
    fn restart(self) -> Result<VolumeIndex, TapeError> {
        let Self { drive, progress, volume, .. } = self;
        log::warn!("{}: an index cannot be read; reading the manifests of all parts", drive.name());
        let mut found = Finder::new(drive, volume, Way::Manifests, progress).walk((DESCRIPTION_LOI, 1))?;
        found.state = IndexState::Torn;
        Ok(found)
    }

    // By the cartridge's memory if nothing was written since, else from the end backwards.
    fn newest_index(&mut self) -> Result<Option<IndexPart>, TapeError> {
        let value = self.drive.attribute(attribute_id::VOLUME_COHERENCY)?;
        let coherency = value.and_then(|attribute| Coherency::decode(&attribute.value));
        let coherency = coherency.filter(|coherency| coherency.volume == self.volume);
        if let Some(coherency) = coherency {
            let now = self.drive.attribute(attribute_id::VOLUME_CHANGE_REFERENCE)?;
            let is_current = now.and_then(|now| now.unsigned()) == Some(coherency.change_reference);
            if is_current && let Some(part) = self.try_index(coherency.index_loi)? {
                return Ok(Some(part));
            }
        }
        self.last_index()
    }

    fn last_index(&mut self) -> Result<Option<IndexPart>, TapeError> {
        for back in 1..=FILES_BACK_MAX {
            self.progress.check()?;
            match self.drive.seek_end() {
                Ok(_) => {}
                Err(error) if is_damage_of_end(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            match self.drive.space_filemarks(-back) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if is_damage_of_end(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let start = self.drive.here()?.saturating_add(1);
            if start <= DESCRIPTION_LOI {
                return Ok(None);
            }
            if let Some(part) = self.try_index(start)? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    // The index part that begins there; `None` if there is none, or it is damaged.
    fn try_index(&mut self, loi: u64) -> Result<Option<IndexPart>, TapeError> {
        match load_index(self.drive, loi, self.volume, self.progress) {
            Ok(part) => Ok(part),
            Err(error) if is_damage(&error) => {
                log::warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    // Makes an index the newest one, with those that it continues; `false` if one of them is lost.
    fn take_index(&mut self, part: IndexPart) -> Result<bool, TapeError> {
        let mut lists = vec![part.segments];
        let mut is_complete = part.index.kind == IndexKind::Closing;
        let mut previous = part.index.previous_loi;
        while let Some(loi) = previous.filter(|_| !is_complete) {
            if Some(loi) == self.index_loi {
                break;
            }
            let older = self.try_index(loi)?.filter(|older| older.header.loi < part.header.loi);
            let Some(older) = older else {
                return Ok(false);
            };
            is_complete = older.index.kind == IndexKind::Closing;
            // Each lies before the one that points to it: no endless chain.
            previous = older.index.previous_loi.filter(|next| *next < loi);
            lists.push(older.segments);
        }
        if is_complete || previous.is_none() || previous != self.index_loi {
            self.committed.clear();
        }
        for list in lists.into_iter().rev() {
            self.committed.extend(list);
        }
        self.recovered.clear();
        self.pending.clear();
        self.is_closed = part.index.kind == IndexKind::Closing;
        self.index_loi = Some(part.header.loi);
        self.header = Some(*part.index);
        Ok(true)
    }

    // From a tape file on to the end of data.
    fn walk(mut self, (mut loi, mut file): (u64, u64)) -> Result<VolumeIndex, TapeError> {
        let mut is_open = false;
        let mut is_end_missing = false;
        loop {
            self.progress.check()?;
            let probe = match self.probe(loi) {
                Ok(probe) => probe,
                Err(error) if is_damage(&error) => {
                    log::warn!("{error}");
                    is_end_missing = matches!(error, TapeError::Drive(DriveError::NoEndOfData { .. }));
                    Probe::Other
                }
                Err(error) => return Err(error),
            };
            match probe {
                Probe::EndOfData => break,
                Probe::Empty => {
                    (loi, file) = (loi + 1, file + 1);
                    continue;
                }
                Probe::Part(header) if is_in_place(&header, self.volume, loi) => {
                    self.pass(&header)?;
                }
                Probe::Part(_) | Probe::Other => self.is_torn = true,
            }
            match self.next_file(loi) {
                Ok(Some(next)) => (loi, file) = (next, file + 1),
                Ok(None) => {
                    is_open = true;
                    self.is_torn = true;
                    loi = self.drive.here()?;
                    break;
                }
                Err(error) if is_damage(&error) || is_refused(&error) => {
                    log::warn!("{error}");
                    self.is_torn = true;
                    if let Some(next) = self.file_behind(loi, file)? {
                        (loi, file) = (next, file + 1);
                        continue;
                    }
                    match self.drive.seek_end() {
                        Ok(end) => (loi, file, is_open) = (end.loi, end.file.unwrap_or(file), true),
                        Err(DriveError::NoEndOfData { .. }) => is_end_missing = true,
                        Err(error) => return Err(error.into()),
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.resolve_pending(None)?;
        Ok(self.found(loi, file, is_open, is_end_missing))
    }

    fn found(self, end_loi: u64, next_file: u64, is_open: bool, is_end_missing: bool) -> VolumeIndex {
        let has_more = self.way == Way::Indexes && !self.recovered.is_empty();
        let state = match (self.is_torn || has_more, self.is_closed) {
            (true, _) => IndexState::Torn,
            (false, true) => IndexState::Closed,
            (false, false) => IndexState::Committed,
        };
        let mut segments = self.committed;
        segments.extend(self.recovered);
        VolumeIndex {
            header: self.header,
            segments,
            index_loi: self.index_loi,
            last_manifest: self.manifest,
            end_loi,
            next_file: next_file + u64::from(is_open),
            needs_filemark: is_open,
            is_end_missing,
            state,
        }
    }

    fn probe(&mut self, loi: u64) -> Result<Probe, TapeError> {
        let mut stream = PartStream::open(self.drive, loi, BLOCK_LEN)?;
        Ok(match stream.next(self.progress)? {
            Event::EndOfData => Probe::EndOfData,
            Event::Filemark => Probe::Empty,
            Event::Global => match PartHeader::decode(stream.parser().global()) {
                Ok(Some(header)) => Probe::Part(header),
                Ok(None) => Probe::Other,
                Err(source) => return Err(stream.damaged(source)),
            },
            _ => Probe::Other,
        })
    }

    // Behind the filemark that ends the tape file at `loi`; `None` if data ends without one.
    fn next_file(&mut self, loi: u64) -> Result<Option<u64>, TapeError> {
        if self.drive.expected_loi() != Some(loi + 1) {
            self.drive.seek(loi)?;
        }
        let has_filemark = self.drive.space_filemarks(1)?;
        Ok(if has_filemark { Some(self.drive.here()?) } else { None })
    }

    // The tape file behind one that cannot be passed, by the drive's directory of the tape.
    fn file_behind(&mut self, loi: u64, file: u64) -> Result<Option<u64>, TapeError> {
        match self.drive.seek_file(file + 1) {
            Ok(next) => Ok(next.filter(|next| *next > loi)),
            Err(error) if is_damage_of_end(&error) => {
                log::info!("{error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    // A part of ours in its place.
    fn pass(&mut self, header: &PartHeader) -> Result<(), TapeError> {
        self.resolve_pending(header.previous_manifest)?;
        if let Some(address) = header.previous_manifest {
            self.manifest = Some(address);
        }
        match header.kind {
            PartKind::Description => {}
            PartKind::Data => {
                self.is_closed = false;
                self.pending.push(PendingPart { loi: header.loi, number: header.part });
            }
            PartKind::Index => {
                let known = self.header.as_ref().map_or(0, |known| known.number);
                match self.try_index(header.loi)? {
                    Some(part) if part.index.number > known => self.pass_index(part)?,
                    // The second copy of the closing index.
                    Some(_) => {}
                    None => self.is_torn = true,
                }
            }
        }
        Ok(())
    }

    fn pass_index(&mut self, part: IndexPart) -> Result<(), TapeError> {
        if self.way == Way::Indexes {
            if !self.take_index(part)? {
                self.is_torn = true;
            }
            return Ok(());
        }
        self.is_closed = part.index.kind == IndexKind::Closing;
        self.index_loi = Some(part.header.loi);
        self.header = Some(*part.index);
        Ok(())
    }

    // The list of the data part before: by the address that the part behind it has, else by looking for it.
    fn resolve_pending(&mut self, address: Option<BlockAddress>) -> Result<(), TapeError> {
        let here = self.drive.expected_loi();
        let had_pending = !self.pending.is_empty();
        for part in std::mem::take(&mut self.pending) {
            let list = match address.filter(|address| address.loi >= part.loi) {
                Some(address) => self.tolerate(|drive, progress| load_list(drive, address, progress))?,
                None => None,
            };
            let list = match list {
                Some(list) => Some(list),
                None => {
                    let found =
                        self.tolerate(|drive, progress| find_manifest(drive, part.loi, progress))?.flatten();
                    self.manifest = found.as_ref().map(|(address, _)| *address).or(self.manifest);
                    found.map(|(_, list)| list)
                }
            };
            match list {
                Some(list) => self.recovered.extend(list),
                None => {
                    self.is_torn = true;
                    if self.way == Way::Manifests {
                        let list = rebuild_part(self.drive, part.loi, part.number, self.progress)?;
                        self.recovered.extend(list);
                    }
                }
            }
        }
        match here {
            Some(loi) if had_pending => Ok(self.drive.go_to(loi)?),
            _ => Ok(()),
        }
    }

    // Damage is no error here: there are other ways.
    fn tolerate<T>(
        &mut self,
        read: impl FnOnce(&mut Drive, &Progress) -> Result<T, TapeError>,
    ) -> Result<Option<T>, TapeError> {
        match read(self.drive, self.progress) {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_damage(&error) => {
                log::warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_damage_of_end(error: &DriveError) -> bool {
    matches!(
        error,
        DriveError::NoEndOfData { .. } | DriveError::ReadFailed { .. } | DriveError::Command { .. }
    )
}

// SPACE over damaged tape fails with a medium error.
fn is_refused(error: &TapeError) -> bool {
    matches!(error, TapeError::Drive(DriveError::Command { .. }))
}
