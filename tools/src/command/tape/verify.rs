//! `reelfs tape verify`

use std::ffi::OsString;
use std::time::Instant;

use reelfs::job::tape::cartridges::ours;
use reelfs::job::tape::error::TapeJobError;
use reelfs::job::tape::library::TapeLibrary;
use reelfs::library::Barcode;
use reelfs::tape::TapeError;
use reelfs::tape::drive::Drive;
use reelfs::tape::reader::{Damage, VerifyTotals, VolumeReader};

use super::{Place, place};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::output::object;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape verify RL0001L8
  reelfs tape verify --json RL0001L8 | jq -r 'select(.kind == \"damage\") | .name'

  The whole cartridge is read once and every segment compared with its checksum.

EXIT STATUS
  0 nothing is damaged; 1 failed; 2 usage; 12 something is damaged; 13 the cartridge or a drive; 130 interrupted";

/// Read cartridges and compare everything with its checksums
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
    let wanted = args.barcodes.iter().map(place::barcode).collect::<Result<Vec<_>, _>>()?;
    if wanted.is_empty() && library.changer().is_some() {
        return Err(Failure::usage("no cartridge was named").hint("'reelfs tape inventory' lists them"));
    }
    let wanted: Vec<Option<Barcode>> =
        if wanted.is_empty() { vec![None] } else { wanted.into_iter().map(Some).collect() };
    let mut damage_count = 0;
    for barcode in wanted {
        context.progress.check()?;
        damage_count += cartridge(barcode.as_ref(), &mut library, place, context)?;
    }
    if damage_count == 0 {
        return Ok(());
    }
    Err(Failure::told(Kind::Damaged).hint("archive the same generations again, to another set: --new-set"))
}

fn cartridge(
    barcode: Option<&Barcode>,
    library: &mut TapeLibrary,
    place: &Place,
    context: &mut Context,
) -> Result<u64, Failure> {
    let started = Instant::now();
    let mounted = library.mount(barcode, place.drive(), &context.progress)?;
    let (number, mut drive) = (mounted.number, mounted.drive);
    let description = ours(&drive, mounted.identified)?;
    let display = context.show_progress("verify");
    let mut damages = Vec::new();
    let made = verify(&mut drive, &mut damages, context);
    drop((display, drive));
    let unloaded = if barcode.is_some() { library.unload(number, None).map(drop) } else { Ok(()) };
    let totals = made.map_err(TapeJobError::from)?;
    for damage in &damages {
        tell(&description.barcode, damage, context)?;
    }
    let count = totals.damages.max(damages.len() as u64);
    if context.global.json {
        context.out.json(object([
            ("kind", "summary".into()),
            ("barcode", description.barcode.clone().into()),
            ("segments", totals.segments.into()),
            ("bytes", totals.bytes.into()),
            ("damages", count.into()),
            ("seconds", started.elapsed().as_secs_f64().into()),
        ]))?;
    } else if !context.global.quiet {
        context.out.line(&format!(
            "{}: {}: {}, {} in {}",
            description.barcode,
            if count == 0 { "sound" } else { "DAMAGED" },
            human::count(totals.segments, "segment"),
            human::bytes(totals.bytes),
            human::duration(started.elapsed()),
        ))?;
    }
    unloaded?;
    Ok(count)
}

fn verify(
    drive: &mut Drive,
    damages: &mut Vec<Damage>,
    context: &Context,
) -> Result<VerifyTotals, TapeError> {
    let mut reader = VolumeReader::open(drive)?;
    let index = reader.index(&context.progress)?;
    let bytes = index.segments.iter().map(|segment| segment.len).sum();
    context.progress.add_total(index.segments.len() as u64, bytes);
    let listed_max = reelfs::job::problem::PROBLEM_COUNT_MAX;
    reader.verify(&index, &context.progress, &mut |damage| {
        if damages.len() < listed_max {
            damages.push(damage);
        }
    })
}

fn tell(barcode: &str, damage: &Damage, context: &mut Context) -> Result<(), Failure> {
    let name = damage.segment.name.as_ref().to_owned();
    let block = damage.segment.address.loi;
    let what = reelfs::job::chain(&damage.error);
    if context.global.json {
        return Ok(context.out.json(object([
            ("kind", "damage".into()),
            ("barcode", barcode.into()),
            ("block", block.into()),
            ("name", name.into()),
            ("what", what.into()),
        ]))?);
    }
    Ok(context.out.line(&format!("damage: {barcode}, from block {block} on, {name}: {what}"))?)
}
