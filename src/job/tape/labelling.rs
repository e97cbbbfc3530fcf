//! Prepares cartridges for archives.

use super::cartridges::Mounted;
use super::catalogue::Catalogue;
use super::error::TapeJobError;
use super::library::TapeLibrary;
use crate::id::FileId;
use crate::library::Barcode;
use crate::progress::Progress;
use crate::tape::TapeError;
use crate::tape::archive::VolumeDescription;
use crate::tape::drive::Drive;
use crate::tape::reader::Identified;
use crate::tape::writer::{Overwrite, Session, label};

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
    drop(drive);
    if library.changer().is_some() {
        library.unload(number, None)?;
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
    let before = match identified {
        Identified::Ours(before) => catalogue.volume(before.volume)?,
        _ => None,
    };
    // What the catalogue knows counts too: the tape may not tell any more.
    let retained = before.as_ref().and_then(|known| known.retain_until_seconds());
    if let (Some(until), Some(name)) =
        (retained.filter(|until| *until > options.now_seconds), identified.name())
    {
        let device = drive.name().to_owned();
        let retain_until_seconds = Some(until);
        let kind = identified.kind();
        return Err(TapeError::Occupied { device, kind, name, retain_until_seconds }.into());
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
    label(drive, &description, &overwrite, &session, progress)?;
    if let Some(before) = before {
        catalogue.remove(before.description.volume)?;
    }
    catalogue.put(&description, None, &[])?;
    Ok(description)
}
