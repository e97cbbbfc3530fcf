//! Tar and pax cartridges of other programs: one scan lists them, and then any byte can be read.

use super::identify::foreign_block_len_max;
use super::stream::{Event, PartStream, Passed};
use crate::id::{FileId, FingerprintHasher};
use crate::progress::Progress;
use crate::scsi::mam::attribute_id;
use crate::tape::TapeError;
use crate::tape::archive::{ArchiveError, BlockRun, Entry, ForeignDescription, ForeignFile, ForeignState};
use crate::tape::drive::{AlignedBuffer, Drive, DriveError, Read};

/// Most tape files that are looked at.
const FILE_COUNT_MAX: u64 = 1 << 20;

/// An entry of an archive of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEntry {
    /// Number of the tape file, from 0.
    pub file: u64,
    /// Block in which its content begins.
    pub loi: u64,
    /// Byte of that block at which it begins.
    pub byte: u32,
    /// Length of the blocks of that tape file in bytes.
    pub block_len: u32,
    /// Offset of its content in the tape file.
    pub offset: u64,
    /// Bytes of its content that are there; fewer than its size if the tape file ends in it.
    pub available_bytes: u64,
    /// The entry.
    pub entry: Entry,
}

/// What a scan tells, in the order of the tape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignEvent {
    /// An entry.
    Entry(Box<ForeignEntry>),
    /// The present tape file is read again from its beginning: what was told of it is void.
    Again,
    /// The tape file ended. Its counts of entries are for the caller to fill in.
    File(ForeignFile),
}

