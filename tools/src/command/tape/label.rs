//! `reelfs tape label`

use std::ffi::OsString;

use reelfs::format::record::Time;
use reelfs::job::tape::cartridges::label_text;
use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::labelling::{LabelOptions, label_cartridge};
use reelfs::tape::TapeError;

use super::{Place, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::object;
use crate::{clock, human, session};

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape label RL0001L8 RL0002L8 --pool offsite
  reelfs tape label RL0003L8 --overwrite RL0003L8       one of ours whose content is to go
  reelfs tape label RL0004L8 --overwrite ABC123         one of another program: its own name is asked for

  A blank cartridge is labelled as it is, anything else only if --overwrite names it: an error says the name.
  What is under retention takes --despite-retention too. 'reelfs tape archive' labels blank
  cartridges by itself.

EXIT STATUS
  0 done; 1 failed; 2 usage; 10 no repository; 13 the cartridge or a drive; 130 interrupted";

/// Prepare cartridges for archives
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcodes of the cartridges; with a lone drive, what the cartridge is to be called
    #[arg(value_name = "BARCODE", required = true)]
    barcodes: Vec<OsString>,
    /// Pool of cartridges
    #[arg(long, value_name = "NAME", default_value = "default")]
    pool: String,
    /// Text for people, such as where the cartridge is kept
    #[arg(long, value_name = "TEXT", default_value = "")]
    text: String,
    /// What the cartridge calls itself that is to be written over
    #[arg(long, value_name = "NAME")]
    overwrite: Option<String>,
    /// Write over it although it is under retention
    #[arg(long, requires = "overwrite")]
    despite_retention: bool,
}

pub(super) fn run(args: &Args, place: &Place, context: &mut Context) -> Result<(), Failure> {
    context.watch_signals()?;
    if args.overwrite.is_some() && args.barcodes.len() > 1 {
        return Err(Failure::usage("--overwrite is for one cartridge at a time"));
    }
    let repository = session::open(context)?;
    let catalogue = place.catalogue(context)?;
    let mut library = place.open()?;
    for barcode in &args.barcodes {
        let barcode = place::barcode(barcode)?;
        let text = label_text(&barcode)?;
        let options = LabelOptions {
            barcode: text,
            pool: args.pool.clone(),
            text: args.text.clone(),
            overwrite: args.overwrite.clone(),
            despite_retention: args.despite_retention,
            repository: repository.id(),
            drive: place.drive(),
            volume: clock::new_id(),
            now_seconds: clock::now_seconds(),
        };
        let description = label_cartridge(&mut library, &catalogue, &options, &context.progress)
            .map_err(|error| explain(error, args, context.global.local))?;
        if context.global.json {
            context.out.json(object([
                ("barcode", description.barcode.clone().into()),
                ("volume", description.volume.to_string().into()),
                ("set", description.set.to_string().into()),
                ("pool", description.pool.clone().into()),
            ]))?;
        } else if !context.global.quiet {
            context.out.line(&format!("labelled {} for pool {}", description.barcode, description.pool))?;
        }
    }
    Ok(())
}

fn explain(error: TapeJobError, args: &Args, local: bool) -> Failure {
    let hint = match &error {
        TapeJobError::Tape(error) => match &**error {
            TapeError::Retained { until_seconds, name, .. } => {
                let time = human::time(Time { seconds: *until_seconds, nanoseconds: 0 }, local);
                let missing = match &args.overwrite {
                    // It is named already.
                    Some(named) if named == name => "--despite-retention".to_owned(),
                    _ => format!("--overwrite '{name}' --despite-retention"),
                };
                Some(format!("it is to be kept until {time}; {missing} ends that"))
            }
            TapeError::Occupied { name, .. } => {
                Some(format!("if what it holds is to go: --overwrite '{name}'"))
            }
            _ => None,
        },
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
