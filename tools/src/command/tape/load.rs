//! `reelfs tape load`

use std::ffi::OsString;

use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape load RL0001L8
  reelfs tape load RL0001L8 --drive 1

  The cartridge is moved into a free drive, and the command waits until it can be used. Other commands load what
  they need by themselves; this one is for mt(1), tar(1) and the like.

EXIT STATUS
  0 done; 1 failed; 2 usage; 13 it is not in the library, or no drive is free; 130 interrupted";

/// Move a cartridge into a drive
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcode of the cartridge
    barcode: OsString,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    let barcode = place::barcode(&args.barcode)?;
    let mut library = place.open()?;
    let (number, drive) = library.take_drive(&barcode, place.drive(), false)?;
    let device = library.drive(number)?.unit.clone().unwrap_or_default();
    drop(library.load_into(drive, number, &barcode, &context.progress)?);
    if context.global.json {
        context.out.json(object([
            ("barcode", barcode.to_string().into()),
            ("drive", number.into()),
            ("device", device.into()),
        ]))?;
    } else if !context.global.quiet {
        context.out.line(&format!("loaded {barcode} into drive {number} ({device})"))?;
    }
    Ok(())
}
