//! Prepares cartridges for archives.

use super::cartridges::Mounted;
use super::catalogue::{Catalogue, KnownVolume};
use super::error::TapeJobError;
use super::library::TapeLibrary;
use crate::id::FileId;
use crate::library::Barcode;
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::VolumeDescription;
use crate::tape::drive::Drive;
use crate::tape::reader::{Identified, VolumeReader};
use crate::tape::writer::{Overwrite, Session, check_label, label};

/// What a cartridge is to be.
#[derive(Debug, Clone)]
pub struct LabelOptions {
    /// Its barcode, or what it is to be called in a lone drive.
    pub barcode: String,
    /// Pool of cartridges.
    pub pool: String,
    /// Text for people.
    pub text: String,
    /// What it calls itself, if it holds something that is to go.
    pub overwrite: Option<String>,
    /// Write over it although it is under retention.
    pub despite_retention: bool,
    /// Repository that it is for.
    pub repository: FileId,
    /// Number of the drive to use.
    pub drive: Option<usize>,
    /// Its new id, random.
    pub volume: FileId,
    /// The present time, seconds since 1970.
    pub now_seconds: i64,
}

/// Labels a cartridge as the first of a set of its own, and puts it away.
///
/// # Errors
/// [`TapeJobError`] if it cannot be labelled; one that holds something is left as it is unless `overwrite` names it,
/// one under retention in any case.
pub fn label_cartridge(
    library: &mut TapeLibrary,
    catalogue: &Catalogue,
    options: &LabelOptions,
    progress: &Progress,
) -> Result<VolumeDescription, TapeJobError> {
    let barcode = Barcode::new(options.barcode.as_bytes());
    let Mounted { number, mut drive, identified } =
        library.mount(barcode.as_ref(), options.drive, progress)?;
    let made = in_drive(&mut drive, &identified, catalogue, options, progress);
    if library.changer().is_some() {
        library.put_away(drive, number, None)?;
    }
    made
}

fn in_drive(
    drive: &mut Drive,
    identified: &Identified,
    catalogue: &Catalogue,
    options: &LabelOptions,
    progress: &Progress,
) -> Result<VolumeDescription, TapeJobError> {
    let before = known_before(catalogue, identified, &options.barcode)?;
    let retained = retained_until(drive, identified, before.as_ref(), progress)?;
    let in_force = retained.filter(|until| *until > options.now_seconds && !options.despite_retention);
    if let (Some(until_seconds), Some(name)) = (in_force, identified.name()) {
        let (device, kind) = (drive.name().to_owned(), identified.kind());
        return Err(TapeError::Retained { device, kind, name, until_seconds }.into());
    }
    let overwrite = match &options.overwrite {
        Some(name) => Overwrite::Named(name.clone()),
        None => Overwrite::Nothing,
    };
    let description = VolumeDescription {
        volume: options.volume,
        set: options.volume,
        sequence: 1,
        barcode: options.barcode.clone(),
        repository: options.repository,
        pool: options.pool.clone(),
        label: options.text.clone(),
        created_seconds: options.now_seconds,
    };
    let session =
        Session { text: "label".to_owned(), now_seconds: options.now_seconds, retain_until_seconds: None };
    check_label(drive, &description, &overwrite, progress)?;
    // From the first block on what was there is gone, whether the label is finished or not.
    if let Some(before) = before {
        catalogue.remove(before.description.volume)?;
    }
    label(drive, &description, &overwrite, &session, progress)?;
    catalogue.put(&description, None, &[])?;
    Ok(description)
}

// What the catalogue knows of the cartridge; of one of ours that does not tell its id any more, by its barcode.
fn known_before(
    catalogue: &Catalogue,
    identified: &Identified,
    barcode: &str,
) -> Result<Option<KnownVolume>, TapeJobError> {
    match identified {
        Identified::Ours(before) => Ok(catalogue.volume(before.volume)?),
        Identified::Undescribed { serial } if barcode.starts_with(serial.as_str()) => {
            let volumes = catalogue.volumes(&mut |error| log::warn!("{}", crate::job::chain(&error)))?;
            let own = volumes.into_iter().filter(|known| known.description.barcode == barcode);
            Ok(own.max_by_key(|known| known.description.created_seconds))
        }
        _ => Ok(None),
    }
}

// What the catalogue knows counts, too: the tape may not tell any more, or the catalogue not yet.
fn retained_until(
    drive: &mut Drive,
    identified: &Identified,
    known: Option<&KnownVolume>,
    progress: &Progress,
) -> Result<Option<i64>, TapeJobError> {
    let known = known.and_then(KnownVolume::retain_until_seconds);
    if !matches!(identified, Identified::Ours(_)) {
        return Ok(known);
    }
    let index = VolumeReader::open(drive)?.index(progress)?;
    let on_tape = index.header.and_then(|header| header.retain_until_seconds);
    Ok(on_tape.max(known))
}
