//! Tar and pax cartridges of other programs: one scan lists them, and then any byte can be read.

use super::identify::foreign_block_len_max;
use super::stream::{Event, PartStream};
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::{ArchiveError, Entry};
use crate::tape::drive::{AlignedBuffer, Drive, Read};

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
    /// The entry.
    pub entry: Entry,
}

/// Lists the entries of all tape files of a cartridge, from its beginning to the end of data. What cannot be
/// read as an archive is passed over to the next filemark; returns how many tape files that were.
///
/// # Errors
/// [`TapeError`] if the drive failed or `progress` was cancelled.
pub fn list_foreign(
    drive: &mut Drive,
    progress: &Progress,
    found: &mut dyn FnMut(ForeignEntry),
) -> Result<u64, TapeError> {
    drive.locate(0)?;
    let mut damaged = 0;
    for file in 0.. {
        let loi = drive.position()?.loi;
        let ended = match list_file(drive, loi, file, progress, found) {
            Ok(ended) => ended,
            Err(TapeError::Archive { source, .. }) => {
                log::warn!("{}: tape file {file}: {source}", drive.name());
                damaged += 1;
                Ended::Early
            }
            Err(error) => return Err(error),
        };
        match ended {
            Ended::EndOfData => break,
            Ended::Filemark => {}
            Ended::Early => {
                if !drive.space_filemarks(1)? {
                    break;
                }
            }
        }
    }
    Ok(damaged)
}

enum Ended {
    Filemark,
    EndOfData,
    Early,
}

fn list_file(
    drive: &mut Drive,
    loi: u64,
    file: u64,
    progress: &Progress,
    found: &mut dyn FnMut(ForeignEntry),
) -> Result<Ended, TapeError> {
    let block_len_max = foreign_block_len_max(drive);
    let mut stream = PartStream::open(drive, loi, block_len_max)?;
    loop {
        match stream.next(progress)? {
            Event::Global | Event::Content(_) => {}
            Event::Entry(entry) => {
                let (loi, byte) = stream.here();
                let block_len = u32::try_from(stream.block_len()).unwrap_or(u32::MAX);
                found(ForeignEntry { file, loi, byte, block_len, entry: *entry });
                stream.skip_content()?;
            }
            Event::End => return Ok(Ended::Early),
            Event::Filemark => return Ok(Ended::Filemark),
            Event::EndOfData => return Ok(Ended::EndOfData),
        }
    }
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
