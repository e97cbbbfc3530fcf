//! A cartridge of another program in a drive becomes a table in the catalogue.

use super::builder::Builder;
use super::xattrs::AclName;
use crate::format::record::Time;
use crate::job::tape::cartridges::foreign_name;
use crate::job::tape::catalogue::{Catalogue, CatalogueError};
use crate::job::tape::error::TapeJobError;
use crate::progress::Progress;
use crate::storage::{StorageError, WriteFile};
use crate::tape::archive::{ForeignDescription, ForeignFile, Recognised};
use crate::tape::drive::Drive;
use crate::tape::reader::{ForeignEvent, foreign_identity, scan_foreign};

/// Takes over into the catalogue what a cartridge of another program holds, in place of what was known of cartridges of
/// this barcode. One that is no tar archive is named for what it is, and nothing more of it is read.
///
/// # Errors
/// [`TapeJobError`] if the cartridge cannot be read or the catalogue not be written.
pub fn scan_foreign_volume(
    catalogue: &Catalogue,
    drive: &mut Drive,
    kind: &Recognised,
    barcode: &str,
    scanned: Time,
    number_of: &dyn Fn(AclName<'_>) -> Option<u32>,
    progress: &Progress,
) -> Result<ForeignDescription, TapeJobError> {
    let mut description = ForeignDescription {
        volume: foreign_identity(drive)?,
        barcode: barcode.to_owned(),
        kind: kind.as_str().to_owned(),
        name: foreign_name(kind),
        scanned_seconds: scanned.seconds,
        files: Vec::new(),
    };
    if *kind == Recognised::Tar {
        let mut failed = None;
        let put = catalogue.put_tree(description.volume, |file| {
            let path = file.path().to_owned();
            match build(drive, file, scanned, number_of, progress) {
                Ok(files) => {
                    description.files = files;
                    Ok(())
                }
                Err(error) => {
                    failed = Some(error);
                    // Any error keeps the file from getting its name; the first one is the one that counts.
                    let source = std::io::Error::other("it cannot be made");
                    Err(StorageError { operation: "write", path, source })
                }
            }
        });
        match (failed, put) {
            (Some(error), _) => return Err(error),
            (None, put) => put?,
        }
    }
    catalogue.put_foreign(&description)?;
    forget_others(catalogue, &description)?;
    Ok(description)
}

fn build(
    drive: &mut Drive,
    file: &mut dyn WriteFile,
    scanned: Time,
    number_of: &dyn Fn(AclName<'_>) -> Option<u32>,
    progress: &Progress,
) -> Result<Vec<ForeignFile>, TapeJobError> {
    let mut builder = Builder::new(file, number_of, scanned)?;
    let mut files = Vec::new();
    scan_foreign(drive, progress, &mut |event| -> Result<(), TapeJobError> {
        match event {
            ForeignEvent::Entry(entry) => {
                builder.entry(&entry)?;
                progress.add(1, entry.available_bytes);
            }
            ForeignEvent::Again => builder.again(),
            ForeignEvent::File(mut file) => {
                let counts = builder.end_file();
                (file.entry_count, file.left_out_count) = (counts.shown, counts.left_out);
                files.push(file);
            }
        }
        Ok(())
    })?;
    builder.finish()?;
    Ok(files)
}

// A cartridge that was written anew has another first block.
fn forget_others(catalogue: &Catalogue, description: &ForeignDescription) -> Result<(), CatalogueError> {
    if description.barcode.is_empty() {
        return Ok(());
    }
    for other in catalogue.foreign_volumes(&mut |error| log::warn!("{}", crate::job::chain(&error)))? {
        if other.barcode == description.barcode && other.volume != description.volume {
            catalogue.remove(other.volume)?;
        }
    }
    Ok(())
}