/// Goes through all tape files of a cartridge, from its beginning to the end of data. Content is passed by LOCATE; a
/// tape file whose blocks turn out to differ in length is read whole. What cannot be read as an archive is passed over
/// to the next filemark.
///
/// # Errors
/// [`TapeError`] if the drive failed or `progress` was cancelled, or what `found` returned.
pub fn scan_foreign<E: From<TapeError>>(
    drive: &mut Drive,
    progress: &Progress,
    found: &mut dyn FnMut(ForeignEvent) -> Result<(), E>,
) -> Result<(), E> {
    drive.seek(0).map_err(TapeError::from)?;
    for number in 0..FILE_COUNT_MAX {
        let first_loi = drive.here().map_err(TapeError::from)?;
        let mut scan =
            FileScan { drive: &mut *drive, number, first_loi, is_exact: false, progress, found: &mut *found };
        let scanned = match scan.run()? {
            Some(scanned) => Some(scanned),
            None => {
                (scan.found)(ForeignEvent::Again)?;
                scan.is_exact = true;
                scan.run()?
            }
        };
        let mut scanned =
            scanned.unwrap_or_else(|| scan.scanned(first_loi, &[], ForeignState::Damaged, Ended::Early));
        let has_more = finish_file(drive, &mut scanned)?;
        if scanned.file.first_loi < scanned.file.end_loi {
            found(ForeignEvent::File(scanned.file))?;
        }
        if !has_more {
            break;
        }
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Scanned {
    file: ForeignFile,
    ended: Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Filemark,
    EndOfData,
    Early,
}

// Goes behind the filemark that ends a tape file; tells whether there is another one.
fn finish_file(drive: &mut Drive, scanned: &mut Scanned) -> Result<bool, TapeError> {
    if scanned.ended != Ended::Early {
        return Ok(scanned.ended == Ended::Filemark);
    }
    match drive.space_filemarks(1) {
        Ok(has_filemark) => {
            let here = drive.here()?;
            scanned.file.end_loi = here.saturating_sub(u64::from(has_filemark));
            Ok(has_filemark)
        }
        // Damaged tape: what lies behind it is out of reach.
        Err(DriveError::Command { source } | DriveError::ReadFailed { source, .. }) => {
            log::warn!("{}: {source}", drive.name());
            scanned.file.state = ForeignState::Damaged;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

struct FileScan<'a, E> {
    drive: &'a mut Drive,
    number: u64,
    first_loi: u64,
    is_exact: bool,
    progress: &'a Progress,
    found: &'a mut dyn FnMut(ForeignEvent) -> Result<(), E>,
}

impl<E: From<TapeError>> FileScan<'_, E> {
    fn scanned(&self, end_loi: u64, runs: &[BlockRun], state: ForeignState, ended: Ended) -> Scanned {
        let mut blocks = runs.to_vec();
        blocks.truncate(ForeignDescription::RUN_COUNT_MAX);
        blocks.retain(|run| run.block_len > 0);
        let (number, first_loi) = (self.number, self.first_loi);
        let end_loi = end_loi.max(first_loi);
        let file =
            ForeignFile { number, first_loi, end_loi, state, entry_count: 0, left_out_count: 0, blocks };
        Scanned { file, ended }
    }

    // `None` if it has to be done again, block by block.
    fn run(&mut self) -> Result<Option<Scanned>, E> {
        let block_len_max = foreign_block_len_max(self.drive);
        let mut stream = PartStream::open(self.drive, self.first_loi, block_len_max)?;
        let mut has_entries = false;
        let (state, ended) = loop {
            let event = match stream.next(self.progress) {
                Ok(event) => event,
                Err(error) => {
                    if stream.has_jumped() && !self.is_exact && is_archive_error(&error) {
                        return Ok(None);
                    }
                    break (failed(error, has_entries)?, Ended::Early);
                }
            };
            match event {
                Event::Global | Event::Content(_) => {}
                Event::Entry(entry) => {
                    has_entries = true;
                    let mut entry = place(self.number, *entry, &stream);
                    let passed = match stream.pass_content(self.is_exact, self.progress) {
                        Ok(passed) => passed,
                        Err(error) => break (failed(error, has_entries)?, Ended::Early),
                    };
                    if let Passed::Cut { missing, .. } = passed {
                        entry.available_bytes = entry.entry.size.saturating_sub(missing);
                    }
                    (self.found)(ForeignEvent::Entry(Box::new(entry)))?;
                    match passed {
                        Passed::Whole => {}
                        Passed::Cut { at: Some(Read::Filemark), .. } => {
                            break (ForeignState::Cut, Ended::Filemark);
                        }
                        Passed::Cut { at: Some(_), .. } => break (ForeignState::Cut, Ended::EndOfData),
                        Passed::Cut { at: None, .. } => break (ForeignState::Cut, Ended::Early),
                    }
                }
                Event::End => break (ForeignState::Whole, Ended::Early),
                // Some programs write no records of zeros at the end.
                Event::Filemark => break (ForeignState::Whole, Ended::Filemark),
                Event::EndOfData => {
                    let is_nothing = stream.runs().is_empty();
                    let state = if is_nothing { ForeignState::Whole } else { ForeignState::Cut };
                    break (state, Ended::EndOfData);
                }
            }
            if stream.is_misplaced() && !self.is_exact {
                return Ok(None);
            }
        };
        let marks = u64::from(ended == Ended::Filemark);
        let (end_loi, runs) = (stream.next_loi() - marks, stream.runs().to_vec());
        drop(stream);
        if ended == Ended::Early {
            // A cut entry may have left the drive behind the filemark.
            self.drive.go_to(end_loi).map_err(TapeError::from)?;
        }
        Ok(Some(self.scanned(end_loi, &runs, state, ended)))
    }
}

fn is_archive_error(error: &TapeError) -> bool {
    matches!(error, TapeError::Archive { .. })
}

// What cannot be read of the archive ends it; what the drive says ends the scan.
fn failed(error: TapeError, has_entries: bool) -> Result<ForeignState, TapeError> {
    let is_damage = super::identify::is_damage(&error);
    if !is_damage {
        return Err(error);
    }
    log::warn!("{error}");
    Ok(if has_entries { ForeignState::Damaged } else { ForeignState::Other })
}

fn place(file: u64, entry: Entry, stream: &PartStream<'_>) -> ForeignEntry {
    let (loi, byte) = stream.here();
    let block_len = u32::try_from(stream.block_len()).unwrap_or(u32::MAX);
    let (offset, available_bytes) = (stream.parser().offset(), entry.size);
    ForeignEntry { file, loi, byte, block_len, offset, available_bytes, entry }
}

/// What a cartridge of another program is known by: its first block, which such programs write anew with each use, and
/// its serial number.
///
/// # Errors
/// [`TapeError`] if the first block cannot be read.
pub fn foreign_identity(drive: &mut Drive) -> Result<FileId, TapeError> {
    let mut hasher = FingerprintHasher::default();
    hasher.update(b"reelfs foreign cartridge\0");
    if let Some(serial) = drive.attribute(attribute_id::MEDIUM_SERIAL_NUMBER)? {
        hasher.update(&serial.value);
    }
    drive.seek(0)?;
    let mut block = AlignedBuffer::new(foreign_block_len_max(drive));
    match drive.read_block(block.as_mut_slice()) {
        Ok(Read::Block(len)) => hasher.update(block.as_slice().get(..len).unwrap_or_default()),
        Ok(Read::Filemark | Read::EndOfData) | Err(DriveError::BlockTooLong { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let id = hasher.finish().0.first_chunk().copied().unwrap_or_default();
    Ok(FileId(id))
}

/// Fills `buffer` from `offset` in the content of an entry on.
///
/// # Errors
/// [`TapeError`] if the content is shorter, or a block cannot be read or has another length.
pub fn read_foreign(
    drive: &mut Drive,
    entry: &ForeignEntry,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), TapeError> {
    let is_within = offset.checked_add(buffer.len() as u64).is_some_and(|end| end <= entry.entry.size);
    let block_len = u64::from(entry.block_len);
    let start = u64::from(entry.byte).checked_add(offset).filter(|_| is_within && block_len > 0);
    let Some(start) = start else {
        let source = ArchiveError::Cut { structure: "entry", offset: entry.entry.size };
        return Err(TapeError::Archive { device: drive.name().to_owned(), loi: entry.loi, source });
    };
    let mut block = AlignedBuffer::new(entry.block_len as usize);
    let mut loi = entry.loi.saturating_add(start / block_len);
    let mut skip = usize::try_from(start % block_len).unwrap_or(0);
    let mut rest = buffer;
    while !rest.is_empty() {
        drive.go_to(loi)?;
        let read = drive.read_block(block.as_mut_slice())?;
        let len = if let Read::Block(len) = read { len } else { 0 };
        let bytes = block.as_slice().get(skip..len).unwrap_or_default();
        if bytes.is_empty() || len < entry.block_len as usize && bytes.len() < rest.len() {
            let (device, expected_bytes) = (drive.name().to_owned(), entry.block_len as usize);
            return Err(TapeError::BlockLength { device, loi, len_bytes: len, expected_bytes });
        }
        let taken = bytes.len().min(rest.len());
        let (target, after) = rest.split_at_mut_checked(taken).unwrap_or_default();
        target.copy_from_slice(bytes.get(..taken).unwrap_or_default());
        (rest, skip, loi) = (after, 0, loi + 1);
    }
    Ok(())
}
