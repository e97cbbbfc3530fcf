//! `reelfs tape import`

use std::ffi::OsString;

use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::scan::ScanOptions;
use reelfs::scsi::ElementKind;

use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape import                     all cartridges in the mail slots
  reelfs tape import RL0001L8
  reelfs tape import --scan              and take into the catalogue what they hold

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 no slot is free, or a cartridge is not in a mail slot; 130 interrupted";

/// Move cartridges from the mail slots into slots
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcodes of the cartridges; all if none is named
    #[arg(value_name = "BARCODE")]
    barcodes: Vec<OsString>,
    /// Load each and take into the catalogue what it holds, if it is one of ours
    #[arg(long)]
    scan: bool,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let mut library = place.open()?;
    let wanted = args.barcodes.iter().map(place::barcode).collect::<Result<Vec<_>, _>>()?;
    let inventory = library.inventory()?;
    let mail_slots: Vec<_> =
        inventory.of_kind(ElementKind::ImportExport).filter(|slot| slot.is_full).collect();
    let is_there = |barcode| mail_slots.iter().any(|slot| slot.barcode.as_ref() == Some(barcode));
    if let Some(absent) = wanted.iter().find(|barcode| !is_there(*barcode)) {
        let error = TapeJobError::NotThere { barcode: absent.to_string(), place: "mail slot" };
        return Err(error.into());
    }
    let mut moved = Vec::new();
    for slot in mail_slots {
        context.progress.check()?;
        if !wanted.is_empty() && !slot.barcode.as_ref().is_some_and(|barcode| wanted.contains(barcode)) {
            continue;
        }
        let inventory = library.inventory()?;
        let home = inventory.home(slot).map_err(TapeJobError::from)?;
        let number = inventory.number(home).unwrap_or_default();
        library.transfer(slot.address, home.address, slot.barcode.as_ref())?;
        let shown = slot.barcode.as_ref().map_or_else(|| "a cartridge".to_owned(), ToString::to_string);
        if context.global.json {
            context.out.json(object([("barcode", shown.into()), ("slot", number.into())]))?;
        } else if !context.global.quiet {
            context.out.line(&format!("{shown} is in slot {number}"))?;
        }
        moved.extend(slot.barcode.clone());
    }
    if moved.is_empty() {
        context.note("the mail slots are empty");
    }
    if args.scan {
        for barcode in moved {
            let options = ScanOptions::default();
            let made = super::scan::cartridge(Some(&barcode), options, &mut library, place, context)?;
            super::scan::warn_of_lists(made.as_ref(), context);
        }
    }
    Ok(())
}
