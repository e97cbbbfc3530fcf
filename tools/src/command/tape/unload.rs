//! `reelfs tape unload`

use std::ffi::OsString;

use reelfs::job::tape::error::TapeJobError;

use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape unload                 what is in the drives
  reelfs tape unload --drive 1
  reelfs tape unload RL0001L8

  A cartridge goes back to the slot it came from, or to a free one. A lone drive lets go of it.

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 the drive is empty or does not let go of it; 130 interrupted";

/// Move cartridges from drives to slots
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcode of the cartridge; of all if neither it nor a drive is given
    barcode: Option<OsString>,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let mut library = place.open()?;
    let numbers = match (&args.barcode, place.drive()) {
        (Some(barcode), _) => {
            let barcode = place::barcode(barcode)?;
            let inventory = library.inventory()?;
            let loaded = library.loaded(&inventory);
            let holding = loaded.iter().find(|(_, held)| held.as_ref() == Some(&barcode));
            vec![*holding.ok_or(TapeJobError::NotThere { barcode: barcode.to_string(), place: "drive" })?.0]
        }
        (None, Some(number)) => vec![number],
        (None, None) if library.changer().is_none() => vec![0],
        (None, None) => {
            let inventory = library.inventory()?;
            library.loaded(&inventory).into_keys().collect()
        }
    };
    for number in numbers {
        let barcode = library.unload(number, None)?;
        let shown = barcode.map_or_else(|| "the cartridge".to_owned(), |barcode| barcode.to_string());
        if context.global.json {
            context.out.json(object([("barcode", shown.into()), ("drive", number.into())]))?;
        } else if !context.global.quiet {
            context.out.line(&format!("unloaded {shown} from drive {number}"))?;
        }
    }
    Ok(())
}
