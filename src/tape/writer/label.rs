//! Labelling a cartridge: what is on it is gone afterwards, so the caller must name it.

use super::out::{Fault, Out};
use super::{Overwrite, Session};
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::{
    BLOCK_LEN, NewEntry, PartHeader, PartKind, VolumeDescription, VolumeLabel, archive_end,
    description_files, host_attributes, is_valid_barcode,
};
use crate::tape::drive::{Drive, DriveError, Room};
use crate::tape::reader::{DESCRIPTION_LOI, Identified, VolumeReader, identify};

/// Attempts to write a label that a reset interrupts.
const LABEL_ATTEMPTS: u32 = 3;

/// Labels a cartridge: volume label, self-description, and what its memory tells other programs. Reads both
/// back before it returns.
///
/// # Errors
/// [`TapeError::Occupied`] if something is on the cartridge that `overwrite` does not name; [`TapeError`] if
/// it cannot be written.
pub fn label(
    drive: &mut Drive,
    volume: &VolumeDescription,
    overwrite: &Overwrite,
    session: &Session,
    progress: &Progress,
) -> Result<(), TapeError> {
    check_label(drive, volume, overwrite, progress)?;
    drive.set_removal_prevented(true)?;
    // The block by which the cartridge was known goes now.
    drive.forget_mark();
    write_label_anyhow(drive, volume, session, progress)?;
    let found = identify(drive)?;
    if found != Identified::Ours(Box::new(volume.clone())) {
        return Err(TapeError::NoDescription { device: drive.name().to_owned() });
    }
    // A cache: the cartridge is labelled whatever the drive says.
    match drive.write_attributes(&host_attributes(volume, env!("CARGO_PKG_VERSION"))) {
        Ok(0) => {}
        Ok(refused) => {
            log::info!("{}: the cartridge's memory did not take {refused} attributes", drive.name());
        }
        Err(error) => log::warn!("the cartridge's memory is not up to date: {error}"),
    }
    Ok(())
}

/// Makes sure that a cartridge may be labelled so; writes nothing.
///
/// # Errors
/// [`TapeError`] as [`label`], before anything is written.
pub fn check_label(
    drive: &mut Drive,
    volume: &VolumeDescription,
    overwrite: &Overwrite,
    progress: &Progress,
) -> Result<(), TapeError> {
    if !is_valid_barcode(&volume.barcode) || volume.sequence == 0 {
        let reason = "a barcode is 1 to 32 of A-Z, 0-9, '_' and '-'; the sequence begins with 1";
        return Err(TapeError::BadObject { name: volume.barcode.clone(), reason });
    }
    let found = check_named(drive, overwrite, progress)?;
    let medium = drive.medium()?;
    let device = drive.name().to_owned();
    if medium.is_write_protected {
        return Err(DriveError::WriteProtected { device }.into());
    }
    match found.name() {
        Some(name) if medium.is_worm => Err(TapeError::WriteOnce { device, kind: found.kind(), name }),
        _ => Ok(()),
    }
}

fn check_named(
    drive: &mut Drive,
    overwrite: &Overwrite,
    progress: &Progress,
) -> Result<Identified, TapeError> {
    let found = identify(drive)?;
    let Some(name) = found.name() else {
        return Ok(found);
    };
    if matches!(overwrite, Overwrite::Named(named) if *named == name) {
        return Ok(found);
    }
    let retain_until_seconds = match &found {
        Identified::Ours(description) => {
            let index = VolumeReader::assume(drive, VolumeDescription::clone(description)).index(progress)?;
            index.header.and_then(|header| header.retain_until_seconds)
        }
        _ => None,
    };
    Err(TapeError::Occupied {
        device: drive.name().to_owned(),
        kind: found.kind(),
        name,
        retain_until_seconds,
    })
}

// After a reset all is written again, if the serial number says that it is the same cartridge.
fn write_label_anyhow(
    drive: &mut Drive,
    volume: &VolumeDescription,
    session: &Session,
    progress: &Progress,
) -> Result<(), TapeError> {
    let serial = drive.medium()?.serial;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match write_label(drive, volume, session, progress) {
            Ok(()) => return Ok(()),
            Err(Fault::Error(error)) => error,
            Err(Fault::Restart(error) | Fault::Lost(error)) => error.into(),
            Err(Fault::Overflow) => TapeError::Full { device: drive.name().to_owned() },
        };
        let is_lost = matches!(&error, TapeError::Drive(error) if error.is_session_lost());
        if !is_lost || attempts >= LABEL_ATTEMPTS || serial.is_none() {
            return Err(error);
        }
        log::warn!("{error}; writing the label again");
        drive.resync()?;
        if drive.medium()?.serial != serial {
            return Err(DriveError::MediumChanged { device: drive.name().to_owned() }.into());
        }
    }
}

fn write_label(
    drive: &mut Drive,
    volume: &VolumeDescription,
    session: &Session,
    progress: &Progress,
) -> Result<(), Fault> {
    drive.locate(0)?;
    drive.make_one_partition()?;
    drive.write_block(&VolumeLabel::new(&volume.barcode).encode())?;
    drive.write_filemarks(1, false)?;
    let mut out = Out::new(drive, DESCRIPTION_LOI, Room::Plenty);
    let header = PartHeader {
        set: volume.set,
        volume: volume.volume,
        sequence: volume.sequence,
        barcode: volume.barcode.clone(),
        part: 1,
        kind: PartKind::Description,
        loi: DESCRIPTION_LOI,
        previous_index_loi: None,
        previous_manifest: None,
        written_seconds: session.now_seconds,
        session: session.text.clone(),
    };
    let header = header.encode();
    let mut len = header.len() as u64;
    out.put(&header, progress)?;
    for file in description_files(volume) {
        let size = file.content.len() as u64;
        let entry =
            NewEntry { name: file.name, size, mtime_seconds: volume.created_seconds, keywords: Vec::new() };
        let head = entry.encode();
        out.put(&head, progress)?;
        out.put(&file.content, progress)?;
        len += head.len() as u64 + size;
        let padding = len.next_multiple_of(512) - len;
        out.put_zeros(padding, progress)?;
        len += padding;
    }
    out.put_zeros(archive_end(len), progress)?;
    debug_assert_eq!((len + archive_end(len)) % BLOCK_LEN as u64, 0);
    out.commit(1, progress)
}
