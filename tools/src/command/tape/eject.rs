//! `reelfs tape eject`

use std::ffi::OsString;

use reelfs::job::tape::error::TapeJobError;
use reelfs::scsi::ElementKind;

use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape eject RL0001L8 RL0002L8       to the mail slots, to be taken out
  reelfs tape eject                         out of a lone drive

  A cartridge in a drive is unloaded first.

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 a cartridge is not in the library, or no mail slot is free; 130 interrupted";

/// Move cartridges to the mail slots, to be taken out
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcodes of the cartridges; none with a lone drive
    #[arg(value_name = "BARCODE")]
    barcodes: Vec<OsString>,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let mut library = place.open()?;
    if library.changer().is_none() {
        library.unload(place.drive().unwrap_or(0), None)?;
        context.note("the drive has let go of its cartridge");
        return Ok(());
    }
    if args.barcodes.is_empty() {
        return Err(Failure::usage("no cartridge was named").hint("'reelfs tape inventory' lists them"));
    }
    for barcode in &args.barcodes {
        context.progress.check()?;
        let barcode = place::barcode(barcode)?;
        let inventory = library.inventory()?;
        let element = inventory.find(&barcode).map_err(TapeJobError::from)?;
        if element.kind == ElementKind::ImportExport {
            context.note(&format!("{barcode} is in a mail slot already"));
            continue;
        }
        let mail_slot = inventory.free_mail_slot().map_err(TapeJobError::from)?;
        let number = inventory.number(mail_slot).unwrap_or_default();
        if element.kind == ElementKind::DataTransfer {
            let holds =
                |drive: &reelfs::job::tape::library::DriveUnit| drive.element == Some(element.address);
            let drive = library.drives().iter().position(holds);
            let drive = drive.ok_or(TapeJobError::NoFreeDrive)?;
            library.unload(drive, Some(mail_slot.address))?;
        } else {
            library.transfer(element.address, mail_slot.address, Some(&barcode))?;
        }
        if context.global.json {
            let members = [("barcode", barcode.to_string().into()), ("mail_slot", number.into())];
            context.out.json(object(members))?;
        } else if !context.global.quiet {
            context.out.line(&format!("{barcode} is in mail slot {number}"))?;
        }
    }
    Ok(())
}
