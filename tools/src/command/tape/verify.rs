//! `reelfs tape verify`

use std::ffi::OsString;
use std::time::Instant;

use reelfs::job::problem::PROBLEM_COUNT_MAX;
use reelfs::job::tape::archive;
use reelfs::job::tape::cartridges::ours;
use reelfs::job::tape::compare::{self, Difference};
use reelfs::job::tape::library::TapeLibrary;
use reelfs::library::Barcode;
use reelfs::repo::Repository;
use reelfs::tape::TapeError;
use reelfs::tape::archive::VolumeDescription;
use reelfs::tape::drive::Drive;
use reelfs::tape::reader::{Damage, VerifyTotals, VolumeIndex, VolumeReader};

use super::{Place, place};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::human;
use crate::output::object;
use crate::session;

const AFTER_HELP: &str = "\
EXAMPLES
  reelfs tape verify RL0001L8
  reelfs tape verify --json RL0001L8 | jq -r 'select(.kind == \"damage\") | .name'

  reelfs tape verify --compare RL0001L8     and with the repository

  The whole cartridge is read once: every segment is compared with its checksum, the list behind each part,
  the indexes of commits and both copies of the closing index with the newest index. What the catalogue or the
  memory of the cartridge knows and the tape does not have is damage, too: the last session was lost.

EXIT STATUS
  0 nothing is damaged; 1 failed; 2 usage; 12 something is damaged; 13 the cartridge or a drive; 130 interrupted";

/// Read cartridges and compare everything with its checksums
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Barcodes of the cartridges; none with a lone drive
    #[arg(value_name = "BARCODE")]
    barcodes: Vec<OsString>,
    /// Compare what is on the cartridges with the repository, too
    #[arg(long)]
    compare: bool,
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
    let repository = args.compare.then(|| session::open(context)).transpose()?;
    let mut damage_count = 0;
    for barcode in wanted {
        context.progress.check()?;
        let (index, count) = cartridge(barcode.as_ref(), &mut library, place, context)?;
        damage_count += count;
        if let Some(repository) = &repository {
            damage_count += compare(repository, &index, context)?;
        }
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
) -> Result<(VolumeIndex, u64), Failure> {
    let started = Instant::now();
    let mounted = library.mount(barcode, place.drive(), &context.progress)?;
    let (number, mut drive) = (mounted.number, mounted.drive);
    let display = context.show_progress("verify");
    let mut damages = Vec::new();
    let made = ours(&drive, mounted.identified)
        .and_then(|description| Ok((description, verify(&mut drive, &mut damages, context)?)));
    drop(display);
    // It goes back whatever it is.
    let unloaded = if barcode.is_some() { library.put_away(drive, number, None).map(drop) } else { Ok(()) };
    let (description, (index, totals)) = made?;
    for damage in &damages {
        tell(&description.barcode, damage, context)?;
    }
    let lost = lost_segments(&description, &index, place, context)?;
    if lost > 0 {
        tell_lost(&description.barcode, lost, context)?;
    }
    let count = totals.damages.max(damages.len() as u64) + lost;
    if context.global.json {
        context.out.json(object([
            ("kind", "summary".into()),
            ("barcode", description.barcode.clone().into()),
            ("segments", totals.segments.into()),
            ("bytes", totals.bytes.into()),
            ("lists", totals.lists.into()),
            ("damages", count.into()),
            ("seconds", started.elapsed().as_secs_f64().into()),
        ]))?;
    } else if !context.global.quiet {
        context.out.line(&format!(
            "{}: {}: {}, {}, and {} in {}",
            description.barcode,
            if count == 0 { "sound" } else { "DAMAGED" },
            human::count(totals.segments, "segment"),
            human::bytes(totals.bytes),
            human::count(totals.lists, "list"),
            human::duration(started.elapsed()),
        ))?;
    }
    unloaded?;
    Ok((index, count))
}

// Segments that the catalogue knows and the tape has no more; without a catalogue nothing is known.
fn lost_segments(
    found: &VolumeDescription,
    index: &VolumeIndex,
    place: &Place,
    context: &Context,
) -> Result<u64, Failure> {
    let Ok(catalogue) = place.catalogue(context) else { return Ok(0) };
    let known = match catalogue.segments(found.volume) {
        Ok(known) => known,
        Err(error) => {
            context.warn(&reelfs::job::chain(&error));
            return Ok(0);
        }
    };
    Ok(archive::lacking_segments(&known, &index.segments).len() as u64)
}

fn tell_lost(barcode: &str, count: u64, context: &mut Context) -> Result<(), Failure> {
    let what = format!("{} that the catalogue knows: a session was lost", human::count(count, "segment"));
    if context.global.json {
        return Ok(context.out.json(object([
            ("kind", "lost".into()),
            ("barcode", barcode.into()),
            ("segments", count.into()),
            ("what", what.into()),
        ]))?);
    }
    Ok(context.out.line(&format!("damage: {barcode} lacks {what}, or this is an old copy"))?)
}

// What is on the cartridge against the repository; what the repository has no more is no damage.
fn compare(repository: &Repository, index: &VolumeIndex, context: &mut Context) -> Result<u64, Failure> {
    let display = context.show_progress("compare");
    let mut differences = Vec::new();
    let mut missing = 0_u64;
    let totals =
        compare::compare(repository, &index.segments, &context.progress, &mut |segment, difference| {
            match difference {
                Difference::Missing => missing += 1,
                _ if differences.len() < PROBLEM_COUNT_MAX => {
                    differences.push((segment.file_name(), difference))
                }
                _ => {}
            }
        });
    drop(display);
    let totals = totals?;
    for (name, difference) in &differences {
        let what = difference.as_str();
        if context.global.json {
            let line = [("kind", "difference".into()), ("name", name.clone().into()), ("what", what.into())];
            context.out.json(object(line))?;
        } else {
            context.out.line(&format!("{name} {what}"))?;
        }
    }
    let count = totals.differences - missing;
    if context.global.json {
        context.out.json(object([
            ("kind", "comparison".into()),
            ("segments", totals.segments.into()),
            ("bytes", totals.bytes.into()),
            ("differences", count.into()),
            ("missing", missing.into()),
        ]))?;
    } else if !context.global.quiet {
        let gone = if missing > 0 { format!("; {missing} are not in the repository") } else { String::new() };
        context.out.line(&format!(
            "compared with the repository: {}, {}, {}{gone}",
            human::count(totals.segments, "segment"),
            human::bytes(totals.bytes),
            human::count(count, "difference"),
        ))?;
    }
    Ok(count)
}

fn verify(
    drive: &mut Drive,
    damages: &mut Vec<Damage>,
    context: &Context,
) -> Result<(VolumeIndex, VerifyTotals), TapeError> {
    let mut reader = VolumeReader::open(drive)?;
    let index = reader.index(&context.progress)?;
    let totals = reader.verify(&index, &context.progress, &mut |damage| {
        if damages.len() < PROBLEM_COUNT_MAX {
            damages.push(damage);
        }
    })?;
    Ok((index, totals))
}

fn tell(barcode: &str, damage: &Damage, context: &mut Context) -> Result<(), Failure> {
    let (name, block) = (damage.name.clone(), damage.loi);
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
