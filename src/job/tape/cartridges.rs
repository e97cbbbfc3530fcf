//! Puts a certain cartridge into a drive and makes sure that it is the one; finds one that can be written.

use std::collections::BTreeSet;

use super::catalogue::KnownVolume;
use super::error::TapeJobError;
use super::library::TapeLibrary;
use crate::id::FileId;
use crate::library::{Barcode, Inventory};
use crate::progress::Progress;
use crate::scsi::ElementKind;
use crate::tape::TapeError;
use crate::tape::archive::{Recognised, VolumeDescription, is_valid_barcode};
use crate::tape::drive::Drive;
use crate::tape::reader::{Identified, identify};

/// A cartridge in a drive.
#[derive(Debug)]
pub struct Mounted {
    /// Number of the drive.
    pub number: usize,
    /// The session with the drive.
    pub drive: Drive,
    /// What is on the cartridge.
    pub identified: Identified,
}

impl TapeLibrary {
    /// Puts a cartridge into a drive and looks what is on it; one that cannot be read is put away again. A lone drive must
    /// have it already.
    ///
    /// # Errors
    /// [`TapeJobError`] if it is not in the library, or cannot be used.
    pub fn mount(
        &mut self,
        barcode: Option<&Barcode>,
        preferred: Option<usize>,
        progress: &Progress,
    ) -> Result<Mounted, TapeJobError> {
        let (number, mut drive) = match (barcode, self.changer().is_some()) {
            (Some(barcode), true) => {
                let (number, drive) = self.take_drive(barcode, preferred, true)?;
                (number, self.load_into(drive, number, barcode, progress)?)
            }
            _ => {
                let number = preferred.unwrap_or(0);
                (number, self.ready(number, progress)?)
            }
        };
        match identify(&mut drive) {
            Ok(identified) => Ok(Mounted { number, drive, identified }),
            Err(error) => {
                if self.changer().is_some()
                    && let Err(error) = self.put_away(drive, number, None)
                {
                    log::warn!("drive {number}: {}", crate::job::chain(&error));
                }
                Err(error.into())
            }
        }
    }

    /// Puts a known cartridge into a drive and makes sure that it is the one.
    ///
    /// # Errors
    /// [`TapeJobError`] as for [`TapeLibrary::mount`], and if it is another one.
    pub fn mount_volume(
        &mut self,
        volume: &VolumeDescription,
        preferred: Option<usize>,
        progress: &Progress,
    ) -> Result<(usize, Drive), TapeJobError> {
        let barcode = Barcode::new(volume.barcode.as_bytes());
        let Mounted { number, drive, identified } = self.mount(barcode.as_ref(), preferred, progress)?;
        check_identity(volume, &drive, identified)?;
        Ok((number, drive))
    }
}

impl KnownVolume {
    /// Makes sure that the cartridge in a drive is this one: another one may have the same barcode.
    ///
    /// # Errors
    /// [`TapeJobError::WrongCartridge`] if it is another one, or as [`ours`].
    pub fn check_identity(&self, drive: &mut Drive) -> Result<(), TapeJobError> {
        let identified = identify(drive)?;
        check_identity(&self.description, drive, identified)
    }
}

fn check_identity(
    volume: &VolumeDescription,
    drive: &Drive,
    identified: Identified,
) -> Result<(), TapeJobError> {
    let found = ours(drive, identified)?;
    if found.volume == volume.volume {
        return Ok(());
    }
    let (expected, found) = (volume.volume, found.volume);
    Err(TapeJobError::WrongCartridge { barcode: volume.barcode.clone(), expected, found })
}

/// What a cartridge of ours is.
///
/// # Errors
/// [`TapeJobError`] if it is none.
pub fn ours(drive: &Drive, identified: Identified) -> Result<VolumeDescription, TapeJobError> {
    let device = drive.name().to_owned();
    match identified {
        Identified::Ours(description) => Ok(*description),
        Identified::Blank => Err(TapeError::Blank { device }.into()),
        Identified::Undescribed { .. } => Err(TapeError::NoDescription { device }.into()),
        Identified::Foreign(kind) => {
            Err(TapeError::Foreign { device, kind: kind.as_str(), name: foreign_name(&kind) }.into())
        }
    }
}

/// What another program calls its cartridge; empty if its kind has no names.
#[must_use]
pub fn foreign_name(kind: &Recognised) -> String {
    match kind {
        Recognised::Ours(label) => label.serial.clone(),
        Recognised::Ltfs { serial } | Recognised::Ansi { serial, .. } => serial.clone(),
        Recognised::Amanda { label } => label.clone(),
        _ => String::new(),
    }
}

/// The barcode as text that may stand on a label of ours.
///
/// # Errors
/// [`TapeJobError::BadBarcode`] if it has other characters.
pub fn label_text(barcode: &Barcode) -> Result<String, TapeJobError> {
    let text = std::str::from_utf8(barcode.as_bytes()).ok().filter(|text| is_valid_barcode(text));
    text.map(str::to_owned).ok_or_else(|| TapeJobError::BadBarcode { barcode: barcode.to_string() })
}

/// Cartridges that a set may go on with, best first: prepared ones of the pool, then unknown ones, which may be blank.
#[must_use]
pub fn candidates(
    inventory: &Inventory,
    volumes: &[KnownVolume],
    repository: FileId,
    pool: &str,
    wanted: &[Barcode],
) -> Vec<Barcode> {
    if !wanted.is_empty() {
        return wanted.to_vec();
    }
    let known = |barcode: &Barcode| {
        volumes.iter().find(|known| known.description.barcode.as_bytes() == barcode.as_bytes())
    };
    let present: BTreeSet<Barcode> = inventory
        .elements
        .iter()
        .filter(|element| matches!(element.kind, ElementKind::Storage | ElementKind::DataTransfer))
        .filter(|element| element.is_full && !element.is_cleaning)
        .filter_map(|element| element.barcode.clone())
        .collect();
    let is_prepared = |barcode: &&Barcode| {
        known(barcode).is_some_and(|known| {
            let description = &known.description;
            known.header.is_none() && description.repository == repository && description.pool == pool
        })
    };
    let prepared = present.iter().filter(is_prepared);
    let unknown = present.iter().filter(|barcode| known(barcode).is_none());
    prepared.chain(unknown).cloned().collect()
}
