//! Whose cartridge it is.

use super::stream::{Event, PartStream};
use crate::id::FileId;
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::{
    BLOCK_LEN, PartHeader, PartKind, Recognised, VOLUME_JSON_LEN_MAX, VOLUME_JSON_NAME, VolumeDescription,
    recognise,
};
use crate::tape::drive::{AlignedBuffer, Drive, DriveError, Read};

/// First block of tape file 1: behind the label and its filemark.
pub(in crate::tape) const DESCRIPTION_LOI: u64 = 2;
/// Longest block that is read of another program's cartridge, if the way to the drive allows it.
const FOREIGN_BLOCK_LEN_MAX: usize = 8 << 20;

/// What is on the cartridge in a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identified {
    /// Nothing.
    Blank,
    /// One of ours.
    Ours(Box<VolumeDescription>),
    /// One of ours with a label and nothing behind it that can be read: labelling was cut short, or the
    /// beginning is damaged.
    Undescribed {
        /// First six characters of the barcode.
        serial: String,
    },
    /// Another program's.
    Foreign(Recognised),
}

impl Identified {
    /// What the cartridge calls itself: the name that must be given to label it anew. `None` if it is blank.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Blank => None,
            Self::Ours(description) => Some(description.barcode.clone()),
            Self::Undescribed { serial } => Some(serial.clone()),
            Self::Foreign(Recognised::Ltfs { serial } | Recognised::Ansi { serial, .. })
                if !serial.is_empty() =>
            {
                Some(serial.clone())
            }
            Self::Foreign(Recognised::Amanda { label }) if !label.is_empty() => Some(label.clone()),
            Self::Foreign(other) => Some(other.as_str().to_owned()),
        }
    }

    /// Whose it is, in a word or two.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Ours(_) | Self::Undescribed { .. } => "reelfs",
            Self::Foreign(other) => other.as_str(),
        }
    }
}

/// Longest block that can be read of a cartridge of another program.
pub(super) fn foreign_block_len_max(drive: &Drive) -> usize {
    drive.transfer_len_max().clamp(BLOCK_LEN, FOREIGN_BLOCK_LEN_MAX)
}

/// Reads the first blocks of the cartridge and tells whose it is.
///
/// # Errors
/// [`TapeError`] if the drive failed or the first block cannot be read.
pub fn identify(drive: &mut Drive) -> Result<Identified, TapeError> {
    let first = match first_block(drive) {
        Ok(first) => first,
        // A label that cannot be read says nothing of what is behind it.
        Err(error) if is_damage(&error) => {
            let found = describe(drive)?;
            return found.map(|description| Identified::Ours(Box::new(description))).ok_or(error);
        }
        Err(error) => return Err(error),
    };
    match first {
        None => Ok(Identified::Blank),
        Some(Recognised::Ours(label)) => match describe(drive)? {
            Some(description) => Ok(Identified::Ours(Box::new(description))),
            None => Ok(Identified::Undescribed { serial: label.serial }),
        },
        Some(foreign) => Ok(Identified::Foreign(foreign)),
    }
}

// `None` if nothing is written; a tape file without a block is nothing that anybody labelled.
fn first_block(drive: &mut Drive) -> Result<Option<Recognised>, TapeError> {
    drive.seek(0)?;
    let mut buffer = AlignedBuffer::new(foreign_block_len_max(drive));
    match drive.read_mark(buffer.as_mut_slice()) {
        Ok(Read::Block(len)) => Ok(Some(recognise(buffer.as_slice().get(..len).unwrap_or_default()))),
        Ok(Read::Filemark) | Err(DriveError::BlockTooLong { .. }) => Ok(Some(Recognised::Unknown)),
        Ok(Read::EndOfData) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

// From the second tape file; or, if that is damaged, from the header of one behind it.
fn describe(drive: &mut Drive) -> Result<Option<VolumeDescription>, TapeError> {
    match read_description(drive) {
        Ok(found) => return Ok(found),
        Err(error) if is_damage(&error) => log::warn!("{error}; looking for another header"),
        Err(error) => return Err(error),
    }
    for file in 2..6 {
        drive.seek(0)?;
        if !drive.space_filemarks(file).unwrap_or(false) {
            break;
        }
        let loi = drive.here()?;
        if let Ok(Some(header)) = read_part_header(drive, loi) {
            return Ok(Some(VolumeDescription {
                volume: header.volume,
                set: header.set,
                sequence: header.sequence,
                barcode: header.barcode,
                repository: VolumeDescription::NO_REPOSITORY,
                pool: String::new(),
                label: String::new(),
                created_seconds: header.written_seconds,
            }));
        }
    }
    Ok(None)
}

fn read_description(drive: &mut Drive) -> Result<Option<VolumeDescription>, TapeError> {
    mark(drive)?;
    let progress = Progress::new();
    let mut stream = PartStream::open(drive, DESCRIPTION_LOI, BLOCK_LEN)?;
    let mut json = Vec::new();
    let mut is_wanted = false;
    let mut header = None;
    loop {
        match stream.next(&progress)? {
            Event::Global => {}
            Event::Entry(entry) => {
                is_wanted = entry.name == VOLUME_JSON_NAME.as_bytes() && entry.size <= VOLUME_JSON_LEN_MAX;
                let decoded = PartHeader::decode(stream.parser().global());
                header = decoded.map_err(|source| stream.damaged(source))?;
            }
            Event::Content(bytes) if is_wanted => {
                json.extend_from_slice(bytes);
                if stream.parser().data_left() == 0 {
                    break;
                }
            }
            Event::Content(_) => {}
            Event::End | Event::Filemark | Event::EndOfData => break,
        }
    }
    let Some(header) = header.filter(|_| !json.is_empty()) else {
        return Ok(None);
    };
    let description = VolumeDescription::decode(&json).map_err(|source| stream.damaged(source))?;
    Ok((description.volume == header.volume).then_some(description))
}

// The block with the ids is the one by which the cartridge is known again.
fn mark(drive: &mut Drive) -> Result<(), TapeError> {
    match drive.go_to(DESCRIPTION_LOI) {
        Ok(()) => {}
        Err(DriveError::BeyondEnd { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let mut buffer = AlignedBuffer::new(BLOCK_LEN);
    match drive.read_mark(buffer.as_mut_slice()) {
        Ok(_) | Err(DriveError::BlockTooLong { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads the header of the part that begins at a block; `None` if there is none of ours.
pub(in crate::tape) fn read_part_header(
    drive: &mut Drive,
    loi: u64,
) -> Result<Option<PartHeader>, TapeError> {
    let progress = Progress::new();
    let mut stream = PartStream::open(drive, loi, BLOCK_LEN)?;
    match stream.next(&progress)? {
        Event::Global => {
            let header = PartHeader::decode(stream.parser().global());
            header.map_err(|source| stream.damaged(source))
        }
        _ => Ok(None),
    }
}

/// Whether what stands on tape is bad, as against a drive that failed or a wish to stop.
#[must_use]
pub fn is_damage(error: &TapeError) -> bool {
    match error {
        TapeError::Archive { .. }
        | TapeError::BlockLength { .. }
        | TapeError::ListDiffers { .. }
        | TapeError::IndexLost { .. } => true,
        TapeError::Drive(error) => matches!(
            error,
            DriveError::ReadFailed { .. }
                | DriveError::Protection { .. }
                | DriveError::BlockTooLong { .. }
                | DriveError::BeyondEnd { .. }
                | DriveError::NoEndOfData { .. }
        ),
        _ => false,
    }
}

/// Whether a header is the one that was meant to be written there on this cartridge.
pub(in crate::tape) fn is_in_place(header: &PartHeader, volume: FileId, loi: u64) -> bool {
    header.volume == volume && header.loi == loi && header.kind != PartKind::Description
        || header.kind == PartKind::Description && loi == DESCRIPTION_LOI
}
